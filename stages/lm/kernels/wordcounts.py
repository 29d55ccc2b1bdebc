"""Counting distinct pre-tokens: two hash tables over bytes, for short words and for long ones.

A word of at most 15 bytes is its own key: two uint64, the second with the length in its top byte,
so equal keys are equal words. Longer ones stand in an arena and are compared byte for byte; one
above `LONGEST` bytes counts as words of that length and a rest, so that what merging costs stays
proportional to the text (white space and `-----` apart, no language has such words).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from numba import int64, types, uint64
from numpy.typing import NDArray

from stages.lm.kernels import pretokens
from stages.lm.kernels.classes import CLASSES, classes
from stages.lm.kernels.compiled import (
    BYTES,
    OFFSETS,
    called,
    fills,
    kernel,
    leaf,
    plain,
    reads,
    spread,
)
from stages.lm.kernels.loads import MARGIN, load8, prefetch
from stages.lm.kernels.pretokens import WINDOW, scratch, split, window
from stages.lm.kernels.text import Texts

SHORT = 15
"""Bytes of a word that is its own key, at most."""
LONGEST = 1024
FIRST_ROOM = 1 << 16
BATCH = 32
ONE, TWO = uint64(0x9E3779B97F4A7C15), uint64(0xC2B2AE3D27D4EB4F)
"""Odd multipliers: the golden ratio (Knuth 6.4) and a prime of xxHash."""
KEY, REST, COUNT = 0, 1, 2
HASH, PLACE, LENGTH, TIMES = 0, 1, 2, 3
TABLE = fills(types.uint64, 2)
EMPTY = np.zeros(0, np.int64)
EMPTY.flags.writeable = False


class Words(NamedTuple):
    """Distinct words: word i is data[offsets[i] : offsets[i + 1]] and occurs counts[i] times."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]


def low_masks() -> NDArray[np.uint64]:
    """Return [16, 2]: what of two loaded uint64 belongs to a word of each length."""
    return np.array(
        [[2 ** (8 * min(n, 8)) - 1, 2 ** (8 * max(n - 8, 0)) - 1] for n in range(16)], np.uint64
    )


MASKS = low_masks()


@leaf
def short_key(held: Any, at: int, length: int) -> Any:
    """Return the two words of the key of a word of at most `SHORT` bytes."""
    first = load8(held, at) & MASKS[length, 0]
    rest = load8(held, at + 8) & MASKS[length, 1]
    return first, rest | (uint64(length) << uint64(56))


@leaf
def mixed(first: Any, rest: Any) -> Any:
    """Return a hash of a key; its low bits choose the slot."""
    found = (first ^ (rest * TWO)) * ONE
    return found ^ (found >> uint64(32))


@leaf
def long_hash(held: Any, at: int, length: int) -> Any:
    """Return a hash, never 0, of a word of 8 bytes or more."""
    found = uint64(length) * TWO
    for place in range(0, length - 7, 8):
        found = (found ^ load8(held, at + place)) * ONE
        found ^= found >> uint64(29)
    found = (found ^ load8(held, at + length - 8)) * ONE
    return (found ^ (found >> uint64(32))) | uint64(1)


@leaf
def add_short(table: Any, slot: int, first: Any, rest: Any, times: int) -> int:
    """Count a short word that belongs at `slot`; returns 1 if it is new."""
    last = len(table) - 1
    while table[slot, REST]:
        if table[slot, KEY] == first and table[slot, REST] == rest:
            table[slot, COUNT] += uint64(times)
            return 0
        slot = (slot + 1) & last
    table[slot, KEY], table[slot, REST], table[slot, COUNT] = first, rest, uint64(times)
    return 1


