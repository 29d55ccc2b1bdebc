"""Order statistics of few samples: quantiles, and an interval for the median without a model."""

from __future__ import annotations

import math
from collections.abc import Sequence

TAILS = {"p95": 0.05, "p99": 0.01}
"""Share of the samples beyond each reported tail."""


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile by linear interpolation (type 7 of Hyndman and Fan 1996, numpy's own)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def median_interval(
    values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return (low, high, coverage) of the narrowest pair of order statistics around the median.

    Distribution-free: the k-th smallest and k-th largest of n miss the median with probability
    2 P[Binomial(n, 1/2) < k]. Where even smallest and largest cover less than `confidence`, they
    are returned with the coverage they have.
    """
    ordered, size = sorted(values), len(values)
    miss, chosen, covered = 0.0, 0, 1 - 2 * 0.5**size
    for k in range(size // 2):
        miss += 2 * math.comb(size, k) * 0.5**size
        if 1 - miss < confidence:
            break
        chosen, covered = k, 1 - miss
    return ordered[chosen], ordered[size - 1 - chosen], covered


def beyond(size: int) -> list[str]:
    """Return the tails that so few samples cannot show: less than one sample lies beyond them."""
    return [name for name, share in TAILS.items() if size * share < 1 - 1e-9]


def summary(values: Sequence[float], name: str) -> dict[str, float]:
    """Return `<name>_min, _q25, _p50, _q75, _p95, _p99, _max, _mean`."""
    shares = {
        "min": 0.0,
        "q25": 0.25,
        "p50": 0.5,
        "q75": 0.75,
        "p95": 0.95,
        "p99": 0.99,
        "max": 1.0,
    }
    found = {f"{name}_{label}": quantile(values, share) for label, share in shares.items()}
    return found | {f"{name}_mean": math.fsum(values) / len(values)}
