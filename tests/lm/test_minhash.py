"""MinHash: the published worked example, the S-curve, clusters, sketches, and the traps."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from stages.lm import minhash

EXAMPLE = (
    "Deduplication is so much fun!",
    "Deduplication is so much fun and easy!",
    "I wish spider dog is a thing.",
)
# huggingface.co/blog/dedup, worked example; also computed here with numpy 2.4 and hashlib alone.
GOLDEN = (
    [403996643, 840529008, 1008110251, 2888962350, 432993166],
    [403996643, 840529008, 1008110251, 1998729813, 432993166],
    [166417565, 213933364, 1129612544, 1419614622, 1370935710],
)


def signatures(texts, *, ngram=3, permutations=5, drop_empty=True):
    hashed = [
        minhash.hash_words(minhash.words(text, "ascii", drop_empty=drop_empty), ngram)
        for text in texts
    ]
    return minhash.sign(hashed, minhash.draw_permutations(permutations))


def test_worked_example_digit_for_digit():
    assert signatures(EXAMPLE).tolist() == list(GOLDEN)


def test_empty_tokens_would_lose_the_pair():
    kept = signatures(EXAMPLE, drop_empty=False)
    assert kept[0].tolist() == [403996643, 520296150, 1008110251, 630641148, 432993166]
    assert minhash.bucket_pairs(signatures(EXAMPLE), 2, 2).tolist() == [[0, 1]]
    assert minhash.bucket_pairs(kept, 2, 2).tolist() == []


def test_exact_jaccard_of_the_example():
    first, second, third = (minhash.shingles(minhash.words(text, "ascii"), 3) for text in EXAMPLE)
    assert minhash.jaccard(first, second) == 3 / 5
    assert minhash.containment(first, second) == 1.0
    assert minhash.jaccard(first, third) == 0.0


@pytest.mark.parametrize(
    ("permutations", "threshold", "shape"),
    [
        (256, 0.7, (25, 10)),
        (256, 0.8, (17, 15)),
        (256, 0.85, (13, 19)),
        (128, 0.7, (14, 9)),
        (10, 0.5, (3, 3)),
    ],
)
def test_band_shape_golden(permutations, threshold, shape):
    assert minhash.band_shape(permutations, threshold) == shape


def test_band_shape_that_misses_less():
    bands, rows = minhash.band_shape(256, 0.7, 0.9)
    assert minhash.recall(0.75, bands, rows) > 0.96 > minhash.recall(0.75, 25, 10)
    assert minhash.recall(0.4, bands, rows) < 0.05


def test_fast_signing_equals_the_published_formula():
    random = np.random.RandomState(3)
    sizes = [0, 1, 5, 255, 256, 257, 1500]
    documents = [
        np.unique(random.randint(0, 2**32, size, dtype=np.uint64).astype(np.uint32))
        for size in sizes
    ]
    drawn = minhash.draw_permutations(64)
    fast = minhash.sign(documents, drawn)
    for document, row in zip(documents, fast, strict=True):
        assert row.tolist() == minhash.reference_signature(document, drawn).tolist()


def test_reduction_is_right_at_the_modulus():
    drawn = np.array([[1, 1], [minhash.MERSENNE - 1, 3]], dtype=np.uint64)
    hashes = [np.array([value], dtype=np.uint32) for value in (0, 1, 2, 7)]
    got = minhash.sign(hashes, drawn)
    wanted = [[(h + b) % minhash.MERSENNE & minhash.MAX_HASH for b in (minhash.MERSENNE - 1, 3)]
              for h in (0, 1, 2, 7)]  # fmt: skip
    assert got.tolist() == wanted
    assert got[1, 0] == 0


def planted(similarity, pairs, size=300):
    """Return documents 2i, 2i+1 with exactly this Jaccard similarity (as far as integers go)."""
    random = np.random.RandomState(int(similarity * 1000))
    shared = round(2 * size * similarity / (1 + similarity))
    own = size - shared
    documents = []
    for _ in range(pairs):
        drawn = random.randint(0, 2**32, shared + 2 * own, dtype=np.uint64).astype(np.uint32)
        documents.append(drawn[: shared + own])
        documents.append(np.concatenate([drawn[:shared], drawn[shared + own :]]))
    return documents, shared / (shared + 2 * own)


def found_fraction(signed, bands, rows):
    pairs = minhash.bucket_pairs(signed, bands, rows)
    return sum(1 for a, b in pairs.tolist() if a % 2 == 0 and b == a + 1) / (len(signed) / 2)


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
def test_recall_lies_on_the_s_curve(similarity):
    count = 250
    documents, exact = planted(similarity, count)
    # Different permutations per pair would be ideal; different shingles per pair do as well.
    signed = minhash.sign(documents, minhash.draw_permutations(256))
    bands, rows = minhash.band_shape(256, 0.7)
    expected = minhash.recall(exact, bands, rows)
    error = math.sqrt(expected * (1 - expected) / count) + 1 / count
    assert abs(found_fraction(signed, bands, rows) - expected) < 4 * error
    estimated = minhash.estimate(signed[::2], signed[1::2])
    assert abs(estimated.mean() - exact) < 4 * math.sqrt(exact * (1 - exact) / 256 / count)


def test_s_curve_check_has_teeth():
    documents, exact = planted(0.7, 250)
    signed = minhash.sign(documents, minhash.draw_permutations(256))
    expected = minhash.recall(exact, 25, 10)
    error = math.sqrt(expected * (1 - expected) / 250) + 1 / 250
    # A band too wide by three rows, and a signature whose permutations are all alike.
    assert abs(found_fraction(signed, 19, 13) - expected) > 4 * error
    alike = np.repeat(signed[:, :1], 256, axis=1)
    assert abs(minhash.estimate(alike[::2], alike[1::2]).std()) > 0.3


def test_clusters_equal_brute_force_components():
    random = np.random.RandomState(0)
    edges = random.randint(0, 2000, (1500, 2)).tolist()
    clusters = minhash.Clusters(2000)
    clusters.union_all(edges)
    component = list(range(2000))
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            low = min(component[a], component[b])
            changed |= component[a] != low or component[b] != low
            component[a] = component[b] = low
    assert clusters.roots().tolist() == component


def test_large_buckets_stay_one_cluster_without_all_pairs():
    size = 5 * minhash.BUCKET_PAIRS
    signed = np.ones((size, 10), dtype=np.uint32)
    pairs = minhash.bucket_pairs(signed, 2, 5)
    assert len(pairs) < 3 * size
    clusters = minhash.Clusters(size)
    clusters.union_all(pairs.tolist())
    assert set(clusters.roots().tolist()) == {0}


def test_short_documents_have_no_shingles_and_like_signatures():
    assert len(minhash.hash_words(["unu", "du"], 5)) == 0
    signed = minhash.sign([np.zeros(0, dtype=np.uint32)], minhash.draw_permutations(4))
    assert signed.tolist() == [[minhash.MAX_HASH] * 4]


def test_unicode_words_keep_letters_with_diacritics_whole():
    assert minhash.words("Ĉu ŝi?") == ["ĉu", "ŝi"]
    assert minhash.words("Ĉu ŝi?", "ascii") == ["u", "i"]


def test_shingle_hashes_are_of_the_words_joined_by_a_space():
    wanted = {
        int.from_bytes(hashlib.sha1(pair).digest()[:4], "little")
        for pair in ("ĉu c".encode(), b"c d")
    }
    assert set(minhash.hash_words(["ĉu", "c", "d"], 2).tolist()) == wanted


def test_sketches_find_a_part_in_its_whole():
    random = np.random.RandomState(1)
    whole = np.unique(random.randint(0, 2**32, 20_000, dtype=np.uint64).astype(np.uint32))
    part = np.sort(whole[random.permutation(len(whole))[:2000]])
    other = np.unique(random.randint(0, 2**32, 3000, dtype=np.uint64).astype(np.uint32))
    sketches = [minhash.sketch(one, 16) for one in (whole, other, part)]
    found = minhash.sketch_pairs(sketches, least=0.3)
    assert [(a, b) for a, b, _ in found] == [(0, 2)]
    assert found[0][2] == 1.0
    assert minhash.sketch_pairs(sketches[:1], least=0.3) == []
