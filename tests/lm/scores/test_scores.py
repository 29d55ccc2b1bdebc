"""Scores of documents: kernel and reference agree, and both say what the rules mean."""

from __future__ import annotations

import random

import pytest

from stages.lm.kernels.text import of_bytes, of_strings, to_strings
from stages.lm.scores import reference
from stages.lm.scores.columns import COLUMNS
from stages.lm.scores.table import DEFAULTS, Options, score

_PIECES = (
    "the of and to be that have with a I Don't can't she'll e.g. U.S. p.m. Mr. Smith's dog- "
    "house http://a.example/b?c=d me@mail.example.org example.com/x 12km 5% $5 US$7 1990s "
    "3.14 x=1 a/b (well) [1] [edit] [citation needed] ... .. … ?! -- --- — – don’t ‘so’ “so” "
    "«so» ): :) '' xD javascript JavaScript lorem ipsum terms of use privacy policy use of "
    "cookies { } #tag # ## - \u2022 auto-generated config test testest def class unit tests = == "
    "_x_ *b* a_b foo.Bar foo.bar A.B e.g., Ph.D. i.e.) (i.e. 'em ''' \" + +5 +x 5+5 5-5 5*-5 "
    "naïve Ångström straße ß İ ĉ Σ \u4f60\u597d。 こんにちは！ привет? مرحبا\u061f "
    "नमस\u094dत\u0947\u0964 \u0301 e\u0301 \U0001f44d \u2603 5€ €5 \u2103 \xad \u200b "
    "\ufeff \ufffd x\x00y \x1b %² km² 5km² 5m/s 5mb 5MB. AB. aB. ab. 1. ). |. ~ "
    "a~b a—b a–b a--b a---b a——b"
)
PIECES = _PIECES.split()
BLANKS = (
    " ", " ", " ", " ", "  ", "\n", "\n", "\n\n", "\n\n\n", "\t", "\r\n", "\r", "\x0b", "\x0c",
    "\x1c", "\x85", "\u2028", "\u2029", "\u00a0", "\u3000", "",
)  # fmt: skip
ENDS = (".", ".", "?", "!", '"', "'", "...", "", "", ",", "。")


def hostile(draw: random.Random) -> str:
    """Return a text of awkward words, blanks and repetition."""
    parts: list[str] = []
    for _ in range(draw.choice((0, 1, 3, 10, 30, 80))):
        kind = draw.random()
        if kind < 0.7:
            parts.append(draw.choice(PIECES) + draw.choice(ENDS))
        elif kind < 0.8:
            parts.append("".join(chr(draw.choice(CODES)) for _ in range(draw.randrange(6))))
        elif parts:
            start = draw.randrange(len(parts))
            parts += parts[start : start + draw.randrange(40)]
        parts.append(draw.choice(BLANKS))
    return "".join(parts)


CODES = [*range(0x20, 0x250), *range(0x2000, 0x2070), *range(0xD7F0, 0xD810), 0x1F600, 0x10FFFF]


def check(texts: list[str], options: Options = DEFAULTS) -> None:
    """Assert that kernel and reference agree on every column of every text."""
    found = score(of_strings(texts), options)
    cleaned = to_strings(found.cleaned)
    for text, row, clean in zip(texts, found.table.tolist(), cleaned, strict=True):
        expected, kept = reference.score(text, options)
        assert dict(zip(COLUMNS, row, strict=True)) == expected, repr(text)
        assert clean == kept, repr(text)


def test_kernel_and_reference_agree_on_hostile_text() -> None:
    draw = random.Random(11)
    check([hostile(draw) for _ in range(400)])
    other = Options(("la", "kaj"), 10, 20, 2, 5, False)
    check([hostile(draw) for _ in range(60)], other)


WORDS = {
    "Hello, world! I don't know (e.g. this).": ("Hello|,|world|!|I|do|n't|know|(|e.g.|this|)|."),
    "See http://www.example.org/a/b?c=d, Mr. Smith's dog-house.": (
        "See|http://www.example.org/a/b?c=d|,|Mr.|Smith|'s|dog|-|house|."
    ),
    "It's 5km from the U.S. border... isn't it?": (
        "It|'s|5|km|from|the|U.S.|border|...|is|n't|it|?"
    ),
    "def f(x): return x+1 # 3.14": "def|f(x|):|return|x+1|#|3.14",
    "us@mail.example.org paid $5.50 (10%) in a.b/c": (
        "us@mail.example.org|paid|$|5.50|(|10|%|)|in|a.b|/|c"
    ),
}


@pytest.mark.parametrize("text", WORDS)
def test_words_are_cut_as_said(text: str) -> None:
    assert reference.words(text) == WORDS[text].split("|")


def test_long_runs_of_signs() -> None:
    check(["(" * 900 + "a" + ")" * 900, "@" * 900 + ".", "." * 5_000, "a." * 900])


def test_bytes_that_are_no_text_are_counted_as_they_are_decoded() -> None:
    data = [b"\xff\xfe the of\xc3", b"\xed\xa0\x80 x", b"", b"\n\n\n", b"\xf4\x90\x80\x80."]
    texts = of_bytes(data)
    found = score(texts)
    for text, row in zip(to_strings(texts), found.table.tolist(), strict=True):
        assert dict(zip(COLUMNS, row, strict=True)) == reference.score(text)[0]


def test_threads_change_nothing() -> None:
    draw = random.Random(3)
    texts = of_strings([hostile(draw) for _ in range(50)])
    one, three = score(texts), score(texts, threads=3)
    assert (one.table == three.table).all()
    assert one.cleaned.data.tobytes() == three.cleaned.data.tobytes()
    assert (one.cleaned.offsets == three.cleaned.offsets).all()
