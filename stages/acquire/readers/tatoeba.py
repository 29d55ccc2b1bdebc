"""Tatoeba's exports: sentences, downloaded pairs, and sentences joined by links."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.acquire.formats import TatoebaFormat
from stages.acquire.readers.batches import Damaged, Input, Item, Loss, Place, Reader, clipped
from stages.acquire.readers.containers import Lines
from stages.acquire.readers.leipzig import is_number

_PAIR = ("source_sentence", "target_sentence", "source_language", "target_language")


def _columns(settings: TatoebaFormat) -> list[pa.Field]:
    names = _PAIR if settings.yields == "pairs" else ("sentence", "language")
    return [pa.field(name, pa.string()) for name in names]


def _read(source: Input, settings: TatoebaFormat, place: Place) -> Iterator[Item]:
    joined = _Sentences(source, settings) if settings.sentences else None
    for at, line in Lines(source, settings.encoding, place):
        identity = source.id(at.number)
        if isinstance(line, tuple):
            yield Item(Loss(identity, *line), at)
        elif line:
            cells = line.split("\t")
            if joined is not None:
                row = joined.pair(cells)
            elif settings.yields == "pairs":
                row = _pair(cells, settings)
            else:
                row = _sentence(cells, settings)
            found = Loss(identity, *row) if isinstance(row, tuple) else {"id": identity, **row}
            yield Item(found, at)


def _sentence(cells: list[str], settings: TatoebaFormat) -> dict[str, Any] | tuple[str, str]:
    if len(cells) < 3 or not is_number(cells[0]):
        return "no_sentence", clipped("\t".join(cells))
    if settings.language not in (None, cells[1]):
        return "other_language", clipped(cells[1])
    return {"text": cells[2], "sentence": cells[0], "language": cells[1]}


def _pair(cells: list[str], settings: TatoebaFormat) -> dict[str, Any] | tuple[str, str]:
    if len(cells) < 4 or not (is_number(cells[0]) and is_number(cells[2])):
        return "no_pair", clipped("\t".join(cells))
    return {
        "source_text": cells[1],
        "target_text": cells[3],
        "source_sentence": cells[0],
        "target_sentence": cells[2],
        "source_language": settings.language,
        "target_language": settings.target,
    }


def beside(source: Input, settings: TatoebaFormat) -> list[Path]:
    """Return the files of sentences that are read with a file of links."""
    return [source.path.parent / name for name in settings.sentences]


class _Sentences:
    """The sentences that links name, packed: their bytes, and 24 bytes for each."""

    def __init__(self, source: Input, settings: TatoebaFormat) -> None:
        self._settings = settings
        self._data = bytearray()
        self._languages: list[str] = []
        wanted = self._linked(source)
        known: dict[str, int] = {}
        self._ids = wanted
        self._start = np.full(len(wanted), -1, np.int64)
        self._size = np.zeros(len(wanted), np.int64)
        self._language = np.zeros(len(wanted), np.int32)
        for path in beside(source, settings):
            if not path.is_file():
                raise Damaged("no_sentences", f"no file {path.name} beside {source.path.name}")
            other = Input(path, path.name, source.bounds, source.licence)
            for _, line in Lines(other, settings.encoding, Place()):
                if isinstance(line, str):
                    self._take(line.split("\t"), known)
        self._languages = list(known)

    def _linked(self, source: Input) -> np.ndarray:
        ids = array("q")
        for _, line in Lines(source, self._settings.encoding, Place()):
            cells = line.split("\t") if isinstance(line, str) else []
            if len(cells) >= 2 and is_number(cells[0]) and is_number(cells[1]):
                ids.extend((int(cells[0]), int(cells[1])))
        return np.unique(np.frombuffer(ids, dtype=np.int64)) if ids else np.zeros(0, np.int64)

    def _take(self, cells: list[str], known: dict[str, int]) -> None:
        if len(cells) < 3 or not is_number(cells[0]):
            return
        at = self._place(int(cells[0]))
        sides = (self._settings.language, self._settings.target)
        if at is None or (None not in sides and cells[1] not in sides):
            return
        data = cells[2].encode("utf-8", "surrogatepass")
        self._start[at], self._size[at] = len(self._data), len(data)
        self._language[at] = known.setdefault(cells[1], len(known))
        self._data += data

    def _place(self, identity: int) -> int | None:
        at = int(np.searchsorted(self._ids, identity))
        return at if at < len(self._ids) and self._ids[at] == identity else None

    def pair(self, cells: list[str]) -> dict[str, Any] | tuple[str, str]:
        """Return the pair that a line of links joins, or why there is none."""
        if len(cells) < 2 or not (is_number(cells[0]) and is_number(cells[1])):
            return "no_link", clipped("\t".join(cells))
        sides = [self._of(int(cell)) for cell in cells[:2]]
        if sides[0] is None or sides[1] is None:
            return "no_sentence", clipped(" ".join(cells[:2]))
        (left, first), (right, second) = sides[0], sides[1]
        wrong = self._settings.language not in (None, first)
        if wrong or self._settings.target not in (None, second) or first == second:
            return "other_language", f"{first} and {second}"
        return {
            "source_text": left,
            "target_text": right,
            "source_sentence": cells[0],
            "target_sentence": cells[1],
            "source_language": first,
            "target_language": second,
        }

    def _of(self, identity: int) -> tuple[str, str] | None:
        at = self._place(identity)
        if at is None or self._start[at] < 0:
            return None
        start = int(self._start[at])
        data = self._data[start : start + int(self._size[at])]
        return data.decode("utf-8", "surrogatepass"), self._languages[self._language[at]]


READER = Reader(kind=lambda settings: settings.yields, columns=_columns, read=_read, beside=beside)
