"""Which of several choices no other beats in everything (Pareto)."""

from __future__ import annotations

from collections.abc import Sequence


def unbeaten(costs: Sequence[Sequence[float]]) -> list[bool]:
    """Return for each row of costs (less is better) whether no other row beats it.

    A row beats another if it costs no more in anything and less in something.
    """
    return [not any(_beats(other, row) for other in costs) for row in costs]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
