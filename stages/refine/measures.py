"""Statistics of a corpus: vocabulary, lengths, labels, duplicates and Zipf's law.

The families are those of the Data Measurements Tool (huggingface.co/blog/data-measurements-tool),
narrowed; its confusion of the two exponents of Zipf's law is not repeated: both are given.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP_WORDS = 100
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_WORD = re.compile(r"\w+")


class Measures:
    """Collects words, lengths and labels of documents one at a time."""

    def __init__(self) -> None:
        self._words: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._lengths = array("q")
        self._characters = 0

    def add(self, texts: Iterable[str], labels: Iterable[str] = ()) -> None:
        """Take one document: its text, or both sides of a pair; and its labels."""
        length = 0
        for text in texts:
            words = _WORD.findall(text.lower())
            self._words.update(words)
            length += len(words)
            self._characters += len(text)
        self._lengths.append(length)
        self._labels.update(labels)

    def as_json(self, duplicates: int) -> dict[str, Any]:
        """Return the statistics; `duplicates` is how many documents were dropped as such."""
        lengths = np.array(self._lengths, dtype=np.int64)
        counts = np.array(sorted(self._words.values(), reverse=True), dtype=np.int64)
        found: dict[str, Any] = {
            "documents": len(lengths),
            "characters": self._characters,
            "words": int(counts.sum()),
            "vocabulary_size": len(counts),
            "words_seen_once": int((counts == 1).sum()),
            "duplicates_dropped": duplicates,
            "length_words": _lengths(lengths),
            "top_words": [
                {"word": word, "count": count}
                for word, count in sorted(self._words.items(), key=_by_count)[:TOP_WORDS]
            ],
            "zipf": zipf(counts),
        }
        if self._labels:
            total = sum(self._labels.values())
            found["labels"] = {
                label: {"count": count, "fraction": round(count / total, 6)}
                for label, count in sorted(self._labels.items())
            }
        return found


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _lengths(lengths: NDArray[np.int64]) -> dict[str, Any]:
    if not len(lengths):
        return {}
    return {
        "mean": round(float(lengths.mean()), 4),
        "std": round(float(lengths.std()), 4),
        "min": int(lengths.min()),
        "max": int(lengths.max()),
        "distinct": len(np.unique(lengths)),
        "quantiles": {
            f"{share:g}": int(np.quantile(lengths, share, method="lower")) for share in QUANTILES
        },
    }


def zipf(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Fit Zipf's law to word counts in descending order.

    `rank_exponent_s` (natural text: about 1) is the maximum-likelihood exponent of the frequencies
    of the ranks that occur at least 10 times; `count_exponent_alpha` (about 1 + 1/s) is the
    discrete power law of the counts themselves from the `count_minimum` with the least
    Kolmogorov-Smirnov distance (Clauset, Shalizi, Newman 2009, arXiv 0706.1062, 3.1 to 3.3).
    """
    if len(counts) < 50:
        return {}
    alpha, minimum, distance = _count_exponent(counts)
    return {
        "rank_exponent_s": round(_rank_exponent(counts), 4),
        "count_exponent_alpha": round(alpha, 4),
        "count_minimum": minimum,
        "ks_distance": round(distance, 4),
    }


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
