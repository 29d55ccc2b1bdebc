"""LLaMA in plain torch, reading the tensors of Meta's release under their own names.

This is the other side of a comparison of stage `port`: it imports nothing of transformers and
nothing of the converter. Names are `tok_embeddings`, `layers.<n>.attention.{wq,wk,wv,wo}`,
`layers.<n>.feed_forward.{w1,w2,w3}`, `layers.<n>.{attention_norm,ffn_norm}`, `norm`, `output`,
each with `.weight`. Rotary positions are complex numbers, as in the release; the norm computes in
float32 whatever comes in, as in the release. Mistral and Qwen2 models under these names are the
same function, with a window and with biases.

Letters: B sentences, T tokens, D width, H heads, G heads of keys and values, K head size, F
feed-forward width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stages.port.references import pieces

VARIANTS = (
    "rows of wq and wk not reordered for the rotary halves",
    "wq and wk exchanged",
    "rotary theta of config.json, not of params.json",
    "w1 and w3 exchanged",
    "attention_norm and ffn_norm exchanged",
    "norm epsilon of config.json, not of params.json",
    "heads of keys and values repeated in another order",
    "output table taken for the token table",
)
"""Mistakes a port can make, each computed on request to name the one that was made."""


@dataclass(frozen=True)
class Scaling:
    """LLaMA 3.1's stretching of slow rotary frequencies (its release's `apply_scaling`)."""

    factor: float = 8.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    trained_positions: int = 8192


@dataclass(frozen=True)
class Reference:
    """The model; `variant` is one of VARIANTS or empty, `config_*` are for those that need them."""

    tensors: Mapping[str, Tensor]
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    norm_epsilon: float
    theta: float
    scaling: Scaling | None = None
    window: int | None = None
    """How many positions back a token sees, itself included; None sees all."""
    dtype: torch.dtype = torch.float32
    variant: str = ""
    config_theta: float = 0.0
    config_epsilon: float = 0.0

    @torch.inference_mode()
    def logits(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return [B, T, V] for ids [B, T]; `real` [B, T] is False where padding stands."""
        *_, (_, last) = self.trace(ids, real)
        return last

    @torch.inference_mode()
    def trace(
        self, ids: Tensor, real: Tensor, last: int | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the states [B, T, D] behind every block, then the logits.

        `last` asks for the logits of so many last positions only.
        """
        places = (real.long().cumsum(dim=1) - 1).clamp(min=0)
        turns = self._turns(places)
        seen = self._seen(real)
        x = pieces.looked_up(self.tensors, "tok_embeddings.weight", ids, self.dtype)
        for layer in range(self.layers):
            x = self.block(layer, x, turns, seen)
            yield f"block {layer}", x
        tied = self.variant == VARIANTS[7] or "output.weight" not in self.tensors
        table = "tok_embeddings" if tied else "output"
        normed = self._norm(x if last is None else x[:, -last:], "norm")
        yield "logits", pieces.projected(normed, self.tensors, f"{table}.weight")

    def block(self, layer: int, x: Tensor, turns: Tensor, seen: Tensor) -> Tensor:
        """Return the states behind a block from those before it."""
        name = f"layers.{layer}"
        first, second = f"{name}.attention_norm", f"{name}.ffn_norm"
        if self.variant == VARIANTS[4]:
            first, second = second, first
        x = x + self._attention(f"{name}.attention", self._norm(x, first), turns, seen)
        return x + self._feed_forward(f"{name}.feed_forward", self._norm(x, second))

    def _get(self, name: str) -> Tensor:
        return self.tensors[f"{name}.weight"].to(self.dtype)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        y = pieces.projected(x, self.tensors, f"{name}.weight")
        bias = f"{name}.bias"
        return y + self.tensors[bias].to(self.dtype) if bias in self.tensors else y

    def _norm(self, x: Tensor, name: str) -> Tensor:
        epsilon = self.config_epsilon if self.variant == VARIANTS[5] else self.norm_epsilon
        single = x.float()
        scaled = single * torch.rsqrt(single.pow(2).mean(-1, keepdim=True) + epsilon)
        return scaled.to(x.dtype) * self._get(name)

    def _feed_forward(self, name: str, x: Tensor) -> Tensor:
        gate, up = f"{name}.w1", f"{name}.w3"
        if self.variant == VARIANTS[3]:
            gate, up = up, gate
        hidden = functional.silu(self._linear(x, gate)) * self._linear(x, up)
        return self._linear(hidden, f"{name}.w2")

    def _turns(self, places: Tensor) -> Tensor:
        """Return the rotation of every position and pair as complex numbers [B, T, K / 2]."""
        theta = self.config_theta if self.variant == VARIANTS[2] else self.theta
        steps = torch.arange(0, self.head_size, 2).float() / self.head_size
        frequencies = 1.0 / (theta**steps)
        if self.scaling is not None:
            frequencies = _stretched(frequencies, self.scaling)
        angles = places[..., None].float() * frequencies
        return torch.complex(angles.cos().to(self.dtype), angles.sin().to(self.dtype))

    def _seen(self, real: Tensor) -> Tensor:
        """Return which keys a query sees, [B, 1, T, T]."""
        length = real.shape[1]
        back = torch.arange(length)[:, None] - torch.arange(length)[None, :]
        near = back >= 0 if self.window is None else (back >= 0) & (back < self.window)
        return near[None, None] & real[:, None, None, :]

    def _turned(self, x: Tensor, turns: Tensor) -> Tensor:
        """Turn the pairs of every head: x [B, T, H, K]."""
        if self.variant == VARIANTS[0]:
            pairs = torch.stack(x.chunk(2, dim=-1), dim=-1)
        else:
            pairs = x.unflatten(-1, (-1, 2))
        moved = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turns[:, :, None])
        if self.variant == VARIANTS[0]:
            return torch.cat(moved.unbind(dim=-1), dim=-1)
        return moved.flatten(-2)

    def _attention(self, name: str, x: Tensor, turns: Tensor, seen: Tensor) -> Tensor:
        first, second = f"{name}.wq", f"{name}.wk"
        if self.variant == VARIANTS[1] and self.heads == self.key_value_heads:
            first, second = second, first
        query = self._linear(x, first).unflatten(-1, (self.heads, -1))
        key = self._linear(x, second).unflatten(-1, (self.key_value_heads, -1))
        value = self._linear(x, f"{name}.wv").unflatten(-1, (self.key_value_heads, -1))
        query, key = self._turned(query, turns), self._turned(key, turns)
        key, value = self._repeated(key), self._repeated(value)
        scores = torch.einsum("bqhk,bshk->bhqs", query, key) / math.sqrt(self.head_size)
        shares = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1).nan_to_num(0.0)
        mixed = torch.einsum("bhqs,bshk->bqhk", shares, value).flatten(-2)
        return self._linear(mixed, f"{name}.wo")

    def _repeated(self, x: Tensor) -> Tensor:
        """Give every query head its key or value head: [B, T, G, K] to [B, T, H, K]."""
        times = self.heads // self.key_value_heads
        if self.variant == VARIANTS[6]:
            return x.repeat(1, 1, times, 1)
        return x.repeat_interleave(times, dim=2)


def _stretched(frequencies: Tensor, scaling: Scaling) -> Tensor:
    """Return rotary frequencies with the slow ones divided and those between blended."""
    wavelengths = 2 * math.pi / frequencies
    low = scaling.trained_positions / scaling.low_frequency_factor
    high = scaling.trained_positions / scaling.high_frequency_factor
    share = scaling.trained_positions / wavelengths - scaling.low_frequency_factor
    share = share / (scaling.high_frequency_factor - scaling.low_frequency_factor)
    blended = (1 - share) * frequencies / scaling.factor + share * frequencies
    slow = torch.where(wavelengths > low, frequencies / scaling.factor, blended)
    return torch.where(wavelengths < high, frequencies, slow)
