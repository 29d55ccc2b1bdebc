"""Byte-level BPE of one word: which neighbours are merged, and in what order.

Of all pairs of neighbours in a word the one whose merge was learned first is merged, the leftmost
of equals, until none is left (Sennrich et al. 2016; GPT-2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import int32, int64, types, uint64
from numpy.typing import NDArray

from stages.lm.kernels import pretokens
from stages.lm.kernels.compiled import called, leaf, plain, reads
from stages.lm.kernels.wordcounts import ONE

NONE = uint64(0xFFFFFFFFFFFFFFFF)
FEW = 48
"""Symbols up to which the next pair is found by looking at all."""


class Rules(NamedTuple):
    """`symbols` [256] the id of each byte; `pairs` [2^k, 2] a hash table of merges.

    A row is 1 + (left << 32 | right) and rank << 32 | id.
    """

    symbols: NDArray[np.int32]
    pairs: NDArray[np.uint64]


PAIRS = types.Array(types.uint64, 2, "C", readonly=True)
RULES = types.NamedTuple((reads(types.int32), PAIRS), Rules)


def rules(symbols: Sequence[int], merges: Mapping[tuple[int, int], tuple[int, int]]) -> Rules:
    """Return the rules of byte ids and of merges: (left, right) to (rank, id made)."""
    pairs = np.array(list(merges), np.uint64).reshape(-1, 2)
    values = np.array(list(merges.values()), np.uint64).reshape(-1, 2)
    half = np.uint64(32)
    keys = (pairs[:, 0] << half | pairs[:, 1]) + np.uint64(1)
    mix = keys * np.uint64(ONE)
    room, table = 256, None
    while room < 2 * len(keys):
        room *= 2
    while table is None:
        homes = ((mix ^ mix >> half) & np.uint64(room - 1)).astype(np.int64)
        table = _placed(homes, keys, values[:, 0] << half | values[:, 1], room)
        room *= 2
    first = np.array(symbols, np.int32)
    first.flags.writeable = table.flags.writeable = False
    return Rules(first, table)


def _placed(
    homes: NDArray[np.int64], keys: NDArray[np.uint64], values: NDArray[np.uint64], room: int
) -> NDArray[np.uint64] | None:
    """Return a table where each key stands at its home or behind, None if one falls off the end.

    In the order of their homes, key i stands at the greatest of home j + (i - j), j up to i.
    """
    order = np.argsort(homes, kind="stable")
    count = np.arange(len(order))
    places = np.maximum.accumulate(homes[order] - count) + count
    if len(places) and places[-1] >= room:
        return None
    table = np.zeros((room, 2), np.uint64)
    table[places, 0], table[places, 1] = keys[order], values[order]
    return table


@leaf
def merge_of(pairs: Any, left: int, right: int) -> Any:
    """Return rank << 32 | id of a pair's merge, `NONE` if it has none."""
    pair = ((uint64(left) << uint64(32)) | uint64(right)) + uint64(1)
    mix = pair * ONE
    last = len(pairs) - 1
    slot = int64((mix ^ (mix >> uint64(32))) & uint64(last))
    while pairs[slot, 0]:
        if pairs[slot, 0] == pair:
            return pairs[slot, 1]
        slot = (slot + 1) & last
    return NONE


@plain
def merge_few(ids: Any, size: int, pairs: Any, found: Any) -> int:
    """Merge the symbols ids[:size], looking at all pairs each time; returns how many are left.

    `found` [size] is room for the merge of each symbol with the next.
    """
    for at in range(size - 1):
        found[at] = merge_of(pairs, ids[at], ids[at + 1])
    while size > 1:
        best = 0
        for at in range(1, size - 1):
            if found[at] >> uint64(32) < found[best] >> uint64(32):
                best = at
        if found[best] == NONE:
            break
        ids[best] = int32(found[best] & uint64(0xFFFFFFFF))
        size -= 1
        for at in range(best + 1, size):
            ids[at] = ids[at + 1]
            found[at] = found[at + 1]
        if best + 1 < size:
            found[best] = merge_of(pairs, ids[best], ids[best + 1])
        if best:
            found[best - 1] = merge_of(pairs, ids[best - 1], ids[best])
    return size


@leaf
def push(heap: Any, size: int, value: Any) -> int:
    """Add a number to a heap whose least is first; returns its new size."""
    at = size
    while at and heap[(at - 1) >> 1] > value:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = value
    return size + 1


@leaf
def pop(heap: Any, size: int) -> int:
    """Take the least number away; returns the heap's new size."""
    size -= 1
    value, at = heap[size], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value
    return size


@plain
def closed_up(ids: Any, size: int) -> int:
    """Close the gaps that merged symbols left (-1); returns how many symbols there are."""
    kept = 0
    for at in range(size):
        if ids[at] >= 0:
            ids[kept] = ids[at]
            kept += 1
    return kept


@called
def merge_many(ids: Any, size: int, pairs: Any) -> int:
    """Merge the symbols ids[:size] with a heap of (rank, place); returns how many are left.

    A pair that is no longer there has another merge than the heap says, and is passed over.
    """
    # A merge takes one entry away and adds two at most, and there are fewer merges than symbols.
    heap, number = np.empty(2 * size, np.uint64), 0
    before, behind = np.empty(size, np.int32), np.empty(size, np.int32)
    for at in range(size):
        before[at], behind[at] = at - 1, at + 1
    for at in range(size - 1):
        found = merge_of(pairs, ids[at], ids[at + 1])
        if found != NONE:
            number = push(heap, number, (found >> uint64(32) << uint64(32)) | uint64(at))
    while number:
        top = heap[0]
        number = pop(heap, number)
        at = int64(top & uint64(0xFFFFFFFF))
        right = int64(behind[at])
        if ids[at] < 0 or right >= size:
            continue
        found = merge_of(pairs, ids[at], ids[right])
        if found == NONE or found >> uint64(32) != top >> uint64(32):
            continue
        ids[at], ids[right] = int32(found & uint64(0xFFFFFFFF)), -1
        behind[at] = behind[right]
        if behind[at] < size:
            before[behind[at]] = at
            found = merge_of(pairs, ids[at], ids[behind[at]])
            if found != NONE:
                number = push(heap, number, (found >> uint64(32) << uint64(32)) | uint64(at))
        left = int64(before[at])
        if left >= 0:
            found = merge_of(pairs, ids[left], ids[at])
            if found != NONE:
                number = push(heap, number, (found >> uint64(32) << uint64(32)) | uint64(left))
    return closed_up(ids, size)


@called
def merged(held: Any, at: int, length: int, rules: Any, ids: Any, found: Any) -> int:
    """Write a word's ids to `ids`; returns how many they are."""
    for place in range(length):
        ids[place] = rules.symbols[held[at + place]]
    if length <= FEW:
        return merge_few(ids, length, rules.pairs, found)
    return merge_many(ids, length, rules.pairs)


def reference(
    text: bytes, symbols: Sequence[int], merges: Mapping[tuple[int, int], tuple[int, int]],
    isolate: bool = False,
) -> list[int]:  # fmt: skip
    """Return the ids of one document in plain Python."""
    made: list[int] = []
    for word in pretokens.reference(text, isolate):
        ids = [symbols[byte] for byte in word]
        while True:
            pairs = [
                (merges[pair][0], at)
                for at, pair in enumerate(zip(ids, ids[1:], strict=False))
                if pair in merges
            ]
            if not pairs:
                break
            _, at = min(pairs)
            ids[at : at + 2] = [merges[ids[at], ids[at + 1]][1]]
        made += ids
    return made
