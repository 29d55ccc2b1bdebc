"""The checks of a verification: named lines with a limit, and the error of those that failed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stages.core.errors import CheckFailed


@dataclass(frozen=True)
class Check:
    """One line of the verification; `figure` is the measured value and never written."""

    name: str
    passed: bool
    limit: float
    n: int
    figure: float
    hint: str = ""


EXPLAINED = 1e-4
"""A mistake explains a difference when the reference with it comes this close, ..."""
NEARER = 0.1
"""... and so much closer than the reference without it."""


def explanation(figures: Iterable[tuple[str, float]], figure: float) -> str:
    """Return the known mistake that explains a difference: the one that comes closest.

    `figures` are the differences from the reference with each mistake, `figure` without any.
    """
    nearest = min(figures, key=lambda one: one[1], default=("", math.inf))
    if nearest[1] <= min(EXPLAINED, NEARER * figure):
        return f"exactly as if: {nearest[0]}"
    return "no known mistake explains it"


@dataclass
class Verification:
    """All checks of one port and the facts that go with them."""

    checks: list[Check] = field(default_factory=list)
    searches: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """What was found beside the checks."""

    def add(self, name: str, figure: float, limit: float, n: int, hint: str = "") -> None:
        """Add a check that passes when the figure does not exceed the limit (NaN fails)."""
        self.checks.append(Check(name, figure <= limit, limit, n, figure, hint))

    @property
    def failures(self) -> list[Check]:
        """The checks that failed."""
        return [one for one in self.checks if not one.passed]

    def rows(self) -> list[dict[str, Any]]:
        """Return the deterministic part of every check."""
        return [
            {"name": one.name, "limit": one.limit, "n": one.n, "passed": one.passed}
            for one in self.checks
        ]


def require(report: Verification, where: str) -> None:
    """Raise CheckFailed that names every failed check with its figure and limit."""
    if not report.failures:
        return
    told = "; ".join(
        f"{one.name}: {one.figure:.3g}, limit {one.limit:g}" + (f" ({one.hint})" * bool(one.hint))
        for one in report.failures
    )
    raise CheckFailed(
        f"{len(report.failures)} of {len(report.checks)} checks failed: {told}",
        f"{where}, ported against its source",
        "nothing was published; give the files that belong together, or report this checkpoint",
    )
