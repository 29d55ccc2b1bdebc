"""Packed rows out of a token stream, padded: one pass that writes what a batch consists of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from stages.lm.kernels.compiled import fills, kernel, reads

Ints = NDArray[np.int64]
PIECES = types.Array(types.int64, 2, "C", readonly=True)
BLOCK = fills(types.int64, 2)


@kernel(
    types.void, reads(types.uint16), types.boolean, PIECES, reads(types.int64), reads(types.int64),
    types.int64, BLOCK, BLOCK, BLOCK, fills(types.int64),
)  # fmt: skip
def _gather(
    stream: Any, wide: bool, pieces: Any, row_offsets: Any, rows: Any, padding: int, ids: Any,
    positions: Any, segments: Any, lengths: Any,
) -> None:  # fmt: skip
    for row in range(len(rows)):
        to, first = 0, row_offsets[rows[row]]
        for piece in range(first, row_offsets[rows[row] + 1]):
            start, size = pieces[piece, 0], pieces[piece, 1]
            if wide:
                for at in range(size):
                    low, high = stream[2 * (start + at)], stream[2 * (start + at) + 1]
                    ids[row, to + at] = types.int64(low) | (types.int64(high) << 16)
            else:
                for at in range(size):
                    ids[row, to + at] = stream[start + at]
            for at in range(size):
                positions[row, to + at] = at
            for at in range(size):
                segments[row, to + at] = piece - first + 1
            to += size
        lengths[row] = to
        for at in range(to, ids.shape[1]):
            ids[row, at], positions[row, at], segments[row, at] = padding, 0, 0


def gather(
    stream: NDArray[Any], pieces: Ints, row_offsets: Ints, rows: Ints, length: int, padding: int
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return ids, positions and segments [B, L] of some rows, and tokens per row [B].

    `stream` [T] is uint16 or uint32, `pieces` [P, 2] start and length of each piece, `row_offsets`
    [R + 1] where each row begins in them. Positions begin at 0 in every piece, segments count from
    1 in every row; where a row has no more tokens stand `padding`, 0 and 0.
    """
    rows = np.ascontiguousarray(rows, dtype=np.int64)
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(row_offsets) - 1:
        raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(row_offsets) - 1}")
    made = [np.empty((len(rows), length), np.int64) for _ in range(3)]
    lengths = np.empty(len(rows), np.int64)
    wide = stream.dtype.itemsize == 4
    _gather(stream.view(np.uint16), wide, pieces, row_offsets, rows, padding, *made, lengths)
    return made[0], made[1], made[2], lengths
