"""Cutting text into the pre-tokens of GPT-2, as `tokenizers`' byte-level pre-tokenizer does.

The expression (Radford et al. 2019) is, in the order of its alternatives:

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

Nothing in it looks back further than one character, so where pre-tokens begin can be said from
three neighbouring characters, for many bytes at once, with no search:

- a letter, number or other character begins one if the character before is of another class and
  is no space (a space goes with what follows it);
- white space begins one if no white space is before it, or if it is the last of a run that does not
  end the text (`\\s+(?!\\S)` gives that one back);
- an apostrophe that begins one and spells a contraction ends it there, and the next begins.

Classes are those of the expression's engine in tokenizers 0.23.3, which has Unicode 16: `ADDED`
lists every code point that differs from Python 3.11's own Unicode 14 (found by asking the library
about each of them). With `isolate`, every numeric character stands alone, as behind
`Digits(individual_digits=True)`, whose tables are of Unicode 17.

Malformed bytes and lone surrogates are other characters of one byte and of three.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import types, uint8, uint64
from numpy.typing import NDArray

from stages.lm.kernels import characters
from stages.lm.kernels.bits import lowest
from stages.lm.kernels.characters import decode
from stages.lm.kernels.compiled import (
    BYTES,
    OFFSETS,
    called,
    fills,
    inlined,
    kernel,
    leaf,
    plain,
    reads,
)
from stages.lm.kernels.loads import MARGIN, load8, mask64
from stages.lm.kernels.text import Texts

OTHER, LETTER, NUMBER, SPACE, ALONE = range(5)
"""Classes; ALONE is a numeric character under `isolate`."""
PAGE_BITS, PAGE_SIZE = 7, 128
WINDOW = 1 << 16
"""Bytes split at once: what is worked on stays in the second-level cache."""
HIGH = uint64(0x8080808080808080)
ONES = uint64(0x0101010101010101)
APOSTROPHES = uint64(0x2727272727272727)
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
SHORT, LONG = (ord("s"), ord("t"), ord("m"), ord("d")), ("re", "ve", "ll")


class Classes(NamedTuple):
    """The class of every code point: kinds[pages[code >> 7] * 128 + (code & 127)]."""

    pages: NDArray[np.uint16]
    kinds: NDArray[np.uint8]


CLASSES = types.NamedTuple((reads(types.uint16), reads(types.uint8)), Classes)


class Scratch(NamedTuple):
    """Room for one window; `held` are its bytes, `classes` and `marks` one entry per byte.

    `classes[i + 1]` is the class of byte i, so that both ends have neighbours.
    """

    held: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    marks: NDArray[np.uint8]
    starts: NDArray[np.int32]


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


@inlined
def scratch(room: int) -> Any:
    """Return room for a window of `room` bytes."""
    size = room + 2 * MARGIN
    return Scratch(
        np.zeros(size, np.uint8),
        np.zeros(size, np.uint8),
        np.zeros(size, np.uint8),
        np.zeros(size, np.int32),
    )


@plain
def window(data: Any, offsets: Any, document: int, at: int) -> Any:
    """Return (document, place, end) behind the window that begins at byte `at` of `document`.

    A window holds whole documents while they fit. A longer one is cut before white space that
    follows an ASCII character that is none: a pre-token begins there whatever surrounds it.
    """
    stop = at + WINDOW
    if offsets[document + 1] <= stop:
        document += 1
        while document + 1 < len(offsets) and offsets[document + 1] <= stop:
            document += 1
        return document, offsets[document], offsets[document]
    end = offsets[document + 1]
    cut = stop
    while cut > at + 1 and not _divides(data, cut):
        cut -= 1
    if cut == at + 1:
        cut = stop + 1
        while cut < end and not _divides(data, cut):
            cut += 1
        if cut == end:
            return document + 1, end, end
    return document, cut, cut


@leaf
def _divides(data: Any, at: int) -> bool:
    before, here = data[at - 1], data[at]
    return (here == 32 or here == 10) and before > 32 and before < 127


@plain
def classify(room: Any, offsets: Any, document: int, base: int, size: int, tables: Any) -> int:
    """Write the class of every byte of a window; returns how many white spaces are not ASCII.

    Their places stand in `room.starts`.
    """
    held, found = room.held, room.classes
    digit = tables.kinds[(int(tables.pages[0]) << PAGE_BITS) + 48]
    for at in range(size):
        byte = held[at]
        letter = uint8((byte | uint8(32)) - uint8(97)) < uint8(26)
        number = uint8(byte - uint8(48)) < uint8(10)
        space = (uint8(byte - uint8(9)) < uint8(5)) | (byte == uint8(32))
        found[at + 1] = uint8(letter) * uint8(LETTER) + uint8(number) * digit
        found[at + 1] += uint8(space) * uint8(SPACE)
    wide = 0
    at = 0
    while at < size:
        high = load8(held, at) & HIGH
        if high == 0:
            at += 8
            continue
        at += lowest(high) >> 3
        if at >= size:
            break
        while offsets[document + 1] - base <= at:
            document += 1
        code, width = decode(held, at, min(size, offsets[document + 1] - base))
        kind = tables.kinds[(int(tables.pages[code >> PAGE_BITS]) << PAGE_BITS) + (code & 127)]
        for place in range(at + 1, at + 1 + width):
            found[place] = kind
        if kind == SPACE:
            room.starts[wide] = at
            wide += 1
        at += width
    return wide


@plain
def mark(room: Any, offsets: Any, document: int, base: int, size: int, wide: int) -> None:
    """Write a 1 to `room.marks` at every byte where a pre-token begins, a 0 elsewhere."""
    held, kinds, marks = room.held, room.classes, room.marks
    kinds[0] = kinds[size + 1] = SPACE
    marks[0] = 1
    for at in range(1, size):
        byte, before, here, behind = held[at], kinds[at], kinds[at + 1], kinds[at + 2]
        last = (behind < uint8(SPACE)) & (byte < uint8(128))
        blank = (here == uint8(SPACE)) & ((before != uint8(SPACE)) | last)
        changed = (here != before) & (held[at - 1] != uint8(32)) & (here != uint8(SPACE))
        alone = (here == uint8(ALONE)) & ((byte & uint8(0xC0)) != uint8(0x80))
        marks[at] = uint8(blank | changed | alone)
    for at in range(size, size + MARGIN):
        marks[at] = 0
    _mark_wide(room, offsets, document, base, size, wide)
    # Both ends of a document have no neighbours.
    number = document
    while number + 1 < len(offsets) and offsets[number] - base < size:
        first, stop = max(0, offsets[number] - base), offsets[number + 1] - base
        if first < stop:
            marks[first] = 1
            if first + 1 < stop <= size and held[stop - 1] < 128 and kinds[stop] == SPACE:
                marks[stop - 1] = kinds[stop - 1] != SPACE
        number += 1
    _mark_contractions(room, offsets, document, base, size)


@leaf
def _mark_wide(room: Any, offsets: Any, document: int, base: int, size: int, wide: int) -> None:
    for number in range(wide):
        at = room.starts[number]
        while offsets[document + 1] - base <= at:
            document += 1
        end = min(size, offsets[document + 1] - base)
        behind = at + decode(room.held, at, end)[1]
        if behind < end and room.classes[behind + 1] < SPACE:
            room.marks[at] = 1


@leaf
def _mark_contractions(room: Any, offsets: Any, document: int, base: int, size: int) -> None:
    held, marks = room.held, room.marks
    at = 0
    while at < size:
        found = load8(held, at) ^ APOSTROPHES
        found = (found - ONES) & ~found & HIGH
        if found == 0:
            at += 8
            continue
        at += lowest(found) >> 3
        if at < size and marks[at]:
            while offsets[document + 1] - base <= at:
                document += 1
            end = min(size, offsets[document + 1] - base)
            width = contraction(held, at, end)
            if width:
                marks[at + 1] = 0
                if at + width < end:
                    marks[at + width] = 1
        at += 1


@leaf
def contraction(held: Any, at: int, end: int) -> int:
    """Return the bytes of the contraction that the apostrophe at `at` begins, 0 if none."""
    if at + 1 >= end:
        return 0
    one = held[at + 1]
    if one == SHORT[0] or one == SHORT[1] or one == SHORT[2] or one == SHORT[3]:
        return 2
    if at + 2 >= end:
        return 0
    two = held[at + 2]
    if (one == ord("r") or one == ord("v")) and two == ord("e"):
        return 3
    return 3 if one == ord("l") and two == ord("l") else 0


@called
def split(
    data: Any, offsets: Any, document: int, base: int, end: int, tables: Any, room: Any
) -> int:
    """Split the window data[base:end]; returns how many pre-tokens begin in it.

    `room.starts` holds where, relative to `base`, and the window's size behind them; `room.held`
    the window's bytes.
    """
    size = end - base
    for at in range(size):
        room.held[at] = data[base + at]
    for at in range(size, size + MARGIN):
        room.held[at] = 0
    wide = classify(room, offsets, document, base, size, tables)
    mark(room, offsets, document, base, size, wide)
    count = 0
    for block in range(0, size, 64):
        bits = mask64(room.marks, block)
        while bits:
            room.starts[count] = block + lowest(bits)
            count += 1
            bits &= bits - uint64(1)
    room.starts[count] = size
    return count


@kernel(types.int64, BYTES, OFFSETS, CLASSES, fills(types.int64), fills(types.int64))
def _pretokens(data: Any, offsets: Any, tables: Any, starts: Any, firsts: Any) -> int:
    document = at = count = 0
    room = scratch(WINDOW)
    number = 0
    while document + 1 < len(offsets):
        onward, place, end = window(data, offsets, document, at)
        if end - at > len(room.held) - 2 * MARGIN:
            room = scratch(end - at)
        found = split(data, offsets, document, at, end, tables, room)
        for token in range(found):
            start = at + room.starts[token]
            while offsets[number] <= start:
                firsts[number] = count
                number += 1
            starts[count] = start
            count += 1
        document, at = onward, place
    while number < len(offsets):
        firsts[number] = count
        number += 1
    return count


def pretokens(texts: Texts, isolate: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where every pre-token begins [T + 1], and each document's first one [D + 1]."""
    starts = np.empty(len(texts.data) + 1, np.int64)
    firsts = np.zeros(len(texts.offsets), np.int64)
    count = _pretokens(texts.data, texts.offsets, classes(isolate), starts, firsts)
    starts[count] = len(texts.data)
    return starts[: count + 1], firsts


