"""Megatron-LM's GPT-2 in plain torch, reading the tensors of its checkpoint.

This is the other side of a comparison of stage `port`: it imports nothing of transformers and
nothing of the converter. Tensors carry the names below `model/language_model`, with `encoder` or
`transformer` as the file has it. The fused projection's rows are [3, H, K] in checkpoints of
version 0, [H, K, 3] in version 1 and [H, 3, K] from version 2 on.

Letters: B sentences, T tokens, D width, H heads, K head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

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


def whole(tensors: Mapping[str, Tensor], ranks: int, version: int) -> dict[str, Tensor]:
    """Return the tensors of all tensor-parallel ranks (`rank:name`) put together.

    Vocabulary, heads and the inner units of the feed-forward are spread over the ranks; the rest
    is the same on all of them. In version 0 every rank holds its own query, key and value.
    """
    found: dict[str, Tensor] = {}
    for name in {key.split(":", 1)[1] for key in tensors}:
        parts = [tensors[f"{rank}:{name}"] for rank in range(ranks)]
        if version == 0 and "query_key_value" in name:
            thirds = [part.chunk(3) for part in parts]
            found[name] = torch.cat([third[place] for place in range(3) for third in thirds])
        elif "word_embeddings" in name or "query_key_value" in name or "dense_h_to_4h" in name:
            found[name] = torch.cat(parts, dim=0)
        elif name.endswith(("attention.dense.weight", "dense_4h_to_h.weight")):
            found[name] = torch.cat(parts, dim=1)
        else:
            found[name] = parts[0]
    return found


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
        places = (real.long().cumsum(dim=1) - 1).clamp(min=0)
        words = self._get("embedding/word_embeddings.weight")
        x = words[ids] + self._get("embedding/position_embeddings.weight")[places]
        first, second = "input_layernorm", "post_attention_layernorm"
        if self.variant == "norms of a layer exchanged":
            first, second = second, first
        for layer in range(self.layers):
            name = f"layers.{layer}"
            x = x + self._attention(name, self._norm(x, f"{name}.{first}"), real)
            hidden = self._linear(self._norm(x, f"{name}.{second}"), f"{name}.mlp.dense_h_to_4h")
            x = x + self._linear(self._gelu(hidden), f"{name}.mlp.dense_4h_to_h")
        return self._norm(x, "final_layernorm") @ words[: self.vocab_size].T

    def _get(self, name: str) -> Tensor:
        if name in self.tensors:
            return self.tensors[name].to(self.dtype)
        renamed = name.replace(".attention.", ".self_attention.")
        for stack in ("encoder", "transformer"):
            for one in (name, renamed):
                if f"{stack}/{one}" in self.tensors:
                    return self.tensors[f"{stack}/{one}"].to(self.dtype)
        raise KeyError(name)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self._get(f"{name}.weight").T + self._get(f"{name}.bias")

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
