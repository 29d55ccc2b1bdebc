"""Documents before the rule sets: scored together, judged rule by rule, entered in the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.refine import rulesets
from stages.refine.ledger import Ledger, Rule, Size, measure
from stages.refine.rows import Rows
from stages.refine.settings import RefineParams

UNITS = ("documents", "characters", "tokens")


class Waiting(NamedTuple):
    """A document that met every other filter."""

    identity: str
    text: str
    size: Size
    source: str


@dataclass
class _Look:
    """Rules that judge one look at the texts; `lines`: whether C4's lines are cut afterwards."""

    rules: list[rulesets.Rule]
    entered: list[Rule]
    lines: Rule | None


class Ruled:
    """The rule sets of an entry."""

    def __init__(self, params: RefineParams, ledger: Ledger) -> None:
        self._params, self._ledger = params, ledger
        settings = params.filters
        self._looks: list[_Look] = []
        held: list[str] = []
        for name in settings.rule_sets:
            held.append(name)
            if name == "c4" and settings.c4_lines == "remove":
                self._look(held, cut=True)
                held = []
        if held:
            self._look(held, cut=False)

    def _look(self, sets: Sequence[str], cut: bool) -> None:
        rules = rulesets.chosen(sets, self._params.filters.thresholds)
        entered = [self._ledger.rule(rule.reason) for rule in rules]
        self._looks.append(_Look(rules, entered, self._ledger.rule("c4/lines") if cut else None))

    def __bool__(self) -> bool:
        return bool(self._looks)

    def judge(self, waiting: Sequence[Waiting], scores: Rows | list[Any]) -> Iterator[Waiting]:
        """Yield what is left of some documents; append to `scores` what was counted of each."""
        from stages.lm.kernels.text import of_strings, to_strings
        from stages.lm.scores.table import EVERYTHING, LINES, score

        left, settings = list(waiting), self._params.filters
        for number, look in enumerate(self._looks):
            if not left:
                return
            texts = of_strings([one.text for one in left])
            groups = rulesets.groups(look.rules) | (LINES if look.lines is not None else 0)
            groups = EVERYTHING if settings.scores else groups
            options = settings.counting.options()
            found = score(texts, options, self._params.threads, groups)
            if number == 0 and settings.scores:
                rows = found.table.tolist()
                for one, row in zip(left, rows, strict=True):
                    scores.append([one.identity, *row])
            kept = self._enter(look, left, rulesets.verdicts(found.table, look.rules))
            if look.lines is not None:
                cleaned = to_strings(found.cleaned)
                left = list(self._cut(look.lines, [(left[at], cleaned[at]) for at in kept]))
            else:
                left = [left[at] for at in kept]
        yield from left

    def _enter(
        self, look: _Look, documents: Sequence[Waiting], found: rulesets.Verdicts
    ) -> list[int]:
        """Enter the verdicts in the ledger; return who is left."""
        sizes = np.array(
            [[getattr(one.size, unit) for unit in UNITS] for one in documents], np.int64
        )
        inside = np.ones(len(documents), bool)
        for place, rule in enumerate(look.entered):
            rule.entered.add(_total(sizes[inside]))
            inside &= found.rule != place
            rule.left.add(_total(sizes[inside]))
        for number in np.flatnonzero(found.rule >= 0).tolist():
            reason = look.rules[int(found.rule[number])].reason
            detail = f"{found.value[number]:.6g}"
            self._ledger.told(documents[number].identity, reason, detail)
        return np.flatnonzero(inside).tolist()

    def _cut(self, rule: Rule, pairs: Sequence[tuple[Waiting, str]]) -> Iterator[Waiting]:
        """Yield documents with the lines that C4 keeps."""
        for one, text in pairs:
            if not text:
                self._ledger.drop(rule, one.identity, one.size, "no line is left")
                continue
            size = one.size if text == one.text else measure(text)
            rule.pass_on(one.size, size)
            yield one._replace(text=text, size=size)


def _total(sizes: NDArray[np.int64]) -> Size:
    return Size(*sizes.sum(axis=0).tolist())
