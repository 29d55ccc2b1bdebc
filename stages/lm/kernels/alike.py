"""Signatures of documents from their bytes: words, shingles, hashes and minima in one pass.

`sign_stack` is the form of The Stack (`hash: stack`), digit for digit what `stages.lm.minhash`
says. `sign_fast` is the default (`hash: fast`).

The fast form (`hash: fast`), with all arithmetic modulo 2^64 or 2^32:

    w        = hash of a word (`stages.lm.kernels.words`), 64 bits
    s        = w_1 P^(n-1) + ... + w_n, rolled from shingle to shingle; then mixed: 64 bits
    x        = upper 32 bits of s
    minhash  = for every lane i the least of (x a_i + b_i) mod 2^32 over the document's shingles

a_i is odd, so every lane is a permutation of the 32-bit numbers, and x is as good as random.
Two different shingles share s with probability about 2^-64 and x with 2^-32: a document of H
shingles has H (H - 1) / 2^33 such pairs in expectation, 0.01 for ten thousand. What the estimate of
a similarity J errs by is then that of L independent draws, sqrt(J (1 - J) / L): measured on planted
pairs in `tests/lm/test_signatures.py`. A linear lane is not min-wise independent for every set
(Broder et al. 2000, "Min-wise independent permutations"), it is for sets of random numbers, which
is what x makes of any text that was not written against these constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types, uint32, uint64

from stages.lm.kernels.bits import BLOCK, lowest
from stages.lm.kernels.characters import TABLES
from stages.lm.kernels.compiled import BYTES, OFFSETS, called, fills, inlined, kernel, reads
from stages.lm.kernels.sha1 import first_word
from stages.lm.kernels.words import (
    ALL,
    PAD,
    hash_word,
    longest,
    prepare,
    reference_hash_word,
)

BASE = 0x9FB21C651E98DF25
"""P, by which older words of a shingle are multiplied: odd, without a pattern."""
MIX = 0xE7037ED1A0B428DB
RING = 2048
"""Words hashed before their shingles are; the buffers stay in the first-level cache."""
MAX_HASH = (1 << 32) - 1
MERSENNE = (1 << 61) - 1


@inlined
def mixed(value: Any) -> Any:
    """Return a bijective mixture of 64 bits whose upper half depends on all of them."""
    value ^= value >> uint64(32)
    value *= uint64(MIX)
    return value ^ (value >> uint64(29))


@called
def shingle(ring: Any, count: Any, ngram: Any, power: Any, found: Any) -> Any:
    """Hash the n-grams of `count` words of a ring into `found`; return how many there are."""
    total = count - ngram + 1
    if total <= 0:
        return 0
    rolled = uint64(0)
    for i in range(ngram - 1):
        rolled = rolled * uint64(BASE) + ring[i]
    for i in range(total):
        rolled = rolled * uint64(BASE) + ring[i + ngram - 1]
        found[i] = mixed(rolled)
        rolled -= ring[i] * power
    return total


@called
def take_minima(found: Any, count: Any, factors: Any, terms: Any, least: Any) -> None:
    """Lower each lane's minimum by `count` hashes."""
    lanes = len(least)
    i = 0
    while i + 8 <= count:
        a, b = uint32(found[i] >> uint64(32)), uint32(found[i + 1] >> uint64(32))
        c, d = uint32(found[i + 2] >> uint64(32)), uint32(found[i + 3] >> uint64(32))
        e, f = uint32(found[i + 4] >> uint64(32)), uint32(found[i + 5] >> uint64(32))
        g, h = uint32(found[i + 6] >> uint64(32)), uint32(found[i + 7] >> uint64(32))
        for lane in range(lanes):
            factor, term = factors[lane], terms[lane]
            one = min(uint32(a * factor + term), uint32(b * factor + term))
            two = min(uint32(c * factor + term), uint32(d * factor + term))
            three = min(uint32(e * factor + term), uint32(f * factor + term))
            four = min(uint32(g * factor + term), uint32(h * factor + term))
            least[lane] = min(least[lane], min(min(one, two), min(three, four)))
        i += 8
    while i < count:
        a = uint32(found[i] >> uint64(32))
        for lane in range(lanes):
            least[lane] = min(least[lane], uint32(a * factors[lane] + terms[lane]))
        i += 1


def reference_shingles(tokens: Sequence[str], ngram: int) -> list[int]:
    """Return the 64-bit hashes of the n-grams of these words, in order, with repetitions."""
    hashes = [reference_hash_word(token.encode("utf-8", "surrogatepass")) for token in tokens]
    found = []
    for start in range(len(hashes) - ngram + 1):
        value = 0
        for hashed in hashes[start : start + ngram]:
            value = (value * BASE + hashed) & ALL
        value ^= value >> 32
        value = value * MIX & ALL
        found.append(value ^ value >> 29)
    return found


def reference_fast(
    tokens: Sequence[str], ngram: int, factors: Sequence[int], terms: Sequence[int]
) -> list[int]:
    """Return one document's signature as `sign_fast` makes it of these words."""
    short = [value >> 32 for value in reference_shingles(tokens, ngram)]
    return [
        min(((x * factor + term) & MAX_HASH for x in short), default=MAX_HASH)
        for factor, term in zip(factors, terms, strict=True)
    ]


