"""Near-duplicates among many documents: buckets, exact comparison, clusters, containment.

Documents are rows 0 .. D - 1. Their texts are asked for in batches (`Reader`), so that what is in
memory is the signatures' index (some 60 bytes per document) and one batch, whatever D is.

What a cluster is depends on the pairs alone: documents joined by a chain of pairs that share a
band of their signatures and, where they are verified, reach the threshold. So neither the order of
the work nor its batches nor its threads can change it. Shapes: D documents, L lanes, E pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.lm import minhash
from stages.lm.engines import Engine
from stages.lm.kernels import buckets
from stages.lm.kernels.characters import tables
from stages.lm.kernels.text import Texts

Rows = NDArray[np.int64]
Reader = Callable[[Rows], Texts]
"""Gives the texts of some rows, ascending."""
ROOM = 1 << 22
"""Pairs looked at in one go."""
BATCH_BYTES = 1 << 26
"""Text compared in one go."""
HOLDERS = 64
"""A hash in more sketches than this is a common phrase and not counted."""


class Measures(NamedTuple):
    """Of pairs, `[E]` each: distinct shingles of the first and the second, and shared ones."""

    first: Rows
    second: Rows
    both: Rows

    def jaccard(self) -> NDArray[np.float64]:
        """Return |A and B| / |A or B|; two empty sets give 0."""
        return self.both / np.maximum(1, self.first + self.second - self.both)

    def containment(self) -> NDArray[np.float64]:
        """Return |A and B| / min(|A|, |B|)."""
        return self.both / np.maximum(1, np.minimum(self.first, self.second))


class Comparison:
    """Exact comparison of pairs by the 64-bit hashes of their shingles.

    Two different shingles of a pair are taken for one with probability about H^2 / 2^64, H being
    both documents' shingles: 10^-12 for documents of a thousand words.
    """

    def __init__(self, reader: Reader, lengths: Rows, ngram: int, words: minhash.Words) -> None:
        self._reader, self._lengths = reader, lengths
        self._ngram, self._unicode = ngram, words == "unicode"

    def measure(self, lower: Rows, higher: Rows) -> Measures:
        """Return the measures of every pair."""
        parts = [self._part(lower[a:b], higher[a:b]) for a, b in self._batches(lower, higher)]
        if not parts:
            return Measures(*(np.zeros(0, np.int64) for _ in range(3)))
        return Measures(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _part(self, lower: Rows, higher: Rows) -> Measures:
        return self._counted(lower, higher, 0.0, None)

    def verify(self, parent: Rows, lower: Rows, higher: Rows, threshold: float) -> Rows:
        """Join pairs that reach the threshold; return the places of pairs that do not.

        A pair whose documents are of one cluster by then is not compared at all.
        """
        failed = []
        for start, stop in self._batches(lower, higher):
            one, other = lower[start:stop], higher[start:stop]
            open_ = np.flatnonzero(parent[one] != parent[other])
            if not len(open_):
                continue
            one, other = one[open_], other[open_]
            found = self._counted(one, other, threshold, parent)
            reached = (found.both >= 0) & (found.jaccard() >= threshold)
            buckets.join_all(parent, one[reached], other[reached])
            failed.append(start + open_[(found.both >= 0) & ~reached])
        return np.concatenate([np.zeros(0, np.int64), *failed])

    def _counted(
        self, lower: Rows, higher: Rows, threshold: float, parent: Rows | None
    ) -> Measures:
        rows = np.unique(np.concatenate([lower, higher]))
        texts = self._reader(rows)
        first, second = np.searchsorted(rows, lower), np.searchsorted(rows, higher)
        local = np.arange(len(rows))
        if parent is not None:  # the lowest of the rows that are one cluster already
            _, firsts, own = np.unique(parent[rows], return_index=True, return_inverse=True)
            local = firsts[own]
        sizes, both = np.empty(len(rows), np.int64), np.empty(len(lower), np.int64)
        buckets.measure(
            texts.data, texts.offsets, first, second, self._ngram, self._unicode, threshold,
            local, sizes, both, tables(),
        )  # fmt: skip
        return Measures(sizes[first], sizes[second], both)

    def _batches(self, lower: Rows, higher: Rows) -> Iterator[tuple[int, int]]:
        """Cut pairs, sorted by the lower one, where their texts would take too much memory."""
        if not len(lower):
            return
        new = np.diff(lower, prepend=-1) != 0
        total = np.cumsum(self._lengths[higher] + np.where(new, self._lengths[lower], 0))
        start = 0
        while start < len(lower):
            base = total[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(total, base + BATCH_BYTES, side="right")))
            yield start, stop
            start = stop


def cluster(
    signatures: NDArray[np.uint32],
    judged: NDArray[np.uint8],
    shape: tuple[int, int],
    comparison: Comparison | None,
    threshold: float = 0.0,
    engine: Engine | None = None,
) -> tuple[Rows, int]:
    """Return every document's cluster by its lowest row, `[D]`, and how many pairs were candidates.

    Documents that are not `judged` (they have no shingles, so their signatures are all alike) stay
    alone. Without a comparison all candidates are trusted, as The Stack does. Pairs whose documents
    are of one cluster already are not looked at again, so they are not counted either.
    """
    bands, rows = shape
    count = len(signatures)
    parent = np.arange(count)
    tails, previous = np.empty(count + 1, np.int64), np.empty(count, np.int64)
    lower, higher = np.empty(ROOM, np.int64), np.empty(ROOM, np.int64)
    failed = np.zeros(0, np.int64)
    candidates = 0
    most = minhash.BUCKET_PAIRS if comparison is not None else 1
    engine = engine or Engine()
    shared = engine.share(judged)
    lanes = (signatures[:, band * rows : (band + 1) * rows] for band in range(bands))
    wanted = ((np.ascontiguousarray(band), shared) for band in lanes)
    for firsts, counts in engine.map(_bucketed, wanted):
        tails[:count], tails[count] = np.arange(count), 0
        while tails[count] < count:
            got = buckets.pair_up(firsts, counts, most, parent, tails, previous, lower, higher)
            if comparison is None:
                buckets.join_all(parent, lower[:got], higher[:got])
                candidates += got
                continue
            codes = np.setdiff1d(lower[:got] * count + higher[:got], failed)
            candidates += len(codes)
            bad = comparison.verify(parent, codes // count, codes % count, threshold)
            failed = np.union1d(failed, codes[bad])
    return parent, candidates


def _bucketed(lanes: NDArray[np.uint32], judged: NDArray[np.uint8]) -> tuple[Rows, Rows]:
    """Return `firsts` and `counts` of a band's buckets (`buckets.bucket`); `lanes` [D, rows]."""
    firsts, counts = np.empty(len(lanes), np.int64), np.empty(len(lanes), np.int64)
    buckets.bucket(lanes, judged, 0, lanes.shape[1], firsts, counts)
    return firsts, counts