def reference(text: bytes, isolate: bool = False) -> list[bytes]:
    """Return the pre-tokens of one document, by the expression's alternatives one by one."""
    data, table = np.frombuffer(text, np.uint8), code_classes(isolate)
    letters, kinds, places = [], [], [0]
    while places[-1] < len(text):
        code, width = decode.py_func(data, places[-1], len(text))
        letters.append(chr(code))
        kinds.append(int(table[code]))
        places.append(places[-1] + width)
    whole, found, at = "".join(letters), [], 0
    while at < len(whole):
        end = _next(whole, kinds, at)
        found.append(text[places[at] : places[end]])
        at = end
    return found


def _next(letters: str, kinds: list[int], at: int) -> int:
    """Return where the pre-token that begins at `at` ends."""
    piece = at
    while piece < len(letters) and kinds[piece] != ALONE:
        piece += 1
    if piece == at:
        return at + 1
    for ending in (*map(chr, SHORT), *LONG):
        if letters[at] == "'" and letters[at + 1 : min(piece, at + 1 + len(ending))] == ending:
            return at + 1 + len(ending)
    for kind in (LETTER, NUMBER, OTHER):
        start = at + 1 if letters[at] == " " else at
        end = start
        while end < piece and kinds[end] == kind:
            end += 1
        if end > start:
            return end
    end = at
    while end < piece and kinds[end] == SPACE:
        end += 1
    return end - 1 if end < piece and end - at > 1 else end
