"""Documents that kernels must stand: every kind of character, and bytes that are none."""

from __future__ import annotations

import random

CHARACTERS = [
    *"aAzZ09_ .,-'\n\r\t\0", "\x1c", "\x85", "\xa0", "\xad", "\u00aa", "ß", "ĉ", "Ĉ", "İ", "ı", "ſ",
    "Σ", "σ", "ς", "Ά", "·", "\u0301", "\u0345", "Ⱥ", "ⱥ", "\u212a", "\u2160", "ǅ", "Ж", "ж", "ا",
    "१", "²", "½", "漢", "\u2028", "\u200b", "\u200d", "\u202e", "\ufeff", "\ufffd", "\uffff",
    "\ud800", "\udfff", "𐐀", "𐐨", "😀", "🏽", "\U000e0041", "\U0010ffff", "\U00040000",
]  # fmt: skip
PIECES = [
    b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xe0\x80\x80", b"\xe2\x82", b"\xed\xa0",
    b"\xf0\x80\x80\x80", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xf5", b"\xff\xfe", b"\xce\xa3",
    b"\xed\xb0\x80", b"\xf8\x88\x80\x80\x80",
]  # fmt: skip
"""Stray and cut bytes, overlong forms, what lies beyond U+10FFFF."""


def strings(seed: int, count: int, longest: int = 40) -> list[str]:
    """Return documents of odd characters, some empty, some long words."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        few = draw.sample(CHARACTERS, draw.randint(1, 12))
        pool = draw.choice((CHARACTERS, few, [*few, *"abc ABC "]))
        made.append("".join(draw.choices(pool, k=draw.randint(0, longest))))
    return made


def byte_strings(seed: int, count: int, longest: int = 40) -> list[bytes]:
    """Return documents that are mostly not UTF-8."""
    draw = random.Random(seed)
    made = []
    for text in strings(seed, count, longest):
        data = text.encode("utf-8", "surrogatepass")
        cut = draw.randint(0, len(data))
        middle = draw.choice((draw.choice(PIECES), draw.randbytes(draw.randint(0, 6))))
        made.append(data[:cut] + middle + data[cut:])
    return made
