"""Words of texts as hashes with their places, and runs of words looked up in a table.

A word is a run of `\\w` characters. Folded, its characters are in lower case one by one (a final
sigma counts as a sigma), so places stay those of the text. Words go by 64-bit hashes of their
characters, runs by hashes of these.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import int64, types, uint32, uint64
from numpy.typing import NDArray

from stages.lm.kernels.characters import FINAL, MEDIAL, TABLES, WORD, decode, kind_of, lower_of
from stages.lm.kernels.characters import tables as unicode_tables
from stages.lm.kernels.compiled import BYTES, OFFSETS, fills, inlined, kernel, reads
from stages.lm.kernels.text import Texts, decoded

FACTOR, SEED = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
ALL = (1 << 64) - 1
BREAKS = ".!?…\n"
"""Characters that end a sentence."""
ELLIPSIS = ord("…")
DOT, BANG, ASK, LINE = (ord(one) for one in ".!?\n")
Numbers = NDArray[np.int64]
Hashes = NDArray[np.uint64]


class Words(NamedTuple):
    """Words of texts: document i has words bounds[i] .. bounds[i + 1]; all in order."""

    hashes: Hashes
    places: NDArray[np.int64]
    """[W, 2]: where each begins and ends in the texts' data."""
    sentences: Numbers
    """Number of each word's sentence, ascending; documents share none."""
    bounds: Numbers


@inlined
def mixed(state: Any, value: Any) -> Any:
    """Return a hash of a hash and what follows."""
    state = (state ^ uint64(value)) * uint64(FACTOR)
    return state ^ (state >> uint64(29))


@kernel(
    int64, BYTES, OFFSETS, types.boolean, fills(types.uint64), fills(int64, 2), fills(int64),
    fills(int64), TABLES,
)  # fmt: skip
def _words(
    data: Any, offsets: Any, fold: Any, hashes: Any, places: Any, sentences: Any, bounds: Any,
    tables: Any,
) -> int:  # fmt: skip
    count = sentence = 0
    for number in range(len(offsets) - 1):
        bounds[number] = count
        sentence += 1
        at, end = offsets[number], offsets[number + 1]
        inside = False
        state = uint64(SEED)
        while at < end:
            code, width = decode(data, at, end)
            if kind_of(code, tables) & uint32(WORD):
                if not inside:
                    inside, state = True, uint64(SEED)
                    places[count, 0] = at
                if fold:
                    code = lower_of(code, tables)
                    if code == FINAL:
                        code = uint32(MEDIAL)
                state = mixed(state, code)
            else:
                if inside:
                    hashes[count], places[count, 1], sentences[count] = state, at, sentence
                    count += 1
                    inside = False
                if code in (DOT, BANG, ASK, LINE, ELLIPSIS):
                    sentence += 1
            at += width
        if inside:
            hashes[count], places[count, 1], sentences[count] = state, end, sentence
            count += 1
    bounds[len(offsets) - 1] = count
    return count


def words(texts: Texts, *, fold: bool) -> Words:
    """Return the words of texts, in lower case for their hashes where `fold` says so."""
    most = (len(texts.data) + texts.documents + 1) // 2 + 1
    hashes, places = np.empty(most, np.uint64), np.empty((most, 2), np.int64)
    sentences, bounds = np.empty(most, np.int64), np.empty_like(texts.offsets)
    count = _words(
        texts.data, texts.offsets, fold, hashes, places, sentences, bounds, unicode_tables()
    )
    return Words(hashes[:count], places[:count], sentences[:count], bounds)


def reference_words(texts: Texts, *, fold: bool) -> list[list[tuple[int, int, int]]]:
    """Return by document (hash, begin, end) of each word, by Python strings."""
    made = []
    for number in range(texts.documents):
        text = decoded(texts.bytes_at(number))
        own = []
        places = [int(texts.offsets[number])]
        for one in text:
            places.append(places[-1] + _width(one, texts, places[-1]))
        for match in re.finditer(r"\w+", text):
            state = SEED
            for one in match[0]:
                low = one.lower()[0].replace("ς", "σ") if fold else one
                state = ((state ^ ord(low)) * FACTOR) & ALL
                state ^= state >> 29
            own.append((state, places[match.start()], places[match.end()]))
        made.append(own)
    return made


