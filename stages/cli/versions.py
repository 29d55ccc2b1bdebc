"""Two versions of a corpus, side by side, for `compare`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.cli.inspection import table
from stages.core.contents import Contents
from stages.core.errors import ArtifactError
from stages.core.records import Record

SHOWN = 20
CORPORA = "data/corpora/"
Row = Mapping[str, Any]


def folders(a: str, b: str) -> dict[str, Any]:
    """Compare two corpus folders as they are, recorded or not."""
    from stages.lm import versions

    for place in (a, b):
        if not Path(place, "corpus.json").is_file():
            raise ArtifactError(
                "this folder holds no corpus.json", place, "name two folders that refine wrote"
            )
    return versions.compare(*(versions.of_folder(Path(place)) for place in (a, b)))


def recorded(contents: Contents, a: Record, b: Record) -> dict[str, Any]:
    """Compare the corpora of two records, or say why that cannot be."""
    from stages.lm import versions

    sides = []
    for record in (a, b):
        found = _files(contents, record)
        if found is None:
            return {"refused": f"the files of {record.entry} are neither here nor in the cache"}
        sides.append(found)
    try:
        return versions.compare(*sides)
    except ArtifactError as error:
        return {"refused": error.what}


def _files(contents: Contents, record: Record) -> dict[str, Path] | None:
    """Return where the files of a record's corpus lie: in DVC's cache, or in the workspace."""
    out = next((path for path in record.outs if path.startswith(CORPORA)), None)
    if out is None:
        return None
    found = {}
    for name, md5 in contents.records.listing(record.outs[out]) or []:
        place = contents.records.cache / "files" / "md5" / md5[:2] / md5[2:]
        if not place.is_file():
            return None
        found[name] = place
    return found or None


def drawn(told: Row) -> Iterator[str]:
    """Yield a comparison of corpora line by line."""
    if "refused" in told:
        yield f"corpus  not compared: {told['refused']}"
        return
    counts = ", ".join(f"{count} {state}" for state, count in told["documents"].items())
    yield f"documents  {counts}"
    for state in ("removed", "added"):
        for rule, count in told["reasons"][state].items():
            where = "b" if state == "removed" else "a"
            why = rule if rule == "not read there" else f"dropped there by {rule}"
            yield f"  {count} {state}: {why.replace('there', f'in {where}')}"
    for state, names in told["examples"].items():
        if names:
            more = ", ..." if told["documents"][state] > 5 else ""
            yield f"  {state}: {', '.join(names[:5])}{more}"
    yield from _tabled("sources", [_source(row) for row in told["sources"]])
    yield from _tabled("rules (documents dropped)", [_rule(r) for r in told["rules"] if _moved(r)])
    yield from _tabled("statistics", [_number(row) for row in told["statistics"]])
    words = told.get("words")
    if words:
        yield f"words  Jensen-Shannon divergence {words['js_bits']} bits"
        for name in ("new", "lost", "risen", "fallen"):
            if words[name]:
                yield f"  {name}: {', '.join(words[name][:12])}"
    for side, labels in told["topics"].items():
        if labels:
            yield f"topics {side}  {', '.join(labels)}"


def _tabled(name: str, rows: list[tuple[str, ...]]) -> Iterator[str]:
    if rows:
        yield name
        yield from (f"  {line}" for line in table(rows[:SHOWN]).splitlines())
        if len(rows) > SHOWN:
            yield f"  (+{len(rows) - SHOWN} more, in --json)"


def _source(row: Row) -> tuple[str, ...]:
    counts = [f"{count} {state}" for state, count in row.items() if state != "source" and count]
    return row["source"] or "(none)", ", ".join(counts)


def _moved(row: Row) -> bool:
    return bool(row["a"] != row["b"])


def _rule(row: Row) -> tuple[str, ...]:
    dropped = [str(row[s]["documents_dropped"]) if row[s] else "no such rule" for s in ("a", "b")]
    return row["rule"], f"{dropped[0]} -> {dropped[1]}"


def _number(row: Row) -> tuple[str, ...]:
    values = ["none" if row[side] is None else f"{row[side]:.6g}" for side in ("a", "b")]
    more = f"{row['difference']:+.6g}" if "difference" in row else ""
    return row["name"], f"{values[0]} -> {values[1]}", more
