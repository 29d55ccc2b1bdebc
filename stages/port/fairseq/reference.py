"""fairseq's transformer in plain torch, reading the source tensors as the file has them.

This is the other side of every comparison of stage `port`. It imports nothing of transformers and
nothing of the converter, takes the tensors under their fairseq names, old layout or new, and is
itself held against the token scores that fairseq recorded. Norms after each sublayer as in
"Attention Is All You Need" section 3.1, or before it with one more at the end; positions learned,
or sinusoids as in tensor2tensor (all sines, then all cosines).

Letters: B sentences, T tokens, D width, H heads, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

PAD = 1
NORM_EPSILON = 1e-5
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
    "linear": lambda x: x,
    "relu_squared": lambda x: torch.relu(x) ** 2,
    "gelu_accurate": partial(functional.gelu, approximate="tanh"),
    "gelu_fast": partial(functional.gelu, approximate="tanh"),
    "swish": functional.silu,
}
OLD_NORMS = {
    "encoder": {"self_attn_layer_norm": "0", "final_layer_norm": "1"},
    "decoder": {
        "self_attn_layer_norm": "0",
        "encoder_attn_layer_norm": "1",
        "final_layer_norm": "2",
    },
}
SWAPPED = "q and v swapped"
INTERLEAVED = "sinusoids interleaved"
EARLY = "positions start at 1 instead of 2"
UNSCALED = "embeddings not scaled by sqrt(d)"
SCALED = "embeddings scaled by sqrt(d)"
EXCHANGED = "norms of a layer exchanged"
BEFORE = "norm before the sublayer instead of after it"
BEFORE_NEW = f"{BEFORE}, and a new norm behind the last layer"
AFTER = "norm after the sublayer instead of before it"
NO_FINAL = "the norm behind the last layer left out"
NO_EMBEDDING = "the norm of the embedding left out"
NO_POSITIONS = "positions left out"
INPUT_TABLE = "the input table as output projection"
VARIANTS = (
    SWAPPED, INTERLEAVED, EARLY, UNSCALED, SCALED, EXCHANGED, BEFORE, BEFORE_NEW, AFTER, NO_FINAL,
    NO_EMBEDDING, NO_POSITIONS, INPUT_TABLE,
)  # fmt: skip
"""Mistakes a port can make, each computed on request to name the one that was made."""


def positions(count: int, width: int, interleaved: bool = False) -> Tensor:
    """Return the fp32 table [count, D]; row PAD is zero and the first token has row PAD + 1."""
    half = width // 2
    rates = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(count).float().unsqueeze(1) * rates.unsqueeze(0)
    table = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    if interleaved:
        table = torch.stack([torch.sin(angles), torch.cos(angles)], dim=2).view(count, -1)
    if width % 2:
        table = torch.cat([table, torch.zeros(count, 1)], dim=1)
    table[PAD] = 0
    return table


@dataclass(frozen=True)
class Reference:
    """A fairseq transformer over its own state dict; `dtype` is what it computes in."""

    tensors: Mapping[str, Tensor]
    encoder_heads: int
    decoder_heads: int
    activation: str = "relu"
    scale_embedding: bool = True
    pre_norm: bool = False
    positions: bool = True
    dtype: torch.dtype = torch.float32
    variant: str = ""
    """One of VARIANTS: compute with this mistake."""

    def logits(self, source: Tensor, prefix: Tensor) -> Tensor:
        """Return logits [B, T, V] for source ids [B, S] and decoder input ids [B, T]."""
        padding = source.eq(PAD)
        memory = self.encode(source)
        x = self._embed("decoder", prefix)
        length = prefix.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        hidden = future | prefix.eq(PAD)[:, None, None, :]
        seen = padding[:, None, None, :]
        for layer in range(self._depth("decoder")):
            at = f"decoder.layers.{layer}."
            itself = partial(self._attend, f"{at}self_attn.", hidden, None)
            across = partial(self._attend, f"{at}encoder_attn.", seen, memory)
            x = self._sublayer(at, "self_attn_layer_norm", x, itself)
            x = self._sublayer(at, "encoder_attn_layer_norm", x, across)
            x = self._sublayer(at, "final_layer_norm", x, partial(self._feed_forward, at))
        return self._final_norm("decoder", x) @ self._output().T

    def encode(self, source: Tensor) -> Tensor:
        """Return encoder states [B, S, D]."""
        padding = source.eq(PAD)
        x = self._embed("encoder", source) * (~padding).unsqueeze(2)
        masked = padding[:, None, None, :]
        for layer in range(self._depth("encoder")):
            at = f"encoder.layers.{layer}."
            itself = partial(self._attend, f"{at}self_attn.", masked, None)
            x = self._sublayer(at, "self_attn_layer_norm", x, itself)
            x = self._sublayer(at, "final_layer_norm", x, partial(self._feed_forward, at))
        return self._final_norm("encoder", x)

    def position_rows(self, side: str, count: int) -> Tensor:
        """Return the fp32 rows [n <= count, D] of the first tokens; learned tables may end."""
        width = self._get("encoder.embed_tokens.weight").shape[1]
        if not self.positions or self.variant == NO_POSITIONS:
            return torch.zeros(count, width)
        first = PAD if self.variant == EARLY else PAD + 1
        learned = self.tensors.get(f"{side}.embed_positions.weight")
        if learned is not None:
            return learned.float()[first : first + count]
        interleaved = self.variant == INTERLEAVED
        return positions(count + PAD + 1, width, interleaved)[first : first + count]

    def _embed(self, side: str, ids: Tensor) -> Tensor:
        table = self._get(f"{side}.embed_tokens.weight", "encoder.embed_tokens.weight")
        scaled = (self.scale_embedding or self.variant == SCALED) and self.variant != UNSCALED
        x = table[ids] * (math.sqrt(table.shape[1]) if scaled else 1.0)
        real = ids.ne(PAD)
        rows = self.position_rows(side, ids.shape[1]).to(self.dtype)
        rows = torch.cat([rows.new_zeros(1, rows.shape[1]), rows])  # padding has no position
        x = x + rows[torch.where(real, real.long().cumsum(1), 0)]
        norm = f"{side}.layernorm_embedding"
        if f"{norm}.weight" not in self.tensors or self.variant == NO_EMBEDDING:
            return x
        return self._normalised(x, self._get(f"{norm}.weight"), self._get(f"{norm}.bias"))

    def _sublayer(
        self, start: str, norm: str, x: Tensor, function: Callable[[Tensor], Tensor]
    ) -> Tensor:
        if self.variant == EXCHANGED:
            norm = {
                "self_attn_layer_norm": "final_layer_norm",
                "final_layer_norm": "self_attn_layer_norm",
            }.get(norm, norm)
        before = self.pre_norm or self.variant in (BEFORE, BEFORE_NEW)
        if before and self.variant != AFTER:
            return x + function(self._norm(start, norm, x))
        return self._norm(start, norm, x + function(x))

    def _norm(self, start: str, name: str, x: Tensor) -> Tensor:
        old = f"{start}layer_norms.{OLD_NORMS[start.split('.')[0]][name]}"
        weight = self._get(f"{start}{name}.weight", f"{old}.weight")
        bias = self._get(f"{start}{name}.bias", f"{old}.bias")
        return self._normalised(x, weight, bias)

    def _final_norm(self, side: str, x: Tensor) -> Tensor:
        """Pre-norm layers leave their sum as it is: one norm more stands behind the last."""
        if self.variant == BEFORE_NEW:  # as a class of pre-norm models begins
            return functional.layer_norm(x, (x.shape[-1],), eps=NORM_EPSILON)
        if not self.pre_norm or self.variant in (NO_FINAL, AFTER):
            return x
        norm = f"{side}.layer_norm"
        return self._normalised(x, self._get(f"{norm}.weight"), self._get(f"{norm}.bias"))

    def _normalised(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.layer_norm(x, (x.shape[-1],), weight, bias, NORM_EPSILON)

    def _feed_forward(self, start: str, x: Tensor) -> Tensor:
        inner = ACTIVATIONS[self.activation](self._linear(start + "fc1", x))
        return self._linear(start + "fc2", inner)

    def _attend(self, start: str, hidden: Tensor, memory: Tensor | None, x: Tensor) -> Tensor:
        """Attend from x [B, T, D] to memory [B, S, D] or to x; True in `hidden` is unseen."""
        memory = x if memory is None else memory
        heads = self.encoder_heads if start.startswith("encoder.") else self.decoder_heads
        order = "vkq" if self.variant == SWAPPED else "qkv"
        query, key, value = (
            self._project(start, part, states).unflatten(2, (heads, -1)).transpose(1, 2)
            for part, states in zip(order, (x, memory, memory), strict=True)
        )
        weights = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        weights = weights.masked_fill(hidden, -math.inf).softmax(dim=-1)
        return self._linear(start + "out_proj", (weights @ value).transpose(1, 2).flatten(2))

    def _project(self, start: str, part: str, x: Tensor) -> Tensor:
        """Project by rows of the fused matrix (old layout, in the order q, k, v) or by its own."""
        fused = f"{start}in_proj_weight"
        if fused not in self.tensors:
            return self._linear(f"{start}{part}_proj", x)
        width = x.shape[-1]
        rows = slice("qkv".index(part) * width, ("qkv".index(part) + 1) * width)
        return functional.linear(x, self._get(fused)[rows], self._get(f"{start}in_proj_bias")[rows])

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self._get(f"{name}.weight"), self._get(f"{name}.bias"))

    def table(self, name: str) -> Tensor:
        """Return the table of `encoder` or `decoder` tokens or of the `output`, in fp32."""
        if name == "output":
            return self._output().float()
        return self._get(f"{name}.embed_tokens.weight", "encoder.embed_tokens.weight").float()

    def _output(self) -> Tensor:
        if self.variant == INPUT_TABLE:
            return self._get("decoder.embed_tokens.weight", "encoder.embed_tokens.weight")
        return self._get(
            "decoder.output_projection.weight",
            "decoder.embed_out",
            "decoder.embed_tokens.weight",
            "encoder.embed_tokens.weight",
        )

    def _depth(self, side: str) -> int:
        return len({key.split(".")[2] for key in self.tensors if key.startswith(f"{side}.layers.")})

    def _get(self, *names: str) -> Tensor:
        """Return the first of these tensors that the file has, in the computing type."""
        for name in names:
            if name in self.tensors:
                return self.tensors[name].float().to(self.dtype)  # fairseq loads fp32
        raise KeyError(names[0])
