"""BLOOM in plain torch, reading the tensors of its checkpoint.

This is the other side of a comparison of stage `port`: it imports nothing of transformers and
nothing of the converter. Tensors carry the names of the released files: `word_embeddings.weight`,
`word_embeddings_layernorm.*`, `h.<n>.*`, `ln_f.*`; the fused projection's rows are [H, 3, K].
Positions enter as a bias -m (i - j) on the scores only (Press et al. 2022, section 3), with
m_h = 2^(-8h/H) for H heads, a power of two; for another H the slopes of the power below come first
and then every other one of twice that power.

Letters: B sentences, T tokens, D width, H heads, K head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.port.references import pieces

VARIANTS = (
    "slopes 2^(-8h/H) for a number of heads that is no power of two",
    "query, key and value read as [3, H, K]",
    "no norm after the embedding",
    "no position bias",
    "q and v swapped",
    "norms of a layer exchanged",
)
"""Mistakes a port can make, each computed on request to name the one that was made."""


def slopes(heads: int) -> list[float]:
    """Return m for every head."""
    power = 2 ** math.floor(math.log2(heads))
    first = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    more = [2 ** (-8 * (h + 1) / (2 * power)) for h in range(0, 2 * power, 2)]
    return first + more[: heads - power]


def whole(tensors: Mapping[str, Tensor], ranks: int) -> pieces.OfRanks:
    """Return the tensors of all tensor-parallel ranks (`rank:name`) put together.

    Vocabulary, heads and the inner units of the feed-forward are spread over the ranks; the rest
    is the same on all of them.
    """

    def axis(name: str) -> int | None:
        rows = ("word_embeddings.weight", "query_key_value.weight", "query_key_value.bias")
        if name.endswith((*rows, "dense_h_to_4h.weight", "dense_h_to_4h.bias")):
            return 0
        columns = ("self_attention.dense.weight", "dense_4h_to_h.weight")
        return 1 if name.endswith(columns) else None

    return pieces.OfRanks(tensors, ranks, axis)


@dataclass(frozen=True)
class Reference:
    """The model; `variant` is one of VARIANTS or empty."""

    tensors: Mapping[str, Tensor]
    layers: int
    heads: int
    epsilon: float
    residual_after_norm: bool = False
    dtype: torch.dtype = torch.float32
    variant: str = ""
    start: str = ""
    """What the names of all tensors begin with."""

    @torch.inference_mode()
    def logits(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return [B, T, V] for ids [B, T]; `real` [B, T] is False where padding stands."""
        *_, (_, found) = self.trace(ids, real)
        return found

    @torch.inference_mode()
    def trace(
        self, ids: Tensor, real: Tensor, last: int | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield name and states [B, T, D] behind every block, then logits (of `last` positions)."""
        words = f"{self.start}word_embeddings.weight"
        x = pieces.looked_up(self.tensors, words, ids, self.dtype)
        if self.variant != "no norm after the embedding":
            x = self._norm(x, "word_embeddings_layernorm")
        bias = self._bias(real)
        for layer in range(self.layers):
            name = f"h.{layer}"
            first, second = "input_layernorm", "post_attention_layernorm"
            if self.variant == "norms of a layer exchanged":
                first, second = second, first
            normed = self._norm(x, f"{name}.{first}")
            kept = normed if self.residual_after_norm else x
            x = kept + self._attention(f"{name}.self_attention", normed, bias)
            normed = self._norm(x, f"{name}.{second}")
            kept = normed if self.residual_after_norm else x
            hidden = self._gelu(self._linear(normed, f"{name}.mlp.dense_h_to_4h"))
            x = kept + self._linear(hidden, f"{name}.mlp.dense_4h_to_h")
            yield f"block {layer}", x
        normed = self._norm(x if last is None else x[:, -last:], "ln_f")
        yield "logits", pieces.projected(normed, self.tensors, words)

    def _bias(self, real: Tensor) -> Tensor:
        """Return [B, H, T, T]: -m (i - j) where j may be seen from i, else the lowest number."""
        places = (real.long().cumsum(dim=1) - 1).clamp(min=0)
        distance = (places[:, :, None] - places[:, None, :]).to(torch.float64)
        rates = torch.tensor(slopes(self.heads), dtype=torch.float64)
        if self.variant == VARIANTS[0]:
            rates = 2 ** (-8 * torch.arange(1, self.heads + 1).double() / self.heads)
        if self.variant == "no position bias":
            rates = torch.zeros(self.heads, dtype=torch.float64)
        bias = (-rates[None, :, None, None] * distance[:, None]).to(self.dtype)
        length = real.shape[1]
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1) | ~real[:, None, None, :]
        return bias.masked_fill(hidden, torch.finfo(self.dtype).min)

    def _get(self, name: str) -> Tensor:
        return self.tensors[f"{self.start}{name}"].to(self.dtype)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        weight = f"{self.start}{name}.weight"
        return pieces.projected(x, self.tensors, weight) + self._get(f"{name}.bias")

    def _norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        scaled = centred * torch.rsqrt(variance + self.epsilon)
        return scaled * self._get(f"{name}.weight") + self._get(f"{name}.bias")

    @staticmethod
    def _gelu(x: Tensor) -> Tensor:
        """Return the tanh form with the constant as Megatron writes it."""
        return x * 0.5 * (1 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))

    def _attention(self, name: str, x: Tensor, bias: Tensor) -> Tensor:
        batch, length, width = x.shape
        size = width // self.heads
        fused = self._linear(x, f"{name}.query_key_value")
        if self.variant == "query, key and value read as [3, H, K]":
            parts = fused.view(batch, length, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        else:
            parts = fused.view(batch, length, self.heads, 3, size).permute(3, 0, 2, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        if self.variant == "q and v swapped":
            query, value = value, query
        weights = (query @ key.transpose(2, 3) / math.sqrt(size) + bias).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(x.shape)
        return self._linear(mixed, f"{name}.dense")
