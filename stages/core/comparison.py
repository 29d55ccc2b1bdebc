"""What differs between two records: one section each, or the reason why it does not compare.

Values are compared between the entries themselves and between the entries that stand above them,
joined by name, or by stage where each side has one of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stages.core import edits, figures, plan
from stages.core.contents import Contents
from stages.core.edits import ABSENT, differing
from stages.core.errors import CheckFailed
from stages.core.figures import Pairing
from stages.core.records import Record, Records

Row = dict[str, Any]
Pair = tuple[Record | None, Record | None]


def refuse(a: Record, b: Record) -> None:
    """Raise CheckFailed for records of two stages: they share no parameter and no figure."""
    if a.stage != b.stage:
        raise CheckFailed(
            f"{a.entry} and {b.entry} are of two stages and do not compare",
            f"{a.stage} takes and makes other things than {b.stage}",
            "compare two entries of one stage; two models by their `evaluate` entries",
        )


def compare(contents: Contents, a: Record, b: Record, pairing: Pairing | None = None) -> Row:
    """Return the sections of a comparison; a section that cannot be made says `refused`."""
    refuse(a, b)
    records = contents.records
    pairs = list(aligned(records, a, b))
    return {
        "a": _identity(a),
        "b": _identity(b),
        "same": {
            "fingerprint": a.fingerprint == b.fingerprint,
            "outputs": sorted(a.outs.values()) == sorted(b.outs.values()),
        },
        "parameters": list(_parameters(pairs)),
        "packages": list(_packages(pairs)),
        "code": list(edits.code(contents, pairs)),
        "data": list(_data(contents, pairs)),
        "curves": figures.curves(contents, a, b),
        "metrics": figures.metrics(contents, a, b),
        "scores": figures.scores(contents, a, b, pairing),
        "size": _sizes(a, b),
        "cost": _cost(records, a, b),
    }


def _identity(record: Record) -> Row:
    return {
        "entry": record.entry,
        "fingerprint": record.fingerprint,
        "outputs": dict(record.outs),
        "recorded": sorted({str(place) for place in record.places}),
    }


def aligned(records: Records, a: Record, b: Record) -> Iterator[Pair]:
    """Yield the records of both ancestries that answer each other, producers first."""
    left, right = (_by_entry(records.ancestry(one)[:-1]) for one in (a, b))
    taken: set[str] = set()
    for name, record in left.items():
        other = right.get(name) or _only(record.stage, left, right)
        if other is not None:
            taken.add(other.entry)
        yield record, other
    for name, record in right.items():
        if name not in taken:
            yield None, record
    yield a, b


def _by_entry(ancestry: Sequence[Record]) -> dict[str, Record]:
    return {record.entry: record for record in ancestry}


def _only(stage: str, left: Mapping[str, Record], right: Mapping[str, Record]) -> Record | None:
    """Return the other side's only entry of a stage of which this side has only one."""
    mine = [one for one in left.values() if one.stage == stage]
    theirs = [one for one in right.values() if one.stage == stage]
    return theirs[0] if len(mine) == len(theirs) == 1 else None


def _both(a: Record | None, b: Record | None) -> str:
    names = [one.entry for one in (a, b) if one is not None]
    return names[0] if len(set(names)) == 1 else " | ".join(names)


def _parameters(pairs: Sequence[Pair]) -> Iterator[Row]:
    for a, b in pairs:
        if a is None or b is None:
            yield {"entry": _both(a, b), "name": "the entry itself",
                   "a": "there" if a else ABSENT, "b": "there" if b else ABSENT}  # fmt: skip
            continue
        left, right = (plan.flatten(one.values) if one.values else {} for one in (a, b))
        for name, x, y in differing(left, right):
            yield {"entry": _both(a, b), "name": name, "a": x, "b": y}
        if a.command.removesuffix(a.key) != b.command.removesuffix(b.key):
            yield {"entry": _both(a, b), "name": "command", "a": a.command, "b": b.command}


def _packages(pairs: Sequence[Pair]) -> Iterator[Row]:
    found: dict[tuple[str, Any, Any], list[str]] = {}
    for a, b in pairs:
        if a is not None and b is not None:
            left, right = (one.params.get("environment.yaml", {}) for one in (a, b))
            for difference in differing(left, right):
                found.setdefault(difference, []).append(_both(a, b))
    for (name, x, y), entries in found.items():
        yield {"name": name, "a": x, "b": y, "entries": entries}


def _data(contents: Contents, pairs: Sequence[Pair]) -> Iterator[Row]:
    """Yield the figures of acquire and refine that differ: documents in and out, sizes."""
    for a, b in pairs:
        if a is None or b is None or a.stage not in ("acquire", "refine"):
            continue
        left, right = contents.figures(a), contents.figures(b)
        if left is None or right is None:
            if a.outs != b.outs:
                yield {"entry": _both(a, b), "name": "figures", "refused": "they are gone"}
            continue
        for name, x, y in differing(left, right):
            yield {"entry": _both(a, b), "name": name, "a": x, "b": y}


def _sizes(a: Record, b: Record) -> Row:
    left, right = (
        sum(size for out, size in one.sizes.items() if not out.startswith(("metrics/", "plots/")))
        for one in (a, b)
    )
    return {"a_bytes": left, "b_bytes": right, "ratio": round(right / left, 4) if left else None}


def _cost(records: Records, a: Record, b: Record) -> Row:
    """Return wall and CPU seconds and estimated energy, or why they do not compare."""
    from stages.core import energy

    runs = [records.execution(one) for one in (a, b)]
    gone = [one.entry for one, run in zip((a, b), runs, strict=True) if run is None]
    if gone:
        return {"refused": f"{gone[0]} did not run here: its cost is not known"}
    facts = [(run.start.get("machine") or {}) for run in runs if run is not None]
    named = [{name: one.get(name) for name in ("cpu_model", "cores", "gpu")} for one in facts]
    if named[0] != named[1]:
        both = "; ".join(f"{name} {x} and {y}" for name, x, y in differing(*named))
        return {"refused": f"they ran on two machines ({both})"}
    found: Row = {}
    for side, run in zip("ab", runs, strict=True):
        end = (run.end if run is not None else None) or {}
        spent = end.get("durations", {})
        cpu_s = float(spent.get("cpu_s", 0.0))
        told = end.get("energy") or energy.estimate(cpu_s).row()
        found[side] = {"wall_s": spent.get("process_s"), "cpu_s": cpu_s, **told}
    return found
