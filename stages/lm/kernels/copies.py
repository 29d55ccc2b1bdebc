"""How often a piece of text stood in the corpus before: lines and paragraphs, in reading order.

A piece is a run of whole lines, its line ends included, so the pieces of a text are its bytes and
any of them can be taken out. Pieces are compared by `stages.lm.kernels.equality`: up to letter
case and blanks.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numba import int64, types, uint64
from numpy.typing import NDArray

from stages.lm.kernels.compiled import fills, kernel, reads
from stages.lm.kernels.equality import keyed
from stages.lm.kernels.text import Texts

FREE = (1 << 64) - 1
LINE_END = 10
MANY = (1 << 16) - 1
"""Copies are counted up to here."""


def lines(texts: Texts) -> tuple[Texts, NDArray[np.int64]]:
    """Return the lines of all documents in a row, and where each document's begin, `[D + 1]`.

    A line ends behind its line feed or with its document; an empty document has none.
    """
    ends = np.flatnonzero(texts.data == LINE_END).astype(np.int64) + 1
    cuts = np.unique(np.concatenate([texts.offsets, ends]))
    return Texts(texts.data, cuts), np.searchsorted(cuts, texts.offsets)


def paragraphs(texts: Texts, threads: int = 1) -> tuple[Texts, NDArray[np.int64]]:
    """Return the paragraphs of all documents, each with the blank lines behind it.

    Blank lines before a document's first paragraph belong to it.
    """
    pieces, bounds = lines(texts)
    _, sizes = keyed(pieces, threads)
    filled = sizes > 0
    first = filled.copy()
    first[1:] &= ~filled[:-1]  # the line before is blank
    heads = pieces.offsets[:-1]
    starts = np.isin(heads, texts.offsets)
    # Of a document's first lines only the very first one begins a piece, blank or not.
    index = np.arange(len(heads))
    opened = np.maximum.accumulate(np.where(starts, index, -1))
    seen = np.concatenate([[0], np.cumsum(filled)])
    earlier = seen[index] - seen[opened] > 0
    cuts = np.append(heads[starts | (first & earlier)], pieces.offsets[-1:])
    return Texts(texts.data, cuts), np.searchsorted(cuts, texts.offsets)


@kernel(
    types.int64, reads(types.uint64), reads(types.uint16), fills(types.uint64),
    fills(types.uint16), fills(types.int64),
)  # fmt: skip
def _count(keys: Any, weights: Any, slots: Any, counts: Any, before: Any) -> int:
    """Add each key's weight; `before` [E] gets what it had before. Returns how many are new."""
    new = 0
    mask = uint64(len(slots) - 1)
    for number in range(len(keys)):
        key = min(keys[number], uint64(FREE - 1))
        at = key & mask
        while slots[at] != key and slots[at] != uint64(FREE):
            at = (at + uint64(1)) & mask
        if slots[at] == uint64(FREE):
            slots[at] = key
            new += 1
        before[number] = counts[at]
        counts[at] = min(int64(counts[at]) + int64(weights[number]), int64(MANY))
    return new


class Copies:
    """Counts of all pieces met so far: 20 to 40 bytes for each different one.

    Two different pieces are taken for one with probability 2^-64.
    """

    def __init__(self, room: int = 1 << 16) -> None:
        """Begin with room for half so many pieces, a power of two."""
        self._slots = np.full(room, FREE, np.uint64)
        self._counts = np.zeros(room, np.uint16)
        self._used = 0

    def count(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return how often each key came before it, `[E]`, and count it."""
        before = np.empty(len(keys), np.int64)
        while 2 * (self._used + len(keys)) > len(self._slots):
            held = self._slots != np.uint64(FREE)
            known, weights = self._slots[held], self._counts[held]
            self._slots = np.full(2 * len(self._slots), FREE, np.uint64)
            self._counts = np.zeros(len(self._slots), np.uint16)
            _count(known, weights, self._slots, self._counts, np.empty(len(known), np.int64))
        ones = np.ones(len(keys), np.uint16)
        self._used += _count(keys, ones, self._slots, self._counts, before)
        return before


def reference_lines(text: str) -> list[str]:
    """Return what `lines` cuts a text into."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def reference_paragraphs(text: str) -> list[str]:
    """Return what `paragraphs` cuts a text into."""
    found: list[str] = []
    blank = False
    for line in reference_lines(text):
        filled = bool(line.strip())
        if found and not (filled and blank and found[-1].strip()):
            found[-1] += line
        else:
            found.append(line)
        blank = not filled
    return found
