"""Samples of a text that equal windows share: winnowing, and who has the same gram.

Of the 8 g byte grams that lie in a window of k bytes the rightmost with the least hash is kept, so
windows that are equal keep the same place (Schleimer, Wilkerson and Aiken 2003), and about two of
k - 8 g + 2 places are kept in all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, types, uint64

from stages.lm.kernels.bits import load8
from stages.lm.kernels.compiled import BYTES, OFFSETS, called, inlined, kernel

FACTORS = (
    0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB,
    0x8EBC6AF09C88C6E3,
)  # fmt: skip
"""Odd numbers without a pattern: the golden ratio's, and four from published mixers."""
FIRST, SECOND, THIRD, FOURTH, MIX = FACTORS
MOST = (1 << 64) - 1
TAG = 1 << 32


@inlined
def gram(address: Any, loads: Any) -> Any:
    """Return the hash of the 8 * `loads` bytes at an address; 1 to 4 loads."""
    made = load8(uint64(address)) * uint64(FIRST)
    if loads > 1:
        made += load8(uint64(address + 8)) * uint64(SECOND)
    if loads > 2:
        made += load8(uint64(address + 16)) * uint64(THIRD)
    if loads > 3:
        made += load8(uint64(address + 24)) * uint64(FOURTH)
    made = (made ^ (made >> uint64(29))) * uint64(MIX)
    return made ^ (made >> uint64(32))


@called
def grown(rows: Any, used: Any, more: Any) -> Any:
    """Return an array with room for `more` rows behind the used ones."""
    if used + more <= len(rows):
        return rows
    made = np.empty((max(2 * len(rows), used + more), rows.shape[1]), np.int64)
    for row in range(used):
        for column in range(rows.shape[1]):
            made[row, column] = rows[row, column]
    return made


@called
def sample(
    data: Any, begin: Any, end: Any, least: Any, loads: Any, share: Any, shares: Any, found: Any,
    used: Any, ring: Any,
) -> Any:  # fmt: skip
    """Append a document's samples that fall into a share; return (found, used)."""
    address = data.ctypes.data
    width = least - 8 * loads + 1
    slot = 0
    lowest_hash, place, taken = uint64(MOST), begin, int64(-1)
    for at in range(begin, end - 8 * loads + 1):
        made = gram(address + at, loads)
        ring[slot] = made
        if made <= lowest_hash:
            lowest_hash, place = made, at
        elif place <= at - width:  # it left the window: the rightmost least of what is in it
            lowest_hash, place = made, at
            look = slot
            for back in range(1, width):
                look = look - 1 if look else width - 1
                if ring[look] < lowest_hash:
                    lowest_hash, place = ring[look], at - back
        slot = slot + 1 if slot + 1 < width else 0
        if at - begin >= width - 1 and place != taken:
            taken = place
            if shares == 1 or share_of(lowest_hash, shares) == share:
                found = grown(found, used, 1)
                found[used, 0] = place
                used += 1
    return found, used


@inlined
def share_of(made: Any, shares: Any) -> Any:
    """Return the share that a gram belongs to, by its hash."""
    return (made * uint64(FIRST) >> uint64(33)) % uint64(shares)


@kernel(types.Array(int64, 2, "C"), BYTES, OFFSETS, int64, int64, int64, int64)
def places(data: Any, offsets: Any, least: Any, loads: Any, share: Any, shares: Any) -> Any:
    """Return the samples of a share, [Z, 1], ascending; rows behind them are -1."""
    found, used = np.empty((1024, 1), np.int64), int64(0)
    ring = np.empty(least - 8 * loads + 1, np.uint64)
    for number in range(len(offsets) - 1):
        if offsets[number + 1] - offsets[number] >= least:
            found, used = sample(
                data, offsets[number], offsets[number + 1], least, loads, share, shares, found,
                used, ring,
            )  # fmt: skip
    for row in range(used, len(found)):
        found[row, 0] = -1
    return found


@called
def picked(data: Any, found: Any, loads: Any, part: Any, parts: Any) -> Any:
    """Return the samples of a part of them, by the hashes of their grams, and how many."""
    if parts == 1:
        return found, int64(len(found))
    used = int64(0)
    address = data.ctypes.data
    own = np.empty((len(found) // parts + 1024, 1), np.int64)
    for row in range(len(found)):
        made = gram(address + found[row, 0], loads) * uint64(THIRD)
        if (made >> uint64(33)) % uint64(parts) == part:
            own = grown(own, used, 1)
            own[used, 0] = found[row, 0]
            used += 1
    return own, used


@called
def linked(data: Any, found: Any, used: Any, loads: Any) -> Any:
    """Return (behind, inner) `[used]`: the next sample of the same gram or -1; who follows one."""
    address = data.ctypes.data
    size = 16
    while size < used + used // 2:
        size *= 2
    # A slot is 32 bits of the hash over a number: other grams are told without a look at them.
    slots = np.full(size, int64(-1))
    behind = np.full(used, np.int32(-1))
    inner = np.zeros(used, np.uint8)
    for number in range(used - 1, -1, -1):
        here = address + found[number, 0]
        made = gram(here, loads) * uint64(SECOND)
        mark = int64(made >> uint64(33)) << 32
        at = made >> uint64(12) & uint64(size - 1)
        while slots[at] >= 0:
            if slots[at] & -TAG == mark:
                other = slots[at] & (TAG - 1)
                there = address + found[other, 0]
                same = True
                for load in range(loads):
                    one, two = uint64(here + 8 * load), uint64(there + 8 * load)
                    same = same and load8(one) == load8(two)
                if same:
                    behind[number] = other
                    inner[other] = 1
                    break
            at = (at + uint64(1)) & uint64(size - 1)
        slots[at] = mark | number
    return behind, inner
