"""Pieces of texts and how often they came before, against plain Python."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np

from stages.lm.kernels import copies, text
from tests.lm.kernels import hostile


def documents():
    draw = random.Random(1)
    parts = ["a b", "Ĉu?", "", "  \t", "\u2003", "x", "\r", "漢", "\x0b"]
    made = ["\n".join(draw.choices(parts, k=draw.randint(0, 12))) for _ in range(400)]
    return ["", *made, "\n\n", "", *hostile.strings(3, 100), ""]


def test_pieces_equal_the_references():
    given = documents()
    texts = text.of_strings(given)
    for cut, reference in (
        (copies.lines, copies.reference_lines),
        (copies.paragraphs, copies.reference_paragraphs),
    ):
        pieces, bounds = cut(texts)
        found = text.to_strings(pieces)
        for number, one in enumerate(given):
            wanted = reference(one)
            assert found[bounds[number] : bounds[number + 1]] == wanted, (number, one)
        assert bounds[-1] == len(found)
    assert copies.paragraphs(text.of_strings([]))[1].tolist() == [0]


def test_counts_equal_a_counter_through_growth_and_batches():
    draw = np.random.RandomState(0)
    keys = draw.randint(0, 3000, 20_000).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    keys[::50] = np.uint64(copies.FREE)
    keys[1::50] = np.uint64(5)
    seen: Counter[int] = Counter()
    wanted = []
    for key in keys.tolist():
        wanted.append(seen[key])
        seen[key] += 1
    counted = copies.Copies(16)
    got = np.concatenate([counted.count(part) for part in np.split(keys, [1, 7, 3000, 3000, 9000])])
    assert got.tolist() == wanted


def test_counts_stop_at_many():
    counted = copies.Copies()
    keys = np.full(copies.MANY + 10, 7, np.uint64)
    assert counted.count(keys)[-1] == copies.MANY
    assert counted.count(keys[:1]).tolist() == [copies.MANY]