@kernel(
    types.int64, BYTES, OFFSETS, types.int64, types.boolean, reads(types.uint32),
    reads(types.uint32), types.uint64, fills(types.uint32, 2), fills(types.int64),
    fills(types.uint32), fills(types.int64), TABLES,
)  # fmt: skip
def sign_fast(
    data: Any, offsets: Any, ngram: Any, unicode: Any, factors: Any, terms: Any, below: Any,
    signatures: Any, sizes: Any, samples: Any, sampled: Any, tables: Any,
) -> int:  # fmt: skip
    """Sign every document: its minima, how many shingles it has, and the hashes that are `below`.

    `signatures` [D, L], `sizes` [D] and `sampled` [D] are filled; `samples` gets the x < `below` of
    all documents in a row (repetitions too) and needs room for half as many as there are bytes.
    """
    size = longest(offsets, 0, len(offsets) - 1)
    low = np.empty(size + PAD, np.uint8)
    word, high = np.empty(size // BLOCK + 2, np.uint64), np.empty(size // BLOCK + 2, np.uint64)
    ring, found = np.empty(RING + BLOCK, np.uint64), np.empty(RING + BLOCK, np.uint64)
    power = uint64(1)
    for _ in range(ngram - 1):
        power *= uint64(BASE)
    taken = 0
    for number in range(len(offsets) - 1):
        text, bits, size = prepare(
            data, offsets[number], offsets[number + 1], unicode, low, word, high, tables
        )
        least = signatures[number]
        least[:] = uint32(MAX_HASH)
        total = held = begun = 0
        before = taken
        inside = uint64(0)
        address = text.ctypes.data
        for block in range((size + BLOCK - 1) // BLOCK + 1):
            last = BLOCK * block >= size
            if not last:
                mask = bits[block]
                turns = mask ^ ((mask << uint64(1)) | inside)
                while turns:
                    at = BLOCK * block + lowest(turns)
                    turns &= turns - uint64(1)
                    if inside:
                        ring[held] = hash_word(address + begun, at - begun)
                        held += 1
                    begun = at
                    inside ^= uint64(1)
            elif inside:
                ring[held] = hash_word(address + begun, size - begun)
                held += 1
            if held >= RING or last:
                count = shingle(ring, held, ngram, power, found)
                take_minima(found, count, factors, terms, least)
                for i in range(count):
                    if found[i] >> uint64(32) < below:
                        samples[taken] = uint32(found[i] >> uint64(32))
                        taken += 1
                total += count
                for i in range(count, held):
                    ring[i - count] = ring[i]
                held -= count
        sizes[number] = total
        sampled[number] = taken - before
    return taken


@called
def joined(text: Any, bits: Any, size: Any, out: Any, starts: Any) -> Any:
    """Write the words with a space behind each, and where each begins; return how many.

    `starts` gets one place more: where the next word would begin.
    """
    count = to = begun = 0
    inside = uint64(0)
    for block in range((size + BLOCK - 1) // BLOCK + 1):
        last = BLOCK * block >= size
        mask = uint64(0) if last else bits[block]
        turns = mask ^ ((mask << uint64(1)) | inside)
        while turns:
            at = min(BLOCK * block + lowest(turns), size)
            turns &= turns - uint64(1)
            if inside:
                starts[count] = to
                count += 1
                for i in range(begun, at):
                    out[to] = text[i]
                    to += 1
                out[to] = 32
                to += 1
            begun = at
            inside ^= uint64(1)
    starts[count] = to
    return count


@inlined
def permuted(value: Any, factor: Any, term: Any) -> Any:
    """Return ((value * factor + term) mod (2^61 - 1)) mod 2^32, in uint64 with wrap-around."""
    wide = value * factor + term
    wide = (wide & uint64(MERSENNE)) + (wide >> uint64(61))
    if wide >= uint64(MERSENNE):
        wide -= uint64(MERSENNE)
    return uint32(wide & uint64(MAX_HASH))


@kernel(
    types.int64, BYTES, OFFSETS, types.int64, types.boolean, reads(types.uint64),
    reads(types.uint64), types.uint64, fills(types.uint32, 2), fills(types.int64),
    fills(types.uint32), fills(types.int64), TABLES,
)  # fmt: skip
def sign_stack(
    data: Any, offsets: Any, ngram: Any, unicode: Any, factors: Any, terms: Any, below: Any,
    signatures: Any, sizes: Any, samples: Any, sampled: Any, tables: Any,
) -> int:  # fmt: skip
    """Sign every document as The Stack does; arguments and results are those of `sign_fast`."""
    size = longest(offsets, 0, len(offsets) - 1)
    low = np.empty(size + PAD, np.uint8)
    word, high = np.empty(size // BLOCK + 2, np.uint64), np.empty(size // BLOCK + 2, np.uint64)
    work = np.empty(80, np.uint32)
    taken = 0
    for number in range(len(offsets) - 1):
        text, bits, size = prepare(
            data, offsets[number], offsets[number + 1], unicode, low, word, high, tables
        )
        row, starts = np.empty(size + 2, np.uint8), np.empty(size // 2 + 2, np.int64)
        total = joined(text, bits, size, row, starts) - ngram + 1
        signatures[number, :] = uint32(MAX_HASH)
        before = taken
        for i in range(total):
            hashed = first_word(row, starts[i], starts[i + ngram] - 1 - starts[i], work)
            for lane in range(len(factors)):
                value = permuted(uint64(hashed), factors[lane], terms[lane])
                signatures[number, lane] = min(signatures[number, lane], value)
            if hashed < below:
                samples[taken] = hashed
                taken += 1
        sizes[number] = max(0, total)
        sampled[number] = taken - before
    return taken
