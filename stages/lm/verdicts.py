"""Faster, same or slower: the exact signed-rank test on paired log-ratios, and Holm's correction.

The unit is a *stretch* of about two seconds in which both sides are measured again and again.
Within it timings hang together (what else the machine does), so it counts once, by the median of
its slices. Two equal programs may swap their roles, so log-ratios of stretches are symmetric about
zero, and the test needs no other assumption. What fresh processes of one program differ by, for the
place of their memory, is less than the margin and is averaged over several of them.

Wilcoxon (1945), Individual comparisons by ranking methods; Hodges and Lehmann (1963), Estimates of
location based on rank tests; Holm (1979), A simple sequentially rejective multiple test procedure;
on fresh processes: Kalibera and Jones (2013), Rigorous benchmarking in reasonable time.

Pure Python: a night has a dozen or two of observations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

FASTER, SAME, SLOWER = "faster", "same", "slower"
MARGIN = 0.02
"""A true ratio between 1/(1 + margin) and 1 + margin is called same: nobody would act on it."""
ALPHA = 0.01
"""False alarms per night at most; half is for each direction, and of that half for the primaries
(shared equally), half for all the rest (by Holm)."""
CATCHES = 0.05
"""The regression that a night must be able to see, else it is *blind*."""


@dataclass(frozen=True)
class Verdict:
    """What a night says of one metric of one artifact: candidate over baseline, above 1 is more."""

    verdict: str
    ratio: float
    low: float
    high: float
    coverage: float
    """Confidence of low to high: the level at which the metric is tested, where n allows it."""
    p_slower: float
    """Of the hypothesis that the true ratio is at most 1 + margin."""
    p_faster: float
    n: int
    primary: bool
    blind: bool = False
    """So uncertain that a regression of CATCHES in the middle of the interval might pass."""


def judge(
    primaries: Mapping[str, Sequence[float]],
    rest: Mapping[str, Sequence[float]],
    exact: Mapping[str, Sequence[float]] | None = None,
    margin: float = MARGIN,
    alpha: float = ALPHA,
) -> dict[str, Verdict]:
    """Return the verdict on every metric; values are log-ratios candidate/baseline.

    Each primary is tested at its share of alpha; all others stand together under Holm's correction.
    `exact` ones (sizes) have one value without error: over the margin is over the margin.
    """
    level = alpha / 4 / max(1, len(primaries))
    found = {name: _called(values, margin, level) for name, values in primaries.items()}
    share = alpha / 4 / max(1, len(rest))
    found |= {name: _verdict(values, margin, share, False) for name, values in rest.items()}
    for word in (SLOWER, FASTER):
        ps = {name: getattr(found[name], f"p_{word}") for name in rest}
        for name, rejected in holm(ps, alpha / 4).items():
            if rejected:
                found[name] = replace(found[name], verdict=word)
    return found | {name: _exact(values[0], margin) for name, values in (exact or {}).items()}


def _called(values: Sequence[float], margin: float, level: float) -> Verdict:
    one = _verdict(values, margin, level, True)
    word = SLOWER if one.p_slower <= level else FASTER if one.p_faster <= level else SAME
    return replace(one, verdict=word)


def _exact(value: float, margin: float) -> Verdict:
    edge, ratio = math.log1p(margin), math.exp(value)
    word = SLOWER if value > edge else FASTER if value < -edge else SAME
    slower, faster = (float(word != one) for one in (SLOWER, FASTER))
    return Verdict(word, ratio, ratio, ratio, 1.0, slower, faster, n=1, primary=False)


def of_night(verdicts: Mapping[str, Verdict]) -> str:
    """Return the verdict on all: slower if anything is, else faster if a primary is, else same."""
    if any(one.verdict == SLOWER for one in verdicts.values()):
        return SLOWER
    faster = any(one.verdict == FASTER for one in verdicts.values() if one.primary)
    return FASTER if faster else SAME


def holm(ps: Mapping[str, float], alpha: float) -> dict[str, bool]:
    """Return which hypotheses are rejected.

    The smallest p is compared with alpha/m, the next with alpha/(m - 1) and so on; the first that
    fails keeps all that follow.
    """
    found, standing = {}, True
    for place, name in enumerate(sorted(ps, key=lambda one: (ps[one], one))):
        standing = standing and ps[name] <= alpha / (len(ps) - place)
        found[name] = standing
    return found


def signed_rank(values: Sequence[float], shift: float = 0.0) -> float:
    """Return P[W >= observed] if the values are symmetric about shift: small if they lie above.

    Exact under ties (middle ranks); a value at the shift counts for the hypothesis.
    """
    moved = [value - shift for value in values]
    ranks = _ranks([abs(value) for value in moved])
    observed = sum(rank for rank, value in zip(ranks, moved, strict=True) if value > 0)
    counts = _counts(ranks)
    above: int = sum(counts[observed:])
    return above / 2 ** len(moved)


def _ranks(sizes: Sequence[float]) -> list[int]:
    """Return doubled middle ranks, which are whole numbers."""
    below = {size: sum(other < size for other in sizes) for size in set(sizes)}
    ties = {size: sum(other == size for other in sizes) for size in below}
    return [2 * below[size] + ties[size] + 1 for size in sizes]


def _counts(ranks: Sequence[int]) -> list[int]:
    """Return how many of the 2^n sign patterns give each sum of the positive ranks."""
    counts = [1] + [0] * sum(ranks)
    for rank in ranks:
        for total in range(len(counts) - 1, rank - 1, -1):
            counts[total] += counts[total - rank]
    return counts


def interval(values: Sequence[float], level: float) -> tuple[float, float, float, float]:
    """Return the Hodges-Lehmann estimate, low, high and the coverage of low to high.

    `level` is allowed to fall out on each side; where so few values cannot keep it, the interval is
    the widest there is and its coverage says so.
    """
    size = len(values)
    means = sorted((values[i] + values[j]) / 2 for i in range(size) for j in range(i, size))
    counts = _counts(range(1, size + 1))
    cut, beyond = 0, counts[0]
    while cut + 1 < len(means) // 2 and (beyond + counts[cut + 1]) <= level * 2**size:
        cut += 1
        beyond += counts[cut]
    middle = len(means) // 2
    centre = means[middle] if len(means) % 2 else (means[middle - 1] + means[middle]) / 2
    return centre, means[cut], means[-1 - cut], 1 - 2 * beyond / 2**size


def _verdict(values: Sequence[float], margin: float, level: float, primary: bool) -> Verdict:
    centre, low, high, coverage = interval(values, level)
    edge = math.log1p(margin)
    return Verdict(
        verdict=SAME,
        ratio=math.exp(centre),
        low=math.exp(low),
        high=math.exp(high),
        coverage=coverage,
        p_slower=signed_rank(values, edge),
        p_faster=signed_rank([-value for value in values], edge),
        n=len(values),
        primary=primary,
        blind=centre - low + edge > math.log1p(CATCHES),
    )