def bands_shared(
    signatures: NDArray[np.uint32], shape: tuple[int, int], lower: Rows, higher: Rows
) -> Rows:
    """Return how many bands each pair shares, `[E]`."""
    bands, rows = shape
    found = np.zeros(len(lower), np.int64)
    for start in range(0, len(lower), 4096):
        one, other = (signatures[part[start : start + 4096]] for part in (lower, higher))
        equal = one[:, : bands * rows] == other[:, : bands * rows]
        found[start : start + 4096] = equal.reshape(-1, bands, rows).all(axis=2).sum(axis=1)
    return found


def estimates(signatures: NDArray[np.uint32], lower: Rows, higher: Rows) -> NDArray[np.float64]:
    """Return the estimated Jaccard similarity of each pair, `[E]`."""
    found = np.zeros(len(lower))
    for start in range(0, len(lower), 4096):
        one, other = (signatures[part[start : start + 4096]] for part in (lower, higher))
        found[start : start + 4096] = minhash.estimate(one, other)
    return found


def contained_pairs(
    codes: NDArray[np.uint64],
    away: NDArray[np.uint8],
    least: float,
    holders: int = HOLDERS,
) -> tuple[Rows, Rows, NDArray[np.float64]]:
    """Return (lower, higher, estimated containment) of pairs estimated at `least` or more, sorted.

    `codes` are the sketches of all documents, each hash * 2^32 + row, sorted and distinct. Rows
    that are `away` [D] take no part. A hash that more than `holders` of the others have is a common
    phrase and not counted. Memory: 20 bytes for each hash that some share.
    """
    count = len(away)
    sizes = np.zeros(count, np.int64)
    wanted = buckets.sift(codes, away, holders, np.zeros(0, np.uint64), sizes)
    held = np.empty(wanted, np.uint64)
    buckets.sift(codes, away, holders, held, sizes)
    owners = held.astype(np.uint32)
    heads = np.flatnonzero(np.diff(held >> np.uint64(32), prepend=np.uint64(1 << 32)))
    del held
    ends = np.append(heads, len(owners))[1:]
    stops = np.repeat(ends.astype(np.uint32), np.diff(heads, append=len(owners)))
    places = np.argsort(owners, kind="stable").astype(np.uint32)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count))])
    counts, met = np.zeros(count + 1, np.int64), np.empty(count, np.int64)
    found: list[tuple[Rows, ...]] = []
    room = max(ROOM // 8, count)
    lower, higher, together = (np.empty(room, np.int64) for _ in range(3))
    while counts[count] < count:
        got = buckets.overlaps(
            owners, stops, places, bounds, sizes, least, counts, met, lower, higher, together
        )
        found.append((lower[:got].copy(), higher[:got].copy(), together[:got].copy()))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    one, other, shared = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((other, one))
    one, other, shared = one[order], other[order], shared[order]
    return one, other, shared / np.minimum(sizes[one], sizes[other])