def _width(character: str, texts: Texts, at: int) -> int:
    data = character.encode("utf-8", "surrogatepass")
    return len(data) if texts.data[at : at + len(data)].tobytes() == data else 1


class Table(NamedTuple):
    """Hashes of runs in a hash table: slots [2^n], each the number of a key or -1."""

    keys: Hashes
    slots: NDArray[np.int32]


def table(keys: Hashes) -> Table:
    """Return the table of distinct keys; `find` tells them by their number."""
    size = 16
    while size < 2 * len(keys):
        size *= 2
    slots = np.full(size, -1, np.int32)
    _fill(np.ascontiguousarray(keys), slots)
    return Table(np.ascontiguousarray(keys), slots)


@inlined
def slot_of(keys: Any, slots: Any, key: Any) -> Any:
    """Return the slot that holds a key, or the free one where it would be."""
    mask = uint64(len(slots) - 1)
    at = (key * uint64(SEED)) >> uint64(20) & mask
    while slots[at] >= 0 and keys[slots[at]] != key:
        at = (at + uint64(1)) & mask
    return at


@kernel(types.void, reads(types.uint64), fills(types.int32))
def _fill(keys: Any, slots: Any) -> None:
    for number in range(len(keys)):
        slots[slot_of(keys, slots, keys[number])] = number


@kernel(
    int64, reads(types.uint64), reads(int64), reads(int64), int64, types.boolean,
    reads(types.uint64), reads(types.int32), fills(int64, 2),
)  # fmt: skip
def _find(
    hashes: Any, sentences: Any, bounds: Any, ngram: Any, whole: Any, keys: Any, slots: Any,
    found: Any,
) -> int:  # fmt: skip
    written = 0
    for number in range(len(bounds) - 1):
        first, stop = bounds[number], bounds[number + 1]
        if whole:
            begin = first
            while begin < stop:
                state, end = uint64(SEED), begin
                while end < stop and sentences[end] == sentences[begin]:
                    state = mixed(state, hashes[end])
                    end += 1
                held = slots[slot_of(keys, slots, state)] if end - begin >= ngram else -1
                if held >= 0:
                    if written < len(found):
                        found[written, 0], found[written, 1] = begin, held
                    written += 1
                begin = end
            continue
        for begin in range(first, stop - ngram + 1):
            state = uint64(SEED)
            for at in range(begin, begin + ngram):
                state = mixed(state, hashes[at])
            held = slots[slot_of(keys, slots, state)]
            if held >= 0:
                if written < len(found):
                    found[written, 0], found[written, 1] = begin, held
                written += 1
    return written


def find(words: Words, ngram: int, keys: Table, *, whole: bool = False) -> Numbers:
    """Return rows (first word, key): runs of `ngram` words, within documents, that the table holds.

    With `whole` the runs are whole sentences of at least so many words.
    """
    room = 1024
    while True:
        found = np.empty((room, 2), np.int64)
        count = _find(
            words.hashes, words.sentences, words.bounds, ngram, whole, keys.keys, keys.slots, found
        )
        if count <= room:
            return found[:count]
        room = count


def run_hashes(hashes: Sequence[int] | Hashes, ngram: int) -> Hashes:
    """Return the hash of every run of `ngram` words, in order, `[W - ngram + 1]`."""
    own = np.asarray(hashes, np.uint64)
    count = max(0, len(own) - ngram + 1)
    state = np.full(count, SEED, np.uint64)
    for at in range(ngram if count else 0):
        state = (state ^ own[at : at + count]) * np.uint64(FACTOR)
        state ^= state >> np.uint64(29)
    return state
