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

All of it is told from a bit for each byte and class (`stages.lm.kernels.classes`). With `isolate`,
every numeric character stands alone, as behind `Digits(individual_digits=True)`. Malformed bytes
and lone surrogates are other characters of one byte and of three.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types, uint8, uint64
from numpy.typing import NDArray

from stages.lm.kernels.bits import BLOCK, class_block, lowest
from stages.lm.kernels.characters import decode
from stages.lm.kernels.classes import (
    ALONE,
    CLASSES,
    LETTER,
    NUMBER,
    OTHER,
    PAGE_BITS,
    SPACE,
    classes,
    code_classes,
)
from stages.lm.kernels.compiled import (
    BYTES,
    OFFSETS,
    called,
    fills,
    inlined,
    kernel,
    leaf,
    plain,
)
from stages.lm.kernels.loads import MARGIN
from stages.lm.kernels.text import Texts

BLANK, HIGH, TICK, LATER, KINDS = range(5, 10)
"""Further rows of bits: the blank, bytes that are not ASCII, apostrophes, bytes that continue."""
WINDOW = 1 << 16
"""Bytes split at once: what is worked on stays in the second-level cache."""
SHORT, LONG = (ord("s"), ord("t"), ord("m"), ord("d")), ("re", "ve", "ll")


class Scratch(NamedTuple):
    """Room for one window: its bytes, and a bit for each of them.

    `rows` [KINDS, B] has those of each class and of `bits.class_block`, `marks` [B] those of bytes
    where a pre-token begins.
    """

    held: NDArray[np.uint8]
    rows: NDArray[np.uint64]
    marks: NDArray[np.uint64]
    starts: NDArray[np.int32]


@inlined
def scratch(room: int) -> Any:
    """Return room for a window of `room` bytes."""
    size, blocks = room + 2 * MARGIN, room // BLOCK + 3
    return Scratch(
        np.zeros(size, np.uint8),
        np.zeros((KINDS, blocks), np.uint64),
        np.zeros(blocks, np.uint64),
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
    held, rows = room.held, room.rows
    alone = tables.kinds[(int(tables.pages[0]) << PAGE_BITS) + 48] == uint8(ALONE)
    source, target, stride = held.ctypes.data, rows.ctypes.data, 8 * rows.shape[1]
    wide = behind = 0
    for block in range((size + BLOCK - 1) // BLOCK):
        first = BLOCK * block
        class_block(uint64(source + first), uint64(target + 8 * block), uint64(stride))
        rows[ALONE, block] = uint64(0)
        if alone:
            rows[ALONE, block], rows[NUMBER, block] = rows[NUMBER, block], uint64(0)
    for block in range((size + BLOCK - 1) // BLOCK):
        waiting = rows[HIGH, block]
        while waiting:
            at = BLOCK * block + lowest(waiting)
            waiting &= waiting - uint64(1)
            if at < behind:
                continue
            while offsets[document + 1] - base <= at:
                document += 1
            code, width = decode(held, at, min(size, offsets[document + 1] - base))
            behind = at + width
            kind = tables.kinds[(int(tables.pages[code >> PAGE_BITS]) << PAGE_BITS) + (code & 127)]
            if kind == OTHER:
                continue
            for place in range(at, behind):
                rows[kind, place >> 6] |= uint64(1) << uint64(place & 63)
            if kind == SPACE:
                room.starts[wide] = at
                wide += 1
    return wide


@leaf
def _bit(bits: Any, at: int) -> bool:
    return (bits[at >> 6] >> uint64(at & 63)) & uint64(1) != 0


@leaf
def _put(bits: Any, at: int, wanted: bool) -> None:
    one = uint64(1) << uint64(at & 63)
    bits[at >> 6] = bits[at >> 6] | one if wanted else bits[at >> 6] & ~one


@leaf
def _shifted(here: Any, before: Any) -> Any:
    """Return the bits one further, the last of the block before first."""
    return here << uint64(1) | before >> uint64(63)


@plain
def mark(room: Any, offsets: Any, document: int, base: int, size: int, wide: int) -> None:
    """Set the bits in `room.marks` of all bytes where a pre-token begins, and no other."""
    held, rows, marks = room.held, room.rows, room.marks
    blocks = (size + BLOCK - 1) // BLOCK
    every = ~uint64(0)
    left = size - BLOCK * (blocks - 1)
    beyond = every << uint64(left) if left < BLOCK else uint64(0)
    rows[SPACE, blocks - 1] |= beyond
    rows[SPACE, blocks] = every
    letter0 = number0 = alone0 = other0 = blank0 = uint64(0)
    space0 = every
    for block in range(blocks):
        letter, number = rows[LETTER, block], rows[NUMBER, block]
        space, alone = rows[SPACE, block], rows[ALONE, block]
        blank, other = rows[BLANK, block], ~(letter | number | space | alone)
        same = letter & _shifted(letter, letter0) | number & _shifted(number, number0)
        same |= other & _shifted(other, other0) | alone & _shifted(alone, alone0)
        changed = ~(same | _shifted(blank, blank0) | space)
        outside = space | alone
        beside = rows[SPACE, block + 1] | rows[ALONE, block + 1]
        last = ~(outside >> uint64(1) | beside << uint64(63)) & ~rows[HIGH, block]
        last |= ~_shifted(space, space0)
        marks[block] = space & last | changed | alone & ~rows[LATER, block]
        letter0, number0, space0, alone0 = letter, number, space, alone
        blank0, other0 = blank, other
    marks[blocks - 1] &= ~beyond
    marks[blocks] = uint64(0)
    _mark_wide(room, offsets, document, base, size, wide)
    # Both ends of a document have no neighbours.
    number = document
    while number + 1 < len(offsets) and offsets[number] - base < size:
        first, stop = max(0, offsets[number] - base), offsets[number + 1] - base
        if first < stop:
            _put(marks, first, True)
            inside = first + 1 < stop <= size and held[stop - 1] < 128
            if inside and _bit(rows[SPACE], stop - 1):
                _put(marks, stop - 1, not _bit(rows[SPACE], stop - 2))
        number += 1
    _mark_contractions(room, offsets, document, base, size)


@leaf
def _mark_wide(room: Any, offsets: Any, document: int, base: int, size: int, wide: int) -> None:
    rows = room.rows
    for number in range(wide):
        at = room.starts[number]
        while offsets[document + 1] - base <= at:
            document += 1
        end = min(size, offsets[document + 1] - base)
        behind = at + decode(room.held, at, end)[1]
        if behind < end and not (_bit(rows[SPACE], behind) or _bit(rows[ALONE], behind)):
            _put(room.marks, at, True)


@leaf
def _mark_contractions(room: Any, offsets: Any, document: int, base: int, size: int) -> None:
    held, marks = room.held, room.marks
    for block in range((size + BLOCK - 1) // BLOCK):
        waiting = room.rows[TICK, block]
        while waiting:
            at = BLOCK * block + lowest(waiting)
            waiting &= waiting - uint64(1)
            if at >= size or not _bit(marks, at):
                continue
            while offsets[document + 1] - base <= at:
                document += 1
            end = min(size, offsets[document + 1] - base)
            width = contraction(held, at, end)
            if width:
                _put(marks, at + 1, False)
                if at + width < end:
                    _put(marks, at + width, True)


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
    starts, marks = room.starts, room.marks
    for block in range((size + BLOCK - 1) // BLOCK):
        bits = marks[block]
        while bits:
            starts[count] = BLOCK * block + lowest(bits)
            count += 1
            bits &= bits - uint64(1)
    starts[count] = size
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
