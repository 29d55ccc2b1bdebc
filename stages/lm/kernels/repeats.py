"""Every span of at least k bytes that stands in the texts more than once, as a suffix array has it.

Windows of k bytes that are equal choose the same place in them: the rightmost of their 8 g byte
grams with the least hash (winnowing: Schleimer, Wilkerson and Aiken 2003). So whatever repeats k
bytes shares such a sample, and only samples are kept, about two in k - 8 g + 2 bytes. Samples of
one gram (compared byte by byte) make a group. A group is put in the order of what follows; the
longest match of a member stands beside it in that order. Then the group is split by what goes
before, byte by byte, as far as a window can reach: wherever a split shortens a member's longest
match, a span ends on its left. What is left of long repeats is seen once, not once per sample: a
match of two places holds for all places between them and its end (`DIAGONALS`).

Time is linear but for logarithms of groups, also for one byte repeated, periods and copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, types, uint64

from stages.lm.kernels.bits import load8, lowest
from stages.lm.kernels.compiled import BYTES, OFFSETS, called, inlined, kernel
from stages.lm.kernels.samples import FIRST, grown, linked, picked

DIAGONALS = 1 << 16
"""Matches remembered, by the distance of their places."""
NOWHERE = 256
"""What stands before a document, in place of a byte."""
LEAST = 16
"""Bytes that a span must have at least."""


@inlined
def common(data: Any, first: Any, second: Any, limit: Any) -> Any:
    """Return how many of the next `limit` bytes at two places are equal."""
    address = data.ctypes.data
    done = int64(0)
    while done + 8 <= limit:
        differs = load8(uint64(address + first + done)) ^ load8(uint64(address + second + done))
        if differs:
            return done + (lowest(differs) >> 3)
        done += 8
    while done < limit and data[first + done] == data[second + done]:
        done += 1
    return done


@called
def matched(data: Any, members: Any, one: Any, other: Any, diagonals: Any) -> Any:
    """Return how many bytes from two members on are equal, within their documents."""
    first, second = members[one, 0], members[other, 0]
    limit = min(members[one, 2] - first, members[other, 2] - second)
    if first > second:
        first, second = second, first
    apart = second - first
    slot = (uint64(apart) * uint64(FIRST)) >> uint64(48)
    if diagonals[slot, 0] == apart and diagonals[slot, 1] <= first < diagonals[slot, 2]:
        return diagonals[slot, 2] - first
    found = common(data, first, second, limit)
    if found >= 128:
        diagonals[slot, 0], diagonals[slot, 1] = apart, first
        diagonals[slot, 2] = first + found
    return found


@called
def precedes(data: Any, members: Any, one: Any, other: Any, diagonals: Any) -> bool:
    """Return whether a member's following bytes come first; equal ones go by their place."""
    size = matched(data, members, one, other, diagonals)
    first, second = members[one, 0] + size, members[other, 0] + size
    if second == members[other, 2]:
        return first == members[one, 2] and first < second
    return first == members[one, 2] or data[first] < data[second]


@called
def arrange(data: Any, members: Any, count: Any, order: Any, spare: Any, diagonals: Any) -> None:
    """Put members, as they came, in the order of what follows them: merges where it is not so."""
    falling = True
    for i in range(1, count):
        if precedes(data, members, i - 1, i, diagonals):
            falling = False
            break
    if falling:
        for i in range(count):
            order[i] = count - 1 - i
        return
    width = 1
    while width < count:
        for low in range(0, count - width, 2 * width):
            middle, high = low + width, min(low + 2 * width, count)
            if precedes(data, members, order[middle - 1], order[middle], diagonals):
                continue
            left, right = low, middle
            for to in range(low, high):
                if left < middle and (
                    right >= high or precedes(data, members, order[left], order[right], diagonals)
                ):
                    spare[to] = order[left]
                    left += 1
                else:
                    spare[to] = order[right]
                    right += 1
            for to in range(low, high):
                order[to] = spare[to]
        width *= 2


