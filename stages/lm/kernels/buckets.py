"""Who may be alike, who is, and who belongs together: buckets, comparisons, clusters in kernels.

All of it is integers and one order (documents by number), so results depend on nothing else.

Shapes: D documents, L lanes of a signature, E pairs, H shingle hashes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types, uint64

from stages.lm.kernels.alike import BASE, RING, shingle
from stages.lm.kernels.bits import BLOCK, lowest
from stages.lm.kernels.characters import TABLES
from stages.lm.kernels.compiled import BYTES, OFFSETS, called, fills, inlined, kernel, reads
from stages.lm.kernels.words import PAD, hash_word, longest, prepare

SPREAD = 0x9E3779B97F4A7C15
FREE = (1 << 64) - 1


@inlined
def find(parent: Any, number: Any) -> Any:
    """Return the lowest number of a cluster, halving the way there."""
    while parent[number] != number:
        parent[number] = parent[parent[number]]
        number = parent[number]
    return number


@inlined
def join(parent: Any, first: Any, second: Any) -> None:
    """Make two clusters one, named by its lowest number."""
    first, second = find(parent, first), find(parent, second)
    parent[max(first, second)] = min(first, second)


@kernel(types.void, fills(types.int64), reads(types.int64), reads(types.int64))
def join_all(parent: Any, lower: Any, higher: Any) -> None:
    """Join the clusters of every pair, and let each document name its cluster's lowest."""
    for i in range(len(lower)):
        join(parent, lower[i], higher[i])
    for number in range(len(parent)):
        parent[number] = parent[parent[number]]  # ascending: the lower one's is final


@inlined
def power_of_two(least: Any) -> Any:
    """Return the least power of two that is not below."""
    size = 16
    while size < least:
        size *= 2
    return size


@kernel(
    types.void, types.Array(types.uint32, 2, "C", readonly=True), reads(types.uint8), types.int64,
    types.int64, fills(types.int64), fills(types.int64),
)  # fmt: skip
def bucket(signatures: Any, judged: Any, start: Any, rows: Any, firsts: Any, counts: Any) -> None:
    """Put documents whose lanes start .. start + rows - 1 are equal into one bucket.

    `firsts` [D] gets the lowest document of each one's bucket, -1 where not `judged`; `counts` [D]
    how many the bucket holds, at its lowest document.
    """
    size = power_of_two(2 * len(judged))
    # A slot holds 32 bits of the key over the document's number; the lanes themselves decide.
    slots = np.full(size, uint64(FREE))
    for number in range(len(judged)):
        counts[number] = 0
        firsts[number] = -1
        if not judged[number]:
            continue
        key = uint64(0)
        for lane in range(start, start + rows):
            key = (key ^ uint64(signatures[number, lane])) * uint64(SPREAD)
            key ^= key >> uint64(29)
        mark = key >> uint64(32)
        at = key & uint64(size - 1)
        while True:
            held = slots[at]
            if held == uint64(FREE):
                slots[at] = (mark << uint64(32)) | uint64(number)
                firsts[number] = number
                break
            if held >> uint64(32) == mark:
                other = np.int64(held & uint64(0xFFFFFFFF))
                same = True
                for lane in range(start, start + rows):
                    same = same and signatures[number, lane] == signatures[other, lane]
                if same:
                    firsts[number] = other
                    break
            at = (at + uint64(1)) & uint64(size - 1)
        counts[firsts[number]] += 1


@kernel(
    types.int64, reads(types.int64), reads(types.int64), types.int64, fills(types.int64),
    fills(types.int64), fills(types.int64), fills(types.int64), fills(types.int64),
)  # fmt: skip
def pair_up(
    firsts: Any, counts: Any, most: Any, parent: Any, tails: Any, previous: Any, lower: Any,
    higher: Any,
) -> int:  # fmt: skip
    """Write pairs of one band's buckets whose documents are not of one cluster yet.

    Buckets of up to `most` documents give all pairs, larger ones each document with the lowest and
    with the one before it. `tails` [D] says where things stand: tails[D] is the next document,
    tails[number] the last one met of the bucket. Returns how many pairs were written; the caller
    repeats until tails[D] is D. `lower` has room for `most` + D more pairs than one call needs.
    """
    documents = len(firsts)
    written = 0
    number = tails[documents]
    while number < documents and written + most < len(lower):
        first = firsts[number]
        if first >= 0 and counts[first] > 1:
            if first == number:
                previous[number] = -1
            else:
                before = tails[first]
                previous[number] = before
                if counts[first] > most:
                    if find(parent, first) != find(parent, number):
                        lower[written], higher[written] = first, number
                        written += 1
                    if before != first and find(parent, before) != find(parent, number):
                        lower[written], higher[written] = before, number
                        written += 1
                else:
                    while before >= 0:
                        if find(parent, before) != find(parent, number):
                            lower[written], higher[written] = before, number
                            written += 1
                        before = previous[before]
            tails[first] = number
        number += 1
    tails[documents] = number
    return written


