"""Words of English text: blanks part chunks, signs are cut from their ends, compounds are parted.

The rules are those by which spaCy's English tokenizer, and so datatrove, counts words:

1. A chunk is what stands between blanks. From its front is cut, again and again, one sign (`CLIP`,
   `QUOTE`, `ICON`, `MONEY`, `EDGE`, `DASH`), a plus before no digit, or a run of two or more full
   stops; from its end the same (money and plus only after a digit, a full stop only after a lower
   case letter, a digit, a sign or two capitals), besides `'s` and a unit behind a digit. What is an
   exception (`stages.lm.scores.exceptions`) is cut no further.
2. Two signs that make a face, such as `:)` or `):`, are one word.
3. What is left stays whole if it is an address (`x://`, a host with a name of two lower-case
   letters or more behind its last dot), or is cut as its exception says, or is parted at runs of
   full stops and icons, at a dash between letters, a comma between letters, `: < > = /` before a
   letter, a full stop between a lower and an upper case letter, and signs between digits.

`stages.lm.scores.reference` says the same with regular expressions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import uint32, uint64

from stages.lm.kernels.compiled import leaf, plain
from stages.lm.scores.exceptions import FACTOR, LONGEST, MOST_PIECES
from stages.lm.scores.faces import faces
from stages.lm.scores.marks import (
    CLIP,
    DASH,
    EDGE,
    HOST,
    HYPHEN,
    ICON,
    LETTER,
    LOWER,
    MONEY,
    NUMERAL,
    QUOTE,
    SPACE,
    UPPER,
    WORDLY,
)

DOT, PLUS, ELLIPSIS = 0x2E, 0x2B, 0x2026
FRONT = CLIP | QUOTE | ICON | MONEY | EDGE | DASH
BACK = CLIP | QUOTE | ICON | DASH
BEFORE_DOT = (0x25, 0xB2, 0x2D, PLUS, 0x7C)
APOSTROPHES = (0x27, 0x2019)
_UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz "
    "m/s km/h kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K %"
)
UNITS = _UNITS.split()
"""Units that are words of their own behind a digit."""
LONGEST_UNIT = 4
UNIT_CODES = np.zeros((len(UNITS), LONGEST_UNIT + 1), np.uint32)
for _row, _unit in enumerate(UNITS):
    UNIT_CODES[_row, 0] = len(_unit)
    UNIT_CODES[_row, 1 : 1 + len(_unit)] = [ord(one) for one in _unit]
MOST_HOST_LABEL, TOP_LABELS, PORT_DIGITS = 64, (2, 63), (2, 5)


@plain
def hash_span(codes: Any, start: Any, end: Any) -> Any:
    """Return a 64-bit hash of characters; `exceptions.hash_of` is the reference."""
    found = uint64(end - start)
    for at in range(start, end):
        found = (found ^ uint64(codes[at])) * uint64(FACTOR)
        found ^= found >> uint64(29)
    return found


@leaf
def exception(codes: Any, start: Any, end: Any, special: Any) -> Any:
    """Return the row of an exception, or -1."""
    if end - start > LONGEST:
        return -1
    shape = special.shapes[codes[start] & uint32(63), codes[end - 1] & uint32(63)]
    if not (shape >> uint32(end - start)) & uint32(1):
        return -1
    last = len(special.keys) - 1
    key = hash_span(codes, start, end)
    slot = np.int64(key & uint64(last))
    while special.keys[slot]:
        if special.keys[slot] == key:
            return slot
        slot = (slot + 1) & last
    return -1


@plain
def dots_after(codes: Any, start: Any, end: Any) -> int:
    """Return how many full stops stand from `start` on."""
    at = start
    while at < end and codes[at] == DOT:
        at += 1
    return at - start


@plain
def front(codes: Any, kinds: Any, start: Any, end: Any) -> int:
    """Return how many characters are cut from the front."""
    code = codes[start]
    if kinds[start] & uint32(FRONT):
        return 1
    if code == PLUS:
        return 0 if start + 1 < end and kinds[start + 1] & uint32(NUMERAL) else 1
    if code == DOT:
        dots = dots_after(codes, start, end)
        return dots if dots > 1 else 0
    return 0


@plain
def unit_behind(codes: Any, kinds: Any, start: Any, end: Any) -> Any:
    """Return how long a unit is that stands behind a digit at the end; 0 if there is none."""
    longest = np.int64(0)
    for row in range(len(UNIT_CODES)):
        size = np.int64(UNIT_CODES[row, 0])
        at = end - size
        if size > longest and at > start and kinds[at - 1] & uint32(NUMERAL):
            same = 0
            while same < size and codes[at + same] == UNIT_CODES[row, 1 + same]:
                same += 1
            if same == size:
                longest = size
    return longest


@plain
def back(codes: Any, kinds: Any, start: Any, end: Any) -> int:
    """Return how many characters are cut from the end."""
    code, kind = codes[end - 1], kinds[end - 1]
    if code == DOT:
        dots = 1
        while end - dots > start and codes[end - dots - 1] == DOT:
            dots += 1
        if dots > 1:
            return dots
        if end - start < 2:
            return 0
        before = kinds[end - 2]
        sign = codes[end - 2]
        if before & uint32(LOWER | NUMERAL | CLIP | QUOTE) or sign in (
            0x25,
            0xB2,
            0x2D,
            PLUS,
            0x7C,
        ):
            return 1
        two = end - start > 2 and before & uint32(UPPER) and kinds[end - 3] & uint32(UPPER)
        return 1 if two else 0
    if kind & uint32(BACK):
        return 1
    if end - start < 2:
        return 0
    if code in (0x73, 0x53) and codes[end - 2] in APOSTROPHES:
        return 2
    if kind & uint32(NUMERAL):
        return 0
    if (kind & uint32(MONEY) or code == PLUS) and kinds[end - 2] & uint32(NUMERAL):
        return 1
    return unit_behind(codes, kinds, start, end)


@plain
def is_host(codes: Any, kinds: Any, start: Any, end: Any) -> bool:
    """Tell whether a host begins here, with port and path or nothing behind it."""
    at = label = start
    dots = 0
    lower = True
    while at < end:
        code = codes[at]
        if code == DOT:
            size = at - label
            if size == 0 or size > MOST_HOST_LABEL or not kinds[at - 1] & uint32(HOST):
                return False
            dots += 1
            label, lower = at + 1, True
        elif kinds[at] & uint32(HOST) or (code in (0x2D, 0x5F) and at > label):
            lower = lower and kinds[at] & uint32(LOWER) != 0
        else:
            break
        at += 1
    size = at - label
    if dots == 0 or not lower or size < TOP_LABELS[0] or size > TOP_LABELS[1]:
        return False
    if at < end and codes[at] == 0x3A:
        digits = at + 1
        while digits < end and kinds[digits] & uint32(NUMERAL):
            digits += 1
        size = digits - at - 1
        if size < PORT_DIGITS[0] or size > PORT_DIGITS[1]:
            return False
        at = digits
    return at == end or codes[at] in (0x2F, 0x3F, 0x23)


@plain
def is_address(codes: Any, kinds: Any, start: Any, end: Any) -> bool:
    """Tell whether a chunk is an address of the web or of a mailbox."""
    at = start
    while at < end and codes[at] != DOT:
        at += 1
    if at == end:
        return False
    at = start
    while at < end and (kinds[at] & uint32(WORDLY) or codes[at] in (PLUS, 0x2D, DOT)):
        at += 1
    host = start
    scheme = at - start >= 2 and at + 3 < end
    if scheme and codes[at] == 0x3A and codes[at + 1] == 0x2F and codes[at + 2] == 0x2F:
        host = at + 3
    if is_host(codes, kinds, host, end):
        return True
    for at in range(start + 1, end - 1):
        if codes[at] == 0x40 and is_host(codes, kinds, at + 1, end):
            return True
    return False


@plain
def dash(codes: Any, kinds: Any, at: Any, end: Any) -> int:
    """Return how many characters a dash before a letter has; 0 if none follows."""
    code, size = codes[at], 1
    most = 3 if code == 0x2D else 2 if code == 0x2014 else 1
    while size < most and at + size < end and codes[at + size] == code:
        size += 1
    return size if at + size < end and kinds[at + size] & uint32(LETTER) else 0


@plain
def joint(codes: Any, kinds: Any, start: Any, at: Any, end: Any) -> int:
    """Return how many characters part the compound [start, end) at `at`; 0: none."""
    code, kind = codes[at], kinds[at]
    if code == DOT:
        dots = dots_after(codes, at, end)
        if dots > 1:
            return dots
    if code == ELLIPSIS or kind & uint32(ICON):
        return 1
    if at == start or at + 1 >= end:
        return 0
    before, after = kinds[at - 1], kinds[at + 1]
    figure = after & uint32(NUMERAL) or codes[at + 1] == 0x2D
    if figure and before & uint32(NUMERAL) and code in (PLUS, 0x2D, 0x2A, 0x5E):
        return 1
    if code == DOT:
        left, right = before & uint32(LOWER | QUOTE), after & uint32(UPPER | QUOTE)
        return 1 if left and right else 0
    if code == 0x2C:
        return 1 if before & uint32(LETTER) and after & uint32(LETTER) else 0
    if not before & uint32(LETTER | NUMERAL):
        return 0
    if code in (0x3A, 0x3C, 0x3E, 0x3D, 0x2F):
        return 1 if after & uint32(LETTER) else 0
    return dash(codes, kinds, at, end) if kind & uint32(HYPHEN) else 0


@plain
def part(codes: Any, kinds: Any, start: Any, end: Any, out: Any, count: Any) -> int:
    """Write the parts of a compound from row `count` on; return the next row."""
    begun = at = start
    while at < end:
        size = 0
        if not kinds[at] & uint32(LETTER | NUMERAL):
            size = joint(codes, kinds, start, at, end)
        if size == 0:
            at += 1
            continue
        if at > begun:
            out[count, 0], out[count, 1] = begun, at
            count += 1
        out[count, 0], out[count, 1] = at, at + size
        count += 1
        at += size
        begun = at
    if begun < end:
        out[count, 0], out[count, 1] = begun, end
        count += 1
    return count


@plain
def put(out: Any, count: Any, start: Any, end: Any) -> int:
    """Write one word; return the next row."""
    out[count, 0], out[count, 1] = start, end
    return count + 1


@plain
def middle(
    codes: Any, kinds: Any, start: Any, end: Any, row: Any, out: Any, count: Any, special: Any
) -> int:
    """Write the words of what is left of a chunk: row `row` of the exceptions, or none (-1)."""
    if row >= 0:
        for piece in range(MOST_PIECES):
            size = np.int64(special.cuts[row, piece])
            if size:
                count = put(out, count, start, start + size)
                start += size
    elif start < end:
        if is_address(codes, kinds, start, end):
            return put(out, count, start, end)
        return part(codes, kinds, start, end, out, count)
    return count


@plain
def chunk(
    codes: Any, kinds: Any, start: Any, end: Any, out: Any, count: Any, ends: Any, special: Any
) -> int:
    """Write the words of one chunk from row `count` on; return the next row."""
    held = 0
    row = exception(codes, start, end, special)
    while start < end and row < 0:
        first = front(codes, kinds, start, end)
        last = back(codes, kinds, start + first, end) if start + first < end else 0
        if first and start + first < end:
            row = exception(codes, start + first, end, special)
            last = 0 if row >= 0 else last
        if last and row < 0 and first:
            row = exception(codes, start, end - last, special)
            first = 0 if row >= 0 else first
        if first + last == 0:
            break
        if first:
            out[count, 0], out[count, 1] = start, start + first
            count += 1
            start += first
        if last:
            ends[held] = end
            held += 1
            end -= last
        if row < 0 and start < end:
            row = exception(codes, start, end, special)
    count = middle(codes, kinds, start, end, row, out, count, special)
    while held:
        held -= 1
        out[count, 0] = end
        out[count, 1] = ends[held]
        end = ends[held]
        count += 1
    return count


@plain
def split(
    codes: Any, kinds: Any, start: Any, end: Any, out: Any, count: Any, ends: Any, special: Any
) -> int:
    """Write the words of the characters [start, end) from row `count` of `out` on.

    Returns the next row. `ends` is room for as many numbers as there are characters.
    """
    at = start
    while at < end:
        while at < end and kinds[at] & uint32(SPACE):
            at += 1
        begun = at
        plain = uint32(LETTER)
        while at < end and not kinds[at] & uint32(SPACE):
            plain &= kinds[at]
            at += 1
        if at == begun:
            continue
        if plain & uint32(LETTER) and exception(codes, begun, at, special) < 0:
            out[count, 0], out[count, 1] = begun, at
            count += 1
        else:
            first = count
            count = chunk(codes, kinds, begun, at, out, count, ends, special)
            if count > first + 1:
                count = faces(codes, out, first, count)
    return count