@plain
def add_long(table: Any, arena: Any, used: int, held: Any, at: int, length: int, times: int) -> int:
    """Count a long word; returns how many bytes it takes in the arena, 0 if it is there."""
    last = len(table) - 1
    key = long_hash(held, at, length)
    slot = int64(key & uint64(last))
    while table[slot, HASH]:
        if table[slot, HASH] == key and int64(table[slot, LENGTH]) == length:
            place = int64(table[slot, PLACE])
            same = 0
            while same < length and arena[place + same] == held[at + same]:
                same += 1
            if same == length:
                table[slot, TIMES] += uint64(times)
                return 0
        slot = (slot + 1) & last
    for byte in range(length):
        arena[used + byte] = held[at + byte]
    table[slot, HASH], table[slot, PLACE] = key, uint64(used)
    table[slot, LENGTH], table[slot, TIMES] = uint64(length), uint64(times)
    return length


@called
def grown(table: Any, number: int, more: int) -> Any:
    """Return the table, or a larger one with the same words, with room for `more` new ones.

    Short words have their own keys, long ones carry their hash: both tables grow alike.
    """
    room = len(table)
    while room < 2 * (number + more):
        room *= 2
    if room == len(table):
        return table
    made = np.zeros((room, 4), np.uint64)
    for old in range(len(table)):
        if table[old, 0] | table[old, 1]:
            slot = int64(table[old, 0])
            if table[old, 3] == 0:
                slot = int64(mixed(table[old, KEY], table[old, REST]))
            slot &= room - 1
            while made[slot, 0] | made[slot, 1]:
                slot = (slot + 1) & (room - 1)
            for column in range(4):
                made[slot, column] = table[old, column]
    return made


@called
def longer(arena: Any, used: int, more: int) -> Any:
    """Return the arena, or a larger copy, with room for `more` bytes."""
    if used + more <= len(arena):
        return arena
    made = np.empty(max(2 * len(arena), used + more), np.uint8)
    for at in range(used):
        made[at] = arena[at]
    return made


@kernel(
    types.Tuple((TABLE, TABLE, fills(types.uint8))),
    BYTES, OFFSETS, reads(types.int64), CLASSES, TABLE, TABLE, fills(types.uint8),
    fills(types.int64),
)  # fmt: skip
def _count(
    data: Any, offsets: Any, weights: Any, tables: Any, short: Any, long: Any, arena: Any,
    sizes: Any,
) -> Any:  # fmt: skip
    """Count the pre-tokens; with `weights`, each document is one word that occurs so often."""
    document = at = 0
    room = scratch(WINDOW)
    keys, slots = np.empty((BATCH, 2), np.uint64), np.empty(BATCH, np.int64)
    while document + 1 < len(offsets):
        if len(weights):
            onward, end = document + 1, offsets[document + 1]
            place = end
        else:
            onward, place, end = window(data, offsets, document, at)
        size = end - at
        if size > len(room.held) - 2 * MARGIN:
            room = scratch(size)
        times = 1
        if len(weights):
            times = weights[document]
            for byte in range(size):
                room.held[byte] = data[at + byte]
            room.starts[0], room.starts[1] = 0, size
            found = min(1, size)
        else:
            found = split(data, offsets, document, at, end, tables, room)
        pieces = found + size // LONGEST
        short = grown(short, sizes[0], pieces)
        long = grown(long, sizes[1], pieces)
        arena = longer(arena, sizes[2], size)
        for begin in range(0, found, BATCH):
            behind = min(found, begin + BATCH)
            for token in range(begin, behind):
                start = int64(room.starts[token])
                length = min(int64(room.starts[token + 1]) - start, SHORT)
                first, rest = short_key(room.held, start, length)
                slot = int64(mixed(first, rest)) & (len(short) - 1)
                prefetch(short, slot)
                keys[token - begin, 0], keys[token - begin, 1] = first, rest
                slots[token - begin] = slot
            for token in range(begin, behind):
                start, stop = int64(room.starts[token]), int64(room.starts[token + 1])
                if stop - start <= SHORT:
                    one = token - begin
                    sizes[0] += add_short(short, slots[one], keys[one, 0], keys[one, 1], times)
                    continue
                while start < stop:
                    length = min(stop - start, LONGEST)
                    if length > SHORT:
                        taken = add_long(long, arena, sizes[2], room.held, start, length, times)
                        sizes[1] += taken > 0
                        sizes[2] += taken
                    else:
                        first, rest = short_key(room.held, start, length)
                        slot = int64(mixed(first, rest)) & (len(short) - 1)
                        sizes[0] += add_short(short, slot, first, rest, times)
                    start += length
        document, at = onward, place
    return short, long, arena


