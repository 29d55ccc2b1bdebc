"""Padded batches of the kernel against rows joined without padding, and against each piece."""

from __future__ import annotations

import numpy as np
import pytest

from stages.lm.kernels import gathering
from stages.lm.packing import pack


def reference(stream, packing, rows, length, padding):
    """The same, piece by piece."""
    made = [np.full((len(rows), length), value, np.int64) for value in (padding, 0, 0)]
    lengths = np.zeros(len(rows), np.int64)
    for place, row in enumerate(rows):
        first, last = packing.row_offsets[row], packing.row_offsets[row + 1]
        for number, piece in enumerate(range(first, last)):
            size, to = packing.lengths[piece], lengths[place]
            start = packing.starts[piece]
            made[0][place, to : to + size] = stream[start : start + size]
            made[1][place, to : to + size] = np.arange(size)
            made[2][place, to : to + size] = number + 1
            lengths[place] += size
    return *made, lengths


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_batches_are_those_of_the_reference(dtype):
    draw = np.random.Generator(np.random.PCG64(1))
    for length in (8, 33, 128):
        offsets = np.cumsum([0, *draw.integers(1, 3 * length, 200)]).astype(np.int64)
        stream = draw.integers(0, np.iinfo(dtype).max // 2, int(offsets[-1])).astype(dtype)
        packing = pack(offsets, length)
        pieces = np.stack([packing.starts, packing.lengths], axis=1)
        for rows in (np.arange(packing.rows), draw.integers(0, packing.rows, 9), np.zeros(0, int)):
            got = gathering.gather(stream, pieces, packing.row_offsets, rows, length, 7)
            wanted = reference(stream, packing, rows, length, 7)
            assert all(np.array_equal(one, other) for one, other in zip(got, wanted, strict=True))


def test_a_row_that_is_not_there_is_refused():
    packing = pack(np.array([0, 5, 9]), 8)
    pieces = np.stack([packing.starts, packing.lengths], axis=1)
    stream = np.zeros(9, np.uint16)
    for row in (-1, packing.rows):
        with pytest.raises(IndexError):
            gathering.gather(stream, pieces, packing.row_offsets, np.array([row]), 8, 0)
