"""Leipzig corpora: numbered sentences, with the address and date of the page each came from.

`*-inv_so.txt` ties sentences to sources (`source<TAB>sentence`), `*-sources.txt` says what those
are (`source<TAB>address<TAB>date`); either may be absent.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.acquire.formats import LeipzigFormat
from stages.acquire.readers.batches import Input, Item, Loss, Place, Reader, clipped
from stages.acquire.readers.containers import Lines

_SUFFIX = "-sentences"
_NUMBER_DIGITS = 18


def _columns(_: LeipzigFormat) -> list[pa.Field]:
    return [pa.field(name, pa.string()) for name in ("sentence", "url", "date")]


def _read(source: Input, settings: LeipzigFormat, place: Place) -> Iterator[Item]:
    told = _Sources(source, settings)
    for at, line in Lines(source, settings.encoding, place):
        identity = source.id(at.number)
        if isinstance(line, tuple):
            yield Item(Loss(identity, *line), at)
            continue
        if not line.strip():
            continue
        number, tab, text = line.partition("\t")
        if not tab or not is_number(number):
            yield Item(Loss(identity, "no_number", clipped(line)), at)
            continue
        row: dict[str, Any] = {"id": identity, "text": text, "sentence": number}
        yield Item(row | told.of(int(number)), at)


def is_number(cell: str) -> bool:
    """Tell an id: ASCII digits that fit 64 bits."""
    return cell.isascii() and cell.isdigit() and len(cell) <= _NUMBER_DIGITS


def _both(source: Input, _: LeipzigFormat) -> list[Path]:
    found = [beside(source.path, other) for other in ("-inv_so", "-sources")]
    return [path for path in found if path is not None]


def beside(path: Path, other: str) -> Path | None:
    """Return the file of the other name beside a `*-sentences` file, packed or not."""
    if _SUFFIX not in path.name:
        return None
    bare = path.name.replace(_SUFFIX, other).split(".txt")[0]
    found = sorted(path.parent.glob(f"{bare.replace('[', '[[]')}.txt*"))
    return found[0] if found else None


class _Sources:
    """Which source a sentence has, in 16 bytes for each tie, and what the sources are."""

    def __init__(self, source: Input, settings: LeipzigFormat) -> None:
        self._ties, self._of = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._told: dict[int, tuple[str, str]] = {}
        ties, told = beside(source.path, "-inv_so"), beside(source.path, "-sources")
        if ties is None or told is None:
            return
        pairs = array("q")
        for cells in _cells(source, ties, settings.encoding):
            if len(cells) >= 2 and is_number(cells[0]) and is_number(cells[1]):
                pairs.extend((int(cells[1]), int(cells[0])))
        table = np.unique(np.frombuffer(pairs, dtype=np.int64).reshape(-1, 2), axis=0)
        self._ties, self._of = table[:, 0], table[:, 1]
        for cells in _cells(source, told, settings.encoding):
            if len(cells) >= 2 and is_number(cells[0]):
                self._told[int(cells[0])] = (cells[1], cells[2] if len(cells) > 2 else "")

    def of(self, sentence: int) -> dict[str, str]:
        """Return address and date of a sentence's first source, where they are told."""
        at = bisect_left(self._ties, sentence)
        if at == len(self._ties) or self._ties[at] != sentence:
            return {}
        url, date = self._told.get(int(self._of[at]), ("", ""))
        return {name: value for name, value in (("url", url), ("date", date)) if value}


def _cells(source: Input, path: Path, encoding: str) -> Iterator[list[str]]:
    other = Input(path, path.name, source.bounds, source.licence)
    for _, line in Lines(other, encoding, Place()):
        if isinstance(line, str):
            yield line.split("\t")


READER = Reader(kind=lambda _: "documents", columns=_columns, read=_read, beside=_both)
