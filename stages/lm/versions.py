"""What differs between two versions of a corpus: documents, rules, sources, statistics, words.

A version is its files by name, wherever each lies (a folder, DVC's cache). Documents are joined by
id; those of one id (which should not be) by their order of content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from stages.core.errors import ArtifactError
from stages.lm import wordshift
from stages.lm.queries import SHARD

Files = Mapping[str, Path]
Row = dict[str, Any]
SHOWN = 20
"""Ids shown of each kind of change."""
STATES = ("same", "changed", "moved", "added", "removed")


def of_folder(folder: Path) -> dict[str, Path]:
    """Return the files of a corpus folder."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}


def compare(before: Files, after: Files) -> Row:
    """Return the differences of two versions; `documents` counts every state once."""
    told = {side: _json(files, "corpus.json") for side, files in (("a", before), ("b", after))}
    if told["a"]["kind"] != told["b"]["kind"]:
        raise ArtifactError(
            f"one corpus is {told['a']['kind']}, the other {told['b']['kind']}",
            "their corpus.json",
            "compare two corpora of one kind",
        )
    with duckdb.connect(":memory:") as base:
        for side, files in (("a", before), ("b", after)):
            base.execute(f"CREATE VIEW {side} AS {_documents(base, files)}")
        base.execute(_JOINED)
        found = {
            "documents": _counts(base),
            "sources": _sources(base),
            "reasons": _reasons(base, before, after),
            "examples": _examples(base),
        }
    ledgers = [_json(files, "ledger.json")["rules"] for files in (before, after)]
    statistics = [_json(files, "statistics.json") for files in (before, after)]
    found["rules"] = list(_rules(*ledgers))
    found["statistics"] = list(_numbers(*statistics))
    if all("words.parquet" in files for files in (before, after)):
        found["words"] = wordshift.compare(before["words.parquet"], after["words.parquet"])
    found["topics"] = {
        side: [row["label"] for row in one.get("topics", {}).get("topics", [])]
        for side, one in zip("ab", statistics, strict=True)
    }
    return found


_JOINED = """
CREATE TABLE joined AS SELECT
  coalesce(a.id, b.id) AS id, coalesce(b.source, a.source) AS source,
  CASE WHEN a.id IS NULL THEN 'added' WHEN b.id IS NULL THEN 'removed'
       WHEN a.content <> b.content THEN 'changed' WHEN a.split <> b.split THEN 'moved'
       ELSE 'same' END AS state
FROM a FULL OUTER JOIN b ON a.id = b.id AND a.place = b.place
"""


def _documents(base: Any, files: Files) -> str:
    """Return the query of a version's documents: id, place among its like, split, content."""
    parts = []
    for name, path in files.items():
        named = SHARD.fullmatch(name)
        if named:
            parts.append(f"SELECT '{named[1]}' AS split, * FROM read_parquet({_quoted(path)})")
    if not parts:
        raise ArtifactError("the corpus has no shard", "its folder", "run its refine entry again")
    every = " UNION ALL BY NAME ".join(parts)
    names = [row[0] for row in base.execute(f"DESCRIBE {every}").fetchall()]
    kept = [f'"{name}"' for name in names if name not in ("id", "split", "source")]
    return (
        f"SELECT *, row_number() OVER (PARTITION BY id ORDER BY content) AS place FROM ("
        f"SELECT id, split, source, md5(CAST(row({', '.join(kept)}) AS VARCHAR)) AS content "
        f"FROM ({every}))"
    )


def _counts(base: Any) -> Row:
    found = dict(base.execute("SELECT state, count(*) FROM joined GROUP BY state").fetchall())
    return {state: int(found.get(state, 0)) for state in STATES}


def _sources(base: Any) -> list[Row]:
    rows = base.execute("SELECT source, state, count(*) FROM joined GROUP BY ALL").fetchall()
    found: dict[str, Row] = {}
    for source, state, count in rows:
        one = found.setdefault(source or "", dict.fromkeys(STATES, 0))
        one[state] = int(count)
    return [{"source": name, **found[name]} for name in sorted(found)]


def _reasons(base: Any, before: Files, after: Files) -> Row:
    """Return which rules of b dropped what was removed, and which of a what was added."""
    found: Row = {}
    for state, files in (("removed", after), ("added", before)):
        total = base.execute("SELECT count(*) FROM joined WHERE state = ?", [state]).fetchone()[0]
        rules: dict[str, int] = {}
        if "dropped.parquet" in files:
            rows = base.execute(
                "SELECT rule, count(*) FROM joined JOIN "
                f"(SELECT DISTINCT ON (id) id, rule FROM "
                f"read_parquet({_quoted(files['dropped.parquet'])})) USING (id) "
                "WHERE state = ? GROUP BY rule ORDER BY rule",
                [state],
            ).fetchall()
            rules = {str(rule): int(count) for rule, count in rows}
        left = int(total) - sum(rules.values())
        found[state] = rules | ({"not read there": left} if left else {})
    return found


def _examples(base: Any) -> Row:
    return {
        state: [
            row[0]
            for row in base.execute(
                "SELECT id FROM joined WHERE state = ? ORDER BY id LIMIT ?", [state, SHOWN]
            ).fetchall()
        ]
        for state in STATES
        if state != "same"
    }


def _rules(before: list[Row], after: list[Row]) -> Iterator[Row]:
    """Yield what every rule of either dropped and changed."""
    sides = [{str(row["rule"]): row for row in rows} for rows in (before, after)]
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        row: Row = {"rule": name}
        for letter, side in zip("ab", sides, strict=True):
            one = side.get(name)
            row[letter] = one and {
                "documents_in": one["documents_in"],
                "documents_dropped": one["documents_in"] - one["documents_out"],
                "documents_changed": one["documents_changed"],
                "characters_cut": one["characters_in"] - one["characters_out"],
            }
        yield row


def _numbers(before: Row, after: Row) -> Iterator[Row]:
    """Yield every number of both statistics that differs, with the difference and ratio."""
    left, right = dict(_leaves(before)), dict(_leaves(after))
    for name in dict.fromkeys([*left, *right]):
        x, y = left.get(name), right.get(name)
        if x == y:
            continue
        row: Row = {"name": name, "a": x, "b": y}
        if x is not None and y is not None:
            row["difference"] = round(y - x, 6)
            row["ratio"] = round(y / x, 6) if x else None
        yield row


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, int | float):
        yield name, value


def _json(files: Files, name: str) -> Any:
    try:
        return json.loads(files[name].read_text(encoding="utf-8"))
    except (KeyError, OSError, ValueError) as fault:
        raise ArtifactError(
            f"the corpus has no readable {name} ({fault})",
            str(next(iter(files.values()), Path())),
            "compare two folders that refine wrote",
        ) from fault


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
