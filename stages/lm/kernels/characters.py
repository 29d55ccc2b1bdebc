"""Characters in kernels: Unicode properties, UTF-8 and lower-casing as Python itself has them.

Properties stand in a two-stage table: `pages[code >> 7]` names a block of 128 entries of `kinds`,
each a uint32 of flags (`LETTER`, `WORD`, ...) with the general category in its upper bits, and of
`lowers`, what to add to a code point to lower its case. They are asked of `str` and `unicodedata`
of the running interpreter, so they are its Unicode version and equal to its own methods on every
code point. Kernels take them as one argument: `TABLES` is its type, `tables()` its value.

    flags          equal to
    LETTER         str.isalpha              DIGIT      str.isdigit
    DECIMAL        str.isdecimal, `\\d`      NUMERIC    str.isnumeric
    WORD           `\\w` of re               SPACE      str.isspace, `\\s`
    UPPER, LOWER   str.isupper, islower     TITLE      str.istitle but not isupper
    PUNCTUATION    categories P*            SYMBOL     categories S*
    MARK           categories M*            CONTROL    category Cc
    PRINTABLE      str.isprintable
    CASED, SKIPPED what str.lower asks around a capital sigma: a cased letter; case-ignorable
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Any, NamedTuple

import numpy as np
from numba import types, uint8, uint32
from numpy.typing import NDArray

from stages.lm.kernels.compiled import BYTES, OFFSETS, fills, inlined, kept, kernel, reads
from stages.lm.kernels.text import Texts, of_strings, to_strings

LETTER, DIGIT, DECIMAL, NUMERIC, WORD, SPACE = (1 << bit for bit in range(6))
UPPER, LOWER, TITLE, PUNCTUATION, SYMBOL, MARK = (1 << bit for bit in range(6, 12))
CONTROL, PRINTABLE, CASED, SKIPPED = (1 << bit for bit in range(12, 16))
CATEGORY_SHIFT = 16
CATEGORIES = (
    "Cn", "Cc", "Cf", "Co", "Cs", "Ll", "Lm", "Lo", "Lt", "Lu", "Mc", "Me", "Mn", "Nd", "Nl",
    "No", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Sc", "Sk", "Sm", "So", "Zl", "Zp", "Zs",
)  # fmt: skip
"""General categories by number: a kind's upper bits are a place in this list."""
PAGE_BITS = 7
PAGE_SIZE = 1 << PAGE_BITS
CODES = 0x110000
EMPTY_PLANES = (0x40000, 0xE0000)
"""Planes without assigned characters in every Unicode version of the Pythons this runs on."""
BROKEN = 0xFFFD
"""What stands for a byte that begins no well-formed character: U+FFFD, one per byte."""
DOTTED_I, DOT = 0x130, 0x307
"""The one character whose lower case is two: I with a dot becomes i and a combining dot."""
SIGMA, MEDIAL, FINAL = 0x3A3, 0x3C3, 0x3C2


class Tables(NamedTuple):
    """The two-stage tables; see the module."""

    pages: NDArray[np.uint16]
    kinds: NDArray[np.uint32]
    lowers: NDArray[np.int32]


TABLES = types.NamedTuple((reads(types.uint16), reads(types.uint32), reads(types.int32)), Tables)


@functools.cache
def tables() -> Tables:
    """Return the tables of this interpreter's Unicode version: 0.4 s, once on a machine."""
    return Tables(*kept("characters", __file__, _made))


def _made() -> Tables:
    first, last = EMPTY_PLANES
    kinds, lowers = np.zeros(CODES, np.uint32), np.zeros(CODES, np.int32)
    for start, stop in ((0, first), (last, CODES)):
        kinds[start:stop], lowers[start:stop] = _properties(start, stop)
    kinds[first:last], lowers[first:last] = _properties(first, first + 1)
    pages, blocks = paged(kinds.view(np.int32), lowers)
    return Tables(pages, blocks[0].view(np.uint32), blocks[1])


