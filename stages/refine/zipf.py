"""Zipf's law in counts of words: both exponents, the fit's distance, and what looks unnatural.

Fitting a power law to the counts gives alpha = 1 + 1/s where s is the exponent of the ranks
(natural text: about 1); the Data Measurements Tool (huggingface.co/blog/data-measurements-tool)
confuses the two, so both are given and the warnings are on s and the distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_WORDS = 50
NATURAL_EXPONENTS = (0.7, 1.4)
NATURAL_DISTANCE = 0.03
POINTS = 100
"""Ranks of which observed and predicted counts are given."""


def zipf(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Fit Zipf's law to word counts in descending order.

    `rank_exponent_s` (natural text: about 1) is the maximum-likelihood exponent of the frequencies
    of the ranks that occur at least 10 times; `count_exponent_alpha` (about 1 + 1/s) is the
    discrete power law of the counts themselves from the `count_minimum` with the least
    Kolmogorov-Smirnov distance (Clauset, Shalizi, Newman 2009, arXiv 0706.1062, 3.1 to 3.3).
    """
    if len(counts) < LEAST_WORDS:
        return {}
    alpha, minimum, distance = _count_exponent(counts)
    return {
        "rank_exponent_s": round(_rank_exponent(counts), 4),
        "count_exponent_alpha": round(alpha, 4),
        "count_minimum": minimum,
        "ks_distance": round(distance, 4),
    }


def warnings(found: dict[str, Any]) -> list[str]:
    """Return what in a fit is unlike natural text."""
    if not found:
        return []
    low, high = NATURAL_EXPONENTS
    told = []
    if not low <= found["rank_exponent_s"] <= high:
        told.append(f"rank_exponent_s is {found['rank_exponent_s']}, not {low} to {high}")
    if found["ks_distance"] > NATURAL_DISTANCE:
        told.append(f"ks_distance is {found['ks_distance']}, above {NATURAL_DISTANCE}")
    return told


def points(
    counts: NDArray[np.int64], words: Sequence[str], exponent: float
) -> list[dict[str, Any]]:
    """Return observed and predicted counts of the first ranks; `counts` descend.

    The prediction shares out all words over all ranks by the exponent of the ranks.
    """
    ranks = np.arange(1, len(counts) + 1, dtype=np.float64)
    scale = float(counts.sum()) / float((ranks**-exponent).sum())
    return [
        {
            "rank": rank,
            "word": word,
            "count": int(counts[rank - 1]),
            "predicted": round(scale * rank**-exponent, 2),
        }
        for rank, word in enumerate(words[:POINTS], start=1)
    ]


def _rank_exponent(counts: NDArray[np.int64]) -> float:
    head = counts[counts >= 10] if (counts >= 10).sum() >= 20 else counts
    logs = np.log(np.arange(1, len(head) + 1))
    target = float((head * logs).sum() / head.sum())
    low, high = 0.01, 5.0
    # The mean log rank falls as s grows: bisection finds where it equals the observed one.
    for _ in range(60):
        middle = (low + high) / 2
        weights = np.exp(-middle * logs)
        low, high = (middle, high) if (weights @ logs) / weights.sum() > target else (low, middle)
    return (low + high) / 2


def _count_exponent(counts: NDArray[np.int64]) -> tuple[float, int, float]:
    values, times = np.unique(counts, return_counts=True)
    best = (2.0, 1, math.inf)
    for minimum in values[values <= 50]:
        tail, weight = values[values >= minimum], times[values >= minimum]
        total = int(weight.sum())
        if total < 50:
            break
        alpha = _alpha(tail, weight, int(minimum))
        model = 1 - _zeta(alpha, tail + 1) / _zeta(alpha, np.array([minimum]))
        distance = float(np.abs(np.cumsum(weight) / total - model).max())
        if distance < best[2]:
            best = (alpha, int(minimum), distance)
    return best


def _alpha(values: NDArray[np.int64], times: NDArray[np.int64], minimum: int) -> float:
    """Return the maximum-likelihood exponent by golden-section search over 1.05 to 6."""
    mean_log = float((np.log(values) @ times) / times.sum())
    start = np.array([minimum])

    def loss(alpha: float) -> float:
        return float(np.log(_zeta(alpha, start))[0]) + alpha * mean_log

    low, high = 1.05, 6.0
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(50):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return (low + high) / 2


def _zeta(exponent: float, start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the Hurwitz zeta function by Euler and Maclaurin, 12 terms and four corrections."""
    first = start.astype(np.float64)
    total = ((first[:, None] + np.arange(12)) ** -exponent).sum(axis=1)
    at = first + 12
    total += at ** (1 - exponent) / (exponent - 1) + 0.5 * at**-exponent
    term = exponent * at ** (-exponent - 1)
    for order, factor in enumerate((1 / 12, -1 / 720, 1 / 30240, -1 / 1209600)):
        total += factor * term
        step = 2 * order + 1
        term = term * (exponent + step) * (exponent + step + 1) / at**2
    return total
