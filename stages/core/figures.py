"""Figures side by side: metrics, curves and scores of two records, where they measure one thing.

What a figure measures is said by its terms (`stages.core.terms`), of a score by its signature.
Where two differ the figure is named with the reason, and its values are not shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stages.core import terms
from stages.core.contents import Contents
from stages.core.edits import ABSENT, differing
from stages.core.records import Record

Row = dict[str, Any]
Pairing = Callable[[bytes, bytes], dict[str, Row]]
"""From two `units.jsonl` to {score's name: {difference, interval, ...}}; it needs numpy."""
FREE = ("boot", "seed")
"""Traits of a signature that say how an interval was drawn and not what was scored."""
SUFFIXES = ("", "_fraction", "_nats", "_points")
"""What a score's name may have behind it as a metric (`stages.evaluate.scoreboard`)."""
LOWER = ("nats", "perplexity", "bits/byte")
"""Units of scores of which less is better; of all others more is."""


def metrics(contents: Contents, a: Record, b: Record) -> Row:
    """Return the figures of the entries themselves, each or why it does not compare.

    {rows: [{name, a, b} or {name, refused}], note}, or {refused} where no figure compares.
    """
    left, right = contents.figures(a), contents.figures(b)
    if left is None or right is None:
        return {"refused": f"the figures of {(a if left is None else b).entry} are gone"}
    signed = _signed(contents, a, b)
    rows: list[Row] = []
    for name in sorted({*left, *right}):
        fact = terms.is_fact(a.stage, name)
        if not fact and (name not in left or name not in right):
            rows.append({"name": name, "refused": _one_sided(a, b, name in left)})
            continue
        score = next((end for end in SUFFIXES if _without(name, end) in signed), None)
        if score is None:
            why = terms.why_not(contents, a, b, name)
        else:
            why = signed[_without(name, score)]
        values = {"a": left.get(name, ABSENT), "b": right.get(name, ABSENT)}
        rows.append({"name": name, **({"refused": why} if why else values)})
    reasons = list(dict.fromkeys(row["refused"] for row in rows if "refused" in row))
    if reasons and all("refused" in row for row in rows):
        return {"refused": " | ".join(reasons)}
    bound = "machine.yaml" in a.params and a.fingerprint != b.fingerprint
    if not bound:
        return {"rows": rows}
    return {
        "rows": [row for row in rows if "ratio" in row["name"] or "_ms" not in row["name"]],
        "note": "times of two runs do not compare; ratios within one run do",
    }


def _without(name: str, suffix: str) -> str:
    return name.removesuffix(suffix) if name.endswith(suffix) else ""


def _one_sided(a: Record, b: Record, left: bool) -> str:
    """Return that only one of two records has a figure, and which task or objective each has."""
    told = f"only {(a if left else b).entry} has it"
    kinds = [
        next((kind for name in ("task", "objective") if (kind := terms.kind(one, name))), "")
        for one in (a, b)
    ]
    return f"{told} ({kinds[0]} and {kinds[1]})" if kinds[0] != kinds[1] else told


def _signed(contents: Contents, a: Record, b: Record) -> dict[str, str]:
    """Return for each score that both have why it does not compare, empty where it does."""
    if a.stage != "evaluate" or a.fingerprint == b.fingerprint:
        return {}
    left, right = _table(contents, a), _table(contents, b)
    if left is None or right is None:
        return {}
    return {name: _against(left[name], right[name]) for name in left if name in right}


def curves(contents: Contents, a: Record, b: Record) -> Row:
    """Return where two curves part and how they end, of the columns that measure one thing.

    {parted, a, b, steps_a, steps_b, last_a, last_b, refused_columns}, or {refused}.
    """
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
    (left_names, left), (right_names, right) = (
        _steps(text.decode("utf-8")) for text in texts if text is not None
    )
    names = list(dict.fromkeys([*left_names, *right_names]))
    refused: dict[str, str] = {}
    for name in names:
        why = terms.why_not(contents, a, b, name)
        if (name in left_names) != (name in right_names):
            why = _one_sided(a, b, name in left_names)
        if why:
            refused[name] = why
    measured = [name for name in names if not terms.is_fact(a.stage, name)]
    if measured and all(name in refused for name in measured):
        return {"refused": " | ".join(dict.fromkeys(refused.values()))}
    for rows in (left, right):
        for row in rows.values():
            for name in refused:
                row.pop(name, None)
    told: Row = {"refused_columns": refused} if refused else {}
    steps = sorted({*left, *right}, key=float)
    parted = next((step for step in steps if left.get(step) != right.get(step)), None)
    if parted is None:
        return {"parted": None, "steps": len(steps), **told}
    last = [rows[max(rows, key=float)] if rows else {} for rows in (left, right)]
    return {
        "parted": parted,
        "a": left.get(parted),
        "b": right.get(parted),
        "steps_a": len(left),
        "steps_b": len(right),
        "last_a": last[0],
        "last_b": last[1],
        **told,
    }


def _steps(text: str) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return the names of a curve's columns, and its rows by their step."""
    head, *rows = [row.split(",") for row in text.splitlines() if row]
    return head[1:], {row[0]: dict(zip(head[1:], row[1:], strict=False)) for row in rows}


def scores(contents: Contents, a: Record, b: Record, pairing: Pairing | None) -> Row:
    """Return the scores of two evaluations with paired intervals, each or why it is refused."""
    if a.stage != "evaluate":
        return {"refused": "only `evaluate` entries have scores"}
    left, right = _table(contents, a), _table(contents, b)
    if left is None or right is None:
        return {"refused": f"the scores of {(a if left is None else b).entry} are gone"}
    units = [contents.member(one, _report(one), "units.jsonl") for one in (a, b)]
    paired: dict[str, Row] = {}
    if pairing is not None and units[0] is not None and units[1] is not None:
        paired = pairing(units[0], units[1])
    rows: list[Row] = []
    for name in sorted({*left, *right}):
        if name not in left or name not in right:
            rows.append({"name": name, "refused": _one_sided(a, b, name in left)})
            continue
        why = _against(left[name], right[name])
        row: Row = {"name": name, "unit": left[name]["unit"]}
        if why:
            rows.append(row | {"refused": why})
            continue
        row |= {"a": left[name]["value"], "b": right[name]["value"], "n": left[name]["n"]}
        row |= paired.get(name) or {"note": "no interval: no outcomes per item are kept of both"}
        rows.append(row | ({"verdict": verdict(row)} if "interval" in row else {}))
    return {"rows": rows}


def verdict(row: Mapping[str, Any]) -> str:
    """Return which of two scores is better, where the interval of a - b leaves no doubt."""
    low, high = row["interval"]
    if low <= 0 <= high:
        return "not told apart"
    return "a is better" if (low > 0) != (row["unit"] in LOWER) else "b is better"


def _report(record: Record) -> str:
    return next((out for out in record.outs if out.startswith("reports/")), "")


def _table(contents: Contents, record: Record) -> dict[str, Row] | None:
    """Return the scores of the model itself by name, or None if they are gone."""
    told = contents.json(record, _report(record), "scores.json")
    if told is None:
        return None
    return {str(row["name"]): row for row in told["scores"] if "baseline" not in row}


def _against(a: Row, b: Row) -> str:
    """Return why two scores of one name do not compare, or an empty text."""
    if a["unit"] != b["unit"]:
        return f"they are in two units ({a['unit']} and {b['unit']})"
    return incomparable(str(a["signature"]), str(b["signature"]))


def incomparable(a: str, b: str) -> str:
    """Return why scores of two signatures do not compare, or an empty text.

    Bits per byte of one text compare across vocabularies; a seed that hides tokens is no free one.
    """
    left, right = (dict(part.partition(":")[::2] for part in one.split("|")) for one in (a, b))
    free = set(FREE)
    if "masked" in (left.get("token"), right.get("token")):
        free.discard("seed")
    if left.get("token") == right.get("token") == "byte":
        free.add("tokenizer")
    found = [row for row in differing(left, right) if row[0] not in free]
    samples = next((row for row in found if row[0] == "data"), None)
    if samples:
        return f"they were scored on other samples ({samples[1]} and {samples[2]})"
    if found:
        told = ", ".join(f"{name} {x} and {y}" for name, x, y in found)
        return f"they were scored in two ways ({told})"
    return ""
