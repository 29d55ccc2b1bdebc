"""Bounds on measures: what is outside one fails the stage, with its value and the bound."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core import registry
from stages.core.errors import ArtifactError, CheckFailed, ParamsError
from stages.refine.measured import Gate


def check(
    gates: Sequence[Gate], statistics: Mapping[str, Any], rules: Sequence[Mapping[str, Any]],
    reference: Path | None,
) -> None:  # fmt: skip
    """Raise CheckFailed with every gate whose measure is out of bounds, ParamsError if unknown."""
    if not gates:
        return
    mine = {**statistics, "rules": by_rule(rules)}
    theirs = read(reference) if reference is not None else None
    broken = []
    for number, gate in enumerate(gates):
        value = number_at(mine, gate.measure, number)
        if gate.against != "nothing":
            if theirs is None:
                raise ParamsError(
                    f"the gate on {gate.measure} is against another corpus, and none is named",
                    f"refine: gates[{number}].against",
                    "name that corpus in `against` of the entry, as corpora/<key>",
                )
            value = _relative(value, number_at(theirs, gate.measure, number), gate.against)
        told = outside(gate, value)
        if told:
            broken.append((number, told))
    if broken:
        raise CheckFailed(
            "; ".join(told for _, told in broken),
            f"refine: gates[{broken[0][0]}]",
            "look at what the corpus is made of, or change the bound in params.yaml",
        )


def outside(gate: Gate, value: float) -> str:
    """Return what is wrong with a value, or nothing."""
    kind = {"nothing": "", "difference": "the difference of ", "ratio": "the ratio of "}
    what = f"{kind[gate.against]}{gate.measure} is {value:.6g}"
    if gate.min is not None and not value >= gate.min:
        return f"{what}, below min {gate.min:g}"
    if gate.max is not None and not value <= gate.max:
        return f"{what}, above max {gate.max:g}"
    return ""


def by_rule(rules: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return what every rule of a ledger dropped and changed, as shares of what entered it."""
    found = {}
    for row in rules:
        entered = max(1, row["documents_in"])
        lost = row["documents_in"] - row["documents_out"]
        text = max(1, row["characters_in"])
        found[str(row["rule"])] = {
            "dropped_documents": lost,
            "dropped_fraction": lost / entered,
            "changed_fraction": row["documents_changed"] / entered,
            "characters_kept_fraction": row["characters_out"] / text,
        }
    return found


def read(corpus: Path) -> dict[str, Any]:
    """Return the measures of another corpus."""
    try:
        told: dict[str, Any] = json.loads((corpus / "statistics.json").read_text("utf-8"))
        ledger = json.loads((corpus / "ledger.json").read_text("utf-8"))
        return {**told, "rules": by_rule(ledger["rules"])}
    except (OSError, ValueError, KeyError) as fault:
        raise ArtifactError(
            f"the corpus to measure against cannot be read ({fault})",
            str(corpus),
            "name an entry of refine that was made, as corpora/<key>",
        ) from fault


def number_at(measures: Mapping[str, Any], name: str, place: int) -> float:
    """Return the number that a measure's dotted name leads to."""
    found: Any = measures
    for part in name.split("."):
        inner: Any = None
        if isinstance(found, dict):
            inner = found.get(part)
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            inner = found[int(part)]
        if inner is None:
            raise ParamsError(
                f"this corpus has no measure {name!r}",
                f"refine: gates[{place}].measure",
                registry.near(name, numbers(measures)),
            )
        found = inner
    if not isinstance(found, bool | int | float):
        raise ParamsError(
            f"the measure {name!r} is no number",
            f"refine: gates[{place}].measure",
            registry.near(name, [one for one in numbers(measures) if one.startswith(name)]),
        )
    return float(found)


def numbers(measures: Any, name: str = "") -> list[str]:
    """Return the dotted names of all numbers outside of lists."""
    if isinstance(measures, dict):
        return [
            found
            for key, value in measures.items()
            for found in numbers(value, f"{name}.{key}" if name else str(key))
        ]
    return [name] if isinstance(measures, int | float) else []


def _relative(value: float, other: float, against: str) -> float:
    if against == "difference":
        return value - other
    return value / other if other else (1.0 if value == other else float("inf"))
