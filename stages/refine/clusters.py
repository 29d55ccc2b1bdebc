"""The report on duplicates: how many, of what kind, in how large clusters, across which sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.refine.duplicates import Findings, Match, shape_of
from stages.refine.settings import Duplicates
from stages.refine.spool import Spool

LARGEST = 10
"""Clusters told by name."""
TOPS = {"top_0.1_percent": 0.001, "top_1_percent": 0.01, "top_10_percent": 0.1}
SOURCES = ("raw", "second", "third")


def report(
    findings: Findings,
    settings: Duplicates,
    documents: int,
    characters: Callable[[int], int],
    identity: Callable[[int], str],
) -> dict[str, Any]:
    """Return duplicates.json: the method, documents and characters dropped, and their clusters.

    `across` counts dropped documents by the source they came from and the source of what stays, so
    that duplicates between two crawls are told from those within one.
    """
    gone = [match for match in findings.matches if match.kind != "related"]
    bands, rows = shape_of(settings)
    kinds = {}
    for kind in ("exact", "near", "contained"):
        own = [match for match in gone if match.kind == kind]
        kinds[kind] = {
            "documents": len(own),
            "characters": sum(characters(match.document) for match in own),
        }
    sizes = cluster_sizes(gone)
    histogram = Counter(sizes.values())
    largest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:LARGEST]
    pairs = Counter((_source(identity(m.document)), _source(identity(m.representative)))
                    for m in gone)  # fmt: skip
    return {
        "documents": documents,
        "method": {**settings.model_dump(mode="json"), "bands": bands, "rows": rows},
        "candidates": findings.candidates,
        "dropped": kinds,
        "related": len(findings.matches) - len(gone),
        "clusters": len(sizes),
        "cluster_sizes": {str(size): histogram[size] for size in sorted(histogram)},
        "largest_clusters": [
            {"representative": identity(number), "documents": size} for number, size in largest
        ],
        "concentration": concentration(sizes.values(), documents),
        "across": [
            {"dropped_from": one, "kept_in": other, "documents": pairs[one, other]}
            for one, other in sorted(pairs)
        ],
    }


def cluster_sizes(gone: Sequence[Match]) -> dict[int, int]:
    """Return by each document that stays how many it stands for, itself among them.

    What stands for a dropped document may be dropped by a later rule: then both count for the last.
    """
    stays = {match.document: match.representative for match in gone}
    sizes: Counter[int] = Counter()
    for number in stays:
        last = stays[number]
        while last in stays:
            last = stays[last]
        sizes[last] += 1
    return {number: count + 1 for number, count in sizes.items()}


def concentration(sizes: Any, documents: int) -> dict[str, float]:
    """Return which share of all documents the most copied unique ones make (CodeParrot's measure).

    With no duplicate at all the top 10 % of unique documents make 10 %.
    """
    ranked = sorted(sizes, reverse=True)
    unique = documents - sum(ranked) + len(ranked)
    found = {}
    for name, share in TOPS.items():
        count = max(1, round(share * unique)) if unique else 0
        made = sum(ranked[:count]) + max(0, count - len(ranked))
        found[name] = round(made / max(1, documents), 6)
    return found


def sources(spool: Spool) -> NDArray[np.int64]:
    """Return of every document which raw folder it came from, by its place in `SOURCES`, `[D]`."""
    names = (_source(str(record["id"])) for record in spool)
    return np.fromiter(map(SOURCES.index, names), np.int64, len(spool))


def _source(identity: str) -> str:
    """Return which of an entry's raw folders a document came from (`intake` puts it in front)."""
    head = identity.split("/", 1)[0]
    return head if head in SOURCES[1:] else SOURCES[0]
