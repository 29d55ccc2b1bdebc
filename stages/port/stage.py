"""The stage `port`: a fairseq translation checkpoint becomes an equal transformers folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from stages.core import canonical
from stages.core.declare import FloatParams, stage
from stages.core.log import Log


class PortParams(FloatParams):
    """What to port and how its texts were prepared."""

    raw: str
    """Entry of `acquire` that holds checkpoint, dictionaries and codes."""
    checkpoint: str = ""
    """File name of the checkpoint to port, such as `model1.pt`; empty: the only one."""
    moses_languages: list[str] = Field(default_factory=list, max_length=2)
    """Languages of the Moses tokenizer and detokenizer; empty: source and target language."""
    punctuation_normalisation: bool = False
    """Whether source texts had their punctuation normalised (Moses) before training."""
    sentences: int = Field(0, ge=0)
    """How many recorded translations to verify against; 0: all."""
    batch_size: int = Field(32, ge=1)
    """Sentences per batch of the verification."""
    seed: int = Field(0, ge=0)
    """Seed of the random inputs of the verification."""


@stage(
    version=1,
    reads={"raw": "data/raw/${item.raw}"},
    writes={"model": "models/ported/${key}"},
)
def port(params: PortParams, raw: Path, model: Path, log: Log) -> None:
    """Port a fairseq translation checkpoint to transformers and prove that both are equal."""
    from stages.port import conversion

    report = conversion.port_folder(params, raw / "files", model, log)
    canonical.write_json(model / "verification.json", report)
