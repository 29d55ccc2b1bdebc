"""Stage `acquire`: bring raw material in, as it came, with its licence, origin and digests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from stages.acquire.generator.parameters import GeneratorParams
from stages.acquire.origin import digest
from stages.acquire.sources import (
    ExtractSource,
    FilesSource,
    HubSource,
    SqlSource,
    UrlSource,
)
from stages.acquire.tableqa.parameters import TableQaParams
from stages.core.declare import Origin, Params, stage
from stages.core.errors import SourceError
from stages.core.log import Log

Source = Annotated[
    GeneratorParams
    | FilesSource
    | UrlSource
    | HubSource
    | SqlSource
    | ExtractSource
    | TableQaParams,
    Field(discriminator="kind"),
]
SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*( (AND|OR|WITH) [A-Za-z0-9][A-Za-z0-9.+-]*)*")
"""A licence expression without parentheses, or `LicenseRef-...` for one of your own."""
UNLICENSED = frozenset({"none", "unknown", "noassertion", "null", "na"})


class AcquireParams(Params):
    """Where raw material comes from, under what licence, and how it will be read."""

    folder: str = "data/none"
    """Folder of the repository that a `files` or local `hub` source reads: `data/external` holds
    your own files, `stages/port/checkpoint` the embedded checkpoint, `data/none` nothing."""
    source: Source = GeneratorParams()
    """Kind of source and what it needs."""
    licence: str | None = None
    """SPDX identifier or expression (`CC0-1.0`, `CC-BY-SA-4.0 AND MIT`, `LicenseRef-own`)."""
    licence_reason: str | None = None
    """Why material without a licence may be used; needed where `licence` is null."""
    origin: str | None = None
    """Who made it and where it is found; null says what the source's parameters tell."""
    synthetic: bool = False
    """Whether the material was generated, or trained on what was: the report marks what stands on
    it. The embedded generator's is always marked."""
    check: bool = True
    """Whether every file is read once, so that damage is told here and by place."""

    @model_validator(mode="after")
    def _licensed(self) -> AcquireParams:
        if self.source.kind == "generator" or getattr(self.source, "tables", "") == "random":
            return self
        stated = self.licence is not None and SPDX.fullmatch(self.licence)
        if self.licence is not None and (not stated or self.licence.lower() in UNLICENSED):
            raise SourceError(
                f"the licence {self.licence!r} is no SPDX expression",
                "acquire: licence",
                "write for example CC0-1.0, or null with a licence_reason",
            )
        if self.licence is None and not (self.licence_reason or "").strip():
            raise SourceError(
                f"the {self.source.kind} source states no licence",
                "acquire: licence",
                "state its licence, or say in licence_reason why it may be used without one",
            )
        return self


@stage(
    version=1,
    reads={"folder": "${item.folder}"},
    writes={"raw": "data/raw/${key}"},
    origin=Origin(
        digest,
        "${item.source.kind}",
        ("extract", "files", "generator", "hub", "sql", "table-qa", "url"),
    ),
)
def acquire(params: AcquireParams, folder: Path, raw: Path, log: Log) -> None:
    """Bring raw material in, as it came, with its licence, origin and digests."""
    from stages.acquire.collection import collect

    collect(params, folder, raw, log)
