"""Which bytes of a document are what: a bit for each, 64 told at once.

ASCII is told by vectors; every other character is decoded once, and all its bytes get the bits that
it has. A document is well-formed UTF-8 here, surrogates among it; `mark_others` tells if it is not.
What is behind a document is zeros, which are nothing.

    SPACES, LETTERS, DIGITS   str.isspace, str.isalpha, 0 to 9
    FEEDS, BREAKS             line feeds; the first byte of what ends a line for str.splitlines
    HIGH, LATER               bytes that are not ASCII; those that do not begin a character
    RARE                      `[`, `{`, and what the phrases that C4 looks for have within them
    HASHES, EQUALS, DOTS      # = .
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types, uint32, uint64
from numba.extending import intrinsic

from stages.lm.kernels.bits import BLOCK, load8, lowest, ones
from stages.lm.kernels.characters import decode
from stages.lm.kernels.compiled import inlined, leaf, plain
from stages.lm.scores.marks import ALNUM, BREAK, LETTER, SPACE, mark

SPACES, LETTERS, DIGITS, FEEDS, BREAKS, HIGH, LATER, RARE, HASHES, EQUALS, DOTS = range(11)
KINDS = 11
SPAN = 57
"""Bits that one load gives at any place."""
PAD = BLOCK + 8
"""Bytes behind a document that are zeros."""
ALL = (1 << 64) - 1
SIGNS = ("jav", "psu", "f u", "vac", "coo")
"""One of these is within every phrase of C4: javascript, ipsum, of use, privacy, cookie."""
BROKEN, ELLIPSIS = 0xFFFD, 0x2026
_I8, _I64 = ir.IntType(8), ir.IntType(64)
_VECTOR = ir.VectorType(_I8, BLOCK)


class Page(NamedTuple):
    """A document as kernels read it.

    `held` uint8 are its bytes, `maps` uint64 [KINDS, B] its bits; `edges` int32 where chunks
    between blanks begin and end in turn, `feeds` and `breaks` int32 where those bits are.
    """

    held: Any
    maps: Any
    edges: Any
    feeds: Any
    breaks: Any


def _splat(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * BLOCK)


@intrinsic
def marks_block(typing: Any, source: Any, target: Any, stride: Any) -> Any:
    """Write the bits of the 64 bytes at `source`, which two more must follow.

    The bits of kind k go to `target` + k * `stride`; all three are addresses and a number of bytes.
    """
    del typing, source, target, stride

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        source, target, stride = arguments

        def loaded(further: int) -> Any:
            place = builder.add(source, ir.Constant(_I64, further))
            return builder.load(builder.inttoptr(place, _VECTOR.as_pointer()), align=1)

        def within(value: Any, first: int, count: int) -> Any:
            return builder.icmp_unsigned("<", builder.sub(value, _splat(first)), _splat(count))

        def same(value: Any, sign: str) -> Any:
            return builder.icmp_unsigned("==", value, _splat(ord(sign)))

        def put(kind: int, bits: Any) -> None:
            place = builder.add(target, builder.mul(stride, ir.Constant(_I64, kind)))
            whole = builder.bitcast(bits, _I64)
            builder.store(whole, builder.inttoptr(place, _I64.as_pointer()), align=8)

        given = loaded(0)
        low = [builder.or_(one, _splat(0x20)) for one in (given, loaded(1), loaded(2))]
        put(LETTERS, within(low[0], ord("a"), 26))
        put(DIGITS, within(given, ord("0"), 10))
        blank = builder.or_(within(given, 9, 5), same(given, " "))
        put(SPACES, builder.or_(blank, within(given, 0x1C, 4)))
        put(FEEDS, same(given, "\n"))
        put(BREAKS, builder.or_(within(given, 10, 4), within(given, 0x1C, 3)))
        put(HIGH, builder.icmp_signed("<", given, _splat(0)))
        put(LATER, builder.icmp_signed("<", given, _splat(-64)))
        rare = builder.or_(same(given, "["), same(given, "{"))
        for one in SIGNS:
            found = builder.and_(same(low[0], one[0]), same(low[1], one[1]))
            rare = builder.or_(rare, builder.and_(found, same(low[2], one[2])))
        put(RARE, rare)
        for kind, sign in ((HASHES, "#"), (EQUALS, "="), (DOTS, ".")):
            put(kind, same(given, sign))
        return context.get_dummy_value()

    address = types.uint64
    return types.void(address, address, address), make


def reference_marks_block(data: bytes) -> list[int]:
    """Return the bits that `marks_block` writes for 66 bytes, by kind."""
    tests = {
        SPACES: lambda at: data[at] < 128 and chr(data[at]).isspace(),
        LETTERS: lambda at: data[at] < 128 and chr(data[at]).isalpha(),
        DIGITS: lambda at: data[at] in b"0123456789",
        FEEDS: lambda at: data[at] in b"\n",
        BREAKS: lambda at: data[at] in b"\n\x0b\x0c\r\x1c\x1d\x1e",
        HIGH: lambda at: data[at] > 127,
        LATER: lambda at: 0x80 <= data[at] < 0xC0,
        RARE: lambda at: data[at] in b"[{" or _is_sign(data[at : at + 3]),
        HASHES: lambda at: data[at] in b"#",
        EQUALS: lambda at: data[at] in b"=",
        DOTS: lambda at: data[at] in b".",
    }
    return [sum(1 << at for at in range(BLOCK) if tests[kind](at)) for kind in range(KINDS)]


def _is_sign(data: bytes) -> bool:
    return bytes(byte | 0x20 for byte in data) in [one.encode() for one in SIGNS]


@inlined
def pages(most: Any) -> Any:
    """Return room for documents of up to `most` bytes."""
    blocks = most // BLOCK + 3
    return Page(
        np.zeros(BLOCK * blocks + PAD, np.uint8), np.zeros((KINDS, blocks), np.uint64),
        np.empty(most + 2, np.int32), np.empty(most + 2, np.int32), np.empty(most + 2, np.int32),
    )  # fmt: skip


@plain
def open_page(data: Any, start: Any, size: Any, page: Any) -> None:
    """Copy data[start : start + size] and tell what of it is ASCII."""
    held, maps = page.held, page.maps
    for at in range(size):
        held[at] = data[start + at]
    for at in range(size, size + PAD):
        held[at] = 0
    source, target, stride = held.ctypes.data, maps.ctypes.data, 8 * maps.shape[1]
    for block in range((size + BLOCK - 1) // BLOCK + 1):
        place = uint64(target + 8 * block)
        marks_block(uint64(source + BLOCK * block), place, uint64(stride))


@plain
def put_bits(maps: Any, kind: int, at: int, width: int) -> None:
    """Set the bits of a character."""
    bits = (uint64(1) << uint64(width)) - uint64(1)
    block, bit = at >> 6, at & 63
    maps[kind, block] |= bits << uint64(bit)
    if bit + width > 64:
        maps[kind, block + 1] |= bits >> uint64(64 - bit)


@plain
def mark_others(size: int, page: Any, marks: Any) -> Any:
    """Tell what is not ASCII; returns (letters and digits among it, ellipses), or (-1, 0) where
    bytes make no character."""
    held, maps = page.held, page.maps
    alnum = ellipses = behind = 0
    for block in range((size + BLOCK - 1) // BLOCK):
        waiting = maps[HIGH, block]
        while waiting:
            at = BLOCK * block + lowest(waiting)
            waiting &= waiting - uint64(1)
            if at < behind:
                continue
            code, width = decode(held, at, size)
            behind = at + width
            if width == 1:
                return -1, 0
            found = mark(code, marks)
            if found & uint32(LETTER):
                put_bits(maps, LETTERS, at, width)
            elif found & uint32(SPACE):
                put_bits(maps, SPACES, at, width)
                if found & uint32(BREAK):
                    put_bits(maps, BREAKS, at, 1)
            alnum += found & uint32(ALNUM) != 0
            ellipses += code == ELLIPSIS
    return alnum, ellipses


@plain
def edges_of(size: int, page: Any) -> int:
    """Write where chunks between blanks begin and end; returns how many there are."""
    maps, edges = page.maps, page.edges
    count = 0
    carry = uint64(1)
    for block in range((size + BLOCK - 1) // BLOCK):
        spaces = maps[SPACES, block]
        left = size - BLOCK * block
        if left < BLOCK:
            spaces |= uint64(ALL) << uint64(left)
        turns = spaces ^ (spaces << uint64(1) | carry)
        carry = spaces >> uint64(63)
        while turns:
            edges[count] = BLOCK * block + lowest(turns)
            count += 1
            turns &= turns - uint64(1)
    if count & 1:
        edges[count] = size
        count += 1
    return count >> 1


@plain
def places_of(size: int, page: Any, kind: int, places: Any) -> int:
    """Write where the bits of a kind are; returns how many there are."""
    count = 0
    for block in range((size + BLOCK - 1) // BLOCK):
        bits = page.maps[kind, block]
        while bits:
            places[count] = BLOCK * block + lowest(bits)
            count += 1
            bits &= bits - uint64(1)
    return count


@plain
def bits_in(maps: Any, kind: int, start: int, end: int) -> int:
    """Return how many of some bytes have a bit."""
    if start >= end:
        return 0
    first, last = start >> 6, (end - 1) >> 6
    low = uint64(ALL) << uint64(start & 63)
    high = uint64(ALL) >> uint64(63 - ((end - 1) & 63))
    if first == last:
        return ones(maps[kind, first] & low & high)
    found = ones(maps[kind, first] & low) + ones(maps[kind, last] & high)
    for block in range(first + 1, last):
        found += ones(maps[kind, block])
    return found


@leaf
def length_of(maps: Any, wide: bool, start: int, end: int) -> int:
    """Return how many characters some bytes are; `wide`: whether they may be other than ASCII."""
    return end - start - (bits_in(maps, LATER, start, end) if wide else 0)


@leaf
def bits_at(row: Any, place: int) -> Any:
    """Return the bits from a place on, `SPAN` at least; `row` is the address of a map's row."""
    return load8(uint64(row + (place >> 3))) >> uint64(place & 7)


@plain
def three_dots(size: int, page: Any) -> int:
    """Count `...`, none within another."""
    maps, held = page.maps, page.held
    near = uint64(0)
    for block in range((size + BLOCK - 1) // BLOCK):
        here, behind = maps[DOTS, block], maps[DOTS, block + 1]
        one = here >> uint64(1) | behind << uint64(63)
        near |= here & one & (here >> uint64(2) | behind << uint64(62))
    if near == 0:
        return 0
    found = dots = 0
    for at in range(size):
        dots = dots + 1 if held[at] == 0x2E else 0
        if dots == 3:
            found += 1
            dots = 0
    return found