class Tally:
    """Counts of pre-tokens, text by text."""

    def __init__(self, isolate: bool = False) -> None:
        self._isolate = isolate
        self._short = np.zeros((FIRST_ROOM, 4), np.uint64)
        self._long = np.zeros((FIRST_ROOM, 4), np.uint64)
        self._arena = np.zeros(1 << 16, np.uint8)
        self._sizes = np.zeros(3, np.int64)

    def add(self, texts: Texts, weights: NDArray[np.int64] = EMPTY) -> None:
        """Count pre-tokens; with `weights`, each document is one word that occurs so often."""
        self._short, self._long, self._arena = _count(
            texts.data, texts.offsets, weights, classes(self._isolate),
            self._short, self._long, self._arena, self._sizes,
        )  # fmt: skip

    def words(self) -> Words:
        """Return the distinct words and how often each occurs; their order says nothing."""
        short = self._short[self._short[:, REST] != 0]
        long = self._long[self._long[:, HASH] != 0]
        lengths = (short[:, REST] >> np.uint64(56)).astype(np.int64)
        letters = np.ascontiguousarray(short[:, :2]).view(np.uint8).reshape(-1, 16)
        places, sizes = long[:, PLACE].astype(np.int64), long[:, LENGTH].astype(np.int64)
        order = np.argsort(places)  # words lie in the arena one behind the other
        offsets = np.zeros(len(short) + len(long) + 1, np.int64)
        np.cumsum(np.concatenate([lengths, sizes[order]]), out=offsets[1:])
        data = letters[np.arange(16) < lengths[:, None]]
        counts = np.concatenate([short[:, COUNT], long[order, TIMES]]).astype(np.int64)
        return Words(np.concatenate([data, self._arena[: self._sizes[2]]]), offsets, counts)


class Tallies:
    """Counts of pre-tokens by several threads, each its own, added up in the end."""

    def __init__(self, threads: int = 1, isolate: bool = False) -> None:
        self._threads = threads
        self._all = [Tally(isolate) for _ in range(threads)]
        self._free: SimpleQueue[Tally] = SimpleQueue()
        for tally in self._all:
            self._free.put(tally)

    def add(self, texts: Texts) -> None:
        """Count the pre-tokens of texts."""

        def work(first: int, stop: int) -> None:
            tally = self._free.get()
            try:
                tally.add(texts.part(first, stop))
            finally:
                self._free.put(tally)

        spread(texts.offsets, self._threads, work)

    def words(self) -> Words:
        """Return the distinct words and how often each occurs; their order says nothing."""
        if self._threads == 1:
            return self._all[0].words()
        found = Tally()
        for tally in self._all:
            part = tally.words()
            found.add(Texts(part.data, part.offsets), part.counts)
        return found.words()


def count(texts: Texts, threads: int = 1, isolate: bool = False) -> Words:
    """Count the pre-tokens of texts."""
    tallies = Tallies(threads, isolate)
    tallies.add(texts)
    return tallies.words()


def as_counter(words: Words) -> Counter[bytes]:
    """Return the counts as Python has them."""
    data, bounds = words.data.tobytes(), words.offsets.tolist()
    pieces = (data[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True))
    return Counter(dict(zip(pieces, words.counts.tolist(), strict=True)))


def reference(documents: Iterable[bytes], isolate: bool = False) -> Counter[bytes]:
    """Count the pre-tokens of documents in plain Python."""
    found: Counter[bytes] = Counter()
    for document in documents:
        for word in pretokens.reference(document, isolate):
            found.update(word[at : at + LONGEST] for at in range(0, len(word), LONGEST))
    return found
