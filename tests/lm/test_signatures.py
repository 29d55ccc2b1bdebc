"""Signatures from bytes: both forms against their references, and how well they estimate."""

from __future__ import annotations

import hashlib
import math
import random

import numpy as np
import pytest

from stages.lm import minhash, signatures
from stages.lm.kernels import alike, text
from stages.lm.signatures import sign
from tests.lm.kernels import hostile
from tests.lm.test_minhash import EXAMPLE, GOLDEN


def hostile_texts():
    draw = random.Random(4)
    word = ["Ĉu", "ŝi", "SIGMAΣ", "İstanbul", "ⱥȺ", "x", "a" * 70, "漢字", "it's", "K\u212a", "1_2"]
    long = [" ".join(draw.choices(word, k=draw.randint(0, 300))) for _ in range(60)]
    blocks = [
        "ab" * 31 + "é" + "c d" * 5,
        "a" * 63 + "ŝb c d e f",
        "a b c d e " * 13 + "漢",
        "w " * 5000,
    ]
    data = hostile.byte_strings(5, 300, 120)
    data += [one.encode("utf-8", "surrogatepass") for one in hostile.strings(6, 300, 200)]
    return text.of_bytes(data + [one.encode() for one in (*long, *blocks, "", "a b c d e")])


@pytest.mark.parametrize("kind", ["unicode", "ascii"])
def test_fast_form_equals_its_reference_on_hostile_texts(kind):
    texts = hostile_texts()
    got = sign(texts, "fast", 5, ngram=3, words=kind, scale=2)
    factors, terms = (one.tolist() for one in signatures.lanes("fast", 5))
    at = 0
    for number, given in enumerate(text.to_strings(texts)):
        tokens = minhash.words(given, kind)
        wanted = alike.reference_fast(tokens, 3, factors, terms)
        assert got.signatures[number].tolist() == wanted, (number, given)
        assert got.sizes[number] == max(0, len(tokens) - 2)
        short = [value >> 32 for value in alike.reference_shingles(tokens, 3)]
        samples = got.samples[at : at + got.sampled[number]]
        assert samples.tolist() == [x for x in short if x < 1 << 31]
        at += got.sampled[number]
    assert at == len(got.samples)


@pytest.mark.parametrize("kind", ["unicode", "ascii"])
def test_stack_form_equals_minhash_on_hostile_texts(kind):
    texts = hostile_texts()
    got = sign(texts, "stack", 5, ngram=3, words=kind, scale=2)
    hashed = [_hashes(minhash.words(given, kind), 3) for given in text.to_strings(texts)]
    assert np.array_equal(got.signatures, minhash.sign(hashed, minhash.draw_permutations(5)))
    ends = np.cumsum(got.sampled)
    for number, one in enumerate(hashed):
        samples = got.samples[ends[number] - got.sampled[number] : ends[number]]
        assert np.array_equal(np.unique(samples), minhash.sketch(one, 2))


def _hashes(tokens, ngram):
    """As `minhash.hash_words`, for surrogates too."""
    found = {
        hashlib.sha1(" ".join(tokens[i : i + ngram]).encode("utf-8", "surrogatepass")).digest()[:4]
        for i in range(len(tokens) - ngram + 1)
    }
    return np.array(sorted(int.from_bytes(one, "little") for one in found), np.uint32)


def test_worked_example_of_the_stack_digit_for_digit():
    got = sign(text.of_strings(EXAMPLE), "stack", 5, ngram=3, words="ascii")
    assert got.signatures.tolist() == list(GOLDEN)
    assert got.sizes.tolist() == [3, 5, 5]


def test_sha1_of_every_length():
    given = ["".join(random.Random(n).choices("abcĉ", k=n)) for n in range(1, 260)]
    got = sign(text.of_strings(given), "stack", 1, ngram=1, scale=1)
    wanted = [int.from_bytes(hashlib.sha1(one.encode()).digest()[:4], "little") for one in given]
    assert got.samples.tolist() == wanted


@pytest.mark.parametrize("form", ["fast", "stack"])
def test_threads_and_neighbours_change_nothing(form):
    texts = hostile_texts()
    one = sign(texts, form, 8, scale=3)
    for threads in (2, 5):
        for left, right in zip(one, sign(texts, form, 8, scale=3, threads=threads), strict=True):
            assert np.array_equal(left, right)
    back = list(reversed(range(texts.documents)))
    turned = sign(text.of_bytes([texts.bytes_at(number) for number in back]), form, 8)
    assert np.array_equal(turned.signatures[back], one.signatures)
    longer = sign(texts, form, 16)
    assert np.array_equal(longer.signatures[:, :8], one.signatures)


def planted(similarity, pairs, size=300):
    """Return texts 2i, 2i+1 of distinct words with this Jaccard similarity of their words."""
    shared = round(2 * size * similarity / (1 + similarity))
    draw = random.Random(int(similarity * 1000))
    made = []
    for _ in range(pairs):
        words = [f"w{draw.getrandbits(40):x}" for _ in range(2 * size - shared)]
        made.append(" ".join(words[:size]))
        made.append(" ".join(words[:shared] + words[size:]))
    return text.of_strings(made), shared / (2 * size - shared)


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9, 0.95])
def test_fast_estimates_and_recall_lie_on_the_curve(similarity):
    count = 400
    texts, exact = planted(similarity, count)
    signed = sign(texts, "fast", 256, ngram=1).signatures
    equal = signed[::2] == signed[1::2]
    spread = math.sqrt(exact * (1 - exact) / 256)
    estimates = equal.mean(axis=1)
    assert abs(estimates.mean() - exact) < 4 * spread / math.sqrt(count)
    # Lanes are as good as independent: the error of an estimate is binomial, within its own error.
    rms = math.sqrt(((estimates - exact) ** 2).mean())
    assert abs(rms / spread - 1) < 4 / math.sqrt(2 * count)
    bands, rows = minhash.band_shape(256, 0.7)
    banded = equal[:, : bands * rows].reshape(count, bands, rows).all(axis=2).any(axis=1).mean()
    expected = minhash.recall(exact, bands, rows)
    assert abs(banded - expected) < 4 * math.sqrt(expected * (1 - expected) / count) + 1 / count


def test_the_check_of_independence_has_teeth():
    texts, exact = planted(0.7, 400)
    signed = sign(texts, "fast", 64, ngram=1).signatures
    doubled = np.concatenate([signed] * 4, axis=1)
    estimates = (doubled[::2] == doubled[1::2]).mean(axis=1)
    spread = math.sqrt(exact * (1 - exact) / 256)
    rms = math.sqrt(((estimates - exact) ** 2).mean())
    assert abs(rms / spread - 1) > 4 / math.sqrt(2 * 400)


def test_words_that_differ_little_do_not_collide():
    words = [f"{a}{b}{c}" for a in "abcdefghij" for b in range(100) for c in ("", "x", "xy")]
    words += [word.ljust(8 + n % 9, "q") for n, word in enumerate(words)]
    texts = text.of_strings([" ".join(words)])
    got = alike.reference_shingles(words, 1)
    assert len(set(got)) == len(words) == sign(texts, "fast", 1, ngram=1).sizes[0]
    short = np.array(got, np.uint64) >> np.uint64(32)
    assert len(np.unique(short)) >= len(words) - 2
