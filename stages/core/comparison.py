"""What differs between two records: one section each, or the reason why it does not compare.

Values are compared between the entries themselves and between the entries that stand above them,
joined by name, or by stage where each side has one of it.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stages.core import plan
from stages.core.contents import Contents
from stages.core.errors import CheckFailed
from stages.core.records import Record, Records

Row = dict[str, Any]
Pairing = Callable[[bytes, bytes], dict[str, Row]]
"""From two `units.jsonl` to {score's name: {difference, interval, ...}}; it needs numpy."""
Pair = tuple[Record | None, Record | None]
FREE = ("boot", "seed")
"""Traits of a signature that say how an interval was drawn and not what was scored."""
ABSENT = "absent"


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
        "code": list(_code(contents, pairs)),
        "data": list(_data(contents, pairs)),
        "curves": _curves(contents, a, b),
        "metrics": _metrics(contents, a, b),
        "scores": _scores(contents, a, b, pairing),
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


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted({*a, *b}):
        if a.get(name, ABSENT) != b.get(name, ABSENT):
            yield name, a.get(name, ABSENT), b.get(name, ABSENT)


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
        for name, x, y in _differing(left, right):
            yield {"entry": _both(a, b), "name": name, "a": x, "b": y}
        if a.command.removesuffix(a.key) != b.command.removesuffix(b.key):
            yield {"entry": _both(a, b), "name": "command", "a": a.command, "b": b.command}


def _packages(pairs: Sequence[Pair]) -> Iterator[Row]:
    found: dict[tuple[str, Any, Any], list[str]] = {}
    for a, b in pairs:
        if a is not None and b is not None:
            left, right = (one.params.get("environment.yaml", {}) for one in (a, b))
            for difference in _differing(left, right):
                found.setdefault(difference, []).append(_both(a, b))
    for (name, x, y), entries in found.items():
        yield {"name": name, "a": x, "b": y, "entries": entries}


def _code(contents: Contents, pairs: Sequence[Pair]) -> Iterator[Row]:
    seen: set[tuple[str, str, str]] = set()
    for a, b in pairs:
        if a is None or b is None:
            continue
        for path, x, y in _differing(a.code, b.code):
            if (path, x, y) in seen:
                continue
            seen.add((path, x, y))
            yield {"path": path, "a": x, "b": y, **_changed(contents, a, b, path, x, y)}


def _changed(contents: Contents, a: Record, b: Record, path: str, x: str, y: str) -> Row:
    """Return how many lines a file gained and lost, and in which functions."""
    before = b"" if x == ABSENT else contents.of(a, path, x)
    after = b"" if y == ABSENT else contents.of(b, path, y)
    if before is None or after is None:
        return {"lines": None, "functions": None}
    old, new = (text.decode("utf-8", errors="replace") for text in (before, after))
    rows = list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm=""))[2:]
    added = sum(row.startswith("+") for row in rows)
    removed = sum(row.startswith("-") for row in rows)
    return {"lines": {"added": added, "removed": removed}, "functions": functions(old, new)}


def functions(old: str, new: str) -> list[str]:
    """Return the functions, classes and methods that differ between two texts of a module."""
    left, right = _parts(old), _parts(new)
    return [name for name, _, _ in _differing(left, right)]


