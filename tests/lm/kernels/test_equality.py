"""Keys of texts equal up to case and blanks, against Python on every code point."""

from __future__ import annotations

import numpy as np

from stages.lm.kernels import equality, text
from stages.lm.kernels.characters import CODES
from tests.lm.kernels import hostile


def test_every_code_point_is_folded_as_by_python():
    every = [chr(code) for code in range(CODES)]
    # One key of a text of many tells as much as one each, and takes a hundredth of the time.
    given = ["".join(every[at : at + 64]) for at in range(0, CODES, 64)]
    wanted = [equality.reference_key(one) for one in given]
    assert equality.keys(text.of_strings(given)).tolist() == [list(key) for key in wanted]


def test_hostile_texts_have_their_references_keys():
    texts = text.of_bytes(hostile.byte_strings(11, 800, 60))
    given = text.to_strings(texts)
    wanted = [list(equality.reference_key(one)) for one in given]
    for threads in (1, 3):
        found, characters = equality.keyed(texts, threads)
        assert found.tolist() == wanted
        assert characters.tolist() == [len(equality.reference_normal(one)) for one in given]


def test_equal_up_to_case_and_blanks_and_nothing_else():
    given = ["La  domo", "la\u2003DOMO\n", "la domo.", "ladomo", " la domo", "Straße", "STRASSE",
             "", "\t", "a\0", "a", "\ufb03", "FFI", "Σ ς", "σ σ"]  # fmt: skip
    found = equality.firsts_of(equality.keys(text.of_strings(given))).tolist()
    assert found == [0, 0, 2, 3, 0, 5, 5, 7, 7, 9, 10, 11, 11, 13, 13]


def test_lowest_place_of_equal_keys():
    draw = np.random.RandomState(0).randint(0, 3, (500, 2)).astype(np.uint64)
    rows = [tuple(row) for row in draw.tolist()]
    assert equality.firsts_of(draw).tolist() == [rows.index(row) for row in rows]
    assert equality.firsts_of(draw[:0]).tolist() == []
