"""What an exporter needs of a ported translator, the same for the five classes that hold one.

FSMT, Marian, Pegasus, BART and mBART name their layers alike and differ in where norms stand, which
row of the position table the first token takes, which tables are one, and how many vocabularies
there are. A `Blueprint` says all that as plain values, so that a format is written once.

Letters: D width, Vs and Vt vocabulary sizes, P positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import ArtifactError

Floats = NDArray[np.float32]
PREFIX = "model."
SHARED = "model.shared.weight"
HEAD = "lm_head.weight"
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_accurate": "gelu_accurate",
    "gelu_fast": "gelu_accurate",
    "gelu_new": "gelu_accurate",
    "gelu_pytorch_tanh": "gelu_accurate",
    "tanh": "tanh",
    "silu": "silu",
    "swish": "silu",
    "relu2": "relu2",
    "linear": "linear",
}
"""transformers' activation_function -> one name per formula."""


@dataclass(frozen=True)
class Family:
    """What one transformers class does around its layers."""

    pre_norm: bool
    """Norms stand before the sublayers, and one behind the last layer of each side."""
    embedding_norm: bool
    offset: int
    """Row of the position table that the first token takes."""


FAMILIES: Mapping[str, Family] = {
    "fsmt": Family(pre_norm=False, embedding_norm=False, offset=2),
    "marian": Family(pre_norm=False, embedding_norm=False, offset=0),
    "pegasus": Family(pre_norm=True, embedding_norm=False, offset=0),
    "bart": Family(pre_norm=False, embedding_norm=True, offset=2),
    "mbart": Family(pre_norm=True, embedding_norm=True, offset=2),
}
"""By model_type. FSMT's offset is its padding id + 1, which a port fixes at 2."""
SIDES = ("encoder", "decoder")
SUBLAYERS = {"encoder": ("self_attn", "final"), "decoder": ("self_attn", "encoder_attn", "final")}
"""First words of a layer's norms, in the order in which they are applied."""


@dataclass(frozen=True)
class Blueprint:
    """A translator's shape and tensors."""

    family: str
    width: int
    layers: Mapping[str, int]
    """By side; so are the next two."""
    heads: Mapping[str, int]
    inner: Mapping[str, int]
    """Widths of the feed-forward parts."""
    activation: str
    pre_norm: bool
    embedding_norm: bool
    scale: float
    """Factor of embeddings."""
    tokens: Mapping[str, Floats]
    """Token table of each side, [Vs, D] and [Vt, D]."""
    positions: Mapping[str, Floats]
    """Position table of each side, [P, D]; row p belongs to position p."""
    output: Floats
    """Output projection [Vt, D]."""
    output_bias: Floats
    """[Vt]; negative infinity excludes a word."""
    tensors: Mapping[str, Floats]
    """All tensors, by transformers' names."""

    def weight(self, name: str) -> Floats:
        """Return a tensor of the model by its name behind `model.`."""
        found = self.tensors.get(f"{PREFIX}{name}")
        if found is None:
            raise _damaged(f"the weights lack {PREFIX}{name}")
        return found

    def linear(self, *names: str) -> tuple[Floats, Floats]:
        """Return weight [N, K] and bias [N] of layers of these names, one below the other."""
        weight, bias = (
            np.concatenate([self.weight(f"{name}.{part}") for name in names])
            for part in ("weight", "bias")
        )
        return weight, bias

    def norm(self, name: str) -> tuple[Floats, Floats]:
        """Return gain [D] and bias [D] of a norm."""
        return self.weight(f"{name}.weight"), self.weight(f"{name}.bias")

    def embedding_norm_of(self, side: str) -> str:
        """Return the name of a side's norm of the embedding."""
        return f"{side}.layernorm_embedding"

    def norms(self, side: str) -> list[str]:
        """Return the names of the norms of a side's layers, in the order of their use.

        Behind sublayer k of a side with pre-norm layers stands norm k + 1: the one before the next
        sublayer, or the last of all.
        """
        names = [
            f"{side}.layers.{number}.{first}_layer_norm"
            for number in range(self.layers[side])
            for first in SUBLAYERS[side]
        ]
        return [*names, f"{side}.layer_norm"] if self.pre_norm else names


def read(folder: Path, sizes: tuple[int, int] | None = None) -> Blueprint:
    """Return the blueprint of a folder that stage `port` wrote."""
    import json

    from safetensors.numpy import load_file

    from stages.lm import weights

    path = folder / "model.safetensors"
    weights.check(path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return of(config, load_file(path), sizes)


def of(
    config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]],
    sizes: tuple[int, int] | None = None,
) -> Blueprint:  # fmt: skip
    """Return the blueprint of a class's configuration and tensors.

    Classes of one vocabulary fill the smaller one up with words that are never chosen; `sizes`
    (source, target) leaves them out again.
    """
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        raise _damaged(f"model_type = {config.get('model_type')!r} is no translator's")
    activation = ACTIVATIONS.get(str(config.get("activation_function")))
    if activation is None:
        raise ArtifactError(
            f"activation_function = {config.get('activation_function')!r}", "config.json",
            f"exports know {', '.join(sorted(ACTIVATIONS))}",
        )  # fmt: skip
    floats = {name: one.astype(np.float32) for name, one in tensors.items()}
    width = int(config["d_model"])
    source, target, output = _tables(floats)
    bias = floats.get("final_logits_bias", np.zeros((1, len(output)), np.float32))[0]
    if len(bias) != len(output):
        raise _damaged(f"final_logits_bias has {len(bias)} words, the output {len(output)}")
    source_size, target_size = sizes or (len(source), len(output))
    offset = int(config["pad_token_id"]) + 1 if config["model_type"] == "fsmt" else family.offset
    return Blueprint(
        family=str(config["model_type"]),
        width=width,
        layers={side: int(config[f"{side}_layers"]) for side in SIDES},
        heads={side: int(config[f"{side}_attention_heads"]) for side in SIDES},
        inner={side: int(config[f"{side}_ffn_dim"]) for side in SIDES},
        activation=activation,
        pre_norm=family.pre_norm,
        embedding_norm=family.embedding_norm,
        scale=math.sqrt(width) if config.get("scale_embedding") else 1.0,
        tokens={"encoder": source[:source_size], "decoder": target[:target_size]},
        positions={
            side: _present(floats, f"{PREFIX}{side}.embed_positions.weight")[offset:]
            for side in SIDES
        },
        output=output[:target_size],
        output_bias=bias[:target_size],
        tensors=floats,
    )


def _tables(floats: Mapping[str, Floats]) -> tuple[Floats, Floats, Floats]:
    """Return tokens of the source, of the target and output; what a class ties stands once."""
    encoder, decoder = (f"{PREFIX}{side}.embed_tokens.weight" for side in SIDES)
    own = f"{PREFIX}decoder.output_projection.weight"
    return (
        _present(floats, encoder, SHARED, HEAD),
        _present(floats, decoder, SHARED, HEAD),
        _present(floats, own, HEAD, decoder, SHARED),
    )


def _present(floats: Mapping[str, Floats], *names: str) -> Floats:
    """Return the first of these tensors that the weights hold."""
    found = next((floats[name] for name in names if name in floats), None)
    if found is None:
        raise _damaged(f"the weights lack {names[0]}")
    return found


def _damaged(what: str) -> ArtifactError:
    return ArtifactError(what, "the model's config.json and weights", "port the model again")
