"""A ported translator as a CTranslate2 model directory.

Its own `TransformerSpec` is filled here from a blueprint, as its fairseq converter fills it from a
fairseq module: queries, keys and values joined, positions counted from the first real token, norms
where the class has them. Padding, which fairseq never chooses, gets an output bias that excludes
it, so that nobody has to ask for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.blueprint import SIDES, Blueprint
from stages.lm.pipelines import load_pipeline

EXCLUDED = -1.0e9
"""Output bias of a word that is never chosen."""
ACTIVATIONS = {
    "relu": "RELU", "gelu": "GELU", "gelu_accurate": "GELUTanh", "tanh": "Tanh", "silu": "SWISH",
}  # fmt: skip


def write(model: Blueprint, folder: Path, target: Path, quantization: str | None) -> None:
    """Write model.bin, config.json and the vocabularies of the ported model in `folder`."""
    pipeline = load_pipeline(folder)
    spec = specification(model, pipeline.source["<pad>"])
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


def specification(model: Blueprint, padding: int) -> Any:
    """Return CTranslate2's specification filled with a translator's tensors."""
    from ctranslate2.specs import common_spec, transformer_spec

    if model.activation not in ACTIVATIONS:
        raise ParamsError(
            f"CTranslate2 has no activation {model.activation!r}", "config.json",
            f"it has {', '.join(ACTIVATIONS)}; use format: runner or onnx-translator",
        )  # fmt: skip
    options = {
        "pre_norm": model.pre_norm,
        "layernorm_embedding": model.embedding_norm,
        "activation": getattr(common_spec.Activation, ACTIVATIONS[model.activation]),
    }
    kinds = (transformer_spec.TransformerEncoderSpec, transformer_spec.TransformerDecoderSpec)
    encoder, decoder = (
        kind(model.layers[side], model.heads[side], **options)
        for kind, side in zip(kinds, SIDES, strict=True)
    )
    spec = transformer_spec.TransformerSpec(encoder, decoder)
    filler = _Filler(model)
    for side, name in zip((encoder, decoder), SIDES, strict=True):
        table = side.embeddings[0] if name == "encoder" else side.embeddings
        table.weight = model.tokens[name]
        side.scale_embeddings = model.scale
        side.position_encodings.encodings = np.ascontiguousarray(model.positions[name])
        filler.around(side, name)
        for number, layer in enumerate(side.layer):
            filler.layer(layer, f"{name}.layers.{number}.")
    decoder.projection.weight = model.output
    bias = np.maximum(model.output_bias, np.float32(EXCLUDED))
    bias[padding] = EXCLUDED
    decoder.projection.bias = bias
    return spec


class _Filler:
    """Copies groups of tensors into specifications."""

    def __init__(self, model: Blueprint) -> None:
        self.model = model

    def around(self, spec: Any, side: str) -> None:
        """Fill the norms around a side's layers."""
        if self.model.embedding_norm:
            self._norm(spec.layernorm_embedding, self.model.embedding_norm_of(side))
        if self.model.pre_norm:
            self._norm(spec.layer_norm, self.model.norms(side)[-1])

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
        spec.weight, spec.bias = self.model.linear(*names)

    def _norm(self, spec: Any, at: str) -> None:
        spec.gamma, spec.beta = self.model.norm(at)
