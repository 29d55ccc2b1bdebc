"""Clusters from signatures against brute force, in any batches; containment; compared pairs."""

from __future__ import annotations

import random

import numpy as np
import pytest

from stages.lm import minhash, neighbours
from stages.lm.kernels import buckets, text
from stages.lm.signatures import sign
from tests.lm.kernels import hostile

NGRAM, LANES = 2, 64


def family(seed, count=400):
    """Return texts of which many resemble each other, in chains and in crowds."""
    draw = random.Random(seed)
    words = [f"w{n}" for n in range(300)]
    made = [draw.choices(words, k=draw.randint(0, 60))]
    while len(made) < count:
        base = list(draw.choice(made[-20:]))
        for _ in range(draw.choice((0, 0, 1, 2, 6, 30))):
            if base:
                base[draw.randrange(len(base))] = draw.choice(words)
        made.append(draw.choice((base, base, draw.choices(words, k=draw.randint(0, 60)))))
    return [" ".join(one) for one in made]


class Setting:
    """Texts with all that the functions under test take."""

    def __init__(self, given):
        self.given, self.texts = given, text.of_strings(given)
        signed = sign(self.texts, "fast", LANES, ngram=NGRAM, scale=2)
        self.signatures, self.judged = signed.signatures, (signed.sizes > 0).astype(np.uint8)
        self.sets = [minhash.shingles(minhash.words(one), NGRAM) for one in given]
        self.read: list[int] = []
        self.comparison = neighbours.Comparison(
            self.reader, np.diff(self.texts.offsets), NGRAM, "unicode"
        )
        owners = np.repeat(np.arange(len(given)), signed.sampled).astype(np.uint64)
        self.codes = np.unique(signed.samples.astype(np.uint64) << np.uint64(32) | owners)

    def reader(self, rows):
        assert (np.diff(rows) > 0).all()
        self.read.append(len(rows))
        return text.of_strings([self.given[row] for row in rows])

    def components(self, shape, threshold):
        """Every pair of one band, in one Python loop."""
        bands, rows = shape
        clusters = minhash.Clusters(len(self.given))
        for low in range(len(self.given)):
            for high in range(low + 1, len(self.given)):
                equal = self.signatures[low] == self.signatures[high]
                banded = equal[: bands * rows].reshape(bands, rows).all(axis=1).any()
                similarity = minhash.jaccard(self.sets[low], self.sets[high])
                if banded and self.judged[[low, high]].all() and similarity >= threshold:
                    clusters.union(low, high)
        return clusters.roots().tolist()


@pytest.fixture(scope="module")
def setting():
    return Setting(family(1))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8])
def test_clusters_equal_brute_force(setting, threshold, monkeypatch):
    shape = (16, 4)
    wanted = setting.components(shape, threshold)
    assert 50 < len(set(wanted)) < 350
    comparison = setting.comparison if threshold else None
    args = (setting.signatures, setting.judged, shape, comparison, threshold)
    whole, candidates = neighbours.cluster(*args)
    assert whole.tolist() == wanted
    assert candidates > 100
    # Room for few pairs and little text at once changes nothing.
    monkeypatch.setattr(neighbours, "ROOM", 60)
    monkeypatch.setattr(neighbours, "BATCH_BYTES", 700)
    setting.read.clear()
    assert neighbours.cluster(*args)[0].tolist() == wanted
    assert not threshold or max(setting.read) < 40


def test_order_of_documents_changes_names_only(setting):
    order = np.random.RandomState(0).permutation(len(setting.given))
    shape = (16, 4)
    other = Setting([setting.given[place] for place in order])
    one, _ = neighbours.cluster(setting.signatures, setting.judged, shape, setting.comparison, 0.6)
    two, _ = neighbours.cluster(other.signatures, other.judged, shape, other.comparison, 0.6)
    parts = [{}, {}]
    for names, roots, part in ((range(len(order)), one, parts[0]), (order, two, parts[1])):
        for name, root in zip(names, roots.tolist(), strict=True):
            part.setdefault(root, set()).add(int(name))
    assert {frozenset(group) for group in parts[0].values()} == {
        frozenset(group) for group in parts[1].values()
    }


