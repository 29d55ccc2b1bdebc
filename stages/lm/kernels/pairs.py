"""What learning merges keeps of pairs: a table of counts, a heap, and a log of who has which pair.

`sizes` [8] says how much of each array is in use; kernels make longer copies when one is full.
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
PAIRS, POOL, HEAP, FACES, LOG, MERGES, TOKENS, COLD = range(8)
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
def sooner(times: int, pair: int, heap: Any, other: int) -> bool:
    """Return whether a pair is merged before an entry: more often, then the lesser pair."""
    if times != heap[other, TIMES]:
        return times > heap[other, TIMES]
    return pair < heap[other, PAIR]


@leaf
def move(rows: Any, place: int, source: Any, other: int) -> None:
    """Copy a row."""
    for column in range(4):
        rows[place, column] = source[other, column]


@leaf
def fill(rows: Any, place: int, pair: int, times: int, first: int, length: int) -> None:
    """Write a row."""
    rows[place, PAIR], rows[place, TIMES] = pair, times
    rows[place, FIRST], rows[place, LENGTH] = first, length


@leaf
def rise(heap: Any, place: int, pair: int, times: int, first: int, length: int) -> None:
    """Put an entry at a place at the end or further up, where it belongs."""
    while place > 0 and sooner(times, pair, heap, (place - 1) >> 1):
        move(heap, place, heap, (place - 1) >> 1)
        place = (place - 1) >> 1
    fill(heap, place, pair, times, first, length)


@leaf
def sink(heap: Any, size: int, other: int, times: int) -> None:
    """Put entry `other`, the first or one behind the heap, where it belongs with these `times`.

    The first entry's place is free.
    """
    pair, first, length = heap[other, PAIR], heap[other, FIRST], heap[other, LENGTH]
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and sooner(heap[child + 1, TIMES], heap[child + 1, PAIR], heap, child):
            child += 1
        if sooner(times, pair, heap, child):
            break
        move(heap, place, heap, child)
        place = child
    fill(heap, place, pair, times, first, length)


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
def queue(table: Any, heap: Any, cold: Any, pool: Any, sizes: Any, log: Any, bar: int) -> None:
    """Put every pair of the log with its words into the heap, and empty the log.

    One that occurs less often than `bar` goes to `cold`.
    """
    first = sizes[POOL]
    for face in range(sizes[FACES]):
        log.last[face] = first
        first += log.number[face]
    for entry in range(sizes[LOG]):
        face = int64(log.entries[entry, 0])
        pool[log.last[face]] = log.entries[entry, 1]
        log.last[face] += 1
    for face in range(sizes[FACES]):
        pair, number = log.pairs[face], log.number[face]
        times = table[slot_of(table, pair), TIMES]
        if number == 0 or times <= 0:
            continue
        if times < bar:
            fill(cold, sizes[COLD], pair, times, log.last[face] - number, number)
            sizes[COLD] += 1
        else:
            rise(heap, sizes[HEAP], pair, times, log.last[face] - number, number)
            sizes[HEAP] += 1
    sizes[POOL] = first
    sizes[FACES] = sizes[LOG] = 0


@plain
def any_warm(table: Any, cold: Any, sizes: Any, bar: int) -> bool:
    """Tell whether a cold pair occurs `bar` times again."""
    for place in range(sizes[COLD]):
        if table[slot_of(table, cold[place, PAIR]), TIMES] >= bar:
            return True
    return False


@plain
def warm(heap: Any, cold: Any, sizes: Any) -> None:
    """Put all cold pairs into the heap, as often as they were known to occur."""
    for place in range(sizes[COLD]):
        pair, times = cold[place, PAIR], cold[place, TIMES]
        rise(heap, sizes[HEAP], pair, times, cold[place, FIRST], cold[place, LENGTH])
        sizes[HEAP] += 1
    sizes[COLD] = 0
