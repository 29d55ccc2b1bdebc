"""What learning merges keeps of pairs: a table of counts, a heap, and a log of who has which pair.

`sizes` [7] says how much of each array is in use; kernels make longer copies when one is full.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import int32, int64, types, uint64
from numpy.typing import NDArray

from stages.lm.kernels.compiled import called, fills, leaf, plain
from stages.lm.kernels.wordcounts import ONE

LINE = fills(types.int64, 2)
PAIR, TIMES, FIRST, LENGTH = range(4)
"""Columns of the heap: 1 + (left << 32 | right), how often, and the pair's words in the pool. The
table of pairs has the first two; its third is a pair's face while pairs are counted."""
HEAD = 3
"""int32 before a word's symbols: how many there are, and the count of the word in two halves."""
PAIRS, POOL, HEAP, FACES, LOG, MERGES, TOKENS = range(7)
"""Places in `sizes`: how much of each is in use."""


@leaf
def spread_pair(pair: int, last: int) -> int:
    """Return the slot where a pair's search begins."""
    found = uint64(pair) * ONE
    return int64((found ^ (found >> uint64(32))) & uint64(last))


@leaf
def slot_of(table: Any, pair: int) -> int:
    """Return the slot of a pair, or the empty one where it belongs."""
    last = len(table) - 1
    slot = spread_pair(pair, last)
    while table[slot, PAIR] != 0 and table[slot, PAIR] != pair:
        slot = (slot + 1) & last
    return slot


@called
def room_for(table: Any, number: int, more: int) -> Any:
    """Return the table of pairs, or a larger one, with room for `more` new pairs."""
    if 2 * (number + more) <= len(table):
        return table
    room = len(table)
    while room < 2 * (number + more):
        room *= 2
    made = np.zeros((room, 4), np.int64)
    for old in range(len(table)):
        if table[old, PAIR]:
            slot = slot_of(made, table[old, PAIR])
            for column in range(4):
                made[slot, column] = table[old, column]
    return made


@called
def lengthened(rows: Any, used: int, more: int) -> Any:
    """Return rows, or a larger copy, with room for `more` new ones."""
    if used + more <= len(rows):
        return rows
    columns = rows.shape[1]
    made = np.empty((max(2 * len(rows), used + more), columns), np.int64)
    for row in range(used):
        for column in range(columns):
            made[row, column] = rows[row, column]
    return made


@leaf
def above(heap: Any, one: int, other: int) -> bool:
    """Return whether an entry is merged before another: more often, then the lesser pair."""
    if heap[one, TIMES] != heap[other, TIMES]:
        return heap[one, TIMES] > heap[other, TIMES]
    return heap[one, PAIR] < heap[other, PAIR]


@leaf
def swap(heap: Any, one: int, other: int) -> None:
    """Exchange two entries."""
    for column in range(4):
        held = heap[one, column]
        heap[one, column] = heap[other, column]
        heap[other, column] = held


@leaf
def rise(heap: Any, place: int) -> None:
    """Move an entry up to where it belongs."""
    while place > 0 and above(heap, place, (place - 1) >> 1):
        swap(heap, place, (place - 1) >> 1)
        place = (place - 1) >> 1


@leaf
def sink(heap: Any, size: int) -> None:
    """Move the first entry down to where it belongs."""
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and above(heap, child + 1, child):
            child += 1
        if not above(heap, child, place):
            break
        swap(heap, place, child)
        place = child


@leaf
def key(left: int, right: int) -> int:
    """Return a pair as one number above 0."""
    return ((int64(left) << 32) | int64(right)) + 1


@leaf
def change(table: Any, sizes: Any, pair: int, by: int) -> int:
    """Count a pair more or less often; returns its slot."""
    slot = slot_of(table, pair)
    if table[slot, PAIR] == 0:
        table[slot, PAIR], table[slot, FIRST] = pair, -1
        sizes[PAIRS] += 1
    table[slot, TIMES] += by
    return slot


class Log(NamedTuple):
    """Which words a merge gives which pairs.

    A face is a pair that appears: `pairs` [F]; `number` [F] how many words have it, `last` [F] the
    last of them. `entries` [L, 2] are a face and a word each, in the order of the words.
    """

    pairs: NDArray[np.int64]
    number: NDArray[np.int64]
    last: NDArray[np.int64]
    entries: NDArray[np.int32]


@leaf
def note(log: Any, sizes: Any, face: int, word: int) -> None:
    """Remember that a word has a pair."""
    if log.last[face] != word:
        log.last[face] = word
        log.number[face] += 1
        log.entries[sizes[LOG], 0], log.entries[sizes[LOG], 1] = int32(face), int32(word)
        sizes[LOG] += 1


@leaf
def new_face(log: Any, sizes: Any, pair: int) -> int:
    """Return the number of a pair that appears."""
    face = sizes[FACES]
    log.pairs[face], log.number[face], log.last[face] = pair, 0, -1
    sizes[FACES] += 1
    return face


@called
def enlarged(log: Any, sizes: Any, more: int) -> Any:
    """Return the log with room for `more` faces and entries."""
    faces, entries = sizes[FACES] + more, sizes[LOG] + more
    if faces <= len(log.pairs) and entries <= len(log.entries):
        return log
    room = max(2 * len(log.pairs), faces, entries)
    made = Log(
        np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64),
        np.empty((room, 2), np.int32),
    )  # fmt: skip
    for face in range(sizes[FACES]):
        made.pairs[face], made.number[face] = log.pairs[face], log.number[face]
        made.last[face] = log.last[face]
    for entry in range(sizes[LOG]):
        made.entries[entry, 0], made.entries[entry, 1] = (
            log.entries[entry, 0],
            log.entries[entry, 1],
        )
    return made


@plain
def queue(table: Any, heap: Any, pool: Any, sizes: Any, log: Any) -> None:
    """Put every pair of the log with its words into the heap, and empty the log."""
    first = sizes[POOL]
    for face in range(sizes[FACES]):
        log.last[face] = first
        first += log.number[face]
    for entry in range(sizes[LOG]):
        face = int64(log.entries[entry, 0])
        pool[log.last[face]] = log.entries[entry, 1]
        log.last[face] += 1
    for face in range(sizes[FACES]):
        times = table[slot_of(table, log.pairs[face]), TIMES]
        if log.number[face] and times > 0:
            place = sizes[HEAP]
            heap[place, PAIR], heap[place, TIMES] = log.pairs[face], times
            heap[place, FIRST] = log.last[face] - log.number[face]
            heap[place, LENGTH] = log.number[face]
            rise(heap, place)
            sizes[HEAP] += 1
    sizes[POOL] = first
    sizes[FACES] = sizes[LOG] = 0
