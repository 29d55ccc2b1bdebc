"""The bootstrap: against enumeration, a known variance and planted faults."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from stages.lm import resample
from stages.lm.resample import as_millionths, bootstrap, paired_bootstrap, ratio, weights

SETTINGS = {"resamples": 2000, "confidence": 0.95, "seed": 7}


def test_every_resample_draws_as_many_units_as_there_are():
    drawn = np.concatenate(list(weights(9, 150, seed=0)))
    assert drawn.shape == (150, 9)
    assert (drawn.sum(axis=1) == 9).all()


def test_interval_is_that_of_all_possible_resamples():
    # Three units give 27 equally likely resamples: the exact percentiles are by enumeration.
    counts = np.array([[1.0, 4.0], [3.0, 4.0], [4.0, 4.0]])
    exact = [
        sum(counts[i, 0] for i in drawn) / 12 for drawn in itertools.product(range(3), repeat=3)
    ]
    found = bootstrap(ratio, counts, resamples=20_000, confidence=0.8, seed=1)
    assert found.value == 8 / 12
    assert [found.low, found.high] == pytest.approx(np.quantile(exact, [0.1, 0.9]), abs=1e-9)


def test_interval_of_a_mean_has_the_textbook_width():
    generator = np.random.default_rng(0)
    hits = generator.random(4000) < 0.3
    counts = np.stack([hits, np.ones(4000)], axis=1).astype(float)
    found = bootstrap(ratio, counts, **SETTINGS)
    share = hits.mean()
    half = 1.96 * np.sqrt(share * (1 - share) / 4000)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.06)


def test_units_matter_words_of_one_sentence_go_together():
    # All-or-nothing sentences of 10 words: by sentence the interval is sqrt(10) times wider.
    words = np.repeat(np.random.default_rng(5).random(400) < 0.5, 10).astype(float)
    by_word = bootstrap(ratio, np.stack([words, np.ones(4000)], 1), **SETTINGS)
    sentences = np.stack([words.reshape(400, 10).sum(1), np.full(400, 10.0)], 1)
    by_sentence = bootstrap(ratio, sentences, **SETTINGS)
    widening = (by_sentence.high - by_sentence.low) / (by_word.high - by_word.low)
    assert widening == pytest.approx(np.sqrt(10), rel=0.1)


def test_same_seed_same_interval_other_seed_another():
    counts = np.stack([np.arange(50.0) % 7, np.full(50, 7.0)], 1)
    first = bootstrap(ratio, counts, **SETTINGS)
    assert bootstrap(ratio, counts, **SETTINGS) == first
    assert bootstrap(ratio, counts, **{**SETTINGS, "seed": 8}) != first


def test_chunks_do_not_change_what_is_drawn(monkeypatch):
    counts = np.stack([np.arange(50.0) % 7, np.full(50, 7.0)], 1)
    first = bootstrap(ratio, counts, **SETTINGS)
    monkeypatch.setattr(resample, "CHUNK", 2000)
    assert bootstrap(ratio, counts, **SETTINGS) == first


def test_order_of_columns_and_sums_is_exact():
    losses = as_millionths(np.random.default_rng(2).gamma(2.0, 3.0, size=5000))
    assert losses.sum() == losses[::-1].sum() == float(sum(int(loss) for loss in losses))


def paired_case():
    """A model better by 2 points in 100 on the same sentences, sentence by sentence."""
    generator = np.random.default_rng(11)
    good = generator.binomial(10, 0.7, size=300).astype(float)
    worse = np.maximum(good - (generator.random(300) < 0.2), 0)
    words = np.full(300, 10.0)
    return np.stack([good, words], 1), np.stack([worse, words], 1)


def test_pairing_is_what_makes_a_small_difference_sure():
    a, b = paired_case()
    paired = paired_bootstrap(ratio, a, b, **SETTINGS)
    assert 0 < paired.low < paired.value < paired.high
    assert paired.reversed_share == 0.0
    # Planted fault: shuffle one side, so that units no longer correspond.
    shuffled = b[np.random.default_rng(0).permutation(len(b))]
    unpaired = paired_bootstrap(ratio, a, shuffled, **SETTINGS)
    assert unpaired.value == pytest.approx(paired.value, abs=1e-12)
    assert unpaired.high - unpaired.low > 3 * (paired.high - paired.low)


def test_a_system_does_not_differ_from_itself():
    a, _ = paired_case()
    same = paired_bootstrap(ratio, a, a, **SETTINGS)
    assert (same.value, same.low, same.high, same.reversed_share) == (0.0, 0.0, 0.0, 1.0)


def test_systems_of_unequal_length_are_refused():
    a, b = paired_case()
    with pytest.raises(ValueError, match="300 and 299 units"):
        paired_bootstrap(ratio, a, b[:-1], **SETTINGS)


@pytest.mark.parametrize("bad", [np.zeros((0, 2)), np.zeros(3), np.array([[0.5, 1.0]])])
def test_tables_that_cannot_be_summed_exactly_are_refused(bad):
    with pytest.raises(ValueError, match=r"counts are"):
        bootstrap(ratio, bad, **SETTINGS)


def test_interval_is_rounded_to_significant_digits():
    assert resample.Estimate(0.5, 1 / 3, 2 / 3).interval(6) == [0.333333, 0.666667]
