"""Percentile bootstrap by unit, plain and paired, on sums of whole numbers.

A score here is a function of sums over units (sentences, documents): correct words over words, nats
over tokens, n-gram matches over n-grams. The caller gives one row of sums per unit; a resample
draws as many units as there are, with replacement, and adds their rows. All rows are whole numbers
(real ones are first counted in millionths, `as_millionths`), so that every sum is exact in float64
and no order of additions, instruction set or thread count shows in the interval.

Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13 (percentile interval);
Koehn (2004), Statistical significance tests for machine translation evaluation (paired).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
Statistic = Callable[[Counts], Counts]
"""From sums [R, K] (R resamples, K columns) to R scores."""

CHUNK = 64
"""Resamples drawn at a time: bounds memory to 64 rows of one weight per unit."""
EXACT = float(2**53)
"""Above this, a float64 no longer holds every whole number."""


@dataclass(frozen=True)
class Estimate:
    """A value with its percentile interval."""

    value: float
    low: float
    high: float

    def interval(self, digits: int = 9) -> list[float]:
        """Return the interval as artifacts hold it, rounded to significant digits."""
        return [significant(self.low, digits), significant(self.high, digits)]


@dataclass(frozen=True)
class Difference(Estimate):
    """A paired difference a - b; `reversed_share` is the share of resamples without a's lead.

    It is the share of resamples whose difference has not the sign of the full sample's: near 0
    where the lead is sure, near 0.5 where it is luck.
    """

    reversed_share: float


def significant(value: float, digits: int = 9) -> float:
    """Round to significant digits, so that the last bits of a machine's libm do not show."""
    return float(f"{value:.{digits}g}")


def as_millionths(values: Counts) -> Counts:
    """Return real values as whole numbers of millionths, ready for exact sums."""
    return np.round(np.asarray(values, dtype=np.float64) * 1e6)


def weights(units: int, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield how often each unit is drawn, in chunks [<= CHUNK, units]; rows sum to `units`."""
    generator = np.random.Generator(np.random.PCG64(seed))
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        drawn = generator.integers(0, units, size=(rows, units))
        drawn += np.arange(rows)[:, None] * units
        flat = np.bincount(drawn.ravel(), minlength=rows * units)
        yield flat.reshape(rows, units).astype(np.float64)


def bootstrap(
    statistic: Statistic, counts: Counts, *, resamples: int, confidence: float, seed: int
) -> Estimate:
    """Return the score of all units and its percentile interval over resampled units.

    `counts` is [U, K]: one row of whole-number sums per unit.
    """
    table = _checked(counts)
    value = float(statistic(table.sum(axis=0, keepdims=True))[0])
    scores = _scores(statistic, table, resamples, seed)
    return Estimate(value, *_percentiles(scores, confidence))


def paired_bootstrap(
    statistic: Statistic,
    a: Counts,
    b: Counts,
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> Difference:
    """Return score(a) - score(b) with both systems scored on the same resampled units."""
    first, second = _checked(a), _checked(b)
    if first.shape[0] != second.shape[0]:
        raise ValueError(f"paired systems have {first.shape[0]} and {second.shape[0]} units")
    value = float((statistic(first.sum(0)[None]) - statistic(second.sum(0)[None]))[0])
    width = first.shape[1]
    both = np.concatenate([first, second], axis=1)

    def difference(sums: Counts) -> Counts:
        return statistic(sums[:, :width]) - statistic(sums[:, width:])

    scores = _scores(difference, both, resamples, seed)
    contrary = scores <= 0 if value > 0 else scores >= 0
    return Difference(value, *_percentiles(scores, confidence), float(contrary.mean()))


def ratio(sums: Counts) -> Counts:
    """Return column 0 over column 1: accuracy, mean loss; 0 where there is nothing to divide by."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] > 0)


def _scores(statistic: Statistic, table: Counts, resamples: int, seed: int) -> Counts:
    parts = [statistic(drawn @ table) for drawn in weights(len(table), resamples, seed)]
    return np.concatenate(parts)


def _percentiles(scores: Counts, confidence: float) -> tuple[float, float]:
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(scores, [tail, 1.0 - tail], method="linear")
    return float(low), float(high)


def _checked(counts: Counts) -> Counts:
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or not len(table):
        raise ValueError(f"counts are [units, columns] with at least one unit, not {table.shape}")
    if not np.array_equal(table, np.round(table)) or np.abs(table).sum(axis=0).max() >= EXACT:
        raise ValueError("counts are whole numbers whose sums stay below 2**53")
    return table
