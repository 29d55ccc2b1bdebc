"""Which documents of a spool are duplicates: equal, alike, or one within the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stages.lm import minhash, neighbours
from stages.lm.engines import Engine
from stages.lm.kernels import equality
from stages.lm.kernels.text import Texts
from stages.refine.settings import Duplicates
from stages.refine.shingled import Shingled

Numbers = NDArray[np.int64]
Keep = Literal["first", "last", "longest"]


@dataclass(frozen=True, slots=True)
class Match:
    """Two documents that resemble each other; `kind` is exact, near, contained or related.

    `document` goes (unless the kind is related) and `representative` stays. `cluster` is the lowest
    document of all that are joined to both; `bands` how many bands of their signatures are equal.
    Measures are of this very pair and None where they were not computed.
    """

    document: int
    representative: int
    kind: str
    estimated_jaccard: float | None = None
    exact_jaccard: float | None = None
    containment: float | None = None
    cluster: int | None = None
    bands: int | None = None


@dataclass(slots=True)
class Findings:
    """All matches, and what was looked at to find them."""

    matches: list[Match]
    candidates: int = 0
    """Pairs that shared a band or enough of their sketches, and were not of one cluster yet."""


def chosen(roots: Numbers, keep: Keep, sizes: Numbers, sources: Numbers | None = None) -> Numbers:
    """Return who stays of each document's cluster, `[D]`; `sizes` decide for `longest`.

    Equal sizes: the lowest document. With `sources` [D] one stays of each source in a cluster.
    """
    if sources is not None:
        _, first, own = np.unique(
            roots * (1 + sources.max(initial=0)) + sources, return_index=True, return_inverse=True
        )
        roots = first[own]
    order = np.arange(len(roots))
    if keep == "last":
        order = order[::-1]
    elif keep == "longest":
        order = np.lexsort((order, -sizes))
    _, first = np.unique(roots[order], return_index=True)
    stays = np.empty(len(roots), np.int64)
    stays[roots[order[first]]] = order[first]
    return stays[roots]


def exact(
    batches: Iterable[Texts],
    keep: Keep = "first",
    threads: int = 1,
    sources: Numbers | None = None,
) -> list[Match]:
    """Return documents that equal another one up to letter case and blanks.

    The lowest of them stays, with `last` the highest: `longest` has nothing to choose. With
    `sources` [D] one stays of each source.
    """
    found = [equality.keys(texts, threads) for texts in batches]
    keys = np.concatenate([np.zeros((0, 2), np.uint64), *found])
    firsts = equality.firsts_of(keys)
    stays = chosen(firsts, "last" if keep == "last" else "first", firsts, sources)
    gone = np.flatnonzero(stays != np.arange(len(stays)))
    return [
        Match(number, int(stays[number]), "exact", 1.0, 1.0, 1.0, int(firsts[number]))
        for number in gone.tolist()
    ]


def shape_of(settings: Duplicates) -> tuple[int, int]:
    """Return the bands and rows in force."""
    if settings.bands:
        return settings.bands, settings.permutations // settings.bands
    return minhash.band_shape(settings.permutations, settings.threshold, settings.missed_weight)


def near(
    documents: Shingled,
    settings: Duplicates,
    sources: Numbers | None = None,
    engine: Engine | None = None,
) -> Findings:
    """Return every document that is a near-duplicate of the one of its cluster that stays.

    Candidates share a band of their signatures; with `verify: exact` a pair joins a cluster only if
    its Jaccard similarity reaches the threshold. Documents without shingles (fewer words than the
    n-gram has) all have the same signature and take no part; exact deduplication deals with them.
    """
    shape = shape_of(settings)
    judged = (documents.sizes > 0).astype(np.uint8)
    comparison = documents.comparison if settings.verify == "exact" else None
    roots, candidates = neighbours.cluster(
        documents.signatures, judged, shape, comparison, settings.threshold, engine
    )
    stays = chosen(roots, settings.keep, documents.sizes, sources)
    gone = np.flatnonzero(stays != np.arange(len(stays)))
    matches = _measured(documents, gone, stays[gone], "near", roots[gone], settings)
    return Findings(matches, candidates)


def _measured(
    documents: Shingled,
    gone: Numbers,
    stays: Numbers,
    kind: str,
    roots: Numbers,
    settings: Duplicates,
) -> list[Match]:
    """Return matches of rows with all their measures; without verification only estimates."""
    order = np.lexsort((np.maximum(gone, stays), np.minimum(gone, stays)))
    gone, stays, roots = gone[order], stays[order], roots[order]
    lower, higher = np.minimum(gone, stays), np.maximum(gone, stays)
    jaccards: list[float | None] = [None] * len(gone)
    shares = jaccards
    if settings.verify == "exact":
        found = documents.comparison.measure(lower, higher)
        jaccards, shares = found.jaccard().tolist(), found.containment().tolist()
    estimated = neighbours.estimates(documents.signatures, lower, higher)
    bands = neighbours.bands_shared(documents.signatures, shape_of(settings), lower, higher)
    names = documents.numbers
    return sorted(
        (
            Match(*row)
            for row in zip(
                names[gone].tolist(), names[stays].tolist(), [kind] * len(gone),
                estimated.tolist(), jaccards, shares, names[roots].tolist(), bands.tolist(),
                strict=True,
            )
        ),
        key=lambda match: match.document,
    )  # fmt: skip


def contained(
    documents: Shingled,
    settings: Duplicates,
    gone: set[int],
    sources: Numbers | None = None,
) -> Findings:
    """Return pairs of which one lies within the other: dropped (`contained`) or told (`related`).

    Candidates come from sketches; what is dropped is always compared exactly. The smaller document
    goes, unless its container is gone already. A pair that reaches the Jaccard threshold, but
    shared no band by bad luck, is a near-duplicate after all. Numbers in `gone` are left out, and
    those that go are added. With `sources` [D] pairs of two sources are only told.
    """
    least = min(value for value in (settings.containment, settings.related, 1.0) if value)
    away = np.isin(documents.numbers, np.fromiter(gone, np.int64, len(gone))).astype(np.uint8)
    # Sampling error: a candidate is taken a fifth below the bound and then measured.
    lower, higher, _ = neighbours.contained_pairs(documents.codes, away, 0.8 * least)
    measures = documents.comparison.measure(lower, higher)
    jaccards, shares = measures.jaccard(), measures.containment()
    alike = settings.near & (jaccards >= settings.threshold)
    within = (shares >= settings.containment) & (settings.containment > 0)
    if sources is not None:
        inside = sources[lower] == sources[higher]
        alike, within = alike & inside, within & inside
    told = (shares >= settings.related) & (settings.related > 0)
    places = np.flatnonzero(alike | within | told)
    estimated = neighbours.estimates(documents.signatures, lower[places], higher[places])
    bands = neighbours.bands_shared(
        documents.signatures, shape_of(settings), lower[places], higher[places]
    )
    found: list[Match] = []
    for at, place in enumerate(places.tolist()):
        low, high = int(documents.numbers[lower[place]]), int(documents.numbers[higher[place]])
        if low in gone or high in gone:
            continue
        smaller = low if measures.first[place] < measures.second[place] else high
        kind, goes = "related", high
        if alike[place]:
            kind = "near"
            goes = {"first": high, "last": low, "longest": smaller}[settings.keep]
        elif within[place]:
            kind, goes = "contained", smaller
        if kind != "related":
            gone.add(goes)
        found.append(
            Match(
                goes,
                low + high - goes,
                kind,
                float(estimated[at]),
                float(jaccards[place]),
                float(shares[place]),
                low,
                int(bands[at]),
            )  # fmt: skip
        )
    return Findings(found, len(lower))


def row_of(match: Match, identity: Callable[[int], str]) -> dict[str, Any]:
    """Return the match as a row of duplicates.parquet."""
    return {
        "id": identity(match.document),
        "representative": identity(match.representative),
        "kind": match.kind,
        "estimated_jaccard": match.estimated_jaccard,
        "exact_jaccard": match.exact_jaccard,
        "containment": match.containment,
        "cluster": None if match.cluster is None else identity(match.cluster),
        "bands": match.bands,
    }
