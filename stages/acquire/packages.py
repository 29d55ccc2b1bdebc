"""Which installed package a file of this machine belongs to, and under which licence that is.

Python's distributions say it in their metadata (`License-Expression`, `License`, classifiers), and
Debian's packages in `/usr/share/doc/<package>/copyright`. What they do not say is `unknown`.
"""

from __future__ import annotations

from pathlib import Path

from stages.acquire.readers.batches import Bounds, Input
from stages.acquire.sources import ExtractSource

UNKNOWN = "unknown"


def inputs(
    source: ExtractSource, places: list[tuple[str, Path]], licence: str | None
) -> list[Input]:
    """Return the inputs of a source, each with its package and licence where they are known."""
    bounds = Bounds(source.max_record_bytes, source.max_ratio)
    refuse = source.damage == "refuse"
    return [
        Input(path, plain(name), bounds, licence or UNKNOWN, None, refuse) for name, path in places
    ]


def plain(name: str) -> str:
    """Return a file's name as a text that has bytes: names of files may hold any."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
