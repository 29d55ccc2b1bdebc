"""Small random models whose outputs differ in length, and models given by a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

VOCABULARY = 60
EOS = 2
PAD = 1


SEEDS = {"gpt2": 5, "llama": 4, "bart": 4, "fsmt": 0}
"""Seeds whose outputs differ in length."""


def model(kind: str, seed: int | None = None, sharpness: float = 1.1) -> Any:
    """Return a random model of an architecture; larger `sharpness` makes it more certain.

    Padding is never its choice: FSMT without a cache treats it as a hole in its own output.
    """
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.manual_seed(SEEDS[kind] if seed is None else seed)
    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": EOS, "tie_word_embeddings": False}
    seq2seq = {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
        "max_position_embeddings": 64, "pad_token_id": PAD, **ends,
    }  # fmt: skip
    if kind == "gpt2":
        config = transformers.GPT2Config(
            n_layer=2, n_embd=16, n_head=2, vocab_size=VOCABULARY, n_positions=64,
            pad_token_id=EOS, **ends,
        )  # fmt: skip
        made = transformers.GPT2LMHeadModel(config)
    elif kind == "llama":
        config = transformers.LlamaConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, vocab_size=VOCABULARY, max_position_embeddings=64,
            pad_token_id=EOS, **ends,
        )  # fmt: skip
        made = transformers.LlamaForCausalLM(config)
    elif kind == "bart":
        config = transformers.BartConfig(vocab_size=VOCABULARY, **seq2seq)
        made = transformers.BartForConditionalGeneration(config)
    else:
        sizes = {"src_vocab_size": VOCABULARY, "tgt_vocab_size": VOCABULARY}
        config = transformers.FSMTConfig(langs=["a", "b"], max_length=64, **sizes, **seq2seq)
        made = transformers.FSMTForConditionalGeneration(config)
    with torch.no_grad():
        for one in made.parameters():
            if one.dim() > 1:
                one.normal_(0, 0.35)
        head = made.get_output_embeddings().weight
        head.mul_(sharpness / 0.35)
        if made.config.is_encoder_decoder:
            head[PAD] = -head.mean(0)
    return made.eval()


def inputs(
    made: Any, seed: int = 0, lengths: tuple[int, ...] = (1, 4, 7, 3, 11)
) -> list[list[int]]:
    """Return random sources or prompts of several lengths."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(3, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]
    return [[*row, EOS] for row in rows] if made.config.is_encoder_decoder else rows


def trimmed(row: list[int]) -> list[int]:
    """Return a row of `generate` without what follows the closing token."""
    return row[: row.index(EOS) + 1] if EOS in row else row


class Table:
    """A decoder whose next logits [V] are a function of all tokens so far."""

    def __init__(self, logits: Callable[[tuple[int, ...]], Tensor]) -> None:
        self.logits = logits
        self.states = torch.empty(0)
        self.calls = 0

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> Tensor:
        """Return the prompts."""
        return ids.repeat_interleave(copies, dim=0)

    def read(self, prefix: Tensor, keep: int = 1) -> Tensor:
        """Return the logits after each of the last `keep` tokens."""
        self.calls += 1
        whole = prefix.shape[1]
        return torch.stack(
            [
                torch.stack(
                    [self.logits(tuple(row[: whole - back])) for back in reversed(range(keep))]
                )
                for row in prefix.tolist()
            ]
        )

    def step(self, prefix: Tensor) -> Tensor:
        """Return log-probabilities."""
        return torch.log_softmax(self.read(prefix)[:, -1], dim=-1)

    def select(self, rows: Tensor, sentences_left: bool = True) -> None:
        """Nothing is held."""

    def crop(self, length: int) -> None:
        """Nothing is held."""


def chain(seed: int, size: int, sharpness: float = 1.0) -> Table:
    """Return a table whose next token depends on the last one and on how many there are."""
    generator = torch.Generator().manual_seed(seed)
    nats = torch.randn(16, size, size, generator=generator) * sharpness
    return Table(lambda tokens: nats[len(tokens) % 16, tokens[-1]])
