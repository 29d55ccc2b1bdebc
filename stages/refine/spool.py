"""Documents on disk between two passes: written once in order, read back by number."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from stages.refine.ledger import Size
from stages.refine.rows import Rows

BESIDE = ("scores", "languages", "permits", "safety")


class Spool:
    """A file of JSON records with their places and sizes in memory (48 bytes per document)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("w+b")
        self._starts, self._ends = array("q"), array("q")
        self._written = 0
        self._sizes = array("q")
        self.names: set[str] = set()
        """Fields that some record has."""
        beside = [Rows(path.with_name(f"{path.name}-{name}")) for name in BESIDE]
        self.scores, self.languages, self.permits, self.safety = beside
        """Rows of what was counted of documents, where that is kept; of what an identifier said of
        them (`identified`); of terms and makers (`permitted`); of words of lists (`safety`)."""

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
        for rows in (self.scores, self.languages, self.permits, self.safety):
            rows.close()

    def __len__(self) -> int:
        return len(self._starts)

    def append(self, record: dict[str, Any], size: Size) -> None:
        """Add a document."""
        start = self._write(record)
        self._starts.append(start)
        self._ends.append(self._written)
        self._sizes.extend((size.documents, size.characters, size.tokens))

    def replace(self, number: int, record: dict[str, Any], size: Size) -> None:
        """Put another record in a document's place."""
        self._starts[number], self._ends[number] = self._write(record), self._written
        self._sizes[3 * number : 3 * number + 3] = array(
            "q", (size.documents, size.characters, size.tokens)
        )

    def _write(self, record: dict[str, Any]) -> int:
        """Write behind all that was written; return where it begins."""
        data = json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")
        start = self._written
        self._file.seek(start)
        self._file.write(data)
        self.names.update(record)
        self._written += len(data)
        return start

    def size(self, number: int) -> Size:
        """Return a document's size."""
        return Size(*self._sizes[3 * number : 3 * number + 3])

    def lengths(self) -> array[int]:
        """Return how many bytes each record takes here: its texts are shorter."""
        return array("q", map(int.__sub__, self._ends, self._starts))

    def __getitem__(self, number: int) -> dict[str, Any]:
        start, stop = self._starts[number], self._ends[number]
        self._file.seek(start)
        record: dict[str, Any] = json.loads(self._file.read(stop - start))
        return record

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(len(self)):
            yield self[number]
