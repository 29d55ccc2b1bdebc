"""Classes of characters by GPT-2's expression: letters, numbers, white space, others.

They are those of the expression's engine in tokenizers 0.23.3, which has Unicode 16: `ADDED` lists
every code point that differs from Python 3.11's own Unicode 14 (found by asking the library about
each of them). The tables of `Digits(individual_digits=True)` are of Unicode 17.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from stages.lm.kernels import characters
from stages.lm.kernels.compiled import reads

OTHER, LETTER, NUMBER, SPACE, ALONE = range(5)
"""Classes; ALONE is a numeric character under `isolate`."""
PAGE_BITS, PAGE_SIZE = 7, 128
NO_SPACE = (0x1C, 0x20)
"""Separators that Python's `str.isspace` has and `\\s` has not."""
ADDED: tuple[tuple[int, int, int], ...] = (
    (LETTER, 0x1C89, 0x1C8B), (LETTER, 0xA7CB, 0xA7CE), (LETTER, 0xA7DA, 0xA7DD),
    (LETTER, 0x105C0, 0x105F4), (NUMBER, 0x10D40, 0x10D4A), (LETTER, 0x10D4A, 0x10D66),
    (LETTER, 0x10D6F, 0x10D86), (LETTER, 0x10EC2, 0x10EC5), (LETTER, 0x1123F, 0x11241),
    (LETTER, 0x11380, 0x1138A), (LETTER, 0x1138B, 0x1138C), (LETTER, 0x1138E, 0x1138F),
    (LETTER, 0x11390, 0x113B6), (LETTER, 0x113B7, 0x113B8), (LETTER, 0x113D1, 0x113D2),
    (LETTER, 0x113D3, 0x113D4), (NUMBER, 0x116D0, 0x116E4), (LETTER, 0x11BC0, 0x11BE1),
    (NUMBER, 0x11BF0, 0x11BFA), (LETTER, 0x11F02, 0x11F03), (LETTER, 0x11F04, 0x11F11),
    (LETTER, 0x11F12, 0x11F34), (NUMBER, 0x11F50, 0x11F5A), (LETTER, 0x1342F, 0x13430),
    (LETTER, 0x13441, 0x13447), (LETTER, 0x13460, 0x143FB), (LETTER, 0x16100, 0x1611E),
    (NUMBER, 0x16130, 0x1613A), (LETTER, 0x16D40, 0x16D6D), (NUMBER, 0x16D70, 0x16D7A),
    (LETTER, 0x18CFF, 0x18D00), (LETTER, 0x1B132, 0x1B133), (LETTER, 0x1B155, 0x1B156),
    (NUMBER, 0x1CCF0, 0x1CCFA), (NUMBER, 0x1D2C0, 0x1D2D4), (LETTER, 0x1DF25, 0x1DF2B),
    (LETTER, 0x1E030, 0x1E06E), (LETTER, 0x1E4D0, 0x1E4EC), (NUMBER, 0x1E4F0, 0x1E4FA),
    (LETTER, 0x1E5D0, 0x1E5EE), (LETTER, 0x1E5F0, 0x1E5F1), (NUMBER, 0x1E5F1, 0x1E5FB),
    (LETTER, 0x2B739, 0x2B73A), (LETTER, 0x2EBF0, 0x2EE5E), (LETTER, 0x31350, 0x323B0),
)  # fmt: skip
"""(class, first, stop): unassigned in Unicode 14, letters and numbers of the library's tables."""
ADDED_NUMERIC = ((0x11DE0, 0x11DEA), (0x16FF4, 0x16FF7))
"""Further code points that `Digits` takes for numeric and `\\p{N}` does not know."""


class Classes(NamedTuple):
    """The class of every code point: kinds[pages[code >> 7] * 128 + (code & 127)]."""

    pages: NDArray[np.uint16]
    kinds: NDArray[np.uint8]


CLASSES = types.NamedTuple((reads(types.uint16), reads(types.uint8)), Classes)


@functools.cache
def code_classes(isolate: bool = False) -> NDArray[np.uint8]:
    """Return the class of every code point [0x110000]."""
    pages, kinds, _ = characters.tables()
    flags = kinds.reshape(-1, characters.PAGE_SIZE)[pages].ravel()
    category = flags >> characters.CATEGORY_SHIFT
    initial = np.array([name[0] for name in characters.CATEGORIES])[category]
    found = np.full(len(flags), OTHER, np.uint8)
    found[flags & characters.SPACE != 0] = SPACE
    found[slice(*NO_SPACE)] = OTHER
    found[initial == "L"], found[initial == "N"] = LETTER, NUMBER
    for kind, first, stop in ADDED:
        found[first:stop] = kind
    if isolate:
        found[found == NUMBER] = ALONE
        for first, stop in ADDED_NUMERIC:
            found[first:stop] = ALONE
    return found


@functools.cache
def classes(isolate: bool = False) -> Classes:
    """Return the same in two stages, for kernels."""
    blocks, pages = np.unique(
        code_classes(isolate).reshape(-1, PAGE_SIZE), axis=0, return_inverse=True
    )
    made = pages.astype(np.uint16).ravel(), np.ascontiguousarray(blocks).ravel()
    for array in made:
        array.flags.writeable = False
    return Classes(*made)
