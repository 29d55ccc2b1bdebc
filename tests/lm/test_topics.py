"""Topics against planted ones, and drift against mixtures that changed or did not."""

from __future__ import annotations

import numpy as np
import pytest

from stages.lm import topics

WORDS = 600


def planted(seed: int, shares: list[float], documents: int) -> tuple[np.ndarray, ...]:
    """Draw documents of topics: a third of the words are the topic's own hundred."""
    draw = np.random.RandomState(seed)
    truth = draw.choice(len(shares), documents, p=shares)
    common = 1 / np.arange(1, WORDS + 1)
    rows = []
    for topic in truth.tolist():
        size = draw.randint(20, 60)
        mine = draw.choice(100, size // 3) + 100 * topic + 100
        rows.append(np.concatenate([mine, draw.choice(WORDS, size, p=common / common.sum())]))
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return np.concatenate(rows), offsets, truth


def made(ids: np.ndarray, offsets: np.ndarray) -> tuple[topics.Features, topics.Vectors]:
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    pairs = np.unique(owners * WORDS + ids)
    holders = np.bincount(pairs % WORDS, minlength=WORDS)
    chosen = topics.features(holders, len(offsets) - 1, np.zeros(WORDS, bool))
    return chosen, topics.vectors(ids, offsets, chosen)


def rand(first: np.ndarray, second: np.ndarray) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985)."""

    def choose(n):
        return n * (n - 1) / 2

    table = np.zeros((first.max() + 2, second.max() + 2))
    np.add.at(table, (first, second), 1)
    inner, a, b = (choose(x).sum() for x in (table, table.sum(0), table.sum(1)))
    expected = a * b / choose(len(first))
    return (inner - expected) / ((a + b) / 2 - expected)


@pytest.mark.parametrize("most", [3, 12])
def test_three_planted_topics_are_recovered(most):
    ids, offsets, truth = planted(0, [0.5, 0.3, 0.2], 900)
    chosen, vectors = made(ids, offsets)
    found = topics.cluster(vectors, len(chosen.idf), most, 0.2)
    assert len(found.centres) == 3
    assert rand(found.of, truth) > 0.95
    words = topics.keywords(found.of, ids, offsets, chosen, 3)
    for number, topic in enumerate([0, 1, 2]):  # largest first
        assert all(100 * topic + 100 <= word < 100 * topic + 200 for word in words[number])


def test_another_mixture_alerts_and_a_resample_does_not():
    ids, offsets, _ = planted(0, [0.5, 0.5], 600)
    chosen, vectors = made(ids, offsets)
    found = topics.cluster(vectors, len(chosen.idf), 8, 0.2)
    before = np.bincount(found.of + 1, minlength=len(found.centres) + 1)
    for seed in (1, 2, 3):
        for shares, alert in (([0.5, 0.5], False), ([0.8, 0.2], True)):
            other, bounds, _ = planted(seed, shares, 600)
            of = topics.nearest(topics.vectors(other, bounds, chosen), found.centres)
            after = np.bincount(of + 1, minlength=len(before))
            told = topics.drift(before, after, 0.02)
            assert told["alert"] is alert, (seed, shares, told)


def test_divergence_by_hand():
    assert topics.divergence_bits([1, 1], [5, 5]) == 0
    assert topics.divergence_bits([1, 0], [0, 7]) == 1
    # Half of log2(4/3) + ... of (1/2, 1/2) against (1, 0).
    wanted = 0.5 * (0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25)) + 0.5 * np.log2(1 / 0.75)
    assert topics.divergence_bits([1, 1], [3, 0]) == pytest.approx(wanted)
    assert topics.divergence_bits([0, 0], [3, 0]) == 1


def test_nothing_to_cluster():
    none = np.zeros(0, np.int64)
    chosen = topics.features(np.zeros(5, np.int64), 2, np.zeros(5, bool))
    empty = topics.vectors(none, np.zeros(3, np.int64), chosen)
    found = topics.cluster(empty, 0, 4, 0.2)
    assert found.of.tolist() == [-1, -1]
    assert found.centres.shape == (0, 0)
