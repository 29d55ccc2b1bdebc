"""Folders of files and what acquire makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.acquire.stage import AcquireParams, acquire
from stages.core.errors import ArtifactError, SourceError
from stages.core.log import Log

WORD = "1\tHundo\thundo\tNOUN\t_\tCase=Nom|Number=Sing\t0\troot\t_\t_\n"


def put(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def take(tmp_path: Path, files: dict[str, str | bytes], **source) -> tuple[Path, Log]:
    folder, raw, log = put(tmp_path / "in", files), tmp_path / "raw", Log()
    folder.mkdir(parents=True, exist_ok=True)
    params = AcquireParams.model_validate(
        {"licence": "CC0-1.0", "source": {"kind": "files", **source}}
    )
    acquire(params, folder, raw, log)
    return raw, log


def refused(tmp_path: Path, files: dict[str, str | bytes], **source):
    with pytest.raises((SourceError, ArtifactError)) as caught:
        take(tmp_path, files, **source)
    assert len(caught.value.lines()) == 3
    return caught.value
