"""Repetition within a document: equal lines and paragraphs, the commonest n-gram, n-grams again.

Gopher's measures (Rae et al. 2021, table A1) as datatrove counts them. Things are equal if their
64-bit hashes are: of a million different ones, two share a hash with a chance of 3 in 10^8.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import uint64

from stages.lm.kernels.compiled import called, leaf, plain
from stages.lm.kernels.words import hash_word
from stages.lm.scores.exceptions import FACTOR
from stages.lm.scores.maps import length_of

TOP_NGRAMS, REPEATED_NGRAMS = (2, 3, 4), (5, 6, 7, 8, 9, 10)
STEP = 0xD6E8FEB86659FD93
FEED = 0x0A


class Seen(NamedTuple):
    """What was seen: slots with a key, a stamp of the turn it belongs to, a count."""

    keys: Any
    turns: Any
    counts: Any


@called
def room(most: Any) -> Any:
    """Return an empty table for up to `most` things."""
    size = 64
    while size < 2 * most:
        size *= 2
    return Seen(np.empty(size, np.uint64), np.zeros(size, np.int64), np.empty(size, np.int32))


@leaf
def known(seen: Any, last: Any, turn: Any, key: Any) -> Any:
    """Tell whether a key is among the first `last` + 1 slots; it is afterwards."""
    slot = np.int64((key ^ (key >> uint64(31))) & uint64(last))
    while seen.turns[slot] == turn and seen.keys[slot] != key:
        slot = (slot + 1) & last
    found = seen.turns[slot] == turn
    seen.keys[slot], seen.turns[slot] = key, turn
    return found


@plain
def slots(most: Any, seen: Any) -> int:
    """Return the last slot to use for `most` things: few slots stay in the cache."""
    size = 64
    while size < 2 * most:
        size *= 2
    return min(size, len(seen.keys)) - 1


@plain
def repeated_runs(
    page: Any, wide: bool, feeds: int, start: int, end: int, least: int, seen: Any, turn: int,
    found: Any,
) -> None:  # fmt: skip
    """Count what stands between runs of at least `least` line feeds, in bytes that none begins.

    `feeds` is how many line feeds there are. `found` gets how many pieces there are, how many are
    again, and the characters of these.
    """
    held, places = page.held, page.feeds
    found[0], found[1], found[2] = 1, 0, 0
    last = slots(feeds + 2, seen)
    begun, one = start, 0
    while one < feeds and places[one] < start:
        one += 1
    while begun < end:
        run = 1
        while one + run < feeds and places[one + run] == places[one] + run:
            run += 1
        stop = int(places[one]) if one < feeds and places[one] < end else end
        if run < least and stop < end:
            one += run
            continue
        if begun > start or stop < end:  # a piece that is all there is cannot be again
            key = hash_word(held.ctypes.data + begun, stop - begun)
            if known(seen, last, turn, key):
                found[1] += 1
                found[2] += length_of(page.maps, wide, begun, stop)
        if stop == end:
            return
        found[0] += 1
        begun = stop + run
        one += run


@plain
def count_ngrams(
    hashes: Any, total: Any, ngram: Any, grams: Any, places: Any, number: Any, seen: Any, spots: Any
) -> int:
    """Count the n-grams that begin at the first `number` of some places, below `total` all.

    `grams` holds the hashes of the (n - 1)-grams there and those of the n-grams afterwards; `spots`
    gets each one's slot in `seen.counts`. Returns how many places are left below `total`.
    """
    bits = 6
    while (1 << bits) < 2 * number:
        bits += 1
    last = (1 << bits) - 1
    for free in range(last + 1):
        seen.keys[free] = uint64(0)
        seen.counts[free] = 0
    while number and places[number - 1] >= total:
        number -= 1
    for one in range(number):
        at = places[one]
        grams[at] = grams[at] * uint64(STEP) + hashes[at + ngram - 1]
        key = (grams[at] * uint64(FACTOR)) | uint64(1)
        slot = np.int64(key >> uint64(64 - bits))
        while seen.keys[slot] and seen.keys[slot] != key:
            slot = (slot + 1) & last
        seen.keys[slot] = key
        seen.counts[slot] += 1
        spots[one] = slot
    return number


@plain
def again_only(places: Any, number: Any, seen: Any, spots: Any) -> Any:
    """Keep the places whose n-gram occurs more than once.

    Returns (how many, times of the commonest, where the first of the commonest begins).
    """
    kept, most, first = 0, np.int32(1), np.int32(0)
    for one in range(number):
        at, slot = places[one], spots[one]
        times = seen.counts[slot]
        if times > most:  # of equal ones what began first wins, as the order of insertion has it
            most, first = times, at
        places[kept], spots[kept] = at, slot
        kept += times > 1
    return kept, np.int64(most), np.int64(first)


@plain
def characters_again(
    lengths: Any, places: Any, number: Any, ngram: Any, seen: Any, spots: Any
) -> int:
    """Return the characters of n-grams that stood before; the next one begins behind such a one."""
    size = behind = 0
    for one in range(number):
        at, slot = int(places[one]), spots[one]
        if at < behind:
            continue
        if seen.counts[slot] > 0:
            seen.counts[slot] = -1  # from now on it stood before
            continue
        for word in range(at, at + ngram):
            size += lengths[word]
        behind = at + ngram
    return size


@plain
def measure_ngrams(
    hashes: Any, lengths: Any, count: Any, grams: Any, places: Any, spots: Any, seen: Any, row: Any,
    first_top: Any, first_repeated: Any,
) -> None:  # fmt: skip
    """Fill the columns of n-grams.

    An n-gram occurs twice only where the (n - 1)-gram it begins with does: every length looks at
    the places that are left, few of all.
    """
    for at in range(count):
        grams[at], places[at] = hashes[at], at
    number = count
    for ngram in range(2, 11):
        total = count - ngram + 1
        if total <= 0:
            break
        if number:
            number = count_ngrams(hashes, total, ngram, grams, places, number, seen, spots)
        number, most, first = again_only(places, number, seen, spots)
        if ngram <= 4:
            size = ngram - 1
            for at in range(first, first + ngram):
                size += lengths[at]
            row[first_top + ngram - 2] = size * most
        elif number:
            row[first_repeated + ngram - 5] = characters_again(
                lengths, places, number, ngram, seen, spots
            )