def test_measures_equal_sets_of_strings(setting):
    draw = np.random.RandomState(2).randint(0, len(setting.given), (300, 2))
    lower, higher = np.sort(draw, axis=1).T.copy()
    order = np.argsort(lower, kind="stable")
    lower, higher = lower[order], higher[order]
    found = setting.comparison.measure(lower, higher)
    for place, (low, high) in enumerate(zip(lower.tolist(), higher.tolist(), strict=True)):
        a, b = setting.sets[low], setting.sets[high]
        assert found.jaccard()[place] == minhash.jaccard(a, b)
        assert found.containment()[place] == minhash.containment(a, b)
    assert len(setting.comparison.measure(lower[:0], higher[:0]).both) == 0


def test_measures_of_hostile_texts():
    given = hostile.strings(8, 120, 300)
    given += [one.upper() + " x" for one in given[:60]]
    made = Setting(given)
    lower = np.arange(60)
    found = made.comparison.measure(lower, lower + 120)
    wanted = [minhash.jaccard(made.sets[row], made.sets[row + 120]) for row in range(60)]
    assert found.jaccard().tolist() == wanted


def test_crowds_give_few_pairs_and_one_cluster():
    count = 5 * minhash.BUCKET_PAIRS
    alike = np.ones((count, 10), np.uint32)
    judged = np.ones(count, np.uint8)
    judged[7] = 0
    parent, candidates = neighbours.cluster(alike, judged, (2, 5), None)
    assert set(np.delete(parent, 7).tolist()) == {0}
    assert parent[7] == 7
    assert candidates <= 2 * count


def test_equal_marks_of_unequal_bands_do_not_join(monkeypatch):
    """A slot's 32 bits may be equal by chance: here all are, so the lanes alone decide."""
    draw = np.random.RandomState(1)
    signatures = draw.randint(0, 3, (300, 2)).astype(np.uint32)
    firsts, counts = np.empty(300, np.int64), np.empty(300, np.int64)
    judged = np.ones(300, np.uint8)
    plain = buckets.bucket.reference
    with monkeypatch.context() as patch, np.errstate(over="ignore"):
        patch.setattr(buckets, "SPREAD", 0)
        patch.setattr(buckets, "power_of_two", buckets.power_of_two.py_func)
        plain(signatures, judged, 0, 2, firsts, counts)
    keys = [tuple(row) for row in signatures.tolist()]
    assert firsts.tolist() == [keys.index(key) for key in keys]
    buckets.bucket(signatures, judged, 0, 2, firsts, counts)
    assert firsts.tolist() == [keys.index(key) for key in keys]
    assert counts.sum() == 300


def test_contained_pairs_equal_brute_force(setting, monkeypatch):
    away = np.zeros(len(setting.given), np.uint8)
    away[::17] = 1
    sketches = [[] for _ in setting.given]
    for code in setting.codes.tolist():
        if not away[code & 0xFFFFFFFF]:
            sketches[code & 0xFFFFFFFF].append(code >> 32)
    held: dict[int, int] = {}
    for one in sketches:
        for value in one:
            held[value] = held.get(value, 0) + 1
    wanted = {}
    for low, one in enumerate(sketches):
        for high in range(low + 1, len(sketches)):
            both = [v for v in set(one) & set(sketches[high]) if held[v] <= 8]
            smaller = min(len(one), len(sketches[high]))
            if both and len(both) / smaller >= 0.4:
                wanted[low, high] = len(both) / smaller
    for room in (neighbours.ROOM, 8):
        monkeypatch.setattr(neighbours, "ROOM", room)
        got = neighbours.contained_pairs(setting.codes, away, 0.4, 8)
        assert len(wanted) > 20
        pairs = zip(got[0].tolist(), got[1].tolist(), strict=True)
        assert dict(zip(pairs, got[2].tolist(), strict=True)) == wanted
    assert [len(one) for one in neighbours.contained_pairs(setting.codes[:0], away, 0.4)] == [
        0,
        0,
        0,
    ]


def test_bands_shared_and_estimates(setting):
    lower, higher = np.array([0, 5]), np.array([0, 9])
    assert neighbours.bands_shared(setting.signatures, (16, 4), lower, higher)[0] == 16
    assert neighbours.estimates(setting.signatures, lower, higher)[0] == 1.0
