"""Marks of characters that the scores of documents ask for, as a two-stage table of bits.

mark          what it is
SPACE, BREAK  str.isspace; where str.splitlines breaks
LOWER, UPPER  letters by case; a letter without case has both
NUMERAL       0 to 9
CLIP          what is cut from both ends of a word: , : ; ! ? ( ) [ ] { } < > _ # * & ...
QUOTE, ICON   quotation marks and brackets of other scripts; category So
MONEY         category Sc
EDGE, DASH    further signs cut from the front; the two long dashes, cut from both ends
HYPHEN        what joins the parts of a compound
LETTER, ALNUM str.isalpha, str.isalnum
SYMBOL        what alone makes no word (Gopher's `symbol`): punctuation, controls
POINT         category P
STOP          ends a sentence in some script
HOST          may stand in the name of a host
WORDLY        `\\w`
"""

from __future__ import annotations

import functools
import string
import unicodedata
from typing import Any, NamedTuple

import numpy as np
from numba import types, uint32
from numpy.typing import NDArray

from stages.lm.kernels.characters import CODES, paged
from stages.lm.kernels.compiled import inlined, kept, reads

SPACE, BREAK, LOWER, UPPER, NUMERAL, CLIP, QUOTE, ICON = (1 << bit for bit in range(8))
MONEY, EDGE, DASH, HYPHEN, LETTER, ALNUM, SYMBOL, POINT = (1 << bit for bit in range(8, 16))
STOP, HOST, WORDLY = (1 << bit for bit in range(16, 19))
CLIPS = "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"
QUOTES = "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉\u2329\u232a⟦⟧"
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
NAMED_STOPS = ("FULL STOP", "QUESTION MARK", "EXCLAMATION MARK", "DANDA", "INTERROBANG")
STOPS = "‽၊။᜵᜶"
INITIAL = ("INVERTED", "INITIAL", "PRESENTATION", "GREEK", "ARMENIAN")
"""Names of marks that begin a sentence, stand within a word, or decompose."""


class Marks(NamedTuple):
    """The table: `marks[pages[code >> 7] * 128 + (code & 127)]`; the first 128 are ASCII."""

    pages: NDArray[np.uint16]
    marks: NDArray[np.uint32]


MARKS = types.NamedTuple((reads(types.uint16), reads(types.uint32)), Marks)


@functools.cache
def table() -> Marks:
    """Return the marks of this interpreter's Unicode version: 1 s, once on a machine."""
    return Marks(*kept("marks", __file__, _made))


def _made() -> Marks:
    found = np.zeros(CODES, np.int32)
    for code in range(CODES):
        if not 0x40000 <= code < 0xE0000:  # planes without characters
            found[code] = mark_of(chr(code))
    pages, blocks = paged(found)
    return Marks(pages, blocks[0].view(np.uint32))


def mark_of(one: str) -> int:
    """Return a character's marks."""
    category = unicodedata.category(one)
    found = LETTER if one.isalpha() else 0
    found |= ALNUM if one.isalnum() else 0
    found |= SPACE if one.isspace() else 0
    if found & LETTER:
        found |= LOWER if not (one.isupper() or one.istitle()) else 0
        found |= UPPER if not one.islower() else 0
    found |= ICON if category == "So" else MONEY if category == "Sc" else 0
    found |= POINT if category[0] == "P" else 0
    found |= WORDLY if one.isalnum() or one == "_" else 0
    found |= HOST if (one.isascii() and one.isalnum()) or "\u00a1" <= one <= "\uffff" else 0
    if category in ("Po", "Pd"):
        name = unicodedata.name(one, "")
        ends = any(part in name for part in NAMED_STOPS)
        ends = ends and not any(part in name for part in INITIAL)
        found |= STOP if ends or one in STOPS else 0
    for mark, members in (
        (BREAK, BREAKS), (NUMERAL, string.digits), (CLIP, CLIPS), (QUOTE, QUOTES),
        (EDGE, "§%="), (DASH, "—–"), (HYPHEN, "-–—~"),
    ):  # fmt: skip
        found |= mark if one in members else 0
    return found | (SYMBOL if is_symbol(one, category, found) else 0)


def is_symbol(one: str, category: str, found: int) -> bool:
    """Tell whether a character makes no word by itself."""
    if one in string.punctuation or found & STOP or one in "…—–’“”„«»´":
        return True
    wide = "\u3000" <= one <= "\u303f" or "\uff00" <= one <= "\uff65"
    return (category == "Cc" and one not in "\t\n") or (category[0] == "P" and wide)


@inlined
def mark(code: Any, marks: Any) -> Any:
    """Return the marks of a code point."""
    return marks.marks[(uint32(marks.pages[code >> 7]) << uint32(7)) | uint32(code & 127)]
