"""Pre-tokens of the kernel against `tokenizers` and against the expression, one by one."""

from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from numba import njit, uint64
from tokenizers import pre_tokenizers

from stages.lm.kernels import bits, classes, pretokens, text
from stages.lm.kernels.text import Texts
from tests.lm.kernels import hostile

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
ISOLATED = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTE_LEVEL])
LIBRARY = {False: BYTE_LEVEL, True: ISOLATED}
ADDED = {code for _, first, stop in classes.ADDED for code in range(first, stop)}
ADDED |= {code for first, stop in classes.ADDED_NUMERIC for code in range(first, stop)}
SAME = {"Cn", "Co"}
"""Categories without a property: every 29th code point of them is asked about, and all others;
`benchmarks/corpus/encoding.py` asks about every one."""


def ours(texts: Texts, isolate: bool = False) -> list[list[bytes]]:
    starts, firsts = pretokens.pretokens(texts, isolate)
    data = texts.data.tobytes()
    pieces = [data[a:b] for a, b in zip(starts[:-1], starts[1:], strict=True)]
    return [pieces[a:b] for a, b in zip(firsts[:-1], firsts[1:], strict=True)]


def theirs(one: str, isolate: bool = False) -> list[bytes]:
    found = LIBRARY[isolate].pre_tokenize_str(one)
    return [one[first:stop].encode() for _, (first, stop) in found]


def documents(seed: int, count: int) -> list[str]:
    """Documents of what the expression tells apart, without lone surrogates."""
    draw = random.Random(seed)
    pool = [
        *" '  \n\t\r\x0b\x1c\x1f\x85\xa0stmdrevl'1_!.-azAZ\0",
        "٣",
        "½",
        "Ⅷ",
        "²",
        "é",
        "한",
        "中",
    ]
    pool += ["\u3000", "\u2003", "\u2028", "\u1680", "\u0301", "👩", "\u200d", "\U000105c0", "'s"]
    pool += ["\U00010d40", "\U00011de0", "\U00016ff4", " \n", "'ll", "'re", " '"]
    made = ["".join(draw.choices(pool, k=draw.randrange(24))) for _ in range(count)]
    made += [one for one in hostile.strings(seed, count // 4) if one.isprintable()]
    return [one for one in made if not any(0xD800 <= ord(letter) < 0xE000 for letter in one)]


@pytest.mark.parametrize("isolate", [False, True])
def test_hostile_documents_are_cut_as_by_the_library_and_by_the_reference(isolate):
    given = documents(1, 3000)
    got = ours(text.of_strings(given), isolate)
    for number, one in enumerate(given):
        assert got[number] == theirs(one, isolate), repr(one)
        if number < 1000:
            assert pretokens.reference(one.encode(), isolate) == got[number], repr(one)


@pytest.mark.parametrize("isolate", [False, True])
def test_every_character_has_the_librarys_class(isolate):
    """Each stands between a letter, a number, a space and itself: every class is cut otherwise."""
    wanted = ("N", "Z") if isolate else ("C", "L", "M", "N", "P", "S", "Z")
    chosen = [
        chr(code)
        for code in range(0x110000)
        if (category := unicodedata.category(chr(code))) != "Cs"
        and (category not in SAME and category[0] in wanted or code in ADDED or code % 29 == 0)
    ]
    given = [f"a{one}{one}1{one}!{one} {one}." for one in chosen]
    line = ["|".join(given[at : at + 64]) for at in range(0, len(given), 64)]
    got = ours(text.of_strings(line), isolate)
    for number, one in enumerate(line):
        assert got[number] == theirs(one, isolate), f"{ord(chosen[number * 64]):#x} and on"


@pytest.mark.parametrize("isolate", [False, True])
def test_malformed_bytes_are_cut_as_by_the_reference_and_none_is_lost(isolate):
    given = hostile.byte_strings(3, 1500)
    given += [one.encode("utf-8", "surrogatepass") for one in hostile.strings(4, 500)]
    got = ours(text.of_bytes(given), isolate)
    for one, pieces in zip(given, got, strict=True):
        assert b"".join(pieces) == one
        assert pieces == pretokens.reference(one, isolate), one


def test_long_documents_are_cut_in_windows_without_a_trace():
    draw = random.Random(5)
    words = ["la", " kaj", "  ", "\n", " 12", "'s", "ĉio", "...", "\t\t", "\u3000", " don't"]
    given = ["".join(draw.choices(words, k=60_000)), " " * 200_000, "a" * 150_000, "x " * 70_000]
    given += [" a", "", " ", "\n" * 70_000 + "x", "é" * 70_000 + " b", "'s" * 50_000]
    assert len(given[0]) > 2 * pretokens.WINDOW
    for one, pieces in zip(given, ours(text.of_strings(given)), strict=True):
        assert pieces == theirs(one)


def test_documents_have_no_neighbours():
    """Each document is cut as if it were alone, whatever stands before and behind it."""
    edges = ["", " ", "  ", "a", "a ", " a", "'", "'s", "\n", " \n", "1", "\u3000", "a\u3000", "!"]
    given = [edge for one in edges for other in edges for edge in (one, other)]
    assert ours(text.of_strings(given)) == [theirs(one) for one in given]
    cut = [b"\xe2\x80", b"\x83 a", b"\xf0\x9f", b"\x98\x80", b" \xc2", b"\xa0'", b"s"]
    assert ours(text.of_bytes(cut)) == [pretokens.reference(one) for one in cut]


def test_a_letter_of_the_wrong_class_would_be_seen(monkeypatch):
    tables = classes.classes()
    kinds = tables.kinds.copy()
    place = (int(tables.pages[0x109 >> 7]) << 7) + (0x109 & 127)
    assert kinds[place] == classes.LETTER
    kinds[place] = classes.OTHER
    kinds.flags.writeable = False
    monkeypatch.setattr(pretokens, "classes", lambda isolate: tables._replace(kinds=kinds))
    assert ours(text.of_strings(["aĉa"])) != [theirs("aĉa")]


@njit
def _classed(source, target):
    bits.class_block(uint64(source), uint64(target), uint64(8))


def test_bits_of_a_block_are_those_of_its_bytes():
    draw = random.Random(2)
    given = [bytes(range(at, at + 64)) for at in (0, 64, 128, 192)]
    given += [
        bytes(draw.choices(b" \t\n\r\x0b\x1c'azAZ09[`@{\xc2\x80\xbf\xff", k=64)) for _ in range(40)
    ]
    told = np.zeros(9, np.uint64)
    for data in given:
        block = np.frombuffer(data, np.uint8)
        _classed(block.ctypes.data, told.ctypes.data)
        assert told.tolist() == bits.reference_class_block(data), data
