"""What the source kind `extract` makes of files that a test puts on disk."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import zstandard

from stages.acquire.stage import AcquireParams, acquire
from stages.core.errors import Resumable
from stages.core.log import Log
from tests.stages.acquire_material import put

PACK = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


class Taken:
    """A raw folder: its rows, its losses and its manifest."""

    def __init__(self, raw: Path, log: Log) -> None:
        self.raw, self.log = raw, log
        self.manifest: dict[str, Any] = json.loads((raw / "manifest.json").read_text())
        self.rows = _rows(raw / "files")
        self.losses = _rows(raw / "losses")
        account = self.manifest["extraction"]
        assert account["records"] == account["kept"] + sum(account["lost"].values())
        assert (account["kept"], sum(account["lost"].values())) == (
            len(self.rows),
            len(self.losses),
        )

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]

    @property
    def lost(self) -> list[tuple[str, str]]:
        return [(row["id"], row["reason"]) for row in self.losses]

    @property
    def bytes(self) -> dict[str, bytes]:
        paths = [path for path in self.raw.rglob("*") if path.is_file()]
        return {path.relative_to(self.raw).as_posix(): path.read_bytes() for path in sorted(paths)}


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def extract(
    tmp_path: Path,
    files: dict[str, str | bytes],
    reader: dict[str, Any],
    *,
    log: Log | None = None,
    to: str = "raw",
    licence: str | None = "CC0-1.0",
    **source: Any,
) -> Taken:
    folder, log = put(tmp_path / "in", files), log or Log()
    folder.mkdir(parents=True, exist_ok=True)
    params = AcquireParams.model_validate(
        {
            "licence": licence,
            "licence_reason": "a test's own",
            "source": {"kind": "extract", "reader": reader, **source},
        }
    )
    acquire(params, folder, tmp_path / to, log)
    return Taken(tmp_path / to, log)


class Stopping(Log):
    """A log that is asked to stop when it was looked at so many times."""

    def __init__(self, after: int, scratch: Path) -> None:
        super().__init__(scratch=scratch)
        self.left = after

    @property
    def stopping(self) -> bool:
        self.left -= 1
        return self.left < 0


def interrupted(tmp_path: Path, *args: Any, **kwargs: Any) -> tuple[Taken, int]:
    """Extract, stopped again and again wherever it can be; returns it and how many starts it took.

    A first start is stopped at its first look, the second at its third, and so on.
    """
    for start in range(1, 400):
        log = Stopping(2 * start, tmp_path / "scratch")
        try:
            return extract(tmp_path, *args, log=log, to=f"raw-{start}", **kwargs), start
        except Resumable:
            continue
    raise AssertionError("it never ends")


def compressed(data: bytes, suffix: str) -> bytes:
    return PACK[suffix](data)


def zeros(size: int, suffix: str) -> bytes:
    """Return a packed file that unpacks to `size` zero bytes, made without holding them."""
    if suffix == ".gz":
        sink = io.BytesIO()
        with gzip.GzipFile(fileobj=sink, mode="wb", mtime=0) as stream:
            for _ in range(size >> 20):
                stream.write(bytes(1 << 20))
        return sink.getvalue()
    packer: Any = (
        zstandard.ZstdCompressor().compressobj() if suffix == ".zst" else bz2.BZ2Compressor()
    )
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()
