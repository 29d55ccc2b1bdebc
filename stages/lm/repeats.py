"""Exact substrings: every maximal span of at least k bytes or words that stands in texts twice."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.lm.kernels import repeats, samples
from stages.lm.kernels.compiled import spread
from stages.lm.kernels.text import Texts

Rows = NDArray[np.int64]
SHARE_BYTES = 1 << 30
"""Memory that the samples of one share may take, about."""
SAMPLE_BYTES = 32


def spans(texts: Texts, least: int, *, earlier: bool = False, threads: int = 1) -> Rows:
    """Return the maximal spans of at least `least` bytes that stand in the texts more than once.

    Rows `[S, 3]` are (begin, end, where another one begins), places in the texts' data, ascending;
    spans lie within documents. Maximal: no longer span around it repeats (an other one may
    overlap it). These are the positions i of a suffix array with LCP >= `least` to a neighbour
    whose match is not that of i - 1 less one byte. With `earlier` a span counts only if it stands
    before, too (the longest previous factor); the other one is that. `threads` change nothing.
    """
    if least < repeats.LEAST:
        raise ValueError(f"least is {least}, must be at least {repeats.LEAST} bytes")
    loads = min(4, least // 16)
    expected = 2 * len(texts.data) // (least - 8 * loads + 2)
    shares = 1 + expected * SAMPLE_BYTES // SHARE_BYTES
    found = [np.zeros((0, 3), np.int64)]
    for share in range(shares):
        given = _samples(texts, least, loads, share, shares, threads)

        def work(part: int, given: Rows = given) -> Rows:
            rows: Rows = repeats.candidates(
                texts.data, texts.offsets, given, least, loads, earlier, part, threads
            )
            return rows

        if threads == 1:
            found.append(work(0))
        else:
            with ThreadPoolExecutor(threads) as pool:
                found += pool.map(work, range(threads))
    return maximal(np.concatenate(found))


def _samples(texts: Texts, least: int, loads: int, share: int, shares: int, threads: int) -> Rows:
    """Return the places of a share of the samples, `[Z, 1]`, ascending."""

    def work(first: int, stop: int) -> Rows:
        offsets = texts.offsets[first : stop + 1]
        rows: Rows = samples.places(texts.data, offsets, least, loads, share, shares)
        return rows[rows[:, 0] >= 0]

    return np.concatenate(spread(texts.offsets, threads, work))


def firsts(rows: Rows) -> Rows:
    """Return rows that were found with `earlier`, the other one being the very first of its kind.

    A place that itself stands before lies in a row of its own, which says where.
    """
    begins, ends, others = (column.tolist() for column in rows.T)
    for row, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        size = end - begin
        while True:
            other = others[row]
            at = bisect.bisect_right(begins, other) - 1
            if at < 0 or ends[at] < other + size:
                break
            others[row] = others[at] + other - begins[at]
    return np.stack([rows[:, 0], rows[:, 1], np.array(others, np.int64)], 1)


def word_spans(
    hashes: NDArray[np.uint64], bounds: Rows, least: int, *, earlier: bool = False, threads: int = 1
) -> Rows:
    """Return the same of words: rows (first word, end, other first) of at least `least` words.

    `hashes` [W] are the words of documents `bounds` [D + 1] (`wordplaces.words`). Their bytes are
    searched, eight to a word; what of a span's ends is no whole word is left out.
    """
    texts = Texts(hashes.view(np.uint8), 8 * bounds)
    found = spans(texts, 8 * least, earlier=earlier, threads=threads)
    begins, ends = -(-found[:, 0] // 8), found[:, 1] // 8
    whole = (ends - begins >= least) & ((found[:, 2] - found[:, 0]) % 8 == 0)
    others = begins + (found[:, 2] - found[:, 0]) // 8
    return maximal(np.stack([begins, ends, others], 1)[whole])


def maximal(rows: Rows) -> Rows:
    """Return rows (begin, end, other), ascending, without those that lie in another one."""
    if not len(rows):
        return rows
    rows = rows[np.lexsort((rows[:, 2], -rows[:, 1], rows[:, 0]))]
    ends = np.maximum.accumulate(rows[:, 1])
    return rows[np.diff(ends, prepend=-1) > 0]


def reference_spans(
    documents: Sequence[Sequence[Any]], least: int, earlier: bool = False
) -> list[tuple[int, int]]:
    """Return (begin, end) of the same by comparing all places with all others."""
    text = [one for document in documents for one in document]
    ends: list[int] = []
    for document in documents:
        ends += [len(ends) + len(document)] * len(document)
    found: list[tuple[int, int]] = []
    last = 0
    for here in range(len(text)):
        size = 0
        for other in range(here if earlier else len(text)):
            if other != here:
                most = min(ends[here] - here, ends[other] - other)
                same = 0
                while same < most and text[here + same] == text[other + same]:
                    same += 1
                size = max(size, same)
        if size >= least and here + size > last:
            found.append((here, here + size))
        last = max(last, here + size if size >= least else 0)
    return found
