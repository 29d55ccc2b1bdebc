"""The stage `port`: a foreign checkpoint becomes an equal transformers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from stages.core import canonical
from stages.core.declare import FloatParams, Params, stage
from stages.core.log import Log
from stages.port.choices import Choice, NoSearch, ProductSearch
from stages.port.delta.settings import Delta
from stages.port.families.choices import FamilySource
from stages.port.llama.settings import Llama
from stages.port.resaved.settings import Transformers


class Fairseq(Params):
    """A translation checkpoint of fairseq with its dictionaries and codes, unpacked or not."""

    kind: Literal["fairseq"] = "fairseq"
    """Tag of this choice."""
    checkpoint: str = ""
    """File name of the checkpoint to port, such as `model1.pt`; empty: `checkpoint_best.pt`, else
    the one that the release's recordings were made with, else the first by its number."""
    architecture: Literal["named", "transformer"] = "named"
    """`named`: the checkpoint's `arch` must say so by its name; `transformer`: it is one under a
    name of your own (`--arch` of user code), if its settings are a whole one's."""
    combine: Literal["single", "best", "average", "ensemble"] = "single"
    """Of several checkpoints: one, the best on `pairs`, the mean of their weights, or all decoding
    together (the mean of their probabilities at each step)."""
    checkpoints: list[str] = Field(default_factory=list)
    """The checkpoints that `combine` is about, in order; empty: all of the release."""
    choice: Choice = Choice()
    """How checkpoints and decoding settings are compared."""
    search: NoSearch | ProductSearch = Field(NoSearch(), discriminator="kind")
    """A search for the decoding settings that become the model's defaults."""
    codes: str = ""
    """File name of the codes or the sentencepiece model of both sides; empty: found by name."""
    dictionary_order: Literal["checked", "any"] = "checked"
    """`checked` refuses a dictionary with two lines out of the order that fairseq writes."""
    tokenizer: Literal["auto", "moses", "none"] = "auto"
    """Words before subwords; auto: as the settings say, else Moses with codes (unless the release's
    recordings cut words at spaces alone) and none with sentencepiece."""
    moses_languages: list[str] = Field(default_factory=list, max_length=2)
    """Languages of the Moses tokenizer and detokenizer; empty: those that repeat the release's
    recordings (the model's own or English), without recordings the model's own."""
    punctuation_normalisation: bool = False
    """Whether source texts had their punctuation normalised (Moses) before training."""
    sentences: int = Field(0, ge=0)
    """How many recorded translations to verify against; 0: all."""
    batch_size: int = Field(32, ge=1)
    """Sentences per batch of the verification."""
    seed: int = Field(0, ge=0)
    """Seed of the random inputs of the verification."""


class PortParams(FloatParams):
    """What to port and from which layout."""

    raw: str
    """Entry of `acquire` that holds the foreign files."""
    base: str = "none"
    """A model that the files are relative to (`<folder>/<entry>` below models/), or `none`."""
    pairs: str = "none"
    """Parallel corpus (`corpora/<entry>`) whose valid split decides between checkpoints and between
    decoding settings; or `none`."""
    source: Fairseq | Llama | Delta | Transformers | FamilySource = Field(
        Fairseq(), discriminator="kind"
    )
    """What the files are; `kind` names the software that wrote them."""

    @model_validator(mode="after")
    def _pairs_to_choose_by(self) -> PortParams:
        source = self.source
        if self.pairs != "none" or not isinstance(source, Fairseq):
            return self
        for name, chosen in (("combine", source.combine), ("search", source.search.kind)):
            if chosen in ("best", "product"):
                raise ValueError(
                    f"source.{name} is {chosen}, and pairs is none: there is nothing to choose by; "
                    "name a parallel corpus as `corpora/<entry>`, its valid split is used"
                )
        return self


@stage(
    version=2,
    reads={
        "raw": "data/raw/${item.raw}",
        "base": "models/${item.base}",
        "pairs": "data/${item.pairs}",
    },
    writes={"model": "models/ported/${key}"},
)
def port(params: PortParams, raw: Path, base: Path, pairs: Path, model: Path, log: Log) -> None:
    """Port a foreign checkpoint to transformers and prove that both are equal."""
    import torch

    torch.set_num_threads(params.threads)
    files = raw / "files"
    match params.source:
        case Fairseq():
            from stages.port.fairseq import conversion

            given = pairs if params.pairs != "none" else None
            report = conversion.port_folder(params.source, files, given, model, log)
        case Llama():
            from stages.port.llama import conversion as llama_conversion

            report = llama_conversion.port_folder(params.source, files, model, log)
        case Delta():
            from stages.port.delta import conversion as delta_conversion

            report = delta_conversion.port_folder(params.source, files, base, model, log)
        case Transformers():
            from stages.port.resaved import conversion as resaving

            report = resaving.port_folder(params.source, files, model, log)
        case _:
            from stages.port.families import reading

            report = reading.port_family(params.source, files, model, log)
    canonical.write_json(model / "verification.json", report)
