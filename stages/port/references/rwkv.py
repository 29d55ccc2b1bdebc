"""RWKV-4 in plain torch, reading the tensors of its checkpoint.

This is the other side of a comparison of stage `port`: it imports nothing of transformers and
nothing of the converter. Tensors carry the names of the release: `emb.weight`, `blocks.0.ln0.*`,
`blocks.<n>.{ln1,ln2}.*`, `blocks.<n>.att.{time_decay,time_first,time_mix_*,key,value,receptance,
output}`, `blocks.<n>.ffn.{time_mix_*,key,value,receptance}`, `ln_out.*`, `head.weight`.

With w = exp(time_decay) and u = time_first, per channel (Peng et al. 2023, equation 16):

    wkv_t = (sum_{i<t} e^{-(t-1-i)w + k_i} v_i + e^{u + k_t} v_t) / (the same sums without v)

`by_sum` is that formula, `by_steps` the recurrence with a running maximum that stays in range; the
model may be run over a whole sequence or token by token with the state carried.

Letters: B sentences, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.port.references import pieces

NORM_EPSILON = 1e-5
LOWEST = -1e38
"""Start of the running maximum: below every exponent that a weight can give."""
VARIANTS = (
    "time_first and time_decay exchanged",
    "key and value exchanged",
    "key and receptance exchanged",
    "mixes of key and receptance exchanged",
    "no norm before the first block",
    "mix of this and the last token exchanged",
)
"""Mistakes a port can make, each computed on request to name the one that was made."""

State = dict[str, Tensor]
"""Per layer: the last inputs of both mixes [B, D] and numerator, denominator, maximum [B, D]."""


def by_sum(w: Tensor, u: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return wkv [B, T, D] by the formula: every pair of positions, nothing carried."""
    length = key.shape[1]
    out = torch.empty_like(value)
    for t in range(length):
        ages = torch.arange(t - 1, -1, -1, dtype=key.dtype)[None, :, None]
        exponents = torch.cat([key[:, :t] - ages * w, key[:, t : t + 1] + u], dim=1)
        weights = torch.softmax(exponents, dim=1)
        out[:, t] = (weights * value[:, : t + 1]).sum(dim=1)
    return out


def by_steps(w: Tensor, u: Tensor, key: Tensor, value: Tensor, carried: list[Tensor]) -> Tensor:
    """Return wkv [B, T, D] by the recurrence; `carried` (a, b, p) is replaced by the last state."""
    a, b, p = carried
    out = torch.empty_like(value)
    for t in range(key.shape[1]):
        k, v = key[:, t], value[:, t]
        q = torch.maximum(p, u + k)
        old, new = torch.exp(p - q), torch.exp(u + k - q)
        out[:, t] = (old * a + new * v) / (old * b + new)
        q = torch.maximum(p - w, k)
        old, new = torch.exp(p - w - q), torch.exp(k - q)
        a, b, p = old * a + new * v, old * b + new, q
    carried[:] = [a, b, p]
    return out


@dataclass(frozen=True)
class Reference:
    """The model; `variant` is one of VARIANTS or empty, `summed` uses the formula."""

    tensors: Mapping[str, Tensor]
    layers: int
    dtype: torch.dtype = torch.float32
    variant: str = ""
    summed: bool = False

    @torch.inference_mode()
    def logits(self, ids: Tensor, state: list[State] | None = None) -> Tensor:
        """Return [B, T, V] for ids [B, T]; a given `state` is gone on from and replaced."""
        *_, (_, found) = self._traced(ids, self.start(len(ids)) if state is None else state, None)
        return found

    @torch.inference_mode()
    def trace(
        self, ids: Tensor, real: Tensor, last: int | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield name and states [B, T, D] behind every block, then logits (of `last` positions).

        `real` [B, T] is False where padding stands, which must be behind a text.
        """
        yield from self._traced(ids, self.start(len(ids)), last)

    def _traced(
        self, ids: Tensor, states: list[State], last: int | None
    ) -> Iterator[tuple[str, Tensor]]:
        x = pieces.looked_up(self.tensors, "emb.weight", ids, self.dtype)
        if self.variant != "no norm before the first block":
            x = self._norm(x, "blocks.0.ln0")
        for layer in range(self.layers):
            name = f"blocks.{layer}"
            x = x + self._time(f"{name}.att", self._norm(x, f"{name}.ln1"), states[layer])
            x = x + self._channel(f"{name}.ffn", self._norm(x, f"{name}.ln2"), states[layer])
            yield f"block {layer}", x
        normed = self._norm(x if last is None else x[:, -last:], "ln_out")
        yield "logits", pieces.projected(normed, self.tensors, "head.weight")

    def start(self, batch: int) -> list[State]:
        """Return the state before the first token."""
        width = self.tensors["ln_out.weight"].shape[0]
        inner = self.tensors["blocks.0.att.time_decay"].shape[0]

        def zeros(size: int) -> Tensor:
            return torch.zeros(batch, size, dtype=self.dtype)

        return [
            {
                "att": zeros(width),
                "ffn": zeros(width),
                "a": zeros(inner),
                "b": zeros(inner),
                "p": zeros(inner) + LOWEST,
            }
            for _ in range(self.layers)
        ]

    def _get(self, name: str) -> Tensor:
        return self.tensors[name].to(self.dtype)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        scaled = centred * torch.rsqrt(variance + NORM_EPSILON)
        return scaled * self._get(f"{name}.weight") + self._get(f"{name}.bias")

    def _mixed(self, x: Tensor, last: Tensor, name: str, part: str) -> Tensor:
        if self.variant == "mixes of key and receptance exchanged":
            part = {"k": "r", "r": "k"}.get(part, part)
        mix = self._get(f"{name}.time_mix_{part}").reshape(-1)
        if self.variant == "mix of this and the last token exchanged":
            mix = 1 - mix
        before = torch.cat([last[:, None], x[:, :-1]], dim=1)
        return mix * x + (1 - mix) * before

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return pieces.projected(x, self.tensors, f"{name}.weight")

    def _time(self, name: str, x: Tensor, state: State) -> Tensor:
        last = state["att"]
        names = {part: part for part in ("key", "value", "receptance")}
        for one, other in (("key", "value"), ("key", "receptance")):
            if self.variant == f"{one} and {other} exchanged":
                names[one], names[other] = other, one
        key = self._linear(self._mixed(x, last, name, "k"), f"{name}.{names['key']}")
        value = self._linear(self._mixed(x, last, name, "v"), f"{name}.{names['value']}")
        gate = self._linear(self._mixed(x, last, name, "r"), f"{name}.{names['receptance']}")
        first, decay = self._get(f"{name}.time_first"), self._get(f"{name}.time_decay")
        if self.variant == "time_first and time_decay exchanged":
            first, decay = decay, first
        if self.summed:
            wkv = by_sum(torch.exp(decay), first, key, value)
        else:
            carried = [state["a"], state["b"], state["p"]]
            wkv = by_steps(torch.exp(decay), first, key, value, carried)
            state["a"], state["b"], state["p"] = carried
        state["att"] = x[:, -1].clone()
        return self._linear(torch.sigmoid(gate) * wkv, f"{name}.output")

    def _channel(self, name: str, x: Tensor, state: State) -> Tensor:
        last = state["ffn"]
        key = self._linear(self._mixed(x, last, name, "k"), f"{name}.key")
        gate = self._linear(self._mixed(x, last, name, "r"), f"{name}.receptance")
        state["ffn"] = x[:, -1].clone()
        return torch.sigmoid(gate) * self._linear(torch.relu(key).square(), f"{name}.value")
