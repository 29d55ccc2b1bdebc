"""Exact substrings: the same spans as all places compared, and as a suffix array lists."""

from __future__ import annotations

import hashlib
import random
import time
from itertools import pairwise

import numpy as np
import pytest

from stages.lm import repeats
from stages.lm.kernels.text import of_bytes

ALPHABETS = (b"a", b"ab", b"abcdef", bytes(range(256)))
SUFFIX_ARRAY = {
    16: (1170, "1d3c9091ecf80e28f83e5b14c2890b03f4e839ff8bfc4af1c728fd4b8dee47ba"),
    50: (1111, "ef0c007cdba094f5e9e20e24358ad63937f987a05a03fad7282041abb5c9f2df"),
    100: (988, "f4f0901447545dcd626bbd599616216f662b5acc68cb96bcca2f8ffbc3dd2270"),
}
"""pydivsufsort 0.0.20 with `benchmarks.corpus.substrings_peers.spans` on `material`."""


def material() -> list[bytes]:
    """Return texts with repeats of all kinds: passages, runs, periods, copies, the empty one."""
    draw = random.Random(7)
    words = [bytes(draw.choices(b"abcdefgh", k=draw.randrange(1, 9))) for _ in range(300)]
    passages = [b" ".join(draw.choices(words, k=draw.randrange(5, 80))) for _ in range(200)]
    documents = [b"\n".join(draw.choices(passages, k=draw.randrange(0, 8))) for _ in range(300)]
    return [*documents, b"a" * 5000, b"abc" * 2000, documents[3] + b"!", b"a" * 2000]


@pytest.mark.parametrize("seed", range(4))
def test_spans_are_those_of_all_places_compared(seed):
    draw = random.Random(seed)
    for _ in range(8):
        base = [
            bytes(draw.choices(draw.choice(ALPHABETS), k=draw.randrange(1, 50))) for _ in range(4)
        ]
        documents = [
            b"".join(draw.choices(base, k=draw.randrange(5))) for _ in range(draw.randrange(1, 5))
        ]
        for least in (16, 23, 33, 50, 70):
            for earlier in (False, True):
                found = repeats.spans(of_bytes(documents), least, earlier=earlier)
                wanted = repeats.reference_spans(documents, least, earlier)
                assert [tuple(row) for row in found[:, :2].tolist()] == wanted, documents


@pytest.mark.parametrize("least", SUFFIX_ARRAY)
@pytest.mark.parametrize("threads", [1, 3])
def test_spans_are_those_of_a_suffix_array(least, threads):
    found = repeats.spans(of_bytes(material()), least, threads=threads)
    digest = hashlib.sha256(np.ascontiguousarray(found[:, :2]).tobytes()).hexdigest()
    assert (len(found), digest) == SUFFIX_ARRAY[least]


def test_texts_too_large_for_their_samples_are_searched_in_shares(monkeypatch):
    monkeypatch.setattr(repeats, "SHARE_BYTES", 20_000)
    test_spans_are_those_of_a_suffix_array(50, 1)
    test_spans_are_those_of_a_suffix_array(16, 2)


def test_every_part_of_the_work_matters(monkeypatch):
    whole = repeats.spans(of_bytes(material()), 50, threads=3)
    candidates = repeats.repeats.candidates

    def forgetful(*arguments):
        found = candidates(*arguments)
        return found[:0] if arguments[-2] == 1 else found

    monkeypatch.setattr(repeats.repeats, "candidates", forgetful)
    assert len(repeats.spans(of_bytes(material()), 50, threads=3)) < len(whole)


def test_the_other_place_holds_the_same_bytes_and_comes_before():
    documents = material()
    texts = of_bytes(documents)
    for earlier in (False, True):
        for begin, end, other in repeats.spans(texts, 50, earlier=earlier).tolist():
            assert begin != other
            assert (
                texts.data[begin:end].tobytes() == texts.data[other : other + end - begin].tobytes()
            )
            assert other < begin or not earlier


@pytest.mark.parametrize(
    "piece",
    [b"a", b"abcdefg", random.Random(1).randbytes(2000), random.Random(2).randbytes(100_000)],
    ids=["byte", "period", "copies", "long copies"],
)
def test_time_is_near_linear_on_hostile_texts(piece):
    spent = []
    for size in (200_000, 800_000):
        texts = of_bytes([piece * (size // len(piece))])
        begun = time.process_time()
        assert len(repeats.spans(texts, 100)) == 2
        spent.append(time.process_time() - begun)
    assert spent[1] < 8 * spent[0] + 0.3  # four times the text; quadratic would be sixteen times


def test_spans_too_short_to_be_sampled_are_refused():
    with pytest.raises(ValueError, match="at least 16"):
        repeats.spans(of_bytes([b"abc"]), 15)


def test_no_span_reaches_over_the_end_of_a_document():
    piece = bytes(range(1, 101))
    texts = of_bytes([piece[:60], piece[60:], b"", piece, piece[:60], piece[60:]])
    found = repeats.spans(texts, 30)[:, :2].tolist()
    assert [end - begin for begin, end in found] == [60, 40, 60, 40, 60, 40]
    assert all(a < b for a, b in pairwise(found))


def test_spans_of_words_are_those_of_words_compared():
    draw = random.Random(4)
    for _ in range(20):
        numbers = [
            draw.choices(range(draw.choice((2, 5, 300))), k=draw.randrange(40)) for _ in range(4)
        ]
        documents = [
            [one for part in draw.choices(numbers, k=draw.randrange(4)) for one in part]
            for _ in range(5)
        ]
        # Words of nearly equal hashes: they share bytes at their ends, and are different words.
        hashes = np.array([one for own in documents for one in own], np.uint64)
        hashes = hashes * np.uint64(0x0100000000000001) + np.uint64(0x1122334455667788)
        bounds = np.array([0, *np.cumsum([len(own) for own in documents])], np.int64)
        for least in (2, 3, 8):
            for earlier in (False, True):
                found = repeats.word_spans(hashes, bounds, least, earlier=earlier)
                characters = ["".join(chr(one) for one in own) for own in documents]
                wanted = repeats.reference_spans(characters, least, earlier)
                assert [tuple(row) for row in found[:, :2].tolist()] == wanted
