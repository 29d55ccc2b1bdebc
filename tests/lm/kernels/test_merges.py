"""Counting words and learning merges: against plain Python, and against `tokenizers` itself."""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from stages.lm import bytelevel
from stages.lm.kernels import merges, merging, text, wordcounts
from stages.lm.kernels.wordcounts import Words
from tests.lm.kernels import hostile

BYTES = [bytes([number]) for number in range(256)]


def words_of(counts: dict[bytes, int]) -> Words:
    offsets = np.cumsum([0, *map(len, counts)]).astype(np.int64)
    data = np.frombuffer(b"".join(counts), np.uint8)
    return Words(data, offsets, np.array(list(counts.values()), np.int64))


def documents(seed: int, count: int, letters: str = "abĉ 'sé\n12") -> list[str]:
    draw = random.Random(seed)
    words = ["".join(draw.choices(letters, k=draw.randint(1, 9))) for _ in range(count // 3)]
    return [" ".join(draw.choices(words, k=draw.randint(0, 12))) for _ in range(count)]


def test_words_are_counted_as_by_the_reference():
    given = hostile.byte_strings(1, 400) + [one.encode() for one in documents(2, 300)]
    given += [b"x" * 5000, b"x" * 1024, b" " * 3000 + b"y", b"0123456789abcdef" * 9]
    wanted = wordcounts.reference(given)
    texts = text.of_bytes(given)
    for threads in (1, 3):
        got = wordcounts.count(texts, threads)
        assert wordcounts.as_counter(got) == wanted
        assert len(got.counts) == len(wanted), "no word is listed twice"
    assert wordcounts.as_counter(wordcounts.count(texts, 2, True)) == wordcounts.reference(
        given, isolate=True
    )


def test_more_words_than_the_tables_first_hold_are_all_counted():
    draw = random.Random(3)
    given = [draw.randbytes(draw.choice((4, 9, 15, 16, 40))).hex() for _ in range(90_000)]
    got = wordcounts.count(text.of_strings([" ".join(given[:45_000]), " ".join(given[45_000:])]))
    assert got.counts.sum() == text_words(given).total()
    assert wordcounts.as_counter(got) == text_words(given)


def text_words(given: list[str]) -> Counter[bytes]:
    """The same by the letters and digits that hexadecimal numbers are made of."""
    found: Counter[bytes] = Counter()
    for half in (given[:45_000], given[45_000:]):
        starts, _ = wordcounts.pretokens.pretokens(text.of_strings([" ".join(half)]))
        line = " ".join(half).encode()
        found.update(line[a:b] for a, b in zip(starts[:-1], starts[1:], strict=True))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_merges_are_those_of_the_reference(seed):
    """Few letters, so that pairs overlap, tie, and spell one token in several ways."""
    draw = random.Random(seed)
    letters = b"ab" if seed % 2 else b"abc d"
    counts = {
        bytes(draw.choices(letters, k=draw.randint(1, 14))): draw.randint(1, 9) for _ in range(60)
    }
    least = seed % 3
    wanted = merging.reference(counts, BYTES, 330, least)
    assert merges.learn(words_of(counts), BYTES, 330, least) == wanted
    # The order of the words says nothing, and neither does a word that is listed twice.
    shuffled = list(counts.items())
    draw.shuffle(shuffled)
    assert merges.learn(words_of(dict(shuffled)), BYTES, 330, least) == wanted
    twice = words_of(counts)
    doubled = Words(
        np.concatenate([twice.data, twice.data]),
        np.concatenate([twice.offsets, twice.offsets[1:] + len(twice.data)]),
        np.concatenate([twice.counts, np.zeros_like(twice.counts)]),
    )
    assert merges.learn(doubled, BYTES, 330, least) == wanted


def library(given: list[str], size: int, least: int, split: bool, specials: list[str]) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = bytelevel.splitter(split)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=least,
        show_progress=False,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator(given, trainer)
    return made


@pytest.mark.parametrize(
    ("least", "split", "specials"),
    [(2, False, []), (0, True, ["<s>", "<mask>"]), (3, False, ["ab", " ", "a", "Ġa"])],
)
def test_the_model_is_the_one_that_tokenizers_learns(least, split, specials):
    """Special tokens that text can spell, or that are a byte, keep their place in both."""
    given = documents(7, 800)
    theirs = json.loads(library(given, 420, least, split, specials).to_str())["model"]
    counted = wordcounts.count(text.of_strings(given), isolate=split)
    model = bytelevel.learned_model(counted, specials, 420, least)
    ours = json.loads(Tokenizer(model).to_str())["model"]
    assert len(ours["vocab"]) == 420
    assert ours["merges"] == theirs["merges"]
    assert ours["vocab"] == theirs["vocab"]


def test_another_rule_of_ties_would_be_seen(monkeypatch):
    counts = {b"ab": 5, b"cd": 5, b"ef": 5}
    fair = merges.learn(words_of(counts), BYTES, 259)
    assert [pair[:2] for pair in fair.merges] == [(97, 98), (99, 100), (101, 102)]
    other = merges.learn(words_of(counts), BYTES[::-1], 259)
    assert [pair[:2] for pair in other.merges] != [pair[:2] for pair in fair.merges]
    assert merging.reference(counts, BYTES[::-1], 259) == other
