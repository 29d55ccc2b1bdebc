"""Words of documents as numbers: a vocabulary that grows as text comes, with counts of each word.

A word is `\\w+` of the lower-cased text (`stages.lm.kernels.words`); its number is the order in
which it came first. Beside its count stands in how many documents it occurs. Words are compared
byte for byte, so no two ever share a number; the table grows outside the kernel, which goes on in
the document where it had stopped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numba import int64, types, uint64
from numpy.typing import NDArray

from stages.lm.kernels.bits import BLOCK, lowest
from stages.lm.kernels.characters import TABLES, tables
from stages.lm.kernels.compiled import BYTES, OFFSETS, called, fills, inlined, kernel, reads
from stages.lm.kernels.text import Texts
from stages.lm.kernels.words import PAD, hash_word, longest, prepare

MOST_WORDS = 1 << 23
"""Words that a vocabulary holds at most; later new ones are counted together, as `OTHER`."""
OTHER = -1
"""The number of a word that is not in the vocabulary."""
FIRST_WORDS, FIRST_BYTES = 1 << 12, 1 << 16
DOCUMENT, DONE, WRITTEN, USED, OTHERS, WANTED = range(6)
COUNT, HOLDERS, LAST, PLACE = range(4)


class Numbered(NamedTuple):
    """The words of documents: document i is ids[offsets[i] : offsets[i + 1]]."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]


@inlined
def _same(arena: Any, place: Any, text: Any, begun: Any, size: Any) -> bool:
    same = 0
    while same < size and arena[place + same] == text[begun + same]:
        same += 1
    return same == size


@called
def _find(text: Any, begun: Any, end: Any, learn: Any, at: Any, slots: Any, hashes: Any,
          rows: Any, arena: Any, most: Any) -> int:  # fmt: skip
    """Return the number of a word, OTHER, or -2 where the table has no room for a new one."""
    size, mask = end - begun, len(slots) - 1
    hashed = hash_word(text.ctypes.data + begun, size)
    slot = int64(hashed >> uint64(20)) & mask
    while slots[slot]:
        number = int64(slots[slot]) - 1
        place = rows[number, PLACE]
        if (
            hashes[number] == hashed
            and rows[number + 1, PLACE] - place == size
            and _same(arena, place, text, begun, size)
        ):
            return number
        slot = (slot + 1) & mask
    number = at[USED]
    if not learn or number >= most:
        return OTHER
    place = rows[number, PLACE]
    if number + 2 > len(rows) or 2 * number >= len(slots) or place + size > len(arena):
        at[WANTED] = place + size
        return -2
    for i in range(size):
        arena[place + i] = text[begun + i]
    rows[number + 1, PLACE] = place + size
    hashes[number] = hashed
    slots[slot] = number + 1
    at[USED] = number + 1
    return number


