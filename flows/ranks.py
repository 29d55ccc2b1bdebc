"""Which entry goes first: the one at the start of the longest path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.walk import Step


def longest(steps: Mapping[str, Step]) -> dict[str, float]:
    """Return for each step the seconds of the longest path from its start to the end."""
    ranks: dict[str, float] = {}
    below: dict[str, list[str]] = {name: [] for name in steps}
    for step in steps.values():
        for up in step.upstream:
            if up in below:
                below[up].append(step.name)

    def rank(name: str) -> float:
        if name not in ranks:
            ranks[name] = steps[name].seconds + max((rank(n) for n in below[name]), default=0.0)
        return ranks[name]

    for name in reversed(list(steps)):  # consumers first: the recursion stays flat
        rank(name)
    return ranks
