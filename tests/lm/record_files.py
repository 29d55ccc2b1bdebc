"""One file and the records in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core.errors import ArtifactError
from stages.lm.records import (
    RawFile,
    Reading,
    format_of,
    read_file,
)


def file(folder: Path, name: str, content: str | bytes = b"", **reading) -> RawFile:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    chosen = Reading(**reading)
    return RawFile(path, name, format_of(name, chosen), chosen)


def read(folder: Path, name: str, content: str | bytes, **reading) -> list:
    return list(read_file(file(folder, name, content, **reading)))


def refused(folder: Path, name: str, content: str | bytes, **reading) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        read(folder, name, content, **reading)
    assert len(caught.value.lines()) == 3
    return caught.value
