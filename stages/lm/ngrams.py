"""Modified Kneser-Ney models of word numbers, of any order, by sorting (Chen and Goodman 1998).

An n-gram of order k is named by its place among the sorted keys `prefix << 21 | word`, where the
prefix is the place of its first k - 1 words: every level is one array of 64-bit keys, and both
learning and reading are whole-array operations. Counts below the highest order are numbers of
distinct words before (N1+), except for n-grams that begin a document, as KenLM has it; the three
discounts of an order come from its counts of counts; the last level shares out evenly over all
words, the unknown one and the document's end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

UNKNOWN, BEGIN, END = 0, 1, 2
FIRST_WORD = 3
WORD_BITS = 21
MOST_WORDS = (1 << WORD_BITS) - FIRST_WORD
FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where some count of counts is zero (KenLM's `--discount_fallback`)."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Level(NamedTuple):
    """The n-grams of one order: their sorted keys, discounted shares, and what they pass on.

    `share` [N] is the discounted relative frequency in the n-gram's context. `passed` [N] is what
    an n-gram leaves to the lower order when it is a context itself (1 where it never was one).
    """

    keys: Ints
    share: Floats
    passed: Floats
    discounts: tuple[float, float, float]
    suffixes: Ints
    """The place of every n-gram's last words in the level below, `[N]`."""


class Model(NamedTuple):
    """A model: level k - 1 holds the n-grams of order k; `words` counts what can be predicted."""

    levels: list[Level]
    words: int

    @property
    def order(self) -> int:
        """Return the longest n-gram's length."""
        return len(self.levels)


def stream(documents: Ints, offsets: Ints) -> tuple[Ints, Ints]:
    """Return documents in a row, each between BEGIN and END, and every token's place in its own.

    `documents` [N] are words' numbers (FIRST_WORD and up, or UNKNOWN), cut by `offsets` [D + 1].
    """
    sizes = np.diff(offsets) + 2
    starts = np.cumsum(sizes) - sizes
    tokens = np.empty(int(sizes.sum()), np.int64)
    inside = np.ones(len(tokens), bool)
    inside[starts] = False
    inside[starts + sizes - 1] = False
    tokens[starts], tokens[starts + sizes - 1] = BEGIN, END
    tokens[inside] = documents[offsets[0] : offsets[-1]]
    return tokens, np.arange(len(tokens)) - np.repeat(starts, sizes)


def learn(documents: Ints, offsets: Ints, vocabulary: int, order: int) -> Model:
    """Learn a model from documents of numbers below FIRST_WORD + `vocabulary`."""
    tokens, places = stream(documents, offsets)
    size = FIRST_WORD + vocabulary
    here = tokens
    found: list[tuple[Ints, Ints, Ints, Ints]] = []  # keys, raw, contexts, suffixes
    begins: list[NDArray[np.bool_]] = []
    for length in range(1, order + 1):
        if length == 1:
            keys = np.arange(size, dtype=np.int64)
            raw = np.bincount(tokens, minlength=size)
            found.append((keys, raw, np.zeros(size, np.int64), np.zeros(size, np.int64)))
            begins.append(keys == BEGIN)
            continue
        ends = np.flatnonzero(places >= length - 1)
        packed = (here[ends - 1] << WORD_BITS) | tokens[ends]
        keys, first, inverse, raw = np.unique(
            packed, return_index=True, return_inverse=True, return_counts=True
        )
        at = ends[first]
        found.append((keys, raw, here[at - 1], here[at]))
        begins.append(places[at] == length - 1)
        held = np.full(len(tokens), -1, np.int64)
        held[ends] = inverse.reshape(-1)
        here = held
    return _smoothed(found, begins, size - 1)


