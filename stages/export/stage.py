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


class NoShortlist(Params):
    """Every word of the vocabulary is looked at in every step."""

    kind: Literal["none"] = "none"


class LexicalShortlist(Params):
    """Only words that the source makes likely are looked at, and the most frequent ones.

    Learned from the model's own translations (greedy and the five best) of the corpus' train split.
    """

    kind: Literal["lexical"] = "lexical"
    each: int = Field(60, ge=1)
    """Target tokens per source token."""
    common: int = Field(200, ge=1)
    """Most frequent target tokens, part of every list."""
    rare: int = Field(25, ge=0)
    """Translations in which a source token must have been met; beside a rarer one all words are
    looked at. Each sentence gives up to six."""
    sentences: int = Field(20_000, ge=1)
    """Sentences translated at most to learn from."""


class ExportParams(FloatParams):
    """What is exported and how."""

    model: str
    """The model: `<folder>/<entry>` under models/, such as `finetuned/pos`."""
    format: Literal["onnx", "onnx-translator", "ctranslate2", "runner", "original", "delta"] = (
        "onnx"
    )
    """Format of the exported model. Of translators: two ONNX graphs with a cache, a CTranslate2
    directory, weights for our own compiled runner; of the LLaMA family, BERT, GPT-2, BLOOM, RWKV
    and what was ported: the layout of its own software; of any: its difference from `base`."""
    base: str = "none"
    """Of a delta: the model it is against (`<folder>/<entry>` under models/)."""
    encoding: Literal["bits", "sum"] = "bits"
    """Of a delta: bits by exclusive or, which lead back exactly in every type; or target minus base
    in floats, as others publish, which need not."""
    ranks: int = Field(1, ge=1, le=99)
    """Of the original layout: how many files share the tensors (a ported model keeps its own)."""
    corpus: str = "none"
    """Parallel corpus under data/, such as `corpora/pairs`, that a translator is proved on (its
    valid split) and a shortlist learns from (its train split); none: fixed sentences."""
    task: Literal["auto", "token-classification", "fill-mask", "features"] = "auto"
    """What the graph answers: tag logits, token logits or hidden states; auto: as the model is."""
    quantize: NoQuantization | DynamicInt8 = Field(NoQuantization(), discriminator="kind")
    """Number format of the weights."""
    shortlist: NoShortlist | LexicalShortlist = Field(NoShortlist(), discriminator="kind")
    """Words that the runner looks at."""
    opset: int = Field(18, ge=17, le=23)
    """Version of the ONNX operator set."""
    parity_relative: float = Field(1e-4, gt=0)
    """Largest difference of float logits allowed, as a share of their largest value."""
    parity_agreement: float = Field(0.9, ge=0, le=1)
    """Smallest share of positions whose best answer a quantized model must keep on random input."""
    parity_points: float = Field(0.2, ge=0)
    """Most chrF points that a quantized or shortlisted translator may lose on the corpus."""
    parity_likeness: float = Field(0.7, ge=0, le=1)
    """Least chrF, as a share, between its translations and the float model's, without a corpus."""
    seed: int = Field(0, ge=0)
    """Seed of the inputs that are compared."""


@stage(
    version=1,
    reads={
        "model": "models/${item.model}",
        "corpus": "data/${item.corpus}",
        "base": "models/${item.base}",
    },
    writes={"exported": "models/exported/${key}"},
)
def export(
    params: ExportParams, model: Path, corpus: Path, base: Path, exported: Path, log: Log
) -> None:
    """Export a model, as a graph, in another layout or as a delta, and prove it close or equal."""
    match params.format:
        case "onnx":
            from stages.export import folder

            facts = folder.export_folder(params, model, exported, log)
        case "original":
            from stages.export import original

            facts = original.export_folder(params, model, exported, log)
        case "delta":
            from stages.export import difference

            facts = difference.export_folder(params, model, base, exported, log)
        case _:
            from stages.export import translator

            facts = translator.export_translator(params, model, corpus, exported, log)
    canonical.write_json(exported / "export.json", facts)
