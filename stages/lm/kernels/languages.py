"""Which language a text is in: a linear model over hashed character n-grams, in whole numbers.

A text is its letters in lower case; everything else is a blank, and blanks in a row are one. Its
features are the n-grams of one to five characters within a word and its two blanks, and the whole
words, each hashed to a row of the table (Joulin et al. 2016, arXiv 1607.01759, without the hidden
layer). A language's logit is the sum of its column over the features, divided by the square root
of their number, so that evidence grows with length but does not run away.

Everything is an integer (weights in 2^-16 nats, exponentials of a table), also in training: one
document after the other in a given order, so the model is the same on any machine and with any
number of threads. `reference_features`, `reference_logits` and `reference_train` are the same in
plain Python.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numba import types, uint32
from numpy.typing import NDArray

from stages.lm.kernels.characters import (
    LETTER,
    MARK,
    TABLES,
    Tables,
    decode,
    kind_of,
    lower_of,
    tables,
)
from stages.lm.kernels.compiled import BYTES, OFFSETS, called, fills, inlined, kernel, reads, spread
from stages.lm.kernels.text import Texts, decoded

LONGEST = 5
"""Characters of an n-gram at most."""
JUDGED_BYTES = 8192
"""Bytes judged of a text: all of a short one, half from the beginning and half from the middle."""
MOST_FEATURES = JUDGED_BYTES * (LONGEST + 1) + 2 * (LONGEST + 2)
FIRST, PRIME = 0x811C9DC5, 0x01000193
"""Of the hash FNV-1a, here over code points instead of bytes."""
WORD_MARK = 0x9E3779B9
"""Sets the hash of a whole word apart from that of an n-gram."""
ONE = 1 << 16
"""A nat in weights and logits, and a probability of 1."""
STEPS_PER_NAT, NATS = 256, 16
BLANK, APOSTROPHE, TYPOGRAPHIC = 0x20, 0x27, 0x2019


class Logits(NamedTuple):
    """Logits int64 [D, L] in 2^-16 nats; `features` int64 [D], 0 for a text without a letter."""

    logits: NDArray[np.int64]
    features: NDArray[np.int64]


@functools.cache
def exponentials() -> NDArray[np.int64]:
    """Return round(2^24 e^(-i/256)), by decimal arithmetic, which is the same everywhere."""
    count = STEPS_PER_NAT * NATS
    steps = [(Decimal(-i) / STEPS_PER_NAT).exp() * (1 << 24) for i in range(count)]
    return np.array([int(step.to_integral_value()) for step in steps], np.int64)


@called
def _mixed(value: Any) -> Any:
    """Spread a hash over its bits (the finaliser of MurmurHash3)."""
    value = uint32(value ^ (value >> uint32(16)))
    value = uint32(value * uint32(0x85EBCA6B))
    value = uint32(value ^ (value >> uint32(13)))
    value = uint32(value * uint32(0xC2B2AE35))
    return uint32(value ^ (value >> uint32(16)))


@inlined
def _letter(code: Any, tables: Any) -> Any:
    """Return what stands for a code point: a lower-cased letter, an apostrophe or a blank."""
    if kind_of(code, tables) & uint32(LETTER | MARK):
        return lower_of(code, tables)
    if code in (APOSTROPHE, TYPOGRAPHIC):
        return uint32(APOSTROPHE)
    return uint32(BLANK)


@called
def _run(data: Any, at: Any, end: Any, bits: Any, out: Any, count: Any, tables: Any) -> Any:
    """Write the features of data[at:end] at out[count:]; return how many there are then."""
    shift = uint32(32 - bits)
    a, b, c, d = uint32(BLANK), uint32(0), uint32(0), uint32(0)
    held, word, letters = 1, uint32(FIRST), 0
    while at <= end:
        code, width = uint32(BLANK), 1
        if at < end:
            code, width = decode(data, at, end)
            code = _letter(code, tables)
        at += width
        if code == BLANK and letters == 0:
            continue
        # a is the character before, b the one before that, ...; `held` of them belong to the word.
        value = uint32(FIRST)
        for place in range(min(held, LONGEST - 1) + 1):
            one = code
            if place == 1:
                one = a
            elif place == 2:
                one = b
            elif place == 3:
                one = c
            elif place == 4:
                one = d
            value = uint32((value ^ one) * uint32(PRIME))
            if place > 0 or code != BLANK:
                out[count] = _mixed(value) >> shift
                count += 1
        if code == BLANK:
            out[count] = _mixed(uint32(word ^ uint32(WORD_MARK))) >> shift
            count += 1
            word, letters, held = uint32(FIRST), 0, 1
            a = uint32(BLANK)
        else:
            word = uint32((word ^ code) * uint32(PRIME))
            letters += 1
            held += 1
            d, c, b, a = c, b, a, code
    return count


@called
def _features(data: Any, start: Any, end: Any, bits: Any, out: Any, tables: Any) -> Any:
    """Write the features of a document; return how many there are."""
    if end - start <= JUDGED_BYTES:
        return _run(data, start, end, bits, out, 0, tables)
    count = _run(data, start, start + JUDGED_BYTES // 2, bits, out, 0, tables)
    middle = (start + end) // 2
    return _run(data, middle, middle + JUDGED_BYTES // 2, bits, out, count, tables)


@called
def _root(count: Any) -> Any:
    """Return floor(2^16 / sqrt(count))."""
    square = (1 << 32) // count
    found = int(math.sqrt(float(square)))
    while found * found > square:
        found -= 1
    while (found + 1) * (found + 1) <= square:
        found += 1
    return found


@kernel(
    types.void, BYTES, OFFSETS, reads(types.int16), types.int64, types.int64, types.int64,
    fills(types.int64, 2), fills(types.int64), TABLES,
)  # fmt: skip
def _score(
    data: Any, offsets: Any, table: Any, languages: Any, bits: Any, shift: Any,
    logits: Any, counts: Any, tables: Any,
) -> None:  # fmt: skip
    found = np.empty(MOST_FEATURES, np.uint32)
    sums = np.empty(languages, np.int32)
    for number in range(len(offsets) - 1):
        count = _features(data, offsets[number], offsets[number + 1], bits, found, tables)
        counts[number] = count
        sums[:] = 0
        for place in range(count):
            row = np.int64(found[place]) * languages
            for language in range(languages):
                sums[language] += np.int32(table[row + language])
        root = _root(count) if count else 0
        for language in range(languages):
            logits[number, language] = ((np.int64(sums[language]) << shift) * root) >> 16


def score(
    texts: Texts, table: NDArray[np.int16], languages: int, shift: int, threads: int = 1
) -> Logits:
    """Return the logits of texts from a table [2^bits * languages] of weights >> shift."""
    bits = (len(table) // languages).bit_length() - 1
    logits = np.empty((texts.documents, languages), np.int64)
    counts = np.empty(texts.documents, np.int64)

    def work(first: int, stop: int) -> None:
        part = texts.part(first, stop)
        _score(
            part.data, part.offsets, table, languages, bits, shift,
            logits[first:stop], counts[first:stop], tables(),
        )  # fmt: skip

    if texts.documents:
        spread(texts.offsets, threads, work)
    return Logits(logits, counts)


def probabilities(logits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the softmax of logits [D, L] in 2^-16, by the table of exponentials."""
    table = exponentials()
    below = (logits.max(axis=1, keepdims=True) - logits) // (ONE // STEPS_PER_NAT)
    raised = np.where(below < len(table), table[np.minimum(below, len(table) - 1)], 0)
    return raised * ONE // raised.sum(axis=1, keepdims=True)


