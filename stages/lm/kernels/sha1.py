"""SHA-1 in kernels (RFC 3174; FIPS 180-4): what The Stack's signatures hash their shingles by.

Not for security. hashlib is the reference.
"""

from __future__ import annotations

from typing import Any

from numba import uint32

from stages.lm.kernels.compiled import called, inlined

BLOCK = 64
START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
ROUNDS = (0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6)
_FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH = START
_ONE, _TWO, _THREE, _FOUR = ROUNDS


@inlined
def _turned(value: Any, bits: Any) -> Any:
    return uint32((value << uint32(bits)) | (value >> uint32(32 - bits)))


@inlined
def _byte(data: Any, start: Any, size: Any, at: Any) -> Any:
    """Return byte `at` of the padded message, its length apart."""
    if at < size:
        return uint32(data[start + at])
    return uint32(0x80) if at == size else uint32(0)


@called
def first_word(data: Any, start: Any, size: Any, work: Any) -> Any:
    """Return the first four bytes of the SHA-1 of data[start : start + size], little-endian.

    `work` is room for 80 uint32.
    """
    h0, h1, h2, h3, h4 = (
        uint32(_FIRST), uint32(_SECOND), uint32(_THIRD), uint32(_FOURTH), uint32(_FIFTH),
    )  # fmt: skip
    blocks = (size + 8) // BLOCK + 1
    for block in range(blocks):
        for i in range(16):
            at = BLOCK * block + 4 * i
            if at + 3 < size:
                work[i] = (
                    uint32(data[start + at]) << uint32(24)
                    | uint32(data[start + at + 1]) << uint32(16)
                    | uint32(data[start + at + 2]) << uint32(8)
                    | uint32(data[start + at + 3])
                )
            else:
                work[i] = (
                    _byte(data, start, size, at) << uint32(24)
                    | _byte(data, start, size, at + 1) << uint32(16)
                    | _byte(data, start, size, at + 2) << uint32(8)
                    | _byte(data, start, size, at + 3)
                )
        if block == blocks - 1:
            work[14], work[15] = uint32(size >> 29), uint32(size << 3)
        for i in range(16, 80):
            work[i] = _turned(work[i - 3] ^ work[i - 8] ^ work[i - 14] ^ work[i - 16], 1)
        a, b, c, d, e = h0, h1, h2, h3, h4
        for i in range(80):
            if i < 20:
                f, k = d ^ (b & (c ^ d)), uint32(_ONE)
            elif i < 40:
                f, k = b ^ c ^ d, uint32(_TWO)
            elif i < 60:
                f, k = (b & c) | (d & (b | c)), uint32(_THREE)
            else:
                f, k = b ^ c ^ d, uint32(_FOUR)
            a, b, c, d, e = uint32(_turned(a, 5) + f + e + k + work[i]), a, _turned(b, 30), c, d
        h0, h1, h2, h3, h4 = (
            uint32(h0 + a), uint32(h1 + b), uint32(h2 + c), uint32(h3 + d), uint32(h4 + e),
        )  # fmt: skip
    return uint32(  # numba widens shifts
        h0 >> uint32(24)
        | (h0 >> uint32(8)) & uint32(0xFF00)
        | (h0 << uint32(8)) & uint32(0xFF0000)
        | h0 << uint32(24)
    )
