"""The encoder-decoder contract holds for a right model and breaks, by name, for each wrong one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stages.lm import seq2seq_contract
from stages.lm.generate import Specials

SOURCES = [[5, 9, 2], [7, 4, 11, 8, 6, 2], [10, 5, 5, 2]]
TARGETS = [[6, 7, 8, 2], [9, 2], [4, 10, 11, 5, 6, 2]]


@pytest.fixture
def model() -> Any:
    """A random FSMT, weights large enough that every mistake is felt."""
    from transformers import FSMTConfig, FSMTForConditionalGeneration

    torch.manual_seed(5)
    config = FSMTConfig(
        langs=["en", "eo"],
        src_vocab_size=14,
        tgt_vocab_size=14,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        max_position_embeddings=64,
    )
    made = FSMTForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "positions" not in name and "norm" not in name:
                parameter.normal_(std=0.4)
    return made


def broken(model: Any, felt: float = seq2seq_contract.FELT) -> set[str]:
    """Return the names of the contract's lines that do not hold."""
    lines = seq2seq_contract.check(model, SOURCES, TARGETS, Specials(), felt)
    return {line.name for line in lines if not line.passed}


def test_a_right_model_keeps_the_contract(model: Any) -> None:
    assert broken(model) == set()


def test_seeing_the_future_breaks_causality(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.fsmt import modeling_fsmt

    monkeypatch.setattr(modeling_fsmt, "fill_with_neg_inf", lambda t: t)
    assert "decoder is causal" in broken(model)


def test_attending_to_padding_breaks_invariance(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.fsmt import modeling_fsmt

    monkeypatch.setattr(
        modeling_fsmt, "invert_mask", lambda mask: torch.zeros_like(mask, dtype=torch.bool)
    )
    assert "padding changes nothing" in broken(model)


def test_wrong_positions_under_the_cache_break_chain_and_cache(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.fsmt.modeling_fsmt import SinusoidalPositionalEmbedding

    right = SinusoidalPositionalEmbedding.forward

    def forward(self: Any, ids: torch.Tensor, *, past_key_values_length: int = 0) -> torch.Tensor:
        return right(self, ids, past_key_values_length=0)

    monkeypatch.setattr(SinusoidalPositionalEmbedding, "forward", forward)
    assert "steps obey the chain rule" in broken(model)


def test_encoding_at_every_step_is_counted(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.lm.generate import TransformersStepper

    step = TransformersStepper.step

    def again(self: Any, prefix: torch.Tensor) -> torch.Tensor:
        self.model.get_encoder()(input_ids=torch.tensor([[5, 2]]))
        return step(self, prefix)

    monkeypatch.setattr(TransformersStepper, "step", again)
    assert "encoder runs once per batch" in broken(model)


def test_a_deaf_encoder_breaks_bidirectionality(model: Any) -> None:
    with torch.no_grad():
        for layer in model.model.encoder.layers:
            layer.self_attn.out_proj.weight.zero_()
    assert broken(model) == {"encoder is bidirectional"}


def test_an_encoder_that_reads_forwards_only_is_caught_under_the_threshold_of_ports(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp32 of equal inputs is equal bits, so the least change that counts may be near nothing."""
    from transformers.models.fsmt import modeling_fsmt

    from stages.port.fairseq.verification import FELT

    forward = modeling_fsmt.Attention.forward

    def forwards_only(self: Any, query: Any, key: Any, *rest: Any, **given: Any) -> Any:
        if (
            self.encoder_decoder_attention
            or query.shape != key.shape
            or given.get("attn_mask") is not None
        ):
            return forward(self, query, key, *rest, **given)
        length = query.shape[0]
        given["attn_mask"] = torch.full((length, length), float("-inf")).triu(1)
        return forward(self, query, key, *rest, **given)

    assert broken(model, FELT) == set()
    monkeypatch.setattr(modeling_fsmt.Attention, "forward", forwards_only)
    assert "encoder is bidirectional" in broken(model, FELT)
