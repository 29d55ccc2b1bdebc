"""Repetition within a document: equal lines and paragraphs, the commonest n-gram, n-grams again.

Gopher's measures (Rae et al. 2021, table A1) as datatrove counts them. Things are equal if their
64-bit hashes are: of a million different ones, two share a hash with a chance of 3 in 10^8.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types, uint64

from stages.lm.kernels.compiled import called, fills, inlined
from stages.lm.scores.exceptions import FACTOR
from stages.lm.scores.words import hash_span

TOP_NGRAMS, REPEATED_NGRAMS = (2, 3, 4), (5, 6, 7, 8, 9, 10)
STEP = 0xD6E8FEB86659FD93
FEED = 0x0A


class Seen(NamedTuple):
    """What was seen: slots with a key, a stamp of the turn it belongs to, a count, a place."""

    keys: Any
    turns: Any
    counts: Any
    places: Any


SEEN = types.NamedTuple(
    (fills(types.uint64), fills(types.int64), fills(types.int32), fills(types.int32)), Seen
)


@called
def room(most: Any) -> Any:
    """Return an empty table for up to `most` things."""
    size = 64
    while size < 2 * most:
        size *= 2
    return Seen(
        np.empty(size, np.uint64), np.zeros(size, np.int64),
        np.empty(size, np.int32), np.empty(size, np.int32),
    )  # fmt: skip


@inlined
def known(seen: Any, last: Any, turn: Any, key: Any) -> Any:
    """Tell whether a key is among the first `last` + 1 slots; it is afterwards."""
    slot = np.int64((key ^ (key >> uint64(31))) & uint64(last))
    while seen.turns[slot] == turn and seen.keys[slot] != key:
        slot = (slot + 1) & last
    found = seen.turns[slot] == turn
    seen.keys[slot], seen.turns[slot] = key, turn
    return found


@inlined
def again(seen: Any, last: Any, turn: Any, key: Any, place: Any) -> Any:
    """Count a key in the first `last` + 1 slots; return its slot, negative minus 1 if it is new."""
    slot = np.int64((key ^ (key >> uint64(31))) & uint64(last))
    while seen.turns[slot] == turn:
        if seen.keys[slot] == key:
            seen.counts[slot] += 1
            return slot
        slot = (slot + 1) & last
    seen.keys[slot], seen.turns[slot] = key, turn
    seen.counts[slot], seen.places[slot] = 1, place
    return -slot - 1


@called
def slots(most: Any, seen: Any) -> int:
    """Return the last slot to use for `most` things: few slots stay in the cache."""
    size = 64
    while size < 2 * most:
        size *= 2
    return min(size, len(seen.keys)) - 1


@called
def repeated_runs(
    codes: Any, start: Any, end: Any, least: Any, seen: Any, turn: Any, found: Any
) -> None:
    """Count what stands between runs of at least `least` line feeds, empty pieces too.

    `found` gets how many pieces there are, how many are again, and the characters of these.
    """
    found[:3] = 0
    last = slots(end - start + 2, seen)
    begun = at = start
    while True:
        run = 0
        while at + run < end and codes[at + run] == FEED:
            run += 1
        if at < end and run < least:
            at += max(1, run)
            continue
        found[0] += 1
        # A piece that is all there is cannot be again.
        alone = begun == start and at == end
        if not alone and known(seen, last, turn, hash_span(codes, begun, at)):
            found[1] += 1
            found[2] += at - begun
        if at >= end:
            return
        at += run
        begun = at


@called
def chain(hashes: Any, count: Any, ngram: Any, grams: Any) -> None:
    """Make the hashes of (n - 1)-grams in `grams` those of n-grams."""
    for at in range(count - ngram + 1):
        grams[at] = grams[at] * uint64(STEP) + hashes[at + ngram - 1]


@called
def top_ngram(
    words: Any, lengths: Any, count: Any, ngram: Any, grams: Any, seen: Any, turn: Any
) -> Any:
    """Return (characters, times) of the commonest n-gram, the first of equals: its words and the
    blanks between them, as often as it occurs."""
    total = count - ngram + 1
    if total <= 0:
        return 0, 0
    last = slots(total, seen)
    most, first = 0, 0
    for at in range(total):
        slot = again(seen, last, turn, grams[at] * uint64(FACTOR), at)
        slot = -slot - 1 if slot < 0 else slot
        times = seen.counts[slot]
        # Equal counts: what began first wins, as the order of insertion has it.
        if times > most or (times == most and seen.places[slot] < first):
            most, first = times, seen.places[slot]
    size = ngram - 1
    for at in range(first, first + ngram):
        size += lengths[at]
    return size * most, most


@called
def repeated_ngrams(lengths: Any, count: Any, ngram: Any, grams: Any, seen: Any, turn: Any) -> int:
    """Return the characters of n-grams that stood before; the next one begins behind such a one."""
    total = count - ngram + 1
    last = slots(max(1, total), seen)
    size = at = 0
    while at < total:
        if known(seen, last, turn, grams[at] * uint64(FACTOR)):
            for word in range(at, at + ngram):
                size += lengths[word]
            at += ngram
        else:
            at += 1
    return size


@called
def measure_ngrams(
    hashes: Any, lengths: Any, count: Any, grams: Any, seen: Any, turn: Any, row: Any,
    first_top: Any, first_repeated: Any,
) -> int:  # fmt: skip
    """Fill the columns of n-grams; return the next turn."""
    for at in range(count):
        grams[at] = hashes[at]
    times = 2
    for ngram in range(2, 11):
        chain(hashes, count, ngram, grams)
        turn += 1
        if ngram <= 4:
            row[first_top + ngram - 2], times = top_ngram(
                hashes, lengths, count, ngram, grams, seen, turn
            )
            continue
        size = repeated_ngrams(lengths, count, ngram, grams, seen, turn) if times > 1 else 0
        row[first_repeated + ngram - 5] = size
        if size == 0:  # then no longer n-gram occurs twice either
            times = 0
    return turn
