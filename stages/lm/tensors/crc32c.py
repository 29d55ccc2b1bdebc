"""CRC-32C (Castagnoli), as TensorFlow and LevelDB put it beside their bytes.

Reflected polynomial 0x82F63B78, start and end inverted (RFC 3720, appendix B.4). Python has CRC-32
of another polynomial only, so this is numpy: a long run of bytes is cut into lanes of equal length
that are advanced together, and the lanes' checksums are joined by the matrix that feeding zeros is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78
MASK_DELTA = 0xA282EAD8
"""LevelDB stores rotated checksums, so that the checksum of bytes with checksums stays a test."""
LANES = 4096
"""Runs advanced together: numpy's cost of a call is spread over as many."""
Matrix = NDArray[np.uint32]


@lru_cache(maxsize=1)
def _tables() -> NDArray[np.uint32]:
    """Return [4, 256]: row k advances a byte that k more bytes follow."""
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = np.where(first & 1, (first >> 1) ^ np.uint32(POLYNOMIAL), first >> 1)
    tables = [first]
    for _ in range(3):
        tables.append((tables[-1] >> 8) ^ first[tables[-1] & 0xFF])
    return np.stack(tables).astype(np.uint32)


def crc32c(data: Any, value: int = 0) -> int:
    """Return the checksum of bytes, going on from the checksum `value` of those before."""
    flat = np.frombuffer(data, dtype=np.uint8)
    words = len(flat) // (4 * LANES)
    state = np.uint32(value ^ 0xFFFFFFFF)
    if words:
        cut = words * 4 * LANES
        state = _lanes(flat[:cut].reshape(LANES, -1), state)
        flat = flat[cut:]
    table = _tables()[0].tolist()
    running = int(state)
    for byte in flat.tolist():
        running = (running >> 8) ^ table[(running ^ byte) & 0xFF]
    return running ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """Return a checksum as LevelDB stores it."""
    rotated = (checksum >> 15) | (checksum << 17)
    return (rotated + MASK_DELTA) & 0xFFFFFFFF


def _lanes(rows: NDArray[np.uint8], state: np.uint32) -> np.uint32:
    """Return the state after lanes [LANES, L] one after the other, L a multiple of 4."""
    tables = _tables()
    length = rows.shape[1]
    # Word by word over all lanes: columns first, so that a step reads one piece of memory.
    words = np.ascontiguousarray(rows.view("<u4").T)
    running = np.zeros(len(rows), dtype=np.uint32)
    running[0] = state
    for column in words:
        running ^= column
        running = (
            tables[3][running & 0xFF]
            ^ tables[2][(running >> 8) & 0xFF]
            ^ tables[1][(running >> 16) & 0xFF]
            ^ tables[0][running >> 24]
        )
    shift = _zeros(length)
    while len(running) > 1:  # the left one of each pair is followed by the right one's bytes
        running = _applied(shift, running[0::2]) ^ running[1::2]
        shift = _applied(shift, shift)
    return np.uint32(running[0])


def _zeros(length: int) -> Matrix:
    """Return the matrix [32] over GF(2), a column a bit, that feeding `length` zero bytes is."""
    one_byte = np.array([1 << bit for bit in range(32)], dtype=np.uint32)
    one_byte = (one_byte >> 8) ^ _tables()[0][one_byte & 0xFF]
    result = np.array([1 << bit for bit in range(32)], dtype=np.uint32)
    power = one_byte
    while length:
        if length & 1:
            result = _applied(power, result)
        power = _applied(power, power)
        length >>= 1
    return result


def _applied(matrix: Matrix, values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return matrix x value for each of many values."""
    out = np.zeros_like(values)
    for bit in range(32):
        out ^= np.where((values >> np.uint32(bit)) & np.uint32(1), matrix[bit], np.uint32(0))
    return out
