"""What words became: ids found by a word's bytes, and how they are written out.

A short word's row holds its ids; long words and those of many ids have them in an arena. A full
memory is emptied and filled anew, which no output shows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import int64, types, uint16, uint64
from numpy.typing import NDArray

from stages.lm.kernels.bpe import merged
from stages.lm.kernels.compiled import called, fills, leaf, plain
from stages.lm.kernels.loads import MARGIN, load8, store8
from stages.lm.kernels.wordcounts import SHORT, long_hash

MOST_IDS = 1 << 20
"""Ids must be below this: three of them and their number fit a uint64."""
BITS, MASK = uint64(20), uint64(MOST_IDS - 1)
FIRST, INLINE = 4, 6
"""Ids that a short word's row holds itself."""
KEPT = 1024
"""Bytes of a word that is remembered, at most."""
SLOTS, LONG_SLOTS, ARENA = 1 << 19, 1 << 16, 1 << 22
KEY, REST, IDS, MORE = range(4)
"""Columns of a short word: its key, its ids.

`IDS` has the lower 16 bits of four ids as they are written; `MORE` how many ids there are in its
top four bits, then the upper four bits of these four, then two more ids.
"""
HASH, PLACE, SIZE, WHERE = range(4)
"""Columns of a long word: its letters in one arena, and begin and number of its ids in another."""
USED_SHORT, USED_LONG, USED_LETTERS, USED_IDS = range(4)


class Memory(NamedTuple):
    """What words became; `sizes` [4] how much of each array is in use."""

    short: NDArray[np.uint64]
    long: NDArray[np.uint64]
    letters: NDArray[np.uint8]
    ids: NDArray[np.int32]
    sizes: NDArray[np.int64]


MEMORY = types.NamedTuple(
    (
        fills(types.uint64, 2), fills(types.uint64, 2), fills(types.uint8), fills(types.int32),
        fills(types.int64),
    ),
    Memory,
)  # fmt: skip


def memory() -> Memory:
    """Return an empty memory; its pages are taken from the machine as words are learned."""
    return Memory(
        np.zeros((SLOTS, 4), np.uint64), np.zeros((LONG_SLOTS, 4), np.uint64),
        np.empty(ARENA + MARGIN, np.uint8), np.empty(ARENA, np.int32), np.zeros(4, np.int64),
    )  # fmt: skip


@plain
def remember(memory: Any, ids: Any, count: int) -> Any:
    """Keep a word's ids in the arena; returns begin << 32 | number."""
    first = memory.sizes[USED_IDS]
    for at in range(count):
        memory.ids[first + at] = ids[at]
    memory.sizes[USED_IDS] += count
    return (uint64(first) << uint64(32)) | uint64(count)


@plain
def learn_short(memory: Any, slot: int, first: Any, rest: Any, ids: Any, count: int) -> None:
    """Keep what a short word became in the empty row `slot`."""
    row = memory.short
    row[slot, KEY], row[slot, REST] = first, rest
    memory.sizes[USED_SHORT] += 1
    if count > INLINE:
        row[slot, IDS] = remember(memory, ids, count)
        row[slot, MORE] = uint64(15) << uint64(60)
        return
    row[slot, IDS], row[slot, MORE] = uint64(0), uint64(count) << uint64(60)
    for at in range(min(count, FIRST)):
        one = uint64(ids[at])
        row[slot, IDS] |= (one & uint64(0xFFFF)) << uint64(16 * at)
        row[slot, MORE] |= (one >> uint64(16)) << uint64(40 + 4 * at)
    for at in range(FIRST, count):
        row[slot, MORE] |= uint64(ids[at]) << (BITS * uint64(at - FIRST))


@plain
def find_long(long: Any, letters: Any, held: Any, at: int, length: int, key: Any) -> int:
    """Return the slot of a long word, or the empty one where it belongs."""
    last = len(long) - 1
    slot = int64(key & uint64(last))
    while long[slot, HASH]:
        if long[slot, HASH] == key and int64(long[slot, SIZE]) == length:
            place = int64(long[slot, PLACE])
            other = load8(letters, place + length - 8) ^ load8(held, at + length - 8)
            for step in range(0, length - 8, 8):
                other |= load8(letters, place + step) ^ load8(held, at + step)
            if other == 0:
                return slot
        slot = (slot + 1) & last
    return slot


