"""The runner's layout of a ported fairseq transformer (FSMT)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import ArtifactError
from stages.lm import weights
from stages.lm.runner.network import GELU, NONE, RELU, SWISH, TANH, Shape
from stages.lm.runner.packing import Floats, Layout, Linear, head_size, split_heads, up
from stages.lm.runner.rows import BLOCK
from stages.lm.runner.vectors import LANES

ACTIVATIONS = {"relu": RELU, "gelu": GELU, "tanh": TANH, "silu": SWISH, "swish": SWISH}
PREFIX = "model."


def read(folder: Path) -> Layout:
    """Return the layout of a folder that stage `port` wrote."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != "fsmt":
        raise ArtifactError(
            f"the runner takes FSMT models, this is {config.get('model_type')!r}",
            f"{folder.name}/config.json",
            "export it in another format, such as onnx-translator",
        )
    path = folder / "model.safetensors"
    weights.check(path)
    from safetensors.numpy import load_file

    tensors = {name: one.astype(np.float32) for name, one in load_file(path).items()}
    return layout(config, tensors)


def layout(config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Layout:
    """Return the layout of FSMT's configuration and tensors."""
    activation = ACTIVATIONS.get(config["activation_function"])
    if activation is None:
        raise ArtifactError(
            f"activation_function = {config['activation_function']!r}", "config.json",
            f"the runner knows {', '.join(sorted(ACTIVATIONS))}",
        )  # fmt: skip
    width = config["d_model"]
    encoder_heads, decoder_heads = (
        config[f"{side}_attention_heads"] for side in ("encoder", "decoder")
    )
    encoder_head, decoder_head = (head_size(width, one) for one in (encoder_heads, decoder_heads))
    shape = Shape(
        width=width,
        padded=up(width),
        vocabulary=up(config["tgt_vocab_size"], LANES * BLOCK),
        encoder_layers=config["encoder_layers"],
        encoder_heads=encoder_heads,
        encoder_head=encoder_head,
        decoder_layers=config["decoder_layers"],
        decoder_heads=decoder_heads,
        decoder_head=decoder_head,
        inner=up(max(config["encoder_ffn_dim"], config["decoder_ffn_dim"])),
    )
    reader = _Reader(tensors, activation)
    linears: list[Linear] = []
    norms: list[tuple[Floats, Floats]] = []
    for number in range(shape.encoder_layers):
        at = f"{PREFIX}encoder.layers.{number}."
        linears += reader.attention(f"{at}self_attn.", encoder_heads, encoder_head)
        linears += reader.feed_forward(at)
        norms += [
            reader.norm(f"{at}{name}") for name in ("self_attn_layer_norm", "final_layer_norm")
        ]
    for number in range(shape.decoder_layers):
        at = f"{PREFIX}decoder.layers.{number}."
        linears += reader.attention(f"{at}self_attn.", decoder_heads, decoder_head)
        linears += reader.crossed(f"{at}encoder_attn.", decoder_heads, decoder_head)
        linears += reader.feed_forward(at)
        names = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
        norms += [reader.norm(f"{at}{name}") for name in names]
    output = tensors[f"{PREFIX}decoder.output_projection.weight"]
    linears.append(Linear(output, np.zeros(len(output), np.float32)))
    offset = config["pad_token_id"] + 1
    return Layout(
        shape=shape,
        linears=linears,
        norms=norms,
        source_tokens=tensors[f"{PREFIX}encoder.embed_tokens.weight"],
        source_positions=tensors[f"{PREFIX}encoder.embed_positions.weight"][offset:],
        target_tokens=tensors[f"{PREFIX}decoder.embed_tokens.weight"],
        target_positions=tensors[f"{PREFIX}decoder.embed_positions.weight"][offset:],
        scale=math.sqrt(width) if config["scale_embedding"] else 1.0,
    )


class _Reader:
    """Groups of tensors as the runner's linear layers."""

    def __init__(self, tensors: Mapping[str, Floats], activation: int) -> None:
        self.tensors, self.activation = tensors, activation

    def _projection(self, name: str, heads: int, size: int) -> tuple[Floats, Floats]:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        if name.endswith("q_proj"):
            factor = np.float32((weight.shape[0] // heads) ** -0.5)
            weight, bias = weight * factor, bias * factor
        return split_heads(weight, heads, size), split_heads(bias, heads, size)

    def _joined(self, at: str, names: tuple[str, ...], heads: int, size: int) -> Linear:
        parts = [self._projection(f"{at}{name}_proj", heads, size) for name in names]
        weight, bias = (np.concatenate(one) for one in zip(*parts, strict=True))
        return Linear(weight, bias)

    def _output(self, at: str, heads: int, size: int) -> Linear:
        weight = split_heads(self.tensors[f"{at}out_proj.weight"].T, heads, size).T
        return Linear(weight, self.tensors[f"{at}out_proj.bias"])

    def attention(self, at: str, heads: int, size: int) -> list[Linear]:
        """Return queries-keys-values and output of self-attention."""
        return [self._joined(at, ("q", "k", "v"), heads, size), self._output(at, heads, size)]

    def crossed(self, at: str, heads: int, size: int) -> list[Linear]:
        """Return queries, keys-values and output of cross-attention."""
        return [
            self._joined(at, ("q",), heads, size),
            self._joined(at, ("k", "v"), heads, size),
            self._output(at, heads, size),
        ]

    def feed_forward(self, at: str) -> list[Linear]:
        """Return the two layers around the activation."""
        up_, down = (
            (self.tensors[f"{at}{name}.weight"], self.tensors[f"{at}{name}.bias"])
            for name in ("fc1", "fc2")
        )
        return [Linear(*up_, self.activation), Linear(*down, NONE)]

    def norm(self, at: str) -> tuple[Floats, Floats]:
        """Return gain and bias of a norm."""
        return self.tensors[f"{at}.weight"], self.tensors[f"{at}.bias"]
