"""Last pass: documents get their split and are written as shards, with the tables about them."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.core.errors import CheckFailed
from stages.lm import tables
from stages.refine import bitext
from stages.refine.duplicates import Match, row_of
from stages.refine.intake import Record, texts_of
from stages.refine.settings import RefineParams, Split
from stages.refine.spool import Spool

SPLITS = ("train", "valid", "test")
DROPPED = pa.schema([("id", pa.string()), ("rule", pa.string()), ("detail", pa.string())])
MATCHES = pa.schema(
    [
        ("id", pa.string()),
        ("representative", pa.string()),
        ("kind", pa.string()),
        ("estimated_jaccard", pa.float64()),
        ("exact_jaccard", pa.float64()),
        ("containment", pa.float64()),
        ("cluster", pa.string()),
        ("bands", pa.int32()),
    ]
)
REFERENCES = pa.field("references", pa.list_(pa.string()))
"""Further texts that a pair's target might have been."""
SCHEMAS = {
    "text": tables.TEXT_SCHEMA,
    "labelled": tables.LABELLED_SCHEMA,
    "parallel": tables.PARALLEL_SCHEMA,
}


class Losses:
    """The rows of dropped.parquet, packed as they come."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str]] = []
        self._packed: list[pa.Table] = []

    def add(self, identity: str, rule: str, detail: str) -> None:
        """Take one dropped document."""
        self._rows.append((identity, rule, detail))
        if len(self._rows) >= 8192:
            self._pack()

    def _pack(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [(), (), ()]
        self._packed.append(pa.table([pa.array(c, pa.string()) for c in columns], schema=DROPPED))
        self._rows = []

    def write(self, path: Path) -> None:
        """Write dropped.parquet."""
        self._pack()
        tables.write_table(path, pa.concat_tables(self._packed))


def split_key(record: Record, split: Split) -> str:
    """Return what decides a record's split: its text, or the document that it belongs to.

    Labelled sentences of a known document stay together whatever `by` says.
    """
    if record.get("document"):
        return str(record["document"])
    if split.by == "group":
        return str(record["id"]).rpartition(":")[0] or str(record["id"])
    return str(record["id"]) if split.by == "document" else texts_of(record)[0]


def split_value(key: str, seed: int) -> int:
    """Return a number below 2^64 from the SHA-256 of seed and key."""
    data = f"{seed}\n{key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def assign(values: NDArray[np.uint64], split: Split) -> NDArray[np.int8]:
    """Return 0, 1 or 2 (train, valid, test) per document.

    The unit interval is cut at the shares. A split with a share that no document fell into takes
    the documents whose value lies nearest to its middle, so that small corpora have all splits.
    """
    shares = np.array([split.train, split.valid, split.test])
    places = values.astype(np.float64) / 2.0**64
    bounds = np.cumsum(shares)
    found = np.minimum(np.searchsorted(bounds[:2], places, side="right"), 2).astype(np.int8)
    wanted = [SPLITS[index] for index in np.flatnonzero(shares)]
    different = len(np.unique(values))
    if different < len(wanted):
        raise CheckFailed(
            f"{different} different document(s) cannot fill the splits {', '.join(wanted)}",
            "refine: split",
            "give more text, cut it into `documents: paragraph` (or line), or set the share of a"
            " split to 0",
        )
    for index in np.flatnonzero(shares):
        if (found == index).any():
            continue
        sizes = {other: len(np.unique(values[found == other])) for other in range(3)}
        giver = max(sizes, key=lambda other: sizes[other])
        middle = bounds[index] - shares[index] / 2
        inside = np.flatnonzero(found == giver)
        nearest = values[inside[np.abs(places[inside] - middle).argmin()]]
        found[values == nearest] = index
    return found


def write_splits(
    folder: Path, params: RefineParams, spool: Spool, kept: Sequence[int]
) -> tuple[dict[str, Any], list[str]]:
    """Write all shards and return (splits of corpus.json, labels)."""
    values = array("Q")
    for number in kept:
        values.append(split_value(split_key(spool[number], params.split), params.split.seed))
    splits = assign(np.frombuffer(values, dtype=np.uint64), params.split)
    schema = SCHEMAS[params.kind]
    if REFERENCES.name in spool.names:  # only then: other corpora keep their columns
        schema = schema.append(REFERENCES)
    counts = {name: {"documents": 0, "characters": 0, "bytes": 0} for name in SPLITS}
    labels: set[str] = set()
    writers: list[tables.ShardWriter] = []
    with ExitStack() as stack:
        for name in SPLITS:
            writers.append(stack.enter_context(tables.ShardWriter(folder, name, schema)))
        for number, index in zip(kept, splits.tolist(), strict=True):
            record = spool[number]
            texts = texts_of(record)
            writers[index].add({name: record.get(name) for name in schema.names})
            count = counts[SPLITS[index]]
            count["documents"] += 1
            count["characters"] += sum(map(len, texts))
            count["bytes"] += sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
            labels.update(record.get("tags", ()))
    rows = {
        name: {**counts[name], "shards": writer.shards}
        for name, writer in zip(SPLITS, writers, strict=True)
    }
    return rows, sorted(labels)


def write_matches(path: Path, matches: Iterable[Match], spool: Spool) -> None:
    """Write a table of matches."""

    def identity(number: int) -> str:
        return str(spool[number]["id"])

    rows = [row_of(match, identity) for match in matches]
    tables.write_table(path, pa.Table.from_pylist(rows, schema=MATCHES))


def write_scores(path: Path, rows: Iterable[Sequence[Any]], kind: str) -> None:
    """Write the table of scores: an id and a column of whole numbers for each thing counted."""
    from stages.lm.scores.columns import COLUMNS

    names = bitext.COLUMNS if kind == "parallel" else COLUMNS
    counted = [pa.field(name, pa.int64()) for name in names]
    tables.write_rows(path, pa.schema([("id", pa.string()), *counted]), rows)