@called
def longest(
    members: Any, order: Any, shared: Any, low: Any, high: Any, earlier: Any, best: Any,
    stack: Any,
) -> None:  # fmt: skip
    """Write to `best` [.., 2] each member's longest match among order[low:high] and its partner.

    `shared` says what each has in common with the one before it. With `earlier` only places
    before its own count: the nearest of those on either side (the longest previous factor).
    """
    for i in range(low, high):
        best[order[i], 2], best[order[i], 3] = 0, -1
    top = 0
    for i in range(low, high):
        me = order[i]
        have = shared[i] if i > low else int64(0)
        while earlier and top and members[order[stack[top - 1, 0]], 0] > members[me, 0]:
            top -= 1
            above = order[stack[top, 0]]
            if have > best[above, 2]:
                best[above, 2], best[above, 3] = have, me
            have = min(have, stack[top, 1])
        if earlier:
            if top and have > best[me, 2]:
                best[me, 2], best[me, 3] = have, order[stack[top - 1, 0]]
            stack[top, 0], stack[top, 1] = i, have
            top += 1
        elif i > low:
            before = order[i - 1]
            if have > best[me, 2]:
                best[me, 2], best[me, 3] = have, before
            if have > best[before, 2]:
                best[before, 2], best[before, 3] = have, me


@called
def told(members: Any, best: Any, who: Any, back: Any, least: Any, out: Any, sizes: Any) -> None:
    """Write the span of a member that reaches `back` bytes before its sample, if it is long enough.

    A row is (begin, end, where the other one begins); `out` has room.
    """
    if best[who, 0] and back + best[who, 0] >= least:
        row = sizes[0]
        out[row, 0] = members[who, 0] - back
        out[row, 1] = members[who, 0] + best[who, 0]
        out[row, 2] = members[best[who, 1], 0] - back
        sizes[0] += 1


@inlined
def preceding(data: Any, members: Any, who: Any, back: Any) -> Any:
    """Return the byte before the `back` bytes before a member; `NOWHERE` before its document."""
    at = members[who, 0] - back - 1
    return int64(data[at]) if at >= members[who, 1] else int64(NOWHERE)


@called
def split(
    data: Any, members: Any, order: Any, shared: Any, low: Any, high: Any, back: Any, spare: Any,
    lengths: Any, counts: Any, diagonals: Any,
) -> None:  # fmt: skip
    """Sort order[low:high] by the byte before `back` bytes, equal ones as they were.

    `counts` [258, 2] is where each byte's members end up (and is zero before and after but for
    that); `shared` is brought up to date.
    """
    for i in range(low, high):
        counts[preceding(data, members, order[i], back) + 1, 0] += 1
    for byte in range(NOWHERE + 1):
        counts[byte + 1, 0] += counts[byte, 0]
        counts[byte, 1] = -1
    for i in range(low, high):
        byte = preceding(data, members, order[i], back)
        to = low + counts[byte, 0]
        counts[byte, 0] += 1
        spare[to] = order[i]
        lengths[to] = shared[i]
        if counts[byte, 1] >= 0 and counts[byte, 1] != i - 1:
            lengths[to] = matched(data, members, order[counts[byte, 1]], order[i], diagonals)
        counts[byte, 1] = i
    for byte in range(NOWHERE + 2):
        counts[byte, 0] = 0
    for i in range(low, high):
        order[i], shared[i] = spare[i], lengths[i]


@inlined
def alike(
    data: Any, members: Any, order: Any, low: Any, high: Any, back: Any, reach: Any
) -> Any:  # fmt: skip
    """Return from how many bytes on, `back` at least, members differ in the byte before them."""
    while back <= reach:
        byte = preceding(data, members, order[low], back)
        if byte == NOWHERE:
            return back
        for i in range(low + 1, high):
            if preceding(data, members, order[i], back) != byte:
                return back
        back += 1
    return back


