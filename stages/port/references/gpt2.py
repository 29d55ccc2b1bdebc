"""OpenAI's GPT-2 in plain torch, reading the variables of its TensorFlow checkpoint.

This is the other side of a comparison of stage `port`: it imports nothing of transformers and
nothing of the converter. Variables are `model/wte`, `model/wpe`, `model/h<n>/{ln_1,ln_2}/{g,b}`,
`model/h<n>/{attn/c_attn,attn/c_proj,mlp/c_fc,mlp/c_proj}/{w,b}` with w [1, in, out], and
`model/ln_f/{g,b}` (src/model.py of the release).

Letters: B sentences, T tokens, D width, H heads, K head size, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.port.references import pieces

NORM_EPSILON = 1e-5
VARIANTS = (
    "kernel of attn/c_proj transposed",
    "q and v swapped",
    "gains and biases of the norms exchanged",
    "gelu of the error function instead of tanh",
)
"""Mistakes a port can make, each computed on request to name the one that was made."""


@dataclass(frozen=True)
class Reference:
    """The model; `variant` is one of VARIANTS or empty."""

    tensors: Mapping[str, Tensor]
    layers: int
    heads: int
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
        x = pieces.looked_up(self.tensors, "model/wte", ids, self.dtype)
        x = x + pieces.looked_up(self.tensors, "model/wpe", places, self.dtype)
        for layer in range(self.layers):
            name = f"h{layer}"
            x = x + self._attention(f"{name}/attn", self._norm(x, f"{name}/ln_1"), real)
            hidden = self._gelu(self._linear(self._norm(x, f"{name}/ln_2"), f"{name}/mlp/c_fc"))
            x = x + self._linear(hidden, f"{name}/mlp/c_proj")
            yield f"block {layer}", x
        normed = self._norm(x if last is None else x[:, -last:], "ln_f")
        yield "logits", pieces.projected(normed, self.tensors, "model/wte")

    def _get(self, name: str) -> Tensor:
        return self.tensors[f"model/{name}"].to(self.dtype)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        kernel, bias = f"model/{name}/w", self._get(f"{name}/b")
        if self.variant == VARIANTS[0] and name.endswith("attn/c_proj"):
            return pieces.projected(x, self.tensors, kernel) + bias
        return pieces.multiplied(x, self.tensors, kernel) + bias

    def _norm(self, x: Tensor, name: str) -> Tensor:
        gain, bias = self._get(f"{name}/g"), self._get(f"{name}/b")
        if self.variant == VARIANTS[2]:
            gain, bias = bias, gain
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        return centred * torch.rsqrt(variance + NORM_EPSILON) * gain + bias

    def _gelu(self, x: Tensor) -> Tensor:
        if self.variant == VARIANTS[3]:
            return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def _attention(self, name: str, x: Tensor, real: Tensor) -> Tensor:
        query, key, value = self._linear(x, f"{name}/c_attn").chunk(3, dim=-1)
        if self.variant == VARIANTS[1]:
            query, value = value, query
        batch, length, width = x.shape

        def split(part: Tensor) -> Tensor:
            return part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        scores = split(query) @ split(key).transpose(2, 3) / math.sqrt(width // self.heads)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        hidden = future | ~real[:, None, None, :]
        weights = scores.masked_fill(hidden, torch.finfo(self.dtype).min).softmax(dim=-1)
        mixed = (weights @ split(value)).transpose(1, 2).reshape(batch, length, width)
        return self._linear(mixed, f"{name}/c_proj")
