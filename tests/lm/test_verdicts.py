"""The rule of a night: worked examples, known tables, and what it must and must not call."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from stages.lm import verdicts
from stages.lm.verdicts import FASTER, SAME, SLOWER


def night(ratio: float, scatter: float, seed: int, n: int = 15) -> list[float]:
    drawn = random.Random(seed)
    return [math.log(ratio) + drawn.gauss(0, scatter) for _ in range(n)]


def test_holm_by_hand():
    """0.01, 0.02, 0.03, 0.04 at 0.05: 0.01 <= 0.05/4, and 0.02 > 0.05/3 keeps all that follow."""
    ps = {"b": 0.02, "d": 0.04, "a": 0.01, "c": 0.03}
    assert verdicts.holm(ps, 0.05) == {"a": True, "b": False, "c": False, "d": False}
    assert verdicts.holm({"a": 0.01, "b": 0.014, "c": 0.02}, 0.05) == dict.fromkeys("abc", True)
    assert verdicts.holm({"a": 0.02, "b": 0.001}, 0.05) == {"b": True, "a": True}
    assert verdicts.holm({}, 0.05) == {}


def test_signed_rank_counts_every_pattern_of_signs():
    values = [0.3, -0.1, 0.7, 0.2, 0.2, -0.4]  # a tie, so middle ranks
    ranks = {0.1: 1, 0.2: 2.5, 0.3: 4, 0.4: 5, 0.7: 6}
    observed = sum(ranks[abs(value)] for value in values if value > 0)
    sizes = [ranks[abs(value)] for value in values]
    sums = [
        sum(size for size, sign in zip(sizes, signs, strict=True) if sign)
        for signs in itertools.product((0, 1), repeat=6)
    ]
    assert verdicts.signed_rank(values) == sum(one >= observed for one in sums) / 64
    assert verdicts.signed_rank([1.0, 2.0, 3.0]) == 1 / 8
    assert verdicts.signed_rank([1.0, 2.0, 3.0], shift=3.0) == 1.0


def test_interval_is_the_table_of_wilcoxon():
    """n = 10: the smallest and largest 8 of 55 means fall out, 0.0244 on each side."""
    values = [float(number) for number in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)]
    means = sorted((values[i] + values[j]) / 2 for i in range(10) for j in range(i, 10))
    centre, low, high, coverage = verdicts.interval(values, 0.025)
    assert (low, high) == (means[8], means[-9])
    assert coverage == pytest.approx(1 - 2 * 25 / 1024)
    assert centre == means[27]
    assert verdicts.interval([1.0, 2.0], 0.01)[1:] == (1.0, 2.0, 0.5)  # so few cannot keep it


@pytest.mark.parametrize(
    ("ratio", "expected"), [(1.05, SLOWER), (1.0, SAME), (1 / 1.05, FASTER), (1.01, SAME)]
)
def test_the_primary_metric_is_called_as_it_is(ratio, expected):
    for seed in range(20):
        found = verdicts.judge({"a: t": night(ratio, 0.012, seed)}, {})
        assert found["a: t"].verdict == expected
        assert found["a: t"].low < ratio < found["a: t"].high
        assert not found["a: t"].blind


def test_false_alarms_stay_within_alpha_even_where_the_truth_is_the_margin():
    """At the edge of what is called same, with heavy tails: at most 0.25 % for each direction."""
    drawn = random.Random(3)
    alarms = 0
    for _ in range(2000):
        tails = [drawn.gauss(0, 0.01) / max(0.05, drawn.random()) for _ in range(15)]
        values = [math.log1p(verdicts.MARGIN) + value for value in tails]
        alarms += verdicts.judge({"a": values}, {})["a"].verdict == SLOWER
    assert alarms <= 12  # 5 expected at most
    assert alarms >= 1  # and the bound is used


def test_a_rule_without_margin_or_correction_would_cry_wolf():
    """Teeth: twenty metrics of equal programs, tested one by one, alarm on many nights."""
    wrong = right = 0
    for seed in range(200):
        rest = {str(k): night(1.0, 0.02, seed * 50 + k) for k in range(20)}
        primary = {"p": night(1.0, 0.02, seed * 50 + 49)}
        wrong += any(verdicts.signed_rank(values) <= 0.01 for values in rest.values())
        right += verdicts.of_night(verdicts.judge(primary, rest)) != SAME
    assert wrong > 20
    assert right <= 2


def test_the_rest_is_corrected_together_and_can_make_a_night_slower():
    rest = {str(k): night(1.0, 0.01, k) for k in range(8)} | {"hit": night(1.06, 0.01, 99)}
    found = verdicts.judge({"p": night(1.0, 0.01, 50)}, rest)
    assert found["hit"].verdict == SLOWER
    assert {one.verdict for name, one in found.items() if name != "hit"} == {SAME}
    assert verdicts.of_night(found) == SLOWER
    faster = verdicts.judge({"p": night(1.0, 0.01, 50)}, {"hit": night(0.94, 0.01, 99)})
    assert verdicts.of_night(faster) == SAME  # a night is faster by its primary metrics only


def test_a_noisy_night_says_that_it_is_blind():
    found = verdicts.judge({"p": night(1.05, 0.12, 1)}, {})["p"]
    assert found.verdict == SAME
    assert found.blind


def test_a_size_is_compared_without_a_test():
    values = {"up": [math.log(1.021)], "same": [math.log(1.019)], "down": [math.log(0.9)]}
    found = verdicts.judge({}, {}, values)
    assert {name: one.verdict for name, one in found.items()} == {
        "up": SLOWER, "same": SAME, "down": FASTER
    }  # fmt: skip
