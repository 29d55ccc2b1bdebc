"""Topics of documents: clusters by their words, with the words that mark each (c-TF-IDF).

Documents become TF-IDF vectors of length 1 whose weights are whole numbers (2^12 is 1), so that
every similarity is a sum of integers: the same clusters on any machine, with any number of threads.
Centres start far apart, move as in spherical k-means, and those that came to lie close together
become one; documents like no centre are outliers, topic -1. The words of a topic are those with
the largest tf * log(1 + A / f) (A: words per topic, f: the word's count; BERTopic, Grootendorst
2022, arXiv 2203.05794).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ONE = 1 << 12
"""What weight 1 is as a whole number."""
MOST_FEATURES = 4096
LEAST_HOLDERS = 3
MOST_SHARE = 0.5
"""A word in more of the documents than this tells no topic."""
ROUNDS = 12
OUTLIER_COSINE = 0.05
KEYWORDS = 5
LIFT = 1.5
"""How much more frequent in a topic than in all of them its words are at least."""
DRAWS = 500

Ints = NDArray[np.int64]


class Features(NamedTuple):
    """Which words count and what each weighs: `place` [V] is a word's column or -1; `idf` [F]."""

    place: Ints
    idf: NDArray[np.float64]


class Vectors(NamedTuple):
    """Documents as rows: row i has columns[bounds[i] : bounds[i + 1]] with those weights."""

    columns: Ints
    weights: Ints
    bounds: Ints


class Topics(NamedTuple):
    """Centres [K, F] of length `ONE`, and every document's topic [D], -1 where it is like none."""

    centres: Ints
    of: Ints


