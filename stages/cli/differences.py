"""A comparison as text for people: one heading per section that has something to say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from stages.cli import versions
from stages.cli.inspection import table

Row = Mapping[str, Any]
SHOWN = 20
"""Rows shown of a section; `--json` has all."""


def drawn(told: Row) -> Iterator[str]:
    """Yield a comparison line by line."""
    for side in ("a", "b"):
        if told[f"only_{side}"]:
            yield f"only in {told[side]}: {', '.join(told[f'only_{side}'])}"
    if not told["compared"]:
        yield f"{told['a']} and {told['b']} are the same in every entry that both have"
    for place, one in enumerate(told["compared"]):
        if place:
            yield ""
        yield from _one(one)


def _one(told: Row) -> Iterator[str]:
    a, b = told["a"], told["b"]
    for letter, side in (("a", a), ("b", b)):
        yield f"{letter}  {side['entry']}  fingerprint {side['fingerprint']}"
    same = told["same"]
    if same["fingerprint"]:
        yield "made in the same way: one fingerprint"
    yield "outputs are identical, byte for byte" if same["outputs"] else "outputs differ"
    for name in ("parameters", "packages", "data"):
        yield from _rows(name, [_difference(row) for row in told[name]])
    yield from _rows("code", [_file(row) for row in told["code"]])
    yield from _curve(told["curves"])
    yield from _figures("metrics", told["metrics"])
    yield from _scores(told["scores"])
    if "corpus" in told:
        yield from versions.drawn(told["corpus"])
    size = told["size"]
    if size["ratio"] is not None:
        yield f"size  {size['a_bytes']} and {size['b_bytes']} bytes, ratio {size['ratio']}"
    yield from _cost(told["cost"])


def _rows(name: str, rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        yield f"{name}  the same"
        return
    yield name
    yield from (f"  {line}" for line in table(rows[:SHOWN]).splitlines())
    if len(rows) > SHOWN:
        yield f"  (+{len(rows) - SHOWN} more, in --json)"


def _difference(row: Row) -> tuple[str, ...]:
    owner = row.get("entry") or f"{len(row['entries'])} entries"
    if "refused" in row:
        return owner, row["name"], f"not compared: {row['refused']}"
    return owner, row["name"], f"{_value(row['a'])} -> {_value(row['b'])}"


def _file(row: Row) -> tuple[str, ...]:
    lines = row["lines"]
    if lines is None:
        return row["path"], "its text is not known any more", ""
    names = row["functions"]
    more = f" (+{len(names) - 4} more)" if len(names) > 4 else ""
    return row["path"], f"+{lines['added']} -{lines['removed']}", ", ".join(names[:4]) + more


def _curve(curve: Row) -> Iterator[str]:
    if "refused" in curve:
        yield f"curves  not compared: {curve['refused']}"
        return
    if curve["parted"] is None:
        yield f"curves  the same over {curve['steps']} steps"
    else:
        yield f"curves  part at step {curve['parted']}: {_pair(curve['a'], curve['b'])}"
        yield f"  at their ends {_pair(curve['last_a'], curve['last_b'])}"
    yield from _obstacles(curve.get("refused_columns", {}).items())


def _obstacles(refused: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield what is not compared, once per reason."""
    names: dict[str, list[str]] = {}
    for name, why in refused:
        names.setdefault(why, []).append(name)
    for why, some in names.items():
        yield f"  {', '.join(some)}  not compared: {why}"


def _pair(a: Row | None, b: Row | None) -> str:
    names = list(dict.fromkeys([*(a or {}), *(b or {})]))
    return ", ".join(
        f"{name} {(a or {}).get(name) or 'none'} and {(b or {}).get(name) or 'none'}"
        for name in names
    )


def _figures(name: str, told: Row) -> Iterator[str]:
    if "refused" in told:
        yield f"{name}  not compared: {told['refused']}"
        return
    rows = [
        (row["name"], f"{_value(row['a'])} -> {_value(row['b'])}")
        for row in told["rows"]
        if "refused" not in row and row["a"] != row["b"]
    ]
    if not rows and any("refused" in row for row in told["rows"]):
        yield f"{name}  the same where they compare"
    else:
        yield from _rows(name, rows)
    yield from _obstacles((row["name"], row["refused"]) for row in told["rows"] if "refused" in row)
    if told.get("note"):
        yield f"  {told['note']}"


def _scores(told: Row) -> Iterator[str]:
    if "refused" in told:
        yield f"scores  not compared: {told['refused']}"
        return
    yield "scores (a - b)"
    for row in told["rows"]:
        if "refused" in row:
            yield f"  {row['name']}  not compared: {row['refused']}"
        elif "difference" in row:
            low, high = row["interval"]
            yield (
                f"  {row['name']}  {row['a']:.6g} - {row['b']:.6g} = {row['difference']:+.4g} "
                f"{row['unit']}, {row['confidence']:.0%} interval [{low:+.4g}, {high:+.4g}], "
                f"paired over {row['items']} items: {row['verdict']}"
            )
        else:
            yield f"  {row['name']}  {row['a']:.6g} and {row['b']:.6g} {row['unit']}; {row['note']}"


def _cost(told: Row) -> Iterator[str]:
    if "refused" in told:
        yield f"cost  not compared: {told['refused']}"
        return
    for side in ("a", "b"):
        one = told[side]
        yield (
            f"cost  {side}: {one['wall_s']} s wall, {one['cpu_s']} CPU s, "
            f"{one['energy_wh_estimated']} Wh estimated ({one['energy_formula']})"
        )


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
