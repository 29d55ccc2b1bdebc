"""Keys of texts that are equal up to letter case and blanks: 128 bits, from bytes.

Equal keys mean equal `reference_normal(text)`: runs of blanks (`\\s+`) made one space, none at the
ends, then `str.casefold`. Two different texts have the same key with probability about 2^-128 (two
independent chains of multiplications, each a bijection of its state for every eight bytes).
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple

import numpy as np
from numba import types, uint8, uint32, uint64
from numpy.typing import NDArray

from stages.lm.kernels.bits import load8
from stages.lm.kernels.characters import (
    CODES,
    EMPTY_PLANES,
    SPACE,
    TABLES,
    decode,
    encode,
    kind_of,
    paged,
    tables,
)
from stages.lm.kernels.compiled import BYTES, OFFSETS, called, fills, kept, kernel, reads, spread
from stages.lm.kernels.text import Texts
from stages.lm.kernels.words import ALL, LAST_FACTOR, LENGTH_FACTOR, WORD_FACTOR, longest

SEVERAL = 1 << 24
"""A fold at or above it names a row of `several`: its case fold is more than one character."""
_BLANKS = re.compile(r"\s+")


class Folds(NamedTuple):
    """Case folds by pages of 128: what to add to a code point, or a row of `several`."""

    pages: NDArray[np.uint16]
    shifts: NDArray[np.int32]
    several: NDArray[np.uint32]


FOLDS = types.NamedTuple(
    (
        reads(types.uint16),
        reads(types.int32),
        types.Array(types.uint32, 2, "C", readonly=True),
    ),
    Folds,
)


@functools.cache
def folds() -> Folds:
    """Return the case folds of this interpreter's Unicode version."""
    return Folds(*kept("folds", __file__, _made))


def _made() -> Folds:
    shifts = np.zeros(CODES, np.int32)
    several: list[list[int]] = []
    first, last = EMPTY_PLANES
    for code in (*range(first), *range(last, CODES)):
        folded = chr(code).casefold()
        if len(folded) == 1:
            shifts[code] = ord(folded) - code
        else:
            shifts[code] = SEVERAL + len(several)
            several.append([ord(one) for one in folded] + [0] * (3 - len(folded)))
    pages, (blocks,) = paged(shifts)
    return Folds(pages, blocks, np.array(several, np.uint32).reshape(-1, 3))


@called
def normal_into(
    data: Any, start: Any, end: Any, out: Any, plain: Any, tables: Any, folds: Any
) -> Any:
    """Write a document's normal form at out[0:]; return its size. Room: three times, and one.

    `plain` [128] holds the folds of ASCII, blanks as 128.
    """
    to = 0
    blank = False
    at = start
    while at < end:
        byte = data[at]
        if byte < 0x80 and plain[byte] < 0x80:
            if blank:
                out[to] = 32
                to += 1
                blank = False
            out[to] = plain[byte]
            to += 1
            at += 1
            continue
        code, width = decode(data, at, end)
        at += width
        if kind_of(code, tables) & uint32(SPACE):
            blank = to > 0
            continue
        if blank:
            out[to] = 32
            to += 1
            blank = False
        shift = folds.shifts[(uint32(folds.pages[code >> 7]) << uint32(7)) | uint32(code & 127)]
        if shift < SEVERAL:
            to += encode(uint32(code + shift), out, to)
        else:
            for one in folds.several[shift - SEVERAL]:
                if one:
                    to += encode(one, out, to)
    return to


@kernel(types.void, BYTES, OFFSETS, fills(types.uint64, 2), fills(types.int64), TABLES, FOLDS)
def _keys(data: Any, offsets: Any, found: Any, characters: Any, tables: Any, folds: Any) -> None:
    documents = len(offsets) - 1
    out = np.zeros(3 * longest(offsets, 0, documents) + 16, np.uint8)
    address = out.ctypes.data
    plain = np.empty(128, np.uint8)
    for code in range(128):
        shift = folds.shifts[(uint32(folds.pages[code >> 7]) << uint32(7)) | uint32(code & 127)]
        plain[code] = 128 if kind_of(uint32(code), tables) & uint32(SPACE) else code + shift
    for number in range(documents):
        size = normal_into(data, offsets[number], offsets[number + 1], out, plain, tables, folds)
        out[size : size + 8] = 0
        count = 0
        for at in range(size):
            count += (out[at] & uint8(0xC0)) != 0x80
        characters[number] = count
        one = uint64(size) * uint64(LENGTH_FACTOR)
        two = ~one
        for at in range(0, size, 8):
            chunk = load8(uint64(address + at))
            one = (one ^ chunk) * uint64(WORD_FACTOR)
            one ^= one >> uint64(32)
            two = (two + chunk) * uint64(LAST_FACTOR)
            two ^= two >> uint64(29)
        found[number, 0] = one * uint64(LAST_FACTOR)
        found[number, 1] = two * uint64(WORD_FACTOR)


def keys(texts: Texts, threads: int = 1) -> NDArray[np.uint64]:
    """Return every document's key, `[D, 2]`."""
    return keyed(texts, threads)[0]


def keyed(texts: Texts, threads: int = 1) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return every document's key, `[D, 2]`, and the characters of its normal form, `[D]`."""
    table, fold = tables(), folds()

    def work(first: int, stop: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        part = texts.part(first, stop)
        found = np.empty((stop - first, 2), np.uint64)
        characters = np.empty(stop - first, np.int64)
        _keys(part.data, part.offsets, found, characters, table, fold)
        return found, characters

    found, characters = zip(*spread(texts.offsets, threads, work), strict=True)
    return np.concatenate(found), np.concatenate(characters)


def reference_normal(text: str) -> str:
    """Return what a text is compared by."""
    return _BLANKS.sub(" ", text).strip().casefold()


def reference_key(text: str) -> tuple[int, int]:
    """Return one document's key by Python integers."""
    data = reference_normal(text).encode("utf-8", "surrogatepass")
    one = len(data) * LENGTH_FACTOR & ALL
    two = one ^ ALL
    for at in range(0, len(data), 8):
        chunk = int.from_bytes(data[at : at + 8], "little")
        one = (one ^ chunk) * WORD_FACTOR & ALL
        one ^= one >> 32
        two = (two + chunk) * LAST_FACTOR & ALL
        two ^= two >> 29
    return one * LAST_FACTOR & ALL, two * WORD_FACTOR & ALL


def firsts_of(found: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return for every key the lowest place that has it, `[D]`."""
    order = np.lexsort((found[:, 1], found[:, 0]))  # stable: ascending among equals
    ranked = found[order]
    new = np.ones(len(found), bool)
    new[1:] = (ranked[1:] != ranked[:-1]).any(axis=1)
    firsts = np.empty(len(found), np.int64)
    firsts[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(found)), 0))]
    return firsts
