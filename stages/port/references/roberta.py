"""fairseq's RoBERTa in plain torch, reading the tensors of its checkpoint.

This is the other side of a comparison of stage `port`: it imports nothing of transformers and
nothing of the converter. Names are fairseq's, with or without `sentence_encoder`, with fused
`in_proj` or three projections, `emb_layer_norm` or `layernorm_embedding`. The first token has
position row 2, one behind the padding's (fairseq/utils.py: make_positions).

Letters: B sentences, T tokens, D width, H heads, K head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.port.references import pieces

PAD = 1
NORM_EPSILON = 1e-5
STACKS = ("encoder.sentence_encoder.", "decoder.sentence_encoder.", "encoder.", "decoder.")
HEADS = ("encoder.lm_head.", "decoder.lm_head.")
VARIANTS = (
    "positions start at 0 instead of 2",
    "positions start at 1 instead of 2",
    "q and v swapped",
    "norms of a layer exchanged",
    "gelu of tanh instead of the error function",
)
"""Mistakes a port can make, each computed on request to name the one that was made."""


@dataclass(frozen=True)
class Reference:
    """The model; `activation` is `gelu`, `tanh` (its approximation) or `relu`."""

    tensors: Mapping[str, Tensor]
    layers: int
    heads: int
    activation: str = "gelu"
    dtype: torch.dtype = torch.float32
    variant: str = ""

    @torch.inference_mode()
    def states(self, ids: Tensor) -> Tensor:
        """Return [B, T, D] of the last layer for ids [B, T]; padding is PAD."""
        real = ids.ne(PAD)
        first = 2
        if self.variant.startswith("positions start at"):
            first = int(self.variant.split()[3])
        places = real.long().cumsum(dim=1) * real + first - 1
        places = places.clamp(min=0)
        words, rows = self._key("embed_tokens.weight"), self._key("embed_positions.weight")
        x = pieces.looked_up(self.tensors, words, ids, self.dtype)
        x = x + pieces.looked_up(self.tensors, rows, places, self.dtype)
        x = self._norm(x, self._first("emb_layer_norm", "layernorm_embedding"))
        x = x * real[:, :, None]
        norms = ("self_attn_layer_norm", "final_layer_norm")
        if self.variant == "norms of a layer exchanged":
            norms = (norms[1], norms[0])
        for layer in range(self.layers):
            name = f"layers.{layer}"
            x = self._norm(x + self._attention(name, x, real), f"{name}.{norms[0]}")
            hidden = self._activated(self._linear(x, f"{name}.fc1"))
            x = self._norm(x + self._linear(hidden, f"{name}.fc2"), f"{name}.{norms[1]}")
        return x

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """Return [B, T, V] of the masked-language head."""
        head = next(name for name in HEADS if f"{name}bias" in self.tensors)

        def get(name: str) -> Tensor:
            return self.tensors[f"{head}{name}"].to(self.dtype)

        x = self._activated(states @ get("dense.weight").T + get("dense.bias"))
        x = self._scaled(x, get("layer_norm.weight"), get("layer_norm.bias"))
        return pieces.projected(x, self.tensors, f"{head}weight") + get("bias")

    @torch.inference_mode()
    def classes(self, states: Tensor, head: str) -> Tensor:
        """Return [B, N] of a classification head, which reads the first token."""

        def linear(x: Tensor, name: str) -> Tensor:
            begin = f"classification_heads.{head}.{name}"
            weight, bias = self.tensors[f"{begin}.weight"], self.tensors[f"{begin}.bias"]
            return x @ weight.to(self.dtype).T + bias.to(self.dtype)

        return linear(torch.tanh(linear(states[:, 0], "dense")), "out_proj")

    def _key(self, name: str) -> str:
        return next(f"{one}{name}" for one in STACKS if f"{one}{name}" in self.tensors)

    def _stack(self, name: str) -> Tensor:
        return self.tensors[self._key(name)].to(self.dtype)

    def _has(self, name: str) -> bool:
        return any(f"{one}{name}" in self.tensors for one in STACKS)

    def _first(self, *names: str) -> str:
        return next(name for name in names if self._has(f"{name}.weight"))

    def _linear(self, x: Tensor, name: str) -> Tensor:
        weight = self._key(f"{name}.weight")
        return pieces.projected(x, self.tensors, weight) + self._stack(f"{name}.bias")

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return self._scaled(x, self._stack(f"{name}.weight"), self._stack(f"{name}.bias"))

    @staticmethod
    def _scaled(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        return centred * torch.rsqrt(variance + NORM_EPSILON) * scale + shift

    def _activated(self, x: Tensor) -> Tensor:
        activation = "tanh" if self.variant.startswith("gelu of tanh") else self.activation
        if activation == "relu":
            return torch.relu(x)
        if activation == "gelu":
            return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def _projections(self, name: str, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self._has(f"{name}.in_proj_weight"):
            fused = x @ self._stack(f"{name}.in_proj_weight").T + self._stack(
                f"{name}.in_proj_bias"
            )
            query, key, value = fused.chunk(3, dim=-1)
        else:
            query = self._linear(x, f"{name}.q_proj")
            key = self._linear(x, f"{name}.k_proj")
            value = self._linear(x, f"{name}.v_proj")
        if self.variant == "q and v swapped":
            query, value = value, query
        return query, key, value

    def _attention(self, name: str, x: Tensor, real: Tensor) -> Tensor:
        batch, length, width = x.shape
        size = width // self.heads
        query, key, value = (
            part.view(batch, length, self.heads, size).transpose(1, 2)
            for part in self._projections(f"{name}.self_attn", x)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(size)
        hidden = ~real[:, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(self.dtype).min).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(x.shape)
        return self._linear(mixed, f"{name}.self_attn.out_proj")
