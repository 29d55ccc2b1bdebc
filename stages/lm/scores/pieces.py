"""The words of a whole document, with what is asked of each of them.

What stands between blanks is mostly letters or digits with one sign before or behind: that is told
from the bits of `stages.lm.scores.maps`, without a look at the characters. Whatever else it is, it
is decoded and cut as `stages.lm.scores.words` says; both ways give the same words.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types, uint8, uint32, uint64

from stages.lm.kernels.characters import decode
from stages.lm.kernels.compiled import fills, inlined, leaf, plain
from stages.lm.kernels.words import hash_word
from stages.lm.scores import columns as c
from stages.lm.scores.exceptions import FACTOR, LONGEST
from stages.lm.scores.maps import ALL, DIGITS, LETTERS, SPAN, bits_at, length_of
from stages.lm.scores.marks import LETTER, LOWER, NUMERAL, POINT, STOP, SYMBOL, mark
from stages.lm.scores.words import BACK, DOT, FRONT, split

SOLID, LETTERED, STOPPING, SIGNED = 1, 2, 4, 8
"""More than signs that make no word; with a letter; one sign that ends a sentence; signs alone."""
FACE_SIGNS = (0x3A, 0x3B, 0x3D)
"""With one letter or digit behind, these make a face."""


class Pieces(NamedTuple):
    """Words in order: first byte, hash of the bytes, characters, flags (`SOLID`, ...)."""

    starts: Any
    hashes: Any
    lengths: Any
    flags: Any


class Room(NamedTuple):
    """Room to decode a chunk: code points, marks, where each begins; words; ends of words."""

    codes: Any
    kinds: Any
    places: Any
    words: Any
    ends: Any


PIECES = types.NamedTuple(
    (fills(types.int32), fills(types.uint64), fills(types.int32), fills(types.uint8)), Pieces
)


@inlined
def pieces(most: Any) -> Any:
    """Return room for the words of documents of up to `most` bytes."""
    return Pieces(
        np.empty(most + 1, np.int32), np.empty(most + 1, np.uint64),
        np.empty(most + 1, np.int32), np.empty(most + 1, np.uint8),
    )  # fmt: skip


@inlined
def chamber(most: Any) -> Any:
    """Return room to decode up to `most` bytes."""
    return Room(
        np.empty(most + 1, np.uint32), np.empty(most + 1, np.uint32), np.empty(most + 2, np.int32),
        np.empty((most + 1, 2), np.int32), np.empty(most + 1, np.int64),
    )  # fmt: skip


@plain
def decoded(held: Any, start: int, end: int, room: Any, marks: Any) -> int:
    """Write the code points, marks and places of some bytes; returns how many there are."""
    codes, kinds, places = room.codes, room.kinds, room.places
    count = 0
    at = start
    while at < end:
        code, width = uint32(held[at]), 1
        if code < 0x80:
            kinds[count] = marks.marks[code]
        else:
            code, width = decode(held, at, end)
            kinds[count] = mark(code, marks)
        codes[count], places[count] = code, at
        count += 1
        at += width
    places[count] = end
    return count


@plain
def maybe_exception(held: Any, start: int, end: int, special: Any) -> bool:
    """Tell whether bytes may be an exception: all that are, and few besides."""
    size = end - start
    if size > LONGEST:
        return False
    first, last = uint32(held[start]), uint32(held[end - 1])
    if first > 127:  # the exceptions of letters alone are ASCII but for one letter and a full stop
        return size <= 3
    shape = special.shapes[first & uint32(63), last & uint32(63)]
    if not (shape >> uint32(size)) & uint32(1):
        return False
    key = uint64(size)
    for at in range(start, end):
        key = (key ^ uint64(held[at])) * uint64(FACTOR)
        key ^= key >> uint64(29)
    bottom = len(special.keys) - 1
    slot = np.int64(key & uint64(bottom))
    while special.keys[slot]:
        if special.keys[slot] == key:
            return True
        slot = (slot + 1) & bottom
    return False


@plain
def ends_of(held: Any, start: int, end: int, rest: Any, marks: Any) -> Any:
    """Return (start, end) without one sign before and behind; `rest`: which bytes are no letter."""
    first, last = held[start], held[end - 1]
    begin, stop = start, end
    if rest & uint64(1) and first < 128 and marks.marks[first] & uint32(FRONT):
        begin = start + 1
    if last < 128 and end - begin > 1:
        if marks.marks[last] & uint32(BACK):
            stop = end - 1
        elif last == DOT:
            before = held[end - 2]
            if before < 128 and marks.marks[before] & uint32(LOWER | NUMERAL):
                stop = end - 1
    return begin, stop


@leaf
def is_core(held: Any, start: int, begin: int, stop: int, rest: Any, digits: Any) -> bool:
    """Tell whether [begin, stop) is one word where nothing is cut: letters, or digits at the end.

    `rest` and `digits` are the bits of [start, ...) that are no letter and that are a digit.
    """
    size = stop - begin
    within = (uint64(ALL) >> uint64(64 - size)) << uint64(begin - start)
    if rest & ~digits & within:
        return False
    if not digits & within:
        return True
    return uint8(held[stop - 1] - uint8(48)) < 10 and size > 1


@leaf
def may_be_face(held: Any, start: int, begin: int, stop: int) -> bool:
    """Tell whether the sign before a word and the word may be a face."""
    first = held[start]
    sign = first == FACE_SIGNS[0] or first == FACE_SIGNS[1] or first == FACE_SIGNS[2]
    return begin > start and stop - begin == 1 and sign


@plain
def sign_flags(kind: Any) -> Any:
    """Return the flags of a word of one character."""
    found = uint8(SIGNED) if kind & uint32(POINT) else uint8(0)
    if kind & uint32(STOP):
        found |= uint8(STOPPING)
    if not kind & uint32(SYMBOL):
        found |= uint8(SOLID)
    if kind & uint32(LETTER):
        found |= uint8(LETTERED)
    return found


@leaf
def put(
    page: Any, found: Any, count: int, start: int, end: int, length: int, flags: Any, hashing: bool
) -> int:
    """Write a word; returns the next row."""
    found.starts[count], found.flags[count] = start, flags
    if hashing:
        found.lengths[count] = length
        found.hashes[count] = hash_word(page.held.ctypes.data + start, end - start)
    return count + 1


@plain
def put_chunk(
    page: Any, start: int, end: int, found: Any, count: int, room: Any, marks: Any, special: Any,
    hashing: bool,
) -> int:  # fmt: skip
    """Write the words of any chunk; returns the next row."""
    size = decoded(page.held, start, end, room, marks)
    codes, kinds, places, words = room.codes, room.kinds, room.places, room.words
    number = split(codes, kinds, 0, size, words, 0, room.ends, special)
    for word in range(number):
        first, stop = words[word, 0], words[word, 1]
        every, some = uint32(SYMBOL | POINT), uint32(0)
        for at in range(first, stop):
            every &= kinds[at]
            some |= kinds[at]
        if stop - first == 1:
            flags = sign_flags(kinds[first])
        else:
            flags = uint8(0 if every & uint32(SYMBOL) else SOLID)
            flags |= uint8(SIGNED if every & uint32(POINT) else 0)
            flags |= uint8(LETTERED if some & uint32(LETTER) else 0)
        count = put(page, found, count, places[first], places[stop], stop - first, flags, hashing)
    return count


@plain
def cut(
    page: Any, chunks: int, wide: bool, found: Any, room: Any, marks: Any, special: Any,
    hashing: bool,
) -> int:  # fmt: skip
    """Write the words of a document's chunks; returns how many there are."""
    held, maps, edges = page.held, page.maps, page.edges
    base, stride = maps.ctypes.data, 8 * maps.shape[1]
    letter_row, digit_row = base + LETTERS * stride, base + DIGITS * stride
    count = 0
    letters = uint8(SOLID | LETTERED)
    for chunk in range(chunks):
        start, end = np.int64(edges[2 * chunk]), np.int64(edges[2 * chunk + 1])
        size = end - start
        if size > SPAN:
            count = put_chunk(page, start, end, found, count, room, marks, special, hashing)
            continue
        rest = ~bits_at(letter_row, start) & (uint64(ALL) >> uint64(64 - size))
        begin, stop, flags = start, end, letters
        if rest or maybe_exception(held, start, end, special):
            if size == 1:
                flags = sign_flags(marks.marks[held[start]])
            else:
                begin, stop = ends_of(held, start, end, rest, marks)
                digits = bits_at(digit_row, start)
                if (
                    not is_core(held, start, begin, stop, rest, digits)
                    or may_be_face(held, start, begin, stop)
                    or maybe_exception(held, start, end, special)
                    or maybe_exception(held, begin, end, special)
                    or maybe_exception(held, start, stop, special)
                    or maybe_exception(held, begin, stop, special)
                ):
                    count = put_chunk(page, start, end, found, count, room, marks, special, hashing)
                    continue
                within = (uint64(ALL) >> uint64(64 - (stop - begin))) << uint64(begin - start)
                flags = letters if ~rest & within else uint8(SOLID)
        if begin > start:
            sign = sign_flags(marks.marks[held[start]])
            count = put(page, found, count, start, begin, 1, sign, hashing)
        length = length_of(maps, wide, begin, stop) if hashing else 0
        count = put(page, found, count, begin, stop, length, flags, hashing)
        if end > stop:
            sign = sign_flags(marks.marks[held[stop]])
            count = put(page, found, count, stop, end, 1, sign, hashing)
    return count


@plain
def measure_words(found: Any, count: int, stops: Any, longest: int, row: Any) -> None:
    """Count kinds of words, and which of `stops` (hashes) occur; `longest`: characters of these."""
    hashes, lengths, flags = found.hashes, found.lengths, found.flags
    sieve = stopped = uint64(0)
    for place in range(len(stops)):
        sieve |= uint64(1) << (stops[place] & uint64(63))
    solid = solid_size = lettered = 0
    for number in range(count):
        length, hashed = int(lengths[number]), hashes[number]
        if flags[number] & uint8(SOLID):
            solid += 1
            solid_size += length
        lettered += flags[number] & uint8(LETTERED) != 0
        if length <= longest and (sieve >> (hashed & uint64(63))) & uint64(1):
            for place in range(len(stops)):
                if stops[place] == hashed:
                    stopped |= uint64(1) << uint64(place)
    named = 0
    while stopped:
        stopped &= stopped - uint64(1)
        named += 1
    row[c.SOLID_WORDS], row[c.SOLID_CHARACTERS] = solid, solid_size
    row[c.LETTER_WORDS], row[c.STOP_WORDS] = lettered, named
