"""The 22 pairs of `dedup/eo_same_work_pairs.tsv`: which are found, estimated and exact.

    python -m benchmarks.duplicate_pairs [DATA]

DATA is the folder of the shared test material (default: $DEVENO_TEST_DATA/data, else
`shared/data` beside the checkout). A file is a document, normalised as `refine` does by default;
all files of the table stand in one index. A pair is found `near` if it shares a band of its
signatures (256 permutations, threshold 0.7, 5-grams) and its exact Jaccard reaches 0.7, and
`contained` or `related` if its sketches and then its shingles say so (0.9 and 0.3).
Writes `benchmarks/duplicate_pairs.json`.
"""

from __future__ import annotations

import functools
import gzip
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stages.core import canonical
from stages.lm import minhash, neighbours
from stages.lm.kernels.text import of_strings
from stages.refine.duplicates import shape_of
from stages.refine.filters import Drop, changes
from stages.refine.settings import Duplicates, Normalise
from stages.refine.shingled import Shingled

ROOT = Path(__file__).resolve().parent.parent
TABLE = "dedup/eo_same_work_pairs.tsv"


def read(data: Path, name: str) -> str:
    """Return one file's text, decompressed where it is stored so."""
    path = data / name
    if path.is_file():
        return path.read_text("utf-8")
    return gzip.decompress(path.with_name(path.name + ".gz").read_bytes()).decode("utf-8")


@functools.cache
def normalised(data: Path, name: str) -> str:
    """Return one file's text after the default changes of `refine`."""
    text = read(data, name)
    for _, step in changes(Normalise()):
        result = step(text)
        if not isinstance(result, Drop):
            text = result
    return text


def table_of(data: Path) -> list[dict[str, str]]:
    """Return the rows of the table."""
    lines = [line.split("\t") for line in (data / TABLE).read_text("utf-8").splitlines()]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[1:]]


def judge(data: Path, settings: Duplicates) -> list[dict[str, Any]]:
    """Return one row per pair of the table, in its order."""
    table = table_of(data)
    names = sorted({row[side] for row in table for side in ("file_a", "file_b")})
    texts = [normalised(data, name) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        documents = Shingled(
            range(len(names)),
            lambda rows: of_strings([texts[row] for row in rows]),
            [len(text.encode("utf-8", "surrogatepass")) for text in texts],
            settings,
            Path(folder) / "signatures",
        )
        pairs = minhash.bucket_pairs(documents.signatures, *shape_of(settings))
        banded = {(int(a), int(b)) for a, b in pairs}
        low, high, _ = neighbours.contained_pairs(
            documents.codes, np.zeros(len(documents), np.uint8), 0.8 * settings.related
        )
        sketched = set(zip(low.tolist(), high.tolist(), strict=True))
        found = [_row(row, names, documents, banded, sketched, settings) for row in table]
        documents.close()
    return found


def _row(
    row: dict[str, str],
    names: list[str],
    documents: Shingled,
    banded: set[tuple[int, int]],
    sketched: set[tuple[int, int]],
    settings: Duplicates,
) -> dict[str, Any]:
    low, high = sorted((names.index(row["file_a"]), names.index(row["file_b"])))
    one, other = np.array([low]), np.array([high])
    measures = documents.comparison.measure(one, other)
    exact, inside = float(measures.jaccard()[0]), float(measures.containment()[0])
    estimated = float(neighbours.estimates(documents.signatures, one, other)[0])
    kind = "none"
    if (low, high) in banded and exact >= settings.threshold:
        kind = "near"
    elif (low, high) in sketched and inside >= settings.containment:
        kind = "contained"
    elif (low, high) in sketched and inside >= settings.related:
        kind = "related"
    return {
        "file_a": row["file_a"],
        "file_b": row["file_b"],
        "same_work": row["same_work"] == "1",
        "jaccard_of_table": float(row["jaccard5_norm"]),
        "estimated_jaccard": round(estimated, 4),
        "exact_jaccard": round(exact, 4),
        "containment": round(inside, 4),
        "found": kind,
    }


def by_stage(table: Sequence[dict[str, str]], corpus: Path) -> list[dict[str, Any]]:
    """Return what the stage `refine` itself found of each pair: the tables of its corpus decide.

    `near`: both files are in one cluster of exact and near-duplicates. `contained`, `related`: a
    row of the corpus names this pair, or the pair of the documents that represent the files.
    """
    matches = [
        (row["kind"], *(row[side].removesuffix(".gz") for side in ("id", "representative")))
        for file in ("related.parquet", "duplicates.parquet")
        for row in pq.read_table(corpus / file).to_pylist()
    ]
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while name in parent:
            name = parent[name]
        return name

    for kind, one, other in matches:
        if kind in ("exact", "near") and root(one) != root(other):
            parent[root(one)] = root(other)
    named = {frozenset((root(one), root(other))): kind for kind, one, other in matches}
    found = []
    for row in table:
        one, other = root(row["file_a"]), root(row["file_b"])
        kind = "near" if one == other else named.get(frozenset((one, other)), "none")
        found.append(
            {
                "file_a": row["file_a"],
                "file_b": row["file_b"],
                "same_work": row["same_work"] == "1",
                "jaccard_of_table": float(row["jaccard5_norm"]),
                "found": kind,
            }
        )
    return found


def summary(rows: list[dict[str, Any]], threshold: float) -> dict[str, int]:
    """Count what the issue asks for."""
    same = [row for row in rows if row["same_work"]]
    above = [row for row in same if row["jaccard_of_table"] >= threshold]
    below = [row for row in same if row["jaccard_of_table"] < threshold]
    return {
        "same_work_at_threshold": len(above),
        "same_work_at_threshold_found_near": sum(row["found"] == "near" for row in above),
        "same_work_below": len(below),
        "same_work_below_found_by_containment": sum(
            row["found"] in ("contained", "related") for row in below
        ),
        "different_work": len(rows) - len(same),
        "different_work_found": sum(row["found"] != "none" for row in rows if row not in same),
    }


def main() -> None:
    """Judge the pairs, print the table and write the file."""
    home = Path(os.environ.get("DEVENO_TEST_DATA", ROOT.parent / "shared")) / "data"
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else home
    settings = Duplicates()
    rows = judge(data, settings)
    for row in rows:
        print(
            f"{'same' if row['same_work'] else 'other':5} estimated {row['estimated_jaccard']:.4f}"
            f" exact {row['exact_jaccard']:.4f} containment {row['containment']:.4f}"
            f" {row['found']:9} {row['file_a']} | {row['file_b']}"
        )
    totals = summary(rows, settings.threshold)
    for name, count in totals.items():
        print(f"{name}: {count}")
    canonical.write_json(
        ROOT / "benchmarks" / "duplicate_pairs.json",
        {"pairs": rows, "summary": totals, "settings": settings.model_dump()},
    )


if __name__ == "__main__":
    main()
