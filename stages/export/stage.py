"""The declaration of `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.core import canonical
from stages.core.declare import FloatParams, Params, stage
from stages.core.log import Log


class NoQuantization(Params):
    """Weights stay 32-bit floats."""

    kind: Literal["none"] = "none"


class DynamicInt8(Params):
    """Weights become 8-bit integers; activations are scaled as they come."""

    kind: Literal["dynamic-int8"] = "dynamic-int8"
    per_channel: bool = True
    """One scale per output channel instead of one per matrix."""
    reduce_range: bool = True
    """Use 7 bits: on CPUs with AVX2 and no VNNI, products of 8 bits saturate in 16, so results
    would differ between CPUs (section 077)."""
    embeddings: bool = True
    """Quantize the embedding tables too: most of a small model's bytes."""


class ExportParams(FloatParams):
    """What is exported and how."""

    model: str
    """The model: `<folder>/<entry>` under models/, such as `finetuned/pos`."""
    format: Literal["onnx"] = "onnx"
    """Format of the exported model."""
    task: Literal["auto", "token-classification", "fill-mask", "features"] = "auto"
    """What the graph answers: tag logits, token logits or hidden states; auto: as the model is."""
    quantize: NoQuantization | DynamicInt8 = Field(NoQuantization(), discriminator="kind")
    """Number format of the weights."""
    opset: int = Field(18, ge=17, le=23)
    """Version of the ONNX operator set."""
    parity_relative: float = Field(1e-4, gt=0)
    """Largest difference of float logits allowed, as a share of their largest value."""
    parity_agreement: float = Field(0.9, ge=0, le=1)
    """Smallest share of positions whose best answer a quantized model must keep on random input."""
    seed: int = Field(0, ge=0)
    """Seed of the inputs that are compared."""


@stage(
    version=1,
    reads={"model": "models/${item.model}"},
    writes={"exported": "models/exported/${key}"},
)
def export(params: ExportParams, model: Path, exported: Path, log: Log) -> None:
    """Export a model to ONNX, quantize it if asked, and prove the graph close over many shapes."""
    from stages.export import folder

    facts = folder.export_folder(params, model, exported, log)
    canonical.write_json(exported / "export.json", facts)
