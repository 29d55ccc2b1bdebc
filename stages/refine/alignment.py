"""Whether pairs stand line for line: a line lost on one side shifts all that follow.

A translation is about as long as its source (Gale & Church 1993, Computational Linguistics 19:1),
so the logarithms of lengths of aligned lines correlate, and those of lines that are off by one do
not. Runs of lines are judged together; pairs of one line alone say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
from numpy.typing import NDArray

from stages.lm.reading import Pair

STEP = 20
"""Pairs judged together, by themselves and as many before and behind them."""
FEWEST = 40
"""Shorter runs are not judged."""
FARTHEST = 3
"""Lines that a side may be off."""
AGREEMENT = 0.5
"""Correlation from which lines that are off agree."""
LEAD = 0.3
"""By so much more than the lines as they are."""


@dataclass(frozen=True, slots=True)
class Placed(Pair):
    """A pair, and by how many lines its run is off: 1 says that line n of the source agrees with
    line n + 1 of the target."""

    shift: int = 0


def placed(pairs: Iterator[Pair]) -> Iterator[Placed]:
    """Yield pairs with their shift, a file's in steps that are judged with their neighbours."""
    for _, group in groupby(pairs, key=lambda pair: pair.source):
        own, before = iter(group), list[Pair]()
        now, behind = list(islice(own, STEP)), list(islice(own, STEP))
        while now:
            # At the ends of a file there is less on one side: more of the other makes up for it.
            after = list(islice(own, STEP)) if not before else []
            run = [*(before[-STEP:] if behind else before), *now, *behind, *after]
            shift = offset([one.source_text for one in run], [one.target_text for one in run])
            for one in now:
                yield Placed(
                    one.id, one.source_text, one.target_text, one.source, one.references, shift
                )
            before, now = [*before, *now][-2 * STEP :], behind
            behind = after or list(islice(own, STEP))


def offset(sources: Sequence[str], targets: Sequence[str]) -> int:
    """Return by how many lines the targets are off; 0 where they are not, or nobody can tell."""
    if len(sources) < FEWEST:
        return 0
    left, right = _lengths(sources), _lengths(targets)
    agreements = {0: _correlation(left, right)}
    for lines in range(1, FARTHEST + 1):
        agreements[lines] = _correlation(left[:-lines], right[lines:])
        agreements[-lines] = _correlation(left[lines:], right[:-lines])
    best = max(agreements, key=lambda lines: (agreements[lines], -abs(lines)))
    clear = agreements[best] > AGREEMENT and agreements[best] > agreements[0] + LEAD
    return best if clear else 0


def _lengths(texts: Sequence[str]) -> NDArray[np.float64]:
    return np.log1p(np.array([len(text) for text in texts], np.float64))


def _correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    left, right = left - left.mean(), right - right.mean()
    scale = float(np.sqrt((left * left).sum() * (right * right).sum()))
    return float((left * right).sum()) / scale if scale > 0 else 0.0