def _smoothed(
    found: list[tuple[Ints, Ints, Ints, Ints]], begins: list[NDArray[np.bool_]], words: int
) -> Model:
    levels: list[Level] = []
    passes: list[Floats] = []
    for number, (keys, raw, contexts, suffixes) in enumerate(found):
        counts = raw
        if number + 1 < len(found):
            counts = np.bincount(found[number + 1][3], minlength=len(keys))
            counts = np.where(begins[number], raw, counts)
        if number == 0:
            counts = counts.copy()
            counts[BEGIN] = 0  # it is never predicted
        discounts = discounts_of(counts)
        cut = np.array([0.0, *discounts])[np.minimum(counts, 3)]
        room = len(found[number - 1][0]) if number else 1
        total = np.bincount(contexts, counts, minlength=room)
        left = np.bincount(contexts, cut, minlength=room)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(counts > 0, (counts - cut) / total[contexts], 0.0)
            passed = np.where(total > 0, left / total, 1.0)
        if number == 0:
            share = share + passed[0] / words
            share[BEGIN] = 0.0
        else:
            passes.append(passed)
        levels.append(Level(keys, share, np.zeros(0), discounts, suffixes))
    passes.append(np.zeros(0))
    return Model(
        [level._replace(passed=one) for level, one in zip(levels, passes, strict=True)], words
    )


def discounts_of(counts: Ints) -> tuple[float, float, float]:
    """Return the discounts of counts 1, 2 and more, from how many n-grams have 1 to 4."""
    times = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(np.float64)
    if (times == 0).any():
        return FALLBACK
    ratio = times[0] / (times[0] + 2 * times[1])
    found = [k - (k + 1) * ratio * times[k] / times[k - 1] for k in (1, 2, 3)]
    if any(not 0 <= one <= k for k, one in enumerate(found, start=1)):
        return FALLBACK
    return found[0], found[1], found[2]


def probabilities(model: Model, tokens: Ints, places: Ints) -> Floats:
    """Return the probability of every token of a `stream` given those before it; BEGIN's is 1."""
    first = model.levels[0]
    likely = first.share[tokens].copy()
    here = tokens  # the place of the n-gram that ends at every token, or -1
    for length, (level, below) in enumerate(
        zip(model.levels[1:], model.levels, strict=False), start=2
    ):
        before = np.concatenate([[-1], here[:-1]])
        known = (places >= length - 1) & (before >= 0)
        context = np.where(known, before, 0)
        packed = (context << WORD_BITS) | tokens
        at = np.searchsorted(level.keys, packed)
        at = np.minimum(at, max(0, len(level.keys) - 1))
        there = known & (level.keys[at] == packed) if len(level.keys) else np.zeros_like(known)
        passed = below.passed[context] if len(below.passed) else np.ones(len(tokens))
        higher = np.where(there, level.share[at] if len(level.keys) else 0.0, 0.0)
        likely = np.where(known, higher + passed * likely, likely)
        here = np.where(there, at, -1)
    return np.where(tokens == BEGIN, 1.0, likely)


def surprise(model: Model, documents: Ints, offsets: Ints) -> tuple[Floats, Ints]:
    """Return every document's negative log-likelihood in nats, END included, and its tokens."""
    tokens, places = stream(documents, offsets)
    logs = -np.log(probabilities(model, tokens, places))
    starts = np.flatnonzero(places == 0)
    if not len(starts):
        return np.zeros(0), np.zeros(0, np.int64)
    return np.add.reduceat(logs, starts), np.diff(np.append(starts, len(tokens))) - 1


def arpa(model: Model, words: Sequence[str]) -> Iterator[str]:
    """Yield a model's lines in the ARPA format: log10 probability, n-gram, log10 back-off weight.

    `words` [V] are those of the numbers FIRST_WORD and up. `<s>` is never predicted: -99 stands for
    it, as in SRILM and KenLM.
    """
    names = ["<unk>", "<s>", "</s>", *words]
    yield "\\data\\"
    for length, level in enumerate(model.levels, start=1):
        yield f"ngram {length}={len(level.keys)}"
    likely, texts = model.levels[0].share, names
    for length, level in enumerate(model.levels, start=1):
        yield ""
        yield f"\\{length}-grams:"
        if length > 1:
            prefixes, last = level.keys >> WORD_BITS, level.keys & ((1 << WORD_BITS) - 1)
            below = model.levels[length - 2].passed[prefixes]
            likely = level.share + below * likely[level.suffixes]
            texts = [
                f"{texts[prefix]} {names[word]}"
                for prefix, word in zip(prefixes.tolist(), last.tolist(), strict=True)
            ]
        for place, text in enumerate(texts):
            told = f"{np.log10(likely[place]):.7g}" if likely[place] > 0 else "-99"
            more = f"\t{np.log10(level.passed[place]):.7g}" if len(level.passed) else ""
            yield f"{told}\t{text}{more}"
    yield ""
    yield "\\end\\"
