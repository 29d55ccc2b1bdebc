"""A ported translator as a CTranslate2 model directory.

CTranslate2 has no converter for FSMT; its own `TransformerSpec` is filled here from the tensors, as
its fairseq converter fills it from a fairseq module: queries, keys and values joined, positions
counted from the first real token, post-norm layers. Padding, which fairseq never chooses, gets an
output bias that excludes it, so that nobody has to ask for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.pipelines import load_pipeline

PREFIX = "model."
EXCLUDED = -1.0e9
"""Output bias of a word that is never chosen."""
ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "tanh": "Tanh", "silu": "SWISH", "swish": "SWISH"}

Tensors = Mapping[str, NDArray[np.float32]]


def write(
    config: Mapping[str, Any],
    tensors: Tensors,
    folder: Path,
    target: Path,
    quantization: str | None,
) -> None:
    """Write model.bin, config.json and the vocabularies of the ported FSMT model in `folder`."""
    spec = specification(config, tensors)
    pipeline = load_pipeline(folder)
    spec.register_source_vocabulary(
        _tokens({index: token for token, index in pipeline.source.items()}, "source")
    )
    spec.register_target_vocabulary(_tokens(pipeline.target, "target"))
    spec.config.decoder_start_token = "</s>"
    spec.config.add_source_eos = False
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(target))


def _tokens(vocabulary: Mapping[int, str], side: str) -> list[str]:
    if sorted(vocabulary) != list(range(len(vocabulary))):
        raise ArtifactError(
            f"the ids of the {side} vocabulary have holes", "vocabulary", "port the model again"
        )
    return [vocabulary[index] for index in range(len(vocabulary))]


def specification(config: Mapping[str, Any], tensors: Tensors) -> Any:
    """Return CTranslate2's specification filled with FSMT's tensors."""
    from ctranslate2.specs import common_spec, transformer_spec

    activation = getattr(
        common_spec.Activation, ACTIVATIONS.get(config["activation_function"], ""), None
    )
    if activation is None:
        raise ParamsError(
            f"activation_function = {config['activation_function']!r}", "config.json",
            f"CTranslate2 export knows {', '.join(ACTIVATIONS)}",
        )  # fmt: skip
    encoder = transformer_spec.TransformerEncoderSpec(
        config["encoder_layers"], config["encoder_attention_heads"], pre_norm=False,
        activation=activation,
    )  # fmt: skip
    decoder = transformer_spec.TransformerDecoderSpec(
        config["decoder_layers"], config["decoder_attention_heads"], pre_norm=False,
        activation=activation,
    )  # fmt: skip
    spec = transformer_spec.TransformerSpec(encoder, decoder)
    filler = _Filler(tensors)
    scale = math.sqrt(config["d_model"]) if config["scale_embedding"] else 1.0
    offset = config["pad_token_id"] + 1
    for side, name in ((encoder, "encoder"), (decoder, "decoder")):
        table = side.embeddings[0] if name == "encoder" else side.embeddings
        table.weight = tensors[f"{PREFIX}{name}.embed_tokens.weight"]
        side.scale_embeddings = scale
        positions = tensors[f"{PREFIX}{name}.embed_positions.weight"]
        side.position_encodings.encodings = np.ascontiguousarray(positions[offset:])
        for number, layer in enumerate(side.layer):
            filler.layer(layer, f"{PREFIX}{name}.layers.{number}.")
    decoder.projection.weight = tensors[f"{PREFIX}decoder.output_projection.weight"]
    bias = np.zeros(len(decoder.projection.weight), np.float32)
    bias[config["pad_token_id"]] = EXCLUDED
    decoder.projection.bias = bias
    return spec


class _Filler:
    """Copies groups of tensors into specifications."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def layer(self, spec: Any, at: str) -> None:
        """Fill one layer of either side."""
        self._attention(spec.self_attention, f"{at}self_attn", [("q", "k", "v"), ("out",)])
        if hasattr(spec, "attention"):
            self._attention(spec.attention, f"{at}encoder_attn", [("q",), ("k", "v"), ("out",)])
        self._linear(spec.ffn.linear_0, [f"{at}fc1"])
        self._linear(spec.ffn.linear_1, [f"{at}fc2"])
        self._norm(spec.ffn.layer_norm, f"{at}final_layer_norm")

    def _attention(self, spec: Any, at: str, groups: list[tuple[str, ...]]) -> None:
        for linear, names in zip(spec.linear, groups, strict=True):
            self._linear(linear, [f"{at}.{name}_proj" for name in names])
        self._norm(spec.layer_norm, f"{at}_layer_norm")

    def _linear(self, spec: Any, names: list[str]) -> None:
        spec.weight = np.concatenate([self.tensors[f"{name}.weight"] for name in names])
        spec.bias = np.concatenate([self.tensors[f"{name}.bias"] for name in names])

    def _norm(self, spec: Any, at: str) -> None:
        spec.gamma, spec.beta = self.tensors[f"{at}.weight"], self.tensors[f"{at}.bias"]
