"""Megatron-LM's GPT-2 in plain torch, reading the tensors of its checkpoint.

This is the other side of a comparison of stage `port`: it imports nothing of transformers and
nothing of the converter. Tensors carry the names below `model/language_model`, with `encoder` or
`transformer` as the file has it. The fused projection's rows are [3, H, K] in checkpoints of
version 0, [H, K, 3] in version 1 and [H, 3, K] from version 2 on.

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
    "query, key and value not regrouped",
    "layout of version 1 read as version 2",
    "layout of version 2 read as version 1",
    "q and v swapped",
    "gelu of the error function instead of tanh",
    "gelu of tanh instead of the error function",
    "norms of a layer exchanged",
)
"""Mistakes a port can make, each computed on request to name the one that was made."""


def whole(tensors: Mapping[str, Tensor], ranks: int, version: int) -> pieces.OfRanks:
    """Return the tensors of all tensor-parallel ranks (`rank:name`) put together.

    Vocabulary, heads and the inner units of the feed-forward are spread over the ranks; the rest
    is the same on all of them. In version 0 every rank holds its own query, key and value.
    """

    def axis(name: str) -> int | None:
        if "word_embeddings" in name or "query_key_value" in name or "dense_h_to_4h" in name:
            return 0
        return 1 if name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")) else None

    return pieces.OfRanks(
        tensors, ranks, axis, lambda name: version == 0 and "query_key_value" in name
    )


@dataclass(frozen=True)
class Reference:
    """The model; `version` is the checkpoint's, `activation` `gelu` or `tanh`."""

    tensors: Mapping[str, Tensor]
    layers: int
    heads: int
    version: int
    activation: str
    epsilon: float
    vocab_size: int
    dtype: torch.dtype = torch.float32
    variant: str = ""

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
        places = (real.long().cumsum(dim=1) - 1).clamp(min=0)
        words, rows = "embedding/word_embeddings.weight", "embedding/position_embeddings.weight"
        x = pieces.looked_up(self.tensors, words, ids, self.dtype)
        x = x + pieces.looked_up(self.tensors, rows, places, self.dtype)
        for layer in range(self.layers):
            name = f"layers.{layer}"
            first, second = "input_layernorm", "post_attention_layernorm"
            if self.variant == "norms of a layer exchanged":
                first, second = second, first
            x = x + self._attention(name, self._norm(x, f"{name}.{first}"), real)
            hidden = self._linear(self._norm(x, f"{name}.{second}"), f"{name}.mlp.dense_h_to_4h")
            x = x + self._linear(self._gelu(hidden), f"{name}.mlp.dense_4h_to_h")
            yield f"block {layer}", x
        normed = self._norm(x if last is None else x[:, -last:], "final_layernorm")
        yield "logits", pieces.projected(normed, self.tensors, words, self.vocab_size)

    def _stored(self, name: str) -> str:
        """Return how the file calls a tensor of the stack."""
        renamed = name.replace(".attention.", ".self_attention.")
        for stack in ("encoder", "transformer"):
            for one in (name, renamed):
                if f"{stack}/{one}" in self.tensors:
                    return f"{stack}/{one}"
        raise KeyError(name)

    def _get(self, name: str) -> Tensor:
        return self.tensors[self._stored(name)].to(self.dtype)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        weight = self._stored(f"{name}.weight")
        return pieces.projected(x, self.tensors, weight) + self._get(f"{name}.bias")

    def _norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        scaled = centred * torch.rsqrt(variance + self.epsilon)
        return scaled * self._get(f"{name}.weight") + self._get(f"{name}.bias")

    def _gelu(self, x: Tensor) -> Tensor:
        activation = self.activation
        if self.variant.startswith("gelu of the"):
            activation = "gelu"
        elif self.variant.startswith("gelu of tanh"):
            activation = "tanh"
        if activation == "gelu":
            return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
        return 0.5 * x * (1 + torch.tanh(0.7978845608028654 * x * (1 + 0.044715 * x * x)))

    def _parts(self, fused: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value [B, H, T, K] of the fused projection [B, T, 3D]."""
        batch, length, triple = fused.shape
        heads, size = self.heads, triple // 3 // self.heads
        version = {
            "query, key and value not regrouped": 0,
            "layout of version 1 read as version 2": 2,
            "layout of version 2 read as version 1": 1,
        }.get(self.variant, self.version)
        if version == 0:
            stacked = fused.view(batch, length, 3, heads, size).permute(2, 0, 3, 1, 4)
        elif version == 1:
            stacked = fused.view(batch, length, heads, size, 3).permute(4, 0, 2, 1, 3)
        else:
            stacked = fused.view(batch, length, heads, 3, size).permute(3, 0, 2, 1, 4)
        if self.variant == "q and v swapped":
            return stacked[2], stacked[1], stacked[0]
        return stacked[0], stacked[1], stacked[2]

    def _attention(self, name: str, x: Tensor, real: Tensor) -> Tensor:
        query, key, value = self._parts(self._linear(x, f"{name}.attention.query_key_value"))
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        length = x.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        hidden = future | ~real[:, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(self.dtype).min).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(x.shape)
        return self._linear(mixed, f"{name}.attention.dense")
