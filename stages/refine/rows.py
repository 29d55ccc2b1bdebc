"""Rows about documents (an id and what was found of it) on disk: added in order, read in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import zstandard

PACKED = 4096
"""Rows of a block: what is in memory at a time."""
LEVEL = 1


class Rows:
    """A list of rows that grows on disk, in packed blocks; a row is a list of JSON values."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._bounds = [0]
        self._held: list[Sequence[Any]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, row: object) -> bool:
        return any(row == one for one in self)

    def __iadd__(self, rows: Iterable[Sequence[Any]]) -> Rows:
        for row in rows:
            self.append(row)
        return self

    def append(self, row: Sequence[Any]) -> None:
        """Add a row."""
        self._held.append(row)
        self._count += 1
        if len(self._held) >= PACKED:
            self._pack()

    def __iter__(self) -> Iterator[Sequence[Any]]:
        for start, stop in zip(self._bounds, self._bounds[1:], strict=False):
            assert self._file is not None
            self._file.seek(start)
            data = zstandard.ZstdDecompressor().decompress(self._file.read(stop - start))
            yield from json.loads(data.decode("utf-8", "surrogatepass"))
        yield from self._held

    def close(self) -> None:
        """Let go of the file and delete it."""
        if self._file is not None:
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _pack(self) -> None:
        if self._file is None:
            self._file = self._path.open("w+b")
        rows, self._held = self._held, []
        text = json.dumps(rows, ensure_ascii=False).encode("utf-8", "surrogatepass")
        data = zstandard.ZstdCompressor(level=LEVEL).compress(text)
        self._file.seek(self._bounds[-1])
        self._file.write(data)
        self._bounds.append(self._bounds[-1] + len(data))