def features(holders: Ints, documents: int, skipped: NDArray[np.bool_]) -> Features:
    """Choose the words that are neither rare nor everywhere, by how many documents hold them.

    `holders` and `skipped` are [V]; skipped words (closed classes, numbers) are not taken.
    """
    good = (holders >= LEAST_HOLDERS) & (holders <= MOST_SHARE * documents) & ~skipped
    chosen = np.flatnonzero(good)
    chosen = np.sort(chosen[np.argsort(-holders[chosen], kind="stable")][:MOST_FEATURES])
    place = np.full(len(holders), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    return Features(place, np.log((1 + documents) / (1 + holders[chosen])) + 1)


def vectors(ids: Ints, offsets: Ints, chosen: Features) -> Vectors:
    """Return documents' vectors; the weight of a word is (1 + log tf) * idf, scaled to length 1."""
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    known = (ids >= 0) & (ids < len(chosen.place))
    columns = np.where(known, chosen.place[np.where(known, ids, 0)], -1)
    owners, columns = owners[columns >= 0], columns[columns >= 0]
    width = max(1, len(chosen.idf))
    keys, times = np.unique(owners * width + columns, return_counts=True)
    owners, columns = keys // width, keys % width
    raw = (1 + np.log(times)) * chosen.idf[columns]
    norms = np.sqrt(np.bincount(owners, raw * raw, minlength=len(offsets) - 1))
    weights = np.rint(raw / norms[owners] * ONE).astype(np.int64)
    bounds = np.searchsorted(owners, np.arange(len(offsets)))
    return Vectors(columns, weights, bounds.astype(np.int64))


def cluster(given: Vectors, width: int, most: int, merge: float) -> Topics:
    """Return the topics of documents; `width` is the number of features."""
    filled = np.flatnonzero(np.diff(given.bounds) > 0)
    if not len(filled) or not width or not most:
        return Topics(np.zeros((0, width), np.int64), np.full(len(given.bounds) - 1, -1, np.int64))
    centres = _spread(given, filled, width, most)
    centres = _settled(given, centres)
    centres = _merged(given, nearest(given, centres), width, len(centres), merge)
    return Topics(centres, nearest(given, centres))


def _settled(given: Vectors, centres: Ints) -> Ints:
    for _ in range(ROUNDS):
        of = nearest(given, centres)
        moved = _centres(given, of, centres.shape[1], len(centres))
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def nearest(given: Vectors, centres: Ints, least: float = OUTLIER_COSINE) -> Ints:
    """Return every document's nearest centre, -1 where the cosine is below `least`."""
    if not len(centres):
        return np.full(len(given.bounds) - 1, -1, np.int64)
    found = similarities(given, centres)
    best = np.asarray(found.argmax(axis=1), np.int64)
    top = found[np.arange(len(best)), best]
    return np.where(top >= least * ONE * ONE, best, -1)


def similarities(given: Vectors, centres: Ints) -> Ints:
    """Return [D, K] of similarities, `ONE` squared where they are 1."""
    rows = len(given.bounds) - 1
    owners = np.repeat(np.arange(rows), np.diff(given.bounds))
    found = np.zeros((rows, len(centres)), np.int64)
    for number, centre in enumerate(centres):
        # Sums of whole numbers below 2^53: exact as floats too, in any order.
        found[:, number] = np.bincount(owners, given.weights * centre[given.columns], rows)
    return found


def _spread(given: Vectors, filled: Ints, width: int, most: int) -> Ints:
    """Choose documents far from each other as first centres, means of their neighbours.

    The first centre is the mean of all; each next one is the mean of the documents most like the
    document that is least like the centres so far, so that no single odd text is a centre.
    """
    near = max(2, len(filled) // (8 * most))
    centres: list[Ints] = []
    closest = np.zeros(len(given.bounds) - 1, np.int64)
    everyone = np.full(len(given.bounds) - 1, -1, np.int64)
    everyone[filled] = 0
    middle = _centres(given, everyone, width, 1)
    closest = similarities(given, middle)[:, 0]
    for _ in range(min(most, len(filled))):
        far = int(filled[closest[filled].argmin()])
        row = slice(given.bounds[far], given.bounds[far + 1])
        seed = np.zeros((1, width), np.int64)
        seed[0, given.columns[row]] = given.weights[row]
        like = similarities(given, seed)[:, 0]
        chosen = filled[np.argsort(-like[filled], kind="stable")[:near]]
        group = np.full(len(closest), -1, np.int64)
        group[chosen] = 0
        centre = _centres(given, group, width, 1)[0]
        found = similarities(given, centre[None])[:, 0]
        closest = found if not centres else np.maximum(closest, found)
        closest[far] = ONE * ONE
        centres.append(centre)
    return np.stack(centres)


def _centres(given: Vectors, of: Ints, width: int, count: int) -> Ints:
    """Return the mean of every cluster's documents, scaled to length `ONE`."""
    owners = np.repeat(of, np.diff(given.bounds))
    inside = owners >= 0
    keys = owners[inside] * width + given.columns[inside]
    sums = np.bincount(keys, given.weights[inside], count * width).reshape(count, width)
    norms = np.sqrt((sums * sums).sum(axis=1, keepdims=True))
    return np.rint(sums / np.maximum(norms, 1.0) * ONE).astype(np.int64)


def _merged(given: Vectors, of: Ints, width: int, count: int, merge: float) -> Ints:
    """Join the two most similar centres until none are as similar as `merge`; largest first.

    Similar are the ways in which centres differ from the mean of all: what every topic has, such
    as frequent words, makes none of them alike.
    """
    sizes = np.bincount(of[of >= 0], minlength=count)
    of = of.copy()
    mean = _centres(given, np.where(of >= 0, 0, -1), width, 1)
    while True:
        centres = _centres(given, of, width, count)
        apart = centres - mean
        products = apart @ apart.T
        norms = np.sqrt(np.maximum(np.diagonal(products), 1))
        alike = products / (norms[:, None] * norms[None, :])
        np.fill_diagonal(alike, -1)
        alike[sizes == 0, :] = alike[:, sizes == 0] = -1
        one, other = divmod(int(alike.argmax()), count)
        if alike[one, other] < merge:
            break
        of[of == other] = one
        sizes[one], sizes[other] = sizes[one] + sizes[other], 0
    left = np.flatnonzero(sizes > 0)
    return centres[left[np.argsort(-sizes[left], kind="stable")]]


def keywords(of: Ints, ids: Ints, offsets: Ints, chosen: Features, count: int) -> list[list[int]]:
    """Return the numbers of the words that mark every topic, by c-TF-IDF, best first."""
    words = np.flatnonzero(chosen.place >= 0)
    owners = np.repeat(of, np.diff(offsets))
    known = (ids >= 0) & (ids < len(chosen.place)) & (owners >= 0)
    columns = chosen.place[np.where(known, ids, 0)]
    known &= columns >= 0
    keys = owners[known] * max(1, len(words)) + columns[known]
    times = np.bincount(keys, minlength=count * len(words)).reshape(count, len(words))
    every = np.maximum(times.sum(axis=0), 1)
    average = times.sum() / max(1, count)
    weight = times * np.log1p(average / every)
    if count > 1:  # a word as frequent elsewhere marks no topic, however often it occurs
        here, all_in = np.maximum(times.sum(axis=1, keepdims=True), 1), max(1, times.sum())
        weight = np.where(times * all_in > LIFT * every * here, weight, 0.0)
    found = []
    for row in weight:
        order = np.argsort(-np.round(row, 6), kind="stable")[:KEYWORDS]
        found.append([int(words[place]) for place in order if row[place] > 0])
    return found


def divergence_bits(first: Sequence[float] | Ints, second: Sequence[float] | Ints) -> float:
    """Return the Jensen-Shannon divergence of two lists of counts, 0 to 1 bit."""
    one, other = (np.asarray(row, np.float64) for row in (first, second))
    if one.sum() == 0 or other.sum() == 0:
        return 0.0 if one.sum() == other.sum() else 1.0
    one, other = one / one.sum(), other / other.sum()
    middle = (one + other) / 2
    total = 0.0
    for side in (one, other):
        held = side > 0
        total += 0.5 * float((side[held] * np.log2(side[held] / middle[held])).sum())
    return max(0.0, total)


def noise_bits(first: Ints, second: Ints, seed: int = 0) -> float:
    """Return the divergence that two samples of these sizes from one mixture exceed once in 100."""
    pooled = np.asarray(first) + np.asarray(second)
    draw = np.random.RandomState(seed)
    share = pooled / pooled.sum()
    sizes = int(np.sum(first)), int(np.sum(second))
    found = [
        divergence_bits(*(draw.multinomial(size, share) for size in sizes)) for _ in range(DRAWS)
    ]
    return float(np.quantile(found, 0.99, method="higher"))


def drift(before: Ints, after: Ints, least_bits: float, seed: int = 0) -> dict[str, Any]:
    """Return how far two counts of topics are apart, and whether that alerts."""
    found = divergence_bits(before, after)
    noise = noise_bits(before, after, seed) if before.sum() and after.sum() else 0.0
    return {
        "divergence_bits": round(found, 6),
        "noise_bits": round(noise, 6),
        "threshold_bits": least_bits,
        "alert": bool(found > max(noise, least_bits)),
    }
