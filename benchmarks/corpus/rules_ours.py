"""The rules by ours: every set on its own in one look, and the sets in a row with C4's cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus import material
from benchmarks.corpus.rounds import serve
from stages.lm.kernels import compiled
from stages.lm.kernels.text import Texts, of_arrow, of_strings, to_arrow
from stages.lm.scores.table import LINES, score
from stages.refine import rulesets

SETS = ("gopher-repetition", "gopher-quality", "c4", "fineweb", "mc4")


def ready() -> Iterator[Any]:
    """Make the kernels ready; found: CPU seconds, compiled, loaded."""
    yield None
    score(of_strings(["once"]))
    yield compiled.spent()


def _why(table: Any, sets: Sequence[str]) -> list[str]:
    rules = rulesets.chosen(sets, {})
    places = rulesets.verdicts(table, rules).rule.tolist()
    return [rules[place].reason if place >= 0 else "" for place in places]


def alone(path: str, threads: int = 1) -> Iterator[Any]:
    """Judge every text by every set, as it is."""
    texts = of_arrow(material.load(Path(path)))
    yield None
    table = score(texts, threads=threads).table
    yield {name: _why(table, [name]) for name in SETS}


def chain(path: str, sets: list[str], threads: int = 1) -> Iterator[Any]:
    """Judge by sets in a row; those behind C4 see what C4 left."""
    texts = of_arrow(material.load(Path(path)))
    yield None
    cut = sets.index("c4") + 1
    before, behind = rulesets.chosen(sets[:cut], {}), rulesets.chosen(sets[cut:], {})
    first = score(texts, threads=threads, groups=rulesets.groups(before) | LINES)
    why = _why(first.table, sets[:cut])
    left = np.array([number for number, reason in enumerate(why) if not reason], np.int64)
    cleaned: Texts = of_arrow(to_arrow(first.cleaned).take(left))
    second = score(cleaned, threads=threads, groups=rulesets.groups(behind)).table
    for number, reason in zip(left.tolist(), _why(second, sets[cut:]), strict=True):
        why[number] = reason
    yield why


if __name__ == "__main__":
    serve({"ready": ready, "alone": alone, "chain": chain})