def _properties(start: int, stop: int) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Ask Python about a run of code points."""
    text = [chr(code) for code in range(start, stop)]
    count = len(text)
    numbers = {name: number for number, name in enumerate(CATEGORIES)}
    named = np.fromiter((numbers[name] for name in map(unicodedata.category, text)), np.uint32)
    kinds = (named << CATEGORY_SHIFT).astype(np.uint32)

    def put(flag: int, wanted: Any) -> None:
        kinds[np.fromiter(wanted, bool, count)] |= np.uint32(flag)

    for flag, ask in (
        (LETTER, str.isalpha), (DIGIT, str.isdigit), (DECIMAL, str.isdecimal),
        (NUMERIC, str.isnumeric), (WORD, str.isalnum), (SPACE, str.isspace),
        (UPPER, str.isupper), (LOWER, str.islower), (PRINTABLE, str.isprintable),
    ):  # fmt: skip
        put(flag, map(ask, text))
    put(TITLE, (one.istitle() and not one.isupper() for one in text))
    for flag, initial in ((PUNCTUATION, "P"), (SYMBOL, "S"), (MARK, "M")):
        wanted = [number for name, number in numbers.items() if name[0] == initial]
        kinds[np.isin(named, wanted)] |= np.uint32(flag)
    kinds[named == numbers["Cc"]] |= np.uint32(CONTROL)
    if start <= ord("_") < stop:
        kinds[ord("_") - start] |= np.uint32(WORD)
    # A capital sigma ends a word after a cased letter and any ignorable characters behind it.
    put(CASED, ((one + "\u03a3").lower()[-1] == "\u03c2" for one in text))
    put(SKIPPED, (("A" + one + "\u03a3").lower()[-1] == "\u03c2" for one in text))
    kinds[kinds & np.uint32(CASED) != 0] &= ~np.uint32(SKIPPED)
    lowers = np.fromiter((ord(one.lower()[0]) for one in text), np.int32, count)
    lowers -= np.arange(start, stop, dtype=np.int32)
    return kinds, lowers


def paged(*columns: NDArray[np.int32]) -> tuple[NDArray[np.uint16], list[NDArray[np.int32]]]:
    """Return the pages of some properties `[0x110000]`, and of each the blocks that differ."""
    rows = np.stack(columns).reshape(len(columns), -1, PAGE_SIZE).transpose(1, 0, 2)
    numbers: dict[bytes, int] = {}
    pages = [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows]
    blocks = np.frombuffer(b"".join(numbers), np.int32).reshape(-1, len(columns), PAGE_SIZE)
    split = [np.ascontiguousarray(blocks[:, place]).ravel() for place in range(len(columns))]
    return np.array(pages, np.uint16), split


@inlined
def kind_of(code: Any, tables: Any) -> Any:
    """Return the flags and category of a code point below 0x110000."""
    return tables.kinds[(uint32(tables.pages[code >> 7]) << uint32(7)) | uint32(code & 127)]


@inlined
def lower_of(code: Any, tables: Any) -> Any:
    """Return the code point of the lower case, context apart (I with dot gives i alone)."""
    place = (uint32(tables.pages[code >> 7]) << uint32(7)) | uint32(code & 127)
    return uint32(code + tables.lowers[place])


@inlined
def decode(data: Any, at: Any, end: Any) -> Any:
    """Return (code point, width in bytes) of the character at `at` < `end`; never fails.

    Surrogates are characters here, as Python's `surrogatepass` has them; a byte that begins no
    well-formed character is (U+FFFD, 1). `stages.lm.kernels.text.decoded` is the reference.
    """
    first = uint32(data[at])
    if first < 0x80:
        return first, 1
    if first < 0xC2 or first > 0xF4 or at + 1 >= end:
        return uint32(BROKEN), 1
    second = uint32(data[at + 1])
    if second & uint32(0xC0) != 0x80:
        return uint32(BROKEN), 1
    if first < 0xE0:
        return (first & uint32(0x1F)) << uint32(6) | (second & uint32(0x3F)), 2
    if at + 2 >= end or (first == 0xE0 and second < 0xA0):
        return uint32(BROKEN), 1
    third = uint32(data[at + 2])
    if third & uint32(0xC0) != 0x80:
        return uint32(BROKEN), 1
    low = (second & uint32(0x3F)) << uint32(6) | (third & uint32(0x3F))
    if first < 0xF0:
        return (first & uint32(0x0F)) << uint32(12) | low, 3
    if at + 3 >= end or (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F):
        return uint32(BROKEN), 1
    fourth = uint32(data[at + 3])
    if fourth & uint32(0xC0) != 0x80:
        return uint32(BROKEN), 1
    return (first & uint32(0x07)) << uint32(18) | low << uint32(6) | (fourth & uint32(0x3F)), 4


@inlined
def encode(code: Any, out: Any, at: Any) -> Any:
    """Write a code point (surrogates too) as UTF-8 at `out[at:]`; return its width in bytes."""
    if code < 0x80:
        out[at] = uint8(code)
        return 1
    if code < 0x800:
        out[at] = uint8(0xC0 | (code >> 6))
        out[at + 1] = uint8(0x80 | (code & 0x3F))
        return 2
    if code < 0x10000:
        out[at] = uint8(0xE0 | (code >> 12))
        out[at + 1] = uint8(0x80 | ((code >> 6) & 0x3F))
        out[at + 2] = uint8(0x80 | (code & 0x3F))
        return 3
    out[at] = uint8(0xF0 | (code >> 18))
    out[at + 1] = uint8(0x80 | ((code >> 12) & 0x3F))
    out[at + 2] = uint8(0x80 | ((code >> 6) & 0x3F))
    out[at + 3] = uint8(0x80 | (code & 0x3F))
    return 4


@inlined
def before(data: Any, start: Any, at: Any) -> Any:
    """Return where the character that ends just before `at` begins; `start` < `at`.

    At most three continuation bytes are taken, and only if they really make one character.
    """
    back = at - 1
    while back > start and at - back < 4 and data[back] & uint8(0xC0) == 0x80:
        back -= 1
    if back + decode(data, back, at)[1] == at:
        return back
    return at - 1


@inlined
def is_final_sigma(data: Any, start: Any, at: Any, end: Any, tables: Any) -> Any:
    """Return whether the capital sigma at `at` ends its word, as `str.lower` decides it."""
    back = at
    found = False
    while back > start and not found:
        back = before(data, start, back)
        kind = kind_of(decode(data, back, end)[0], tables)
        if kind & uint32(SKIPPED) == 0:
            if kind & uint32(CASED) == 0:
                return False
            found = True
    if not found:
        return False
    ahead = at + 2
    while ahead < end:
        code, width = decode(data, ahead, end)
        kind = kind_of(code, tables)
        if kind & uint32(SKIPPED) == 0:
            return kind & uint32(CASED) == 0
        ahead += width
    return True


@inlined
def lower_into(data: Any, start: Any, end: Any, out: Any, to: Any, tables: Any) -> Any:
    """Write the lower case of the document data[start:end] at `out[to:]`; return where it ends.

    Equal to `str.lower` of the decoded text. A malformed byte becomes U+FFFD, three bytes: room for
    three times the input is always enough.
    """
    at = start
    while at < end:
        byte = data[at]
        if byte < 0x80:
            out[to] = byte + uint8(32) if uint8(byte - uint8(65)) < 26 else byte
            at += 1
            to += 1
            continue
        code, width = decode(data, at, end)
        if code == SIGMA:
            lowered = FINAL if is_final_sigma(data, start, at, end, tables) else MEDIAL
            to += encode(uint32(lowered), out, to)
        else:
            to += encode(lower_of(code, tables), out, to)
            if code == DOTTED_I:
                to += encode(uint32(DOT), out, to)
        at += width
    return to


@kernel(types.void, BYTES, OFFSETS, fills(types.uint8), fills(types.int64), TABLES)
def _lower(data: Any, offsets: Any, out: Any, bounds: Any, tables: Any) -> None:
    to = 0
    bounds[0] = 0
    for number in range(len(offsets) - 1):
        to = lower_into(data, offsets[number], offsets[number + 1], out, to, tables)
        bounds[number + 1] = to


def lower(texts: Texts) -> Texts:
    """Return the texts in lower case, `str.lower` of each; needs three times their memory."""
    out, bounds = np.empty(3 * len(texts.data), np.uint8), np.empty_like(texts.offsets)
    _lower(texts.data, texts.offsets, out, bounds, tables())
    return Texts(out[: bounds[-1]], bounds)


def reference_lower(texts: Texts) -> Texts:
    """Return the same by Python strings."""
    return of_strings([one.lower() for one in to_strings(texts)])


@kernel(types.void, BYTES, OFFSETS, fills(types.int64), fills(types.uint32), TABLES)
def _kinds(data: Any, offsets: Any, starts: Any, kinds: Any, tables: Any) -> None:
    count = 0
    for number in range(len(offsets) - 1):
        starts[number] = count
        at, end = offsets[number], offsets[number + 1]
        while at < end:
            code, width = decode(data, at, end)
            kinds[count] = kind_of(code, tables)
            count += 1
            at += width
    starts[len(offsets) - 1] = count


def kinds(texts: Texts) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return where each document's characters begin, `[D + 1]`, and the kind of every character."""
    starts, found = np.empty_like(texts.offsets), np.empty(len(texts.data), np.uint32)
    _kinds(texts.data, texts.offsets, starts, found, tables())
    return starts, found[: starts[-1]]
