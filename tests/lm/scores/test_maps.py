"""Bits of blocks: what vectors say is what Python says of every byte."""

from __future__ import annotations

import random

import numpy as np
from numba import njit, uint64

from stages.lm.kernels.bits import BLOCK
from stages.lm.kernels.text import of_strings
from stages.lm.scores import maps
from stages.lm.scores.columns import COLUMNS
from stages.lm.scores.table import score


@njit
def _marked(source: int, target: int) -> None:
    maps.marks_block(uint64(source), uint64(target), uint64(8))


def test_bits_of_a_block_are_those_of_its_bytes() -> None:
    draw = random.Random(5)
    signs = "".join(maps.SIGNS).encode() + b"[{#=. \n\r\t\x0b\x1c\x1f\x00_09azAZ@`"
    given = [bytes(range(at, at + BLOCK)) + b"JA" for at in (0, 64, 128, 192)]
    given += [bytes(draw.choice(signs) for _ in range(BLOCK + 2)) for _ in range(40)]
    given += [one.upper().encode() * 22 for one in maps.SIGNS]
    told = np.zeros(maps.KINDS, np.uint64)
    for data in given:
        block = np.frombuffer(data, np.uint8)
        _marked(block.ctypes.data, told.ctypes.data)
        assert told.tolist() == maps.reference_marks_block(data), data


def test_words_are_the_same_wherever_a_document_lies_in_its_blocks() -> None:
    """What is told from 64 bits at once may not depend on where their border falls."""
    text = 'Ŝi diris: "ĉu ne?" (1990), don\'t x_y 5km é. [1] lorem\u2028ipsum… 8) :D a.b/c — fin.'
    held = COLUMNS.index("words")
    alone = score(of_strings([text])).table[0, held]
    shifted = score(of_strings([f"{'x' * size} {text}" for size in range(140)])).table[1:, held]
    assert set(shifted.tolist()) == {alone + 1}