@called
def shingles(text: Any, bits: Any, size: Any, ngram: Any, power: Any, ring: Any, out: Any) -> Any:
    """Write the 64-bit hashes of a prepared document's shingles; return how many."""
    held = begun = written = 0
    inside = uint64(0)
    address = text.ctypes.data
    for block in range((size + BLOCK - 1) // BLOCK + 1):
        last = BLOCK * block >= size
        mask = uint64(0) if last else bits[block]
        turns = mask ^ ((mask << uint64(1)) | inside)
        while turns:
            at = min(BLOCK * block + lowest(turns), size)
            turns &= turns - uint64(1)
            if inside:
                ring[held] = hash_word(address + begun, at - begun)
                held += 1
            begun = at
            inside ^= uint64(1)
        if held >= RING or last:
            count = shingle(ring, held, ngram, power, out[written:])
            written += count
            for i in range(count, held):
                ring[i - count] = ring[i]
            held -= count
    return written


@called
def distinct(hashes: Any, count: Any, slots: Any) -> Any:
    """Keep each of `count` hashes once, in their order; return how many. Uses `slots` as a set."""
    size = power_of_two(2 * count)
    slots[:size] = uint64(FREE)
    kept = 0
    free_seen = False
    for i in range(count):
        value = hashes[i]
        if value == uint64(FREE):  # marks a free slot, so it is told apart
            if not free_seen:
                hashes[kept] = value
                kept += 1
            free_seen = True
            continue
        at = (value * uint64(SPREAD)) >> uint64(32) & uint64(size - 1)
        while slots[at] != uint64(FREE) and slots[at] != value:
            at = (at + uint64(1)) & uint64(size - 1)
        if slots[at] == uint64(FREE):
            slots[at] = value
            hashes[kept] = value
            kept += 1
    return kept


@called
def shared(first: Any, second: Any, slots: Any, made: Any) -> Any:
    """Return how many hashes two distinct lists share; `made` says that `slots` holds the first."""
    size = power_of_two(2 * len(first))
    has_free = False
    for value in first:
        has_free = has_free or value == uint64(FREE)
    if not made:
        slots[:size] = uint64(FREE)
        for value in first:
            at = (value * uint64(SPREAD)) >> uint64(32) & uint64(size - 1)
            while slots[at] != uint64(FREE):
                at = (at + uint64(1)) & uint64(size - 1)
            slots[at] = value
    found = 0
    for value in second:
        if value == uint64(FREE):
            found += 1 if has_free else 0
            continue
        at = (value * uint64(SPREAD)) >> uint64(32) & uint64(size - 1)
        while slots[at] != uint64(FREE) and slots[at] != value:
            at = (at + uint64(1)) & uint64(size - 1)
        if slots[at] == value:
            found += 1
    return found


@kernel(
    types.void, BYTES, OFFSETS, reads(types.int64), reads(types.int64), types.int64, types.boolean,
    types.float64, fills(types.int64), fills(types.int64), fills(types.int64), TABLES,
)  # fmt: skip
def measure(
    data: Any, offsets: Any, lower: Any, higher: Any, ngram: Any, unicode: Any, threshold: Any,
    parent: Any, sizes: Any, both: Any, tables: Any,
) -> None:  # fmt: skip
    """Count the distinct shingles of every document, and those that the two of each pair share.

    `sizes` [D] and `both` [E] are filled. With a threshold above 0 a pair whose documents are of
    one cluster already is not counted (-1), and one that reaches this Jaccard similarity is joined.
    """
    documents = len(offsets) - 1
    size = longest(offsets, 0, documents)
    low = np.empty(size + PAD, np.uint8)
    word, high = np.empty(size // BLOCK + 2, np.uint64), np.empty(size // BLOCK + 2, np.uint64)
    ring = np.empty(RING + BLOCK, np.uint64)
    power = uint64(1)
    for _ in range(ngram - 1):
        power *= uint64(BASE)
    hashes = np.empty(offsets[documents] // 2 + documents + 1, np.uint64)
    slots = np.empty(power_of_two(size + 2), np.uint64)
    starts = np.zeros(documents + 1, np.int64)
    for number in range(documents):
        text, bits, length = prepare(
            data, offsets[number], offsets[number + 1], unicode, low, word, high, tables
        )
        own = hashes[starts[number] :]
        count = shingles(text, bits, length, ngram, power, ring, own)
        sizes[number] = distinct(own, count, slots)
        starts[number + 1] = starts[number] + sizes[number]
    made = -1
    for i in range(len(lower)):
        one, other = lower[i], higher[i]
        both[i] = -1
        if threshold > 0 and find(parent, one) == find(parent, other):
            continue
        left, right = (
            hashes[starts[one] : starts[one + 1]],
            hashes[starts[other] : starts[other + 1]],
        )
        both[i] = shared(left, right, slots, made == one)
        made = one
        union = max(1, len(left) + len(right) - both[i])
        if threshold > 0 and both[i] / union >= threshold:
            join(parent, one, other)


@kernel(
    types.int64, reads(types.uint64), reads(types.uint8), types.int64, fills(types.uint64),
    fills(types.int64),
)  # fmt: skip
def sift(codes: Any, away: Any, most: Any, out: Any, sizes: Any) -> int:
    """Count each document's hashes, and write the codes that 2 to `most` documents share.

    `codes` are sorted, hash * 2^32 + document; documents that are `away` [D] take no part. `sizes`
    [D] is filled. Nothing is written where `out` has no room; returns how many would be.
    """
    sizes[:] = 0
    written = start = 0
    while start < len(codes):
        stop = start
        present = 0
        while stop < len(codes) and codes[stop] >> uint64(32) == codes[start] >> uint64(32):
            owner = np.int64(codes[stop] & uint64(0xFFFFFFFF))
            if not away[owner]:
                present += 1
                sizes[owner] += 1
            stop += 1
        if 2 <= present <= most:
            if written + present <= len(out):
                place = written
                for at in range(start, stop):
                    if not away[codes[at] & uint64(0xFFFFFFFF)]:
                        out[place] = codes[at]
                        place += 1
            written += present
        start = stop
    return written


@kernel(
    types.int64, reads(types.uint32), reads(types.uint32), reads(types.uint32), reads(types.int64),
    reads(types.int64), types.float64, fills(types.int64), fills(types.int64), fills(types.int64),
    fills(types.int64), fills(types.int64),
)  # fmt: skip
def overlaps(
    owners: Any, stops: Any, places: Any, bounds: Any, sizes: Any, least: Any, counts: Any,
    met: Any, lower: Any, higher: Any, together: Any,
) -> int:  # fmt: skip
    """Write the pairs of documents whose sketches share enough hashes.

    `owners` [H] are the documents that hold each hash, hash after hash and ascending within one;
    `stops` [H] says where the holders of the same hash end, and what document d holds of them is
    owners[places[bounds[d] : bounds[d + 1]]]. A pair is written if it shares at least `least` of
    the smaller sketch, whose whole size `sizes` [D] tells. `counts` [D + 1] is zero but for
    counts[D], the document to go on from, D at the end; `met` [D] is room.
    """
    documents = len(bounds) - 1
    written = 0
    number = counts[documents]
    while number < documents:
        touched = 0
        for i in range(bounds[number], bounds[number + 1]):
            place = np.int64(places[i])
            for behind in range(place + 1, np.int64(stops[place])):
                other = np.int64(owners[behind])
                if counts[other] == 0:
                    met[touched] = other
                    touched += 1
                counts[other] += 1
        hits = 0
        for i in range(touched):
            if counts[met[i]] / min(sizes[number], sizes[met[i]]) >= least:
                hits += 1
        full = written + hits > len(lower)
        for i in range(touched):
            other = met[i]
            if not full and counts[other] / min(sizes[number], sizes[other]) >= least:
                lower[written], higher[written] = number, other
                together[written] = counts[other]
                written += 1
            counts[other] = 0
        if full:
            break
        number += 1
    counts[documents] = number
    return written
