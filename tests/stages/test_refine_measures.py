"""Statistics against corpora of known truth."""

from __future__ import annotations

import numpy as np
import pytest

from stages.refine.measures import Measures, _zeta, zipf


def test_counts_by_hand():
    found = Measures()
    found.add(["La kato vidas la hundon."], ["DET", "NOUN"])
    found.add(["La domo.", "The house."], ["NOUN"])
    report = found.as_json(duplicates=3)
    assert report["documents"] == 2
    assert report["words"] == 9
    assert report["vocabulary_size"] == 7
    assert report["words_seen_once"] == 6
    assert report["top_words"][0] == {"word": "la", "count": 3}
    assert report["duplicates_dropped"] == 3
    assert report["characters"] == 24 + 8 + 10
    assert report["length_words"]["mean"] == 4.5
    assert report["length_words"]["distinct"] == 2
    assert report["labels"]["NOUN"] == {"count": 2, "fraction": 0.666667}
    assert report["zipf"] == {}


def test_no_documents():
    assert Measures().as_json(0)["length_words"] == {}


@pytest.mark.parametrize("exponent", [0.8, 1.0, 1.3])
def test_zipf_exponents_are_recovered(exponent):
    weights = np.arange(1, 200_001) ** -exponent
    drawn = np.random.default_rng(0).choice(200_000, 1_000_000, p=weights / weights.sum())
    counts = np.sort(np.bincount(drawn))[::-1]
    found = zipf(counts[counts > 0])
    assert found["rank_exponent_s"] == pytest.approx(exponent, abs=0.05)
    assert found["count_exponent_alpha"] == pytest.approx(1 + 1 / exponent, abs=0.08)
    assert found["ks_distance"] < 0.01


def test_markup_shows_in_the_fit():
    weights = np.arange(1, 20_001) ** -1.0
    drawn = np.random.default_rng(0).choice(20_000, 200_000, p=weights / weights.sum())
    counts = np.sort(np.bincount(drawn))[::-1]
    clean = zipf(counts[counts > 0])
    tagged = np.sort(np.concatenate([counts[counts > 0], np.full(300, 400)]))[::-1]
    assert zipf(tagged)["ks_distance"] > 3 * clean["ks_distance"]


def test_hurwitz_zeta_known_values():
    # pi^2/6, and zeta(3) (Apery); zeta(2, 3) = pi^2/6 - 1 - 1/4.
    assert _zeta(2.0, np.array([1]))[0] == pytest.approx(np.pi**2 / 6, rel=1e-12)
    assert _zeta(3.0, np.array([1]))[0] == pytest.approx(1.2020569031595942, rel=1e-12)
    assert _zeta(2.0, np.array([3]))[0] == pytest.approx(np.pi**2 / 6 - 1.25, rel=1e-12)