@kernel(
    types.boolean, BYTES, OFFSETS, types.int64, types.boolean, fills(types.int64),
    fills(types.int32), fills(types.uint64), fills(types.int64, 2), fills(types.uint8),
    types.int64, fills(types.int32), fills(types.int64), TABLES,
)  # fmt: skip
def _number(
    data: Any, offsets: Any, base: Any, learn: Any, at: Any, slots: Any, hashes: Any, rows: Any,
    arena: Any, most: Any, ids: Any, sizes: Any, tables: Any,
) -> bool:  # fmt: skip
    """Number the words from where `at` says; False where the table must grow before it goes on."""
    room = longest(offsets, 0, len(offsets) - 1)
    low = np.empty(room + PAD, np.uint8)
    word, high = np.empty(room // BLOCK + 2, np.uint64), np.empty(room // BLOCK + 2, np.uint64)
    for document in range(at[DOCUMENT], len(offsets) - 1):
        text, bits, size = prepare(
            data, offsets[document], offsets[document + 1], True, low, word, high, tables
        )
        count = begun = 0
        inside = uint64(0)
        for block in range((size + BLOCK - 1) // BLOCK + 1):
            mask = uint64(0) if BLOCK * block >= size else bits[block]
            turns = mask ^ ((mask << uint64(1)) | inside)
            while turns:
                end = min(BLOCK * block + lowest(turns), size)
                turns &= turns - uint64(1)
                if inside:
                    if count >= at[DONE]:
                        found = _find(text, begun, end, learn, at, slots, hashes, rows, arena, most)
                        if found == -2:
                            at[DOCUMENT], at[DONE] = document, count
                            return False
                        if found == OTHER:
                            at[OTHERS] += 1
                        elif learn:
                            rows[found, COUNT] += 1
                            if rows[found, LAST] != base + document + 1:
                                rows[found, LAST] = base + document + 1
                                rows[found, HOLDERS] += 1
                        ids[at[WRITTEN]] = found
                        at[WRITTEN] += 1
                    count += 1
                begun = end
                inside ^= uint64(1)
        sizes[document] = count
        at[DONE] = 0
    return True


@kernel(types.void, fills(types.int32), reads(types.uint64))
def _enter(slots: Any, hashes: Any) -> None:
    """Enter words by their hashes into an empty table."""
    mask = len(slots) - 1
    for number in range(len(hashes)):
        slot = int64(hashes[number] >> uint64(20)) & mask
        while slots[slot]:
            slot = (slot + 1) & mask
        slots[slot] = number + 1


class Vocabulary:
    """Words by number, with their counts; `add` learns new ones, `look` does not."""

    def __init__(self, most: int = MOST_WORDS) -> None:
        self.documents = 0
        self.others = 0
        self._most = most
        self._used = 0
        self._slots = np.zeros(2 * FIRST_WORDS, np.int32)
        self._hashes = np.zeros(FIRST_WORDS, np.uint64)
        self._rows = np.zeros((FIRST_WORDS + 1, 4), np.int64)
        self._arena = np.zeros(FIRST_BYTES, np.uint8)

    def __len__(self) -> int:
        return self._used

    @property
    def counts(self) -> NDArray[np.int64]:
        """Return how often every word occurred, `[V]`."""
        return self._rows[: self._used, COUNT]

    @property
    def holders(self) -> NDArray[np.int64]:
        """Return in how many documents every word occurred, `[V]`."""
        return self._rows[: self._used, HOLDERS]

    def texts(self) -> Texts:
        """Return the words in the order of their numbers."""
        offsets = np.ascontiguousarray(self._rows[: self._used + 1, PLACE])
        return Texts(self._arena[: offsets[-1]], offsets)

    def word(self, number: int) -> str:
        """Return one word."""
        first, last = self._rows[number, PLACE], self._rows[number + 1, PLACE]
        return self._arena[first:last].tobytes().decode("utf-8", "surrogatepass")

    def number(self, word: str) -> int:
        """Return a word's number, or OTHER; the word must be one `\\w+` in lower case."""
        found = self.look(Texts(*_one(word))).ids
        return int(found[0]) if len(found) == 1 else OTHER

    def add(self, texts: Texts) -> Numbered:
        """Count documents and return their words' numbers; OTHER past the most words held."""
        found = self._run(texts, learn=True)
        self.documents += texts.documents
        return found

    def look(self, texts: Texts) -> Numbered:
        """Return the numbers of documents' words; what is not known is OTHER."""
        return self._run(texts, learn=False)

    def _run(self, texts: Texts, *, learn: bool) -> Numbered:
        at = np.zeros(6, np.int64)
        at[USED] = self._used
        ids = np.empty(len(texts.data) + 1, np.int32)
        sizes = np.zeros(texts.documents, np.int64)
        table = tables()
        while not _number(
            texts.data, texts.offsets, self.documents, learn, at, self._slots, self._hashes,
            self._rows, self._arena, self._most, ids, sizes, table,
        ):  # fmt: skip
            self._grow(int(at[USED]), int(at[WANTED]))
        self._used = int(at[USED])
        if learn:
            self.others += int(at[OTHERS])
        return Numbered(ids[: at[WRITTEN]].copy(), np.concatenate([[0], np.cumsum(sizes)]))

    def _grow(self, used: int, wanted: int) -> None:
        if used + 2 > len(self._rows) or 2 * used >= len(self._slots):
            rows = np.zeros((2 * len(self._rows), 4), np.int64)
            rows[: len(self._rows)] = self._rows
            hashes = np.zeros(len(rows), np.uint64)
            hashes[:used] = self._hashes[:used]
            size = 1 << (2 * len(rows) - 1).bit_length()
            self._rows, self._hashes = rows, hashes
            self._slots = np.zeros(size, np.int32)
            _enter(self._slots, hashes[:used])
        if wanted > len(self._arena):
            arena = np.zeros(max(2 * len(self._arena), wanted), np.uint8)
            arena[: len(self._arena)] = self._arena
            self._arena = arena


def _one(word: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    data = np.frombuffer(word.encode("utf-8", "surrogatepass"), np.uint8)
    return data, np.array([0, len(data)], np.int64)


def reference(documents: Iterable[str]) -> tuple[dict[str, list[int]], list[list[int]]]:
    """Return by word its count and how many documents hold it, and every document's numbers."""
    found: dict[str, list[int]] = {}
    numbers: dict[str, int] = {}
    rows = []
    for text in documents:
        words = re.findall(r"\w+", text.lower())
        for word in words:
            numbers.setdefault(word, len(numbers))
            found.setdefault(word, [0, 0])[0] += 1
        for word in set(words):
            found[word][1] += 1
        rows.append([numbers[word] for word in words])
    return found, rows
