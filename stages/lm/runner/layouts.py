"""The runner's layout of a ported translator, whatever its class."""

from __future__ import annotations

import numpy as np

from stages.core.errors import ArtifactError
from stages.lm.blueprint import SIDES, Blueprint
from stages.lm.runner.network import GELU, GELU_TANH, NONE, RELU, SQUARED, SWISH, TANH, Shape
from stages.lm.runner.packing import Floats, Layout, Linear, head_size, split_heads, up
from stages.lm.runner.rows import BLOCK
from stages.lm.runner.vectors import LANES

ACTIVATIONS = {
    "linear": NONE,
    "relu": RELU,
    "gelu": GELU,
    "tanh": TANH,
    "silu": SWISH,
    "gelu_accurate": GELU_TANH,
    "relu2": SQUARED,
}


def layout(model: Blueprint) -> Layout:
    """Return a translator as the runner computes it."""
    if model.activation not in ACTIVATIONS:
        raise ArtifactError(
            f"activation_function = {model.activation!r}", "config.json",
            f"the runner knows {', '.join(sorted(ACTIVATIONS))}",
        )  # fmt: skip
    sizes = {side: head_size(model.width, model.heads[side]) for side in SIDES}
    shape = Shape(
        width=model.width,
        padded=up(model.width),
        vocabulary=up(len(model.output), LANES * BLOCK),
        encoder_layers=model.layers["encoder"],
        encoder_heads=model.heads["encoder"],
        encoder_head=sizes["encoder"],
        decoder_layers=model.layers["decoder"],
        decoder_heads=model.heads["decoder"],
        decoder_head=sizes["decoder"],
        inner=up(max(model.inner.values())),
        pre_norm=int(model.pre_norm),
        embedding_norm=int(model.embedding_norm),
    )
    linears: list[Linear] = []
    norms: list[tuple[Floats, Floats]] = []
    for side in SIDES:
        reader = _Reader(model, model.heads[side], sizes[side])
        if model.embedding_norm:
            norms.append(model.norm(model.embedding_norm_of(side)))
        for number in range(model.layers[side]):
            at = f"{side}.layers.{number}."
            linears += reader.attention(f"{at}self_attn.", ("q", "k", "v"))
            if side == "decoder":
                linears += reader.attention(f"{at}encoder_attn.", ("q",), ("k", "v"))
            linears += reader.feed_forward(at)
        norms += [model.norm(name) for name in model.norms(side)]
    linears.append(Linear(model.output, model.output_bias))
    return Layout(
        shape=shape,
        linears=linears,
        norms=norms,
        source_tokens=model.tokens["encoder"],
        source_positions=model.positions["encoder"],
        target_tokens=model.tokens["decoder"],
        target_positions=model.positions["decoder"],
        scale=model.scale,
    )


class _Reader:
    """Groups of a side's tensors as the runner's linear layers."""

    def __init__(self, model: Blueprint, heads: int, size: int) -> None:
        self.model, self.heads, self.size = model, heads, size

    def _projection(self, name: str) -> tuple[Floats, Floats]:
        weight, bias = self.model.linear(name)
        if name.endswith("q_proj"):
            factor = np.float32((weight.shape[0] // self.heads) ** -0.5)
            weight, bias = weight * factor, bias * factor
        return split_heads(weight, self.heads, self.size), split_heads(bias, self.heads, self.size)

    def attention(self, at: str, *groups: tuple[str, ...]) -> list[Linear]:
        """Return the inputs of an attention, a layer per group, and its output."""
        found = []
        for names in groups:
            parts = [self._projection(f"{at}{name}_proj") for name in names]
            weight, bias = (np.concatenate(one) for one in zip(*parts, strict=True))
            found.append(Linear(weight, bias))
        weight, bias = self.model.linear(f"{at}out_proj")
        found.append(Linear(split_heads(weight.T, self.heads, self.size).T, bias))
        return found

    def feed_forward(self, at: str) -> list[Linear]:
        """Return the two layers around the activation."""
        return [
            Linear(*self.model.linear(f"{at}fc1"), ACTIVATIONS[self.model.activation]),
            Linear(*self.model.linear(f"{at}fc2"), NONE),
        ]