@leaf
def known_long(long: Any, letters: Any, held: Any, at: int, length: int) -> int:
    """Return the slot of a long word that is remembered, -1 of another."""
    if length > KEPT:
        return -1
    slot = find_long(long, letters, held, at, length, long_hash(held, at, length))
    return slot if long[slot, HASH] else -1


@plain
def learn_long(
    memory: Any, slot: int, key: Any, held: Any, at: int, length: int, ids: Any, count: int
) -> None:
    """Keep what a long word became in the empty row `slot`."""
    place = memory.sizes[USED_LETTERS]
    for byte in range(length):
        memory.letters[place + byte] = held[at + byte]
    memory.sizes[USED_LETTERS] += length
    memory.sizes[USED_LONG] += 1
    memory.long[slot, HASH], memory.long[slot, PLACE] = key, uint64(place)
    memory.long[slot, SIZE], memory.long[slot, WHERE] = uint64(length), remember(memory, ids, count)


@leaf
def put(out: Any, at: int, number: Any, wide: bool) -> int:
    """Write an id; returns where the next one goes."""
    out[at] = uint16(number)
    if not wide:
        return at + 1
    out[at + 1] = uint16(number >> 16)
    return at + 2


@leaf
def put_kept(out: Any, at: int, kept: Any, where: Any, wide: bool) -> int:
    """Write ids of the arena; returns where the next one goes."""
    first = int64(where >> uint64(32))
    for place in range(first, first + int64(where & uint64(0xFFFFFFFF))):
        at = put(out, at, kept[place], wide)
    return at


@leaf
def put_row(out: Any, at: int, short: Any, kept: Any, slot: int, wide: bool) -> int:
    """Write the ids of a short word; returns where the next one goes."""
    ids, more = short[slot, IDS], short[slot, MORE]
    count = int64(more >> uint64(60))
    if count > INLINE:
        return put_kept(out, at, kept, ids, wide)
    # What is beyond the word is written over by the next one.
    if not wide:
        store8(out, at, ids)
        if count > FIRST:
            store8(out, at + FIRST, (more & uint64(0xFFFF)) | (more >> BITS << uint64(16)))
        return at + count
    for place in range(FIRST):
        put(out, at + 2 * place, _whole(ids, more, place), wide)
    if count > FIRST:
        put(out, at + 2 * FIRST, more & MASK, wide)
        put(out, at + 2 * FIRST + 2, (more >> BITS) & MASK, wide)
    return at + 2 * count


@leaf
def _whole(ids: Any, more: Any, place: int) -> Any:
    """Return one of the first ids of a short word."""
    upper = (more >> uint64(40 + 4 * place)) & uint64(15)
    return (ids >> uint64(16 * place)) & uint64(0xFFFF) | upper << uint64(16)


@called
def put_long(
    out: Any, at: int, memory: Any, held: Any, start: int, length: int, rules: Any, ids: Any,
    found: Any, wide: bool,
) -> int:  # fmt: skip
    """Write the ids of a long word, remembered or not; returns where the next one goes."""
    if length > KEPT:
        count = merged(held, start, length, rules, ids, found)
        for place in range(count):
            at = put(out, at, ids[place], wide)
        return at
    key = long_hash(held, start, length)
    slot = find_long(memory.long, memory.letters, held, start, length, key)
    if memory.long[slot, HASH] == 0:
        count = merged(held, start, length, rules, ids, found)
        learn_long(memory, slot, key, held, start, length, ids, count)
    return put_kept(out, at, memory.ids, memory.long[slot, WHERE], wide)


@plain
def forget(memory: Any, size: int) -> None:
    """Empty the memory if `size` more bytes of words might not fit."""
    sizes = memory.sizes
    if (
        2 * (sizes[USED_SHORT] + size) > len(memory.short)
        or 2 * (sizes[USED_LONG] + size // SHORT) > len(memory.long)
        or sizes[USED_LETTERS] + size > len(memory.letters) - MARGIN
        or sizes[USED_IDS] + size > len(memory.ids)
    ):
        for slot in range(len(memory.short)):
            memory.short[slot, KEY] = memory.short[slot, REST] = 0
        for slot in range(len(memory.long)):
            memory.long[slot, HASH] = 0
        for place in range(len(sizes)):
            sizes[place] = 0
