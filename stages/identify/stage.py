"""The declaration of `identify`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from stages.core.declare import Params, stage
from stages.core.log import Log

LABEL = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*")
"""What a label may be: `eo`, `eng_Latn`, `pt-BR`."""


class IdentifyParams(Params):
    """Which labelled texts to learn languages from, and how.

    Whatever the labels say is learned: languages, varieties, or any other kinds of text.
    """

    raw: str
    """The acquire entry whose texts are labelled."""
    second: str = "none"
    """A further raw folder, as `raw/<key>`, or `none`."""
    third: str = "none"
    """A further raw folder, as `raw/<key>`, or `none`."""
    held_out: str = "none"
    """Labelled text to measure on, as `raw/<key>`; with `none`, a share of the pieces is held out.
    A language without held-out text is learned, and no accuracy is told of it."""
    label: Literal["path", "field", "prefix"] = "path"
    """Where a text's label stands: `path`, by `paths` or in the first folder of its file's path
    (`eo/book.txt`); `field`, in another field of its record; `prefix`, at the head of its first
    line, as fastText writes it (`__label__eo La suno brilas.`)."""
    label_field: str = "language"
    """Field of the label in JSON lines, Parquet and tables."""
    paths: dict[str, str] = {}
    """Labels by glob over the path, the first that matches: `{"*/UD_Maltese-*/*": mt}`; the label
    `none` leaves files out."""
    labels: list[str] = []
    """Labels to take; empty takes all."""
    piece_characters: int = Field(300, ge=20)
    """Lines are cut at blanks into pieces of so many characters at most; each is an example."""
    max_pieces: int = Field(20_000, ge=1)
    """Pieces learned from per label, drawn by `seed`; rarer labels repeat theirs up to 8 times."""
    held_out_fraction: float = Field(0.1, ge=0, le=0.5)
    """Share of the different pieces that is held out, where `held_out` names no text; 0 is none."""
    max_held_out: int = Field(2000, ge=1)
    """Pieces measured on per label, at most."""
    bucket_bits: int = Field(16, ge=8, le=22)
    """Features are hashed to 2^this rows."""
    epochs: int = Field(3, ge=1, le=100)
    """Passes over the pieces."""
    rate: float = Field(1.0, gt=0, le=4)
    """First step of the logistic regression; it falls to nothing."""
    seed: int = 0
    """Another seed draws other pieces."""
    threads: int = Field(1, ge=1, le=256)
    """Cores that measuring may use; no output depends on it."""

    @field_validator("paths")
    @classmethod
    def _named(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = [label for label in value.values() if not LABEL.fullmatch(label)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no label: letters, digits, `_` and `-`")
        return value


@stage(
    version=1,
    reads={
        "raw": "data/raw/${item.raw}",
        "second": "data/${item.second}",
        "third": "data/${item.third}",
        "held_out": "data/${item.held_out}",
    },
    writes={"identifier": "models/identifiers/${key}"},
)
def identify(
    params: IdentifyParams, raw: Path, second: Path, third: Path, held_out: Path, identifier: Path,
    log: Log,
) -> None:  # fmt: skip
    """Learn to tell languages apart from labelled text, and measure it where some is held out."""
    from stages.identify.training import make

    slots = ((params.second, second), (params.third, third))
    further = [folder for name, folder in slots if name != "none"]
    make(params, [raw, *further], held_out if params.held_out != "none" else None, identifier, log)
