"""Documents on disk between two passes: written once in order, read back by number."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from stages.refine.ledger import Size


class Spool:
    """A file of JSON records with their offsets and sizes in memory (40 bytes per document)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("w+b")
        self._offsets = array("q", [0])
        self._sizes = array("q")
        self.names: set[str] = set()
        """Fields that some record has."""

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def append(self, record: dict[str, Any], size: Size) -> None:
        """Add a document."""
        data = json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self._file.write(data)
        self.names.update(record)
        self._offsets.append(self._offsets[-1] + len(data))
        self._sizes.extend((size.documents, size.characters, size.tokens))

    def size(self, number: int) -> Size:
        """Return a document's size."""
        return Size(*self._sizes[3 * number : 3 * number + 3])

    def lengths(self) -> array[int]:
        """Return how many bytes each record takes here: its texts are shorter."""
        return array("q", map(int.__sub__, self._offsets[1:], self._offsets))

    def __getitem__(self, number: int) -> dict[str, Any]:
        start, stop = self._offsets[number], self._offsets[number + 1]
        self._file.seek(start)
        record: dict[str, Any] = json.loads(self._file.read(stop - start))
        return record

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(len(self)):
            yield self[number]
