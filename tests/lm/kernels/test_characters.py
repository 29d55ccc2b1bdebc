"""Characters in kernels against Python itself: every code point, and what is no character."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest

from stages.lm.kernels import characters, text
from stages.lm.kernels.characters import CATEGORIES, CATEGORY_SHIFT, CODES
from tests.lm.kernels import hostile

EVERY = [chr(code) for code in range(CODES)]
WORDS = re.compile(r"\w").match
PYTHON = {
    "LETTER": str.isalpha,
    "DIGIT": str.isdigit,
    "DECIMAL": str.isdecimal,
    "NUMERIC": str.isnumeric,
    "WORD": lambda one: WORDS(one) is not None,
    "SPACE": str.isspace,
    "UPPER": str.isupper,
    "LOWER": str.islower,
    "TITLE": lambda one: one.istitle() and not one.isupper(),
    "PUNCTUATION": lambda one: unicodedata.category(one)[0] == "P",
    "SYMBOL": lambda one: unicodedata.category(one)[0] == "S",
    "MARK": lambda one: unicodedata.category(one)[0] == "M",
    "CONTROL": lambda one: unicodedata.category(one) == "Cc",
    "PRINTABLE": str.isprintable,
}


@pytest.fixture(scope="module")
def kinds():
    """The kind of every code point, read by the kernel from UTF-8."""
    starts, found = characters.kinds(text.of_strings(["".join(EVERY)]))
    assert starts.tolist() == [0, CODES]
    return found


@pytest.mark.parametrize("name", PYTHON)
def test_every_code_point_has_pythons_property(kinds, name):
    wanted = np.fromiter((bool(PYTHON[name](one)) for one in EVERY), bool, CODES)
    got = kinds & np.uint32(getattr(characters, name)) != 0
    assert [hex(code) for code in np.flatnonzero(got != wanted)[:5]] == []


def test_every_code_point_has_its_category(kinds):
    numbers = {name: number for number, name in enumerate(CATEGORIES)}
    wanted = np.fromiter((numbers[unicodedata.category(one)] for one in EVERY), np.uint32, CODES)
    assert np.array_equal(kinds >> CATEGORY_SHIFT, wanted)


def test_every_code_point_is_lowered_as_by_python():
    got = characters.lower(text.of_strings(EVERY))
    data = "".join(one.lower() for one in EVERY).encode("utf-8", "surrogatepass")
    assert got.data.tobytes() == data
    again = characters.lower(got)
    assert np.array_equal(again.data, got.data), "lower case of lower case is the same"


def test_sigma_is_decided_between_every_two_code_points():
    around = ["", "a", "A", ".", "\u0301", " "]
    given = [f"{one}Σ" for one in EVERY] + [f"aΣ{one}" for one in EVERY]
    given += [f"{a}{b}Σ{c}{d}" for a in around for b in around for c in around for d in around]
    texts = text.of_strings(given)
    wanted = text.of_strings([one.lower() for one in given])
    assert characters.lower(texts).data.tobytes() == wanted.data.tobytes()


def test_hostile_texts_are_lowered_as_by_the_reference():
    texts = text.of_bytes(
        hostile.byte_strings(1, 1500)
        + [one.encode("utf-8", "surrogatepass") for one in hostile.strings(2, 1500)]
    )
    got, wanted = characters.lower(texts), characters.reference_lower(texts)
    assert got.offsets.tolist() == wanted.offsets.tolist()
    assert got.data.tobytes() == wanted.data.tobytes()


def test_a_flipped_flag_and_a_shifted_case_would_be_seen(monkeypatch):
    tables = characters.tables()
    flags, lowers = tables.kinds.copy(), tables.lowers.copy()
    flags[ord("q")] ^= characters.WORD
    lowers[ord("Ĉ")] += 1
    flags.flags.writeable = lowers.flags.writeable = False
    broken = tables._replace(kinds=flags, lowers=lowers)
    monkeypatch.setattr(characters, "tables", lambda: broken)
    texts = text.of_strings(["q", "Ĉ"])
    assert characters.kinds(texts)[1][0] & characters.WORD == 0
    assert text.to_strings(characters.lower(texts)) != ["q", "ĉ"]
