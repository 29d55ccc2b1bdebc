"""From parameters to a transformers configuration."""

from __future__ import annotations

import math
from typing import Any

from stages.lm.tokens import Special
from stages.pretrain.stage import Architecture, Gpt2, Llama, Roberta


def configuration(chosen: Architecture, vocab_size: int, special: Special) -> Any:
    """Return the configuration of a new model over a vocabulary."""
    ids = {
        "bos_token_id": special.begin,
        "eos_token_id": special.end,
        "pad_token_id": special.pad,
        "initializer_range": _spread(chosen.hidden_size),
    }
    if isinstance(chosen, Roberta):
        return _roberta(chosen, vocab_size, ids)
    if isinstance(chosen, Gpt2):
        return _gpt2(chosen, vocab_size, ids)
    assert isinstance(chosen, Llama)
    return _llama(chosen, vocab_size, ids)


def _spread(width: int) -> float:
    """Return the standard deviation of new weights: 0.02 at width 768, and as 1 / sqrt(D).

    At 0.02 the layers of a small model hardly change what they are given, and learn late.
    """
    return round(0.02 * math.sqrt(768 / width), 4)


def _roberta(chosen: Roberta, vocab_size: int, ids: dict[str, Any]) -> Any:
    from transformers import RobertaConfig

    return RobertaConfig(
        vocab_size=vocab_size,
        hidden_size=chosen.hidden_size,
        num_hidden_layers=chosen.layers,
        num_attention_heads=chosen.heads,
        intermediate_size=chosen.feed_forward_size,
        # Positions begin after the padding id, so that many rows are never used.
        max_position_embeddings=chosen.positions + ids["pad_token_id"] + 1,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=chosen.dropout,
        attention_probs_dropout_prob=chosen.dropout,
        **ids,
    )


def _gpt2(chosen: Gpt2, vocab_size: int, ids: dict[str, Any]) -> Any:
    from transformers import GPT2Config

    # CodeParrot's scale_attn_by_inverse_layer_idx needs no other kernel; its upcast does not
    # apply, since everything is float32.
    return GPT2Config(
        vocab_size=vocab_size,
        n_embd=chosen.hidden_size,
        n_layer=chosen.layers,
        n_head=chosen.heads,
        n_inner=chosen.feed_forward_size,
        n_positions=chosen.positions,
        scale_attn_by_inverse_layer_idx=True,
        resid_pdrop=chosen.dropout,
        embd_pdrop=chosen.dropout,
        attn_pdrop=chosen.dropout,
        **ids,
    )


def _llama(chosen: Llama, vocab_size: int, ids: dict[str, Any]) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=chosen.hidden_size,
        num_hidden_layers=chosen.layers,
        num_attention_heads=chosen.heads,
        num_key_value_heads=chosen.key_value_heads or chosen.heads,
        intermediate_size=chosen.feed_forward_size,
        max_position_embeddings=chosen.positions,
        attention_dropout=chosen.dropout,
        tie_word_embeddings=True,
        **ids,
    )