def _parts(text: str) -> dict[str, str]:
    """Return the source by dotted name of every function, and of what stands outside of them."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}
    lines = text.splitlines()
    found: dict[str, str] = {}
    outside = dict(enumerate(lines, start=1))

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([child.lineno, *(one.lineno for one in child.decorator_list)])
                span = range(first, (child.end_lineno or first) + 1)
                found[prefix + child.name] = "\n".join(lines[at - 1] for at in span)
                for at in span:
                    outside.pop(at, None)

    visit(tree, "")
    return {**found, "(outside functions)": "\n".join(row for row in outside.values() if row)}


def _data(contents: Contents, pairs: Sequence[Pair]) -> Iterator[Row]:
    """Yield the figures of acquire and refine that differ: documents in and out, sizes."""
    for a, b in pairs:
        if a is None or b is None or a.stage not in ("acquire", "refine"):
            continue
        left, right = _figures(contents, a), _figures(contents, b)
        if left is None or right is None:
            if a.outs != b.outs:
                yield {"entry": _both(a, b), "name": "figures", "refused": "they are gone"}
            continue
        for name, x, y in _differing(left, right):
            yield {"entry": _both(a, b), "name": name, "a": x, "b": y}


def _figures(contents: Contents, record: Record) -> dict[str, Any] | None:
    path = next((out for out in record.outs if out.startswith("metrics/")), None)
    found = contents.json(record, path) if path else None
    return found if isinstance(found, dict) else None


def _metrics(contents: Contents, a: Record, b: Record) -> Row:
    """Return the figures of the entries themselves, or why they do not compare."""
    machines = [one.params.get("machine.yaml") for one in (a, b)]
    if machines[0] != machines[1]:
        differing = ", ".join(name for name, _, _ in _differing(*(one or {} for one in machines)))
        return {"refused": f"they were measured on two machines ({differing} differ)"}
    left, right = _figures(contents, a), _figures(contents, b)
    if left is None or right is None:
        return {"refused": f"the figures of {(a if left is None else b).entry} are gone"}
    bound = machines[0] is not None and a.fingerprint != b.fingerprint
    rows = [
        {"name": name, "a": left.get(name, ABSENT), "b": right.get(name, ABSENT)}
        for name in sorted({*left, *right})
        if not bound or "ratio" in name or "_ms" not in name
    ]
    told: Row = {"rows": rows}
    if bound:
        told["note"] = "times of two runs do not compare; ratios within one run do"
    return told


def _curves(contents: Contents, a: Record, b: Record) -> Row:
    """Return where two curves part and how they end, or why they do not compare."""
    paths = [next((out for out in one.outs if out.startswith("plots/")), None) for one in (a, b)]
    if None in paths:
        return {"refused": "the stage draws no curve"}
    texts = [
        contents.of(one, path, one.outs[path])
        for one, path in zip((a, b), paths, strict=True)
        if path
    ]
    if any(text is None for text in texts):
        return {"refused": "a curve is gone"}
    left, right = (_table(text.decode("utf-8")) for text in texts if text is not None)
    steps = sorted({*left, *right}, key=float)
    parted = next((step for step in steps if left.get(step) != right.get(step)), None)
    if parted is None:
        return {"parted": None, "steps": len(steps)}
    last = [rows[max(rows, key=float)] if rows else {} for rows in (left, right)]
    return {
        "parted": parted,
        "a": left.get(parted),
        "b": right.get(parted),
        "steps_a": len(left),
        "steps_b": len(right),
        "last_a": last[0],
        "last_b": last[1],
    }


def _table(text: str) -> dict[str, dict[str, str]]:
    """Return the rows of a curve by their step."""
    head, *rows = [row.split(",") for row in text.splitlines() if row]
    return {row[0]: dict(zip(head[1:], row[1:], strict=False)) for row in rows}


def _scores(contents: Contents, a: Record, b: Record, pairing: Pairing | None) -> Row:
    """Return the scores of two evaluations with paired intervals, each or why it is refused."""
    if a.stage != "evaluate":
        return {"refused": "only `evaluate` entries have scores"}
    path = [next((out for out in one.outs if out.startswith("reports/")), "") for one in (a, b)]
    tables = [contents.json(one, at, "scores.json") for one, at in zip((a, b), path, strict=True)]
    if None in tables:
        return {"refused": f"the scores of {(a if tables[0] is None else b).entry} are gone"}
    left, right = (_own(one) for one in tables)
    units = [contents.member(one, at, "units.jsonl") for one, at in zip((a, b), path, strict=True)]
    paired: dict[str, Row] = {}
    if pairing is not None and units[0] is not None and units[1] is not None:
        paired = pairing(units[0], units[1])
    rows = []
    for name in sorted({*left, *right}):
        if name not in left or name not in right:
            holder = (a if name in left else b).entry
            rows.append({"name": name, "refused": f"only {holder} has it"})
            continue
        why = incomparable(left[name]["signature"], right[name]["signature"])
        row: Row = {"name": name, "unit": left[name]["unit"]}
        if why:
            rows.append(row | {"refused": why})
            continue
        row |= {"a": left[name]["value"], "b": right[name]["value"], "n": left[name]["n"]}
        row |= paired.get(name) or {"note": "no interval: no outcomes per item are kept of both"}
        rows.append(row)
    return {"rows": rows}


def _own(told: Mapping[str, Any]) -> dict[str, Row]:
    return {str(row["name"]): row for row in told["scores"] if "baseline" not in row}


def incomparable(a: str, b: str) -> str:
    """Return why scores of two signatures do not compare, or an empty text."""
    left, right = (dict(part.partition(":")[::2] for part in one.split("|")) for one in (a, b))
    found = [row for row in _differing(left, right) if row[0] not in FREE]
    samples = next((row for row in found if row[0] == "data"), None)
    if samples:
        return f"they were scored on other samples ({samples[1]} and {samples[2]})"
    if found:
        told = ", ".join(f"{name} {x} and {y}" for name, x, y in found)
        return f"they were scored in two ways ({told})"
    return ""


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
        differing = "; ".join(f"{name} {x} and {y}" for name, x, y in _differing(*named))
        return {"refused": f"they ran on two machines ({differing})"}
    found: Row = {}
    for side, run in zip("ab", runs, strict=True):
        end = (run.end if run is not None else None) or {}
        spent = end.get("durations", {})
        cpu_s = float(spent.get("cpu_s", 0.0))
        told = end.get("energy") or energy.estimate(cpu_s).row()
        found[side] = {"wall_s": spent.get("process_s"), "cpu_s": cpu_s, **told}
    return found