@kernel(
    types.void, BYTES, OFFSETS, reads(types.int64), reads(types.int32), fills(types.int32),
    types.int64, types.int64, types.int64, reads(types.int64), TABLES,
)  # fmt: skip
def _train(
    data: Any, offsets: Any, order: Any, labels: Any, weights: Any, languages: Any, bits: Any,
    rate: Any, raised: Any, tables: Any,
) -> None:  # fmt: skip
    """Pass documents `order` [N] by; `rate` (2^-16) falls to nothing along the way."""
    found = np.empty(MOST_FEATURES, np.uint32)
    sums, change = np.empty(languages, np.int64), np.empty(languages, np.int32)
    for turn in range(len(order)):
        number = order[turn]
        count = _features(data, offsets[number], offsets[number + 1], bits, found, tables)
        if count == 0:
            continue
        root = _root(count)
        sums[:] = 0
        for place in range(count):
            row = np.int64(found[place]) * languages
            for language in range(languages):
                sums[language] += weights[row + language]
        best = (sums[0] * root) >> 16
        for language in range(languages):
            sums[language] = (sums[language] * root) >> 16
            best = max(best, sums[language])
        total = np.int64(0)
        for language in range(languages):
            below = (best - sums[language]) // (ONE // STEPS_PER_NAT)
            sums[language] = raised[below] if below < len(raised) else 0
            total += sums[language]
        step = (rate * (len(order) - turn)) // len(order) * root
        for language in range(languages):
            missing = -(sums[language] * ONE // total)
            if language == labels[number]:
                missing += ONE
            change[language] = np.int32((missing * step + (np.int64(1) << 31)) >> 32)
        for place in range(count):
            row = np.int64(found[place]) * languages
            for language in range(languages):
                weights[row + language] += change[language]


def train(
    texts: Texts, labels: NDArray[np.int32], order: NDArray[np.int64], languages: int, bits: int,
    rate: float,
) -> NDArray[np.int32]:  # fmt: skip
    """Return weights int32 [2^bits * languages] in 2^-16 nats: logistic regression by single steps.

    `labels` [D] are columns, `order` [N] the documents in turn, `rate` the first step's size.
    """
    weights = np.zeros(languages << bits, np.int32)
    _train(
        texts.data, texts.offsets, order, labels, weights, languages, bits, round(rate * ONE),
        exponentials(), tables(),
    )  # fmt: skip
    return weights


def quantised(weights: NDArray[np.int32]) -> tuple[NDArray[np.int16], int]:
    """Return weights >> shift that fit 16 bits, rounded, and the shift."""
    most = int(np.abs(weights).max(initial=0))
    shift = 0
    while (most + (1 << shift >> 1)) >> shift > 32767:
        shift += 1
    return ((weights + (1 << shift >> 1)) >> shift).astype(np.int16), shift


def _hash(value: int) -> int:
    value ^= value >> 16
    value = value * 0x85EBCA6B & 0xFFFFFFFF
    value ^= value >> 13
    value = value * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16


def _fnv(codes: Sequence[int]) -> int:
    value = FIRST
    for code in codes:
        value = (value ^ code) * PRIME & 0xFFFFFFFF
    return value


def _lower(letter: str) -> str:
    return letter.lower()[0]


def reference_features(data: bytes, bits: int) -> list[int]:
    """Return the features of one document, in their order."""
    half = JUDGED_BYTES // 2
    middle = len(data) // 2
    parts = [data]
    if len(data) > JUDGED_BYTES:
        parts = [data[:half], data[middle : middle + half]]
    found: list[int] = []
    kinds: Tables = tables()
    for part in parts:
        letters = [
            _lower(one)
            if kinds.kinds[(int(kinds.pages[ord(one) >> 7]) << 7) | ord(one) & 127]
            & (LETTER | MARK)
            else "'" if one in "'’" else " "
            for one in decoded(part)
        ]  # fmt: skip
        for word in "".join(letters).split(" "):
            if not word:
                continue
            codes = [BLANK, *map(ord, word), BLANK]
            for end in range(2, len(codes) + 1):
                for size in range(1, min(end, LONGEST) + 1):
                    if size > 1 or end < len(codes):
                        gram = codes[end - size : end][::-1]
                        found.append(_hash(_fnv(gram)) >> 32 - bits)
            found.append(_hash(_fnv(codes[1:-1]) ^ WORD_MARK) >> 32 - bits)
    return found


def reference_logits(data: bytes, table: Sequence[int], languages: int, shift: int) -> list[int]:
    """Return the logits of one document."""
    bits = (len(table) // languages).bit_length() - 1
    features = reference_features(data, bits)
    root = math.isqrt((1 << 32) // len(features)) if features else 0
    sums = [
        sum(int(table[row * languages + place]) for row in features) for place in range(languages)
    ]
    return [((one << shift) * root) >> 16 for one in sums]


def reference_train(
    documents: Sequence[bytes], labels: Sequence[int], order: Sequence[int], languages: int,
    bits: int, rate: float,
) -> list[int]:  # fmt: skip
    """Return the weights that `train` gives."""
    weights, raised = [0] * (languages << bits), exponentials().tolist()
    for turn, number in enumerate(order):
        features = reference_features(documents[number], bits)
        if not features:
            continue
        root = math.isqrt((1 << 32) // len(features))
        logits = [
            sum(weights[row * languages + place] for row in features) * root >> 16
            for place in range(languages)
        ]
        below = [(max(logits) - one) // (ONE // STEPS_PER_NAT) for one in logits]
        powers = [raised[one] if one < len(raised) else 0 for one in below]
        step = round(rate * ONE) * (len(order) - turn) // len(order) * root
        for place in range(languages):
            wanted = ONE if place == labels[number] else 0
            missing = wanted - powers[place] * ONE // sum(powers)
            change = missing * step + (1 << 31) >> 32
            for row in features:
                weights[row * languages + place] += change
    return weights
