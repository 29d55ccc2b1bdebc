"""Words in kernels: a document's bytes in lower case, which of them are words, and their hashes.

Two kinds, as `stages.lm.minhash.words` has them: `unicode` is `\\w+` of the lower-cased text,
`ascii` is The Stack's split on `[^A-Za-z_0-9]`, case kept, empty strings dropped.

A document is looked at 64 bytes at a time. ASCII is classified and lowered by vectors; every other
character is decoded once. Where lower-casing changes a document's length or asks for its context
(capital sigma, I with dot, some rare letters) `fold` declines and the whole document is lowered by
`characters.lower_into` first.

The hash of a word is one multiplication per eight bytes: for a word of at most eight bytes it is a
bijection of the bytes and length (times odd numbers, xor of a shift), so such words of one length
never collide; longer words collide as random 64-bit numbers do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import uint8, uint32, uint64

from stages.lm.kernels.bits import BLOCK, load8, lowest, words_block
from stages.lm.kernels.characters import (
    DOTTED_I,
    SIGMA,
    WORD,
    decode,
    encode,
    kind_of,
    lower_into,
    lower_of,
)
from stages.lm.kernels.compiled import called, inlined

PAD = BLOCK + 8
"""Bytes behind the lowered text that kernels may touch."""
LENGTH_FACTOR, WORD_FACTOR, LAST_FACTOR = (
    0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F,
)  # fmt: skip
"""Odd numbers without a pattern: the golden ratio's, and two from published mixers."""
ALL = (1 << 64) - 1


@inlined
def width_of(code: Any) -> Any:
    """Return how many bytes a code point has in UTF-8."""
    return 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4


@called
def classify(data: Any, start: Any, size: Any, low: Any, word: Any, high: Any, fold: Any) -> None:
    """Copy data[start : start + size] to `low`, ASCII in lower case where `fold` says so.

    Sets the bit of every ASCII word character in `word` and of every byte above 127 in `high`.
    """
    source, to = data.ctypes.data + start, low.ctypes.data
    words, highs = word.ctypes.data, high.ctypes.data
    whole = size // BLOCK
    for block in range(whole):
        words_block(
            uint64(source + BLOCK * block), uint64(to + BLOCK * block),
            uint64(words + 8 * block), uint64(highs + 8 * block), fold,
        )  # fmt: skip
    done = BLOCK * whole
    if done < size:  # the last block is made whole by zeros, which are no words
        for at in range(done, done + BLOCK):
            low[at] = data[start + at] if at < size else uint8(0)
        words_block(
            uint64(to + done), uint64(to + done),
            uint64(words + 8 * whole), uint64(highs + 8 * whole), fold,
        )  # fmt: skip


@called
def lower_others(low: Any, size: Any, word: Any, high: Any, tables: Any) -> bool:
    """Lower what is not ASCII in place and mark its words; False if that takes more than place."""
    blocks = (size + BLOCK - 1) // BLOCK
    for block in range(blocks):
        waiting = high[block]
        while waiting:
            bit = lowest(waiting)
            at = BLOCK * block + bit
            code, width = decode(low, at, size)
            if code in (SIGMA, DOTTED_I):
                return False
            lowered = lower_of(code, tables)
            if lowered != code:
                if width_of(lowered) != width:
                    return False
                encode(lowered, low, at)
            marks = (uint64(1) << uint64(width)) - uint64(1)
            waiting &= ~(marks << uint64(bit))
            over = bit + width - BLOCK
            if over > 0:
                high[block + 1] &= ~(marks >> uint64(width - over))
            if kind_of(lowered, tables) & uint32(WORD):
                word[block] |= marks << uint64(bit)
                if over > 0:
                    word[block + 1] |= marks >> uint64(width - over)
    return True


@inlined
def hash_word(address: Any, size: Any) -> Any:
    """Return the hash of `size` >= 1 bytes at an address; seven more may be read behind them."""
    hashed = uint64(size) * uint64(LENGTH_FACTOR)
    while size > 8:
        hashed = (hashed ^ load8(uint64(address))) * uint64(WORD_FACTOR)
        hashed ^= hashed >> uint64(32)
        address += 8
        size -= 8
    last = load8(uint64(address)) & (uint64(ALL) >> uint64(64 - 8 * size))
    hashed = (hashed ^ last) * uint64(WORD_FACTOR)
    hashed ^= hashed >> uint64(32)
    return hashed * uint64(LAST_FACTOR)


def reference_hash_word(word: bytes) -> int:
    """Return the same for a byte string."""
    hashed = len(word) * LENGTH_FACTOR & ALL
    for start in range(0, len(word), 8):
        chunk = int.from_bytes(word[start : start + 8], "little")
        hashed = (hashed ^ chunk) * WORD_FACTOR & ALL
        hashed ^= hashed >> 32
    return hashed * LAST_FACTOR & ALL


@called
def prepare(
    data: Any, start: Any, end: Any, unicode: Any, low: Any, word: Any, high: Any, tables: Any
) -> Any:
    """Return (low, word, size): a document's bytes and the bits of its words.

    `low`, `word` and `high` are room for the longest document (`room`); a document that grows when
    it is lowered gets larger ones.
    """
    size = end - start
    classify(data, start, size, low, word, high, unicode)
    if unicode and not lower_others(low, size, word, high, tables):
        wide = np.empty(3 * size, np.uint8)
        size = lower_into(data, start, end, wide, 0, tables)
        if size + PAD > len(low):
            low = np.empty(size + PAD, np.uint8)
            word = np.empty(size // BLOCK + 2, np.uint64)
            high = np.empty(size // BLOCK + 2, np.uint64)
        classify(wide, 0, size, low, word, high, unicode)
        lower_others(low, size, word, high, tables)
    return low, word, size


@inlined
def longest(offsets: Any, first: Any, stop: Any) -> Any:
    """Return the size in bytes of the longest of some documents."""
    found = 0
    for number in range(first, stop):
        found = max(found, offsets[number + 1] - offsets[number])
    return found
