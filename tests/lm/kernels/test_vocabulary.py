"""The vocabulary against Python's own words, in whatever pieces the text comes."""

from __future__ import annotations

import numpy as np

from stages.lm.kernels import text, vocabulary
from stages.lm.kernels.vocabulary import OTHER, Vocabulary
from tests.lm.kernels import hostile


def check(given: list[str], found: Vocabulary, rows: list[list[int]]) -> None:
    wanted, numbers = vocabulary.reference(given)
    assert text.to_strings(found.texts()) == list(wanted)
    assert found.counts.tolist() == [count for count, _ in wanted.values()]
    assert found.holders.tolist() == [holders for _, holders in wanted.values()]
    assert rows == numbers


def rows_of(found: vocabulary.Numbered) -> list[list[int]]:
    bounds = found.offsets.tolist()
    return [found.ids[a:b].tolist() for a, b in zip(bounds, bounds[1:], strict=False)]


def test_hostile_texts_in_pieces():
    given = text.to_strings(text.of_bytes(hostile.byte_strings(3, 600, 60)))
    given += hostile.strings(4, 300) + ["", "La \u0130stanbul \u03a3\u03a3 la", "a" * 300_000]
    found = Vocabulary()
    rows = []
    for first, stop in ((0, 1), (1, 400), (400, 400), (400, len(given))):
        rows += rows_of(found.add(text.of_strings(given[first:stop])))
    check(given, found, rows)
    assert found.documents == len(given)


def test_a_table_that_grows_within_a_document():
    given = [" ".join(f"w{n} x" for n in range(60_000)), "w3 w4 w60000", "x"]
    found = Vocabulary()
    check(given, found, rows_of(found.add(text.of_strings(given))))
    assert found.holders[found.number("x")] == 2
    assert found.number("unseen") == OTHER
    assert found.number("w59999") == 60_000


def test_words_past_the_most_are_counted_together():
    found = Vocabulary(most=2)
    rows = rows_of(found.add(text.of_strings(["a b c", "c a d"])))
    assert rows == [[0, 1, OTHER], [OTHER, 0, OTHER]]
    assert (found.others, found.counts.tolist()) == (3, [2, 1])


def test_looking_learns_nothing():
    found = Vocabulary()
    found.add(text.of_strings(["a b"]))
    assert rows_of(found.look(text.of_strings(["b zz A", ""]))) == [[1, OTHER, 0], []]
    assert (len(found), found.documents, found.others) == (2, 1, 0)
    assert np.array_equal(found.counts, [1, 1])