@called
def group(
    data: Any, members: Any, count: Any, least: Any, reach: Any, earlier: Any, out: Any,
    sizes: Any, rooms: Any, diagonals: Any, counts: Any,
) -> Any:  # fmt: skip
    """Write the spans around the samples of one gram; return `out`, perhaps a larger one."""
    order, spare, shared, lengths, best, stack = rooms
    for i in range(count):
        order[i] = i
    begun = alike(data, members, order, 0, count, int64(0), reach)
    if begun > reach:
        return out  # the window before has a sample of its own, and tells of it
    arrange(data, members, count, order, spare, diagonals)
    for i in range(1, count):
        shared[i] = matched(data, members, order[i - 1], order[i], diagonals)
    longest(members, order, shared, 0, count, earlier, best, stack)
    for i in range(count):
        best[i, 0], best[i, 1] = best[i, 2], best[i, 3]
    waiting = np.empty((count + 1, 3), np.int64)
    waiting[0, 0], waiting[0, 1], waiting[0, 2] = 0, count, begun
    top = 1
    while top:
        top -= 1
        low, high, back = waiting[top, 0], waiting[top, 1], waiting[top, 2]
        back = alike(data, members, order, low, high, back, reach)
        if back > reach:
            continue
        out = grown(out, sizes[0], high - low)
        split(data, members, order, shared, low, high, back, spare, lengths, counts, diagonals)
        start = low
        while start < high:
            byte = preceding(data, members, order[start], back)
            stop = start + 1
            while (
                stop < high
                and byte != NOWHERE
                and (preceding(data, members, order[stop], back) == byte)
            ):
                stop += 1
            longest(members, order, shared, start, stop, earlier, best, stack)
            alive = False
            for i in range(start, stop):
                who = order[i]
                if best[who, 2] < best[who, 0]:
                    told(members, best, who, back, least, out, sizes)
                best[who, 0], best[who, 1] = best[who, 2], best[who, 3]
                alive = alive or best[who, 0] > 0
            if alive:
                waiting[top, 0], waiting[top, 1], waiting[top, 2] = start, stop, back + 1
                top += 1
            start = stop
    return out


@called
def pair(
    data: Any, members: Any, least: Any, reach: Any, earlier: Any, out: Any, sizes: Any,
    diagonals: Any,
) -> Any:  # fmt: skip
    """Do what `group` does for two members."""
    back = int64(0)
    while back <= reach:
        byte = preceding(data, members, 0, back)
        if byte == NOWHERE or preceding(data, members, 1, back) != byte:
            break
        back += 1
    if back > reach:
        return out
    size = matched(data, members, 0, 1, diagonals)
    if back + size >= least:
        out = grown(out, sizes[0], 2)
        for who in range(1 if earlier else 0, 2):
            row = sizes[0]
            out[row, 0], out[row, 1] = members[who, 0] - back, members[who, 0] + size
            out[row, 2] = members[1 - who, 0] - back
            sizes[0] += 1
    return out


@inlined
def document(offsets: Any, place: Any) -> Any:
    """Return the document that holds a place: of empty ones and it that begin there, the last."""
    low, high = int64(0), int64(len(offsets) - 1)
    while low + 1 < high:
        middle = (low + high) >> 1
        if offsets[middle] <= place:
            low = middle
        else:
            high = middle
    return low


@called
def roomy(count: Any) -> Any:
    """Return the arrays that a group of so many members needs."""
    return (
        np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64),
        np.empty(count, np.int64), np.empty((count, 4), np.int64), np.empty((count, 2), np.int64),
    )  # fmt: skip


@kernel(
    types.Array(int64, 2, "C"), BYTES, OFFSETS, types.Array(int64, 2, "C"), int64, int64,
    types.boolean, int64, int64,
)  # fmt: skip
def candidates(
    data: Any, offsets: Any, given: Any, least: Any, loads: Any, earlier: Any, part: Any, parts: Any
) -> Any:
    """Return rows (begin, end, where the other one begins) around the samples `given`, [Z, 1].

    Of these a part is looked at, by their grams. Whatever is maximal is found in one of them, and
    what is not is told too: `maximal` leaves it out.
    """
    reach = least - 8 * loads
    found, used = picked(data, given, loads, part, parts)
    behind, inner = linked(data, found, used, loads)
    diagonals = np.zeros((DIAGONALS, 3), np.int64)
    counts = np.zeros((NOWHERE + 2, 2), np.int64)
    members, rooms = np.empty((64, 3), np.int64), roomy(64)
    out, sizes = np.empty((64, 3), np.int64), np.zeros(1, np.int64)
    for first in range(used):
        if inner[first] or behind[first] < 0:
            continue
        count, at = int64(0), int64(first)
        while at >= 0:
            members = grown(members, count, 1)
            place = found[at, 0]
            number = document(offsets, place)
            members[count, 0] = place
            members[count, 1], members[count, 2] = offsets[number], offsets[number + 1]
            count += 1
            at = int64(behind[at])
        if count == 2:
            out = pair(data, members, least, reach, earlier, out, sizes, diagonals)
            continue
        if count > len(rooms[0]):
            rooms = roomy(2 * count)
        out = group(
            data, members, count, least, reach, earlier, out, sizes, rooms, diagonals, counts
        )
    return out[: sizes[0]].copy()
