"""The output projection on a sentence's shortlisted words alone."""

from __future__ import annotations

from typing import Any

from numba import njit

from stages.lm.runner.network import (
    BIASES,
    BYTE,
    CORRECTIONS,
    INPUTS,
    KIND,
    PANELS,
    SCALES,
    STRIDE,
    Desk,
    Plan,
)
from stages.lm.runner.rows import LOWEST, quantise
from stages.lm.runner.tiles import GROUP, PANEL, byte_product, float_product
from stages.lm.runner.vectors import LANES, copy_unit, put_float


@njit(nogil=True)
def choose_words(
    plan: Plan, desk: Desk, slot: int, words: Any, first: int, count: int, columns: int
) -> None:
    """Copy the output weights of a sentence's words into its slot, column after column.

    `columns` are those of a slot; the ones behind `count` get a bias that excludes them.
    """
    row = plan.linears[len(plan.linears) - 1]
    units = row[INPUTS] // GROUP if row[KIND] == BYTE else row[INPUTS]
    target = desk.chosen + slot * columns * units * 4
    shift = slot * columns * 4
    line = 4 * PANEL
    for column in range(count):
        word, place = words[first + column], shift + 4 * column
        copy_unit(row[SCALES] + 4 * word, desk.chosen_scales + place)
        copy_unit(row[CORRECTIONS] + 4 * word, desk.chosen_corrections + place)
        copy_unit(row[BIASES] + 4 * word, desk.chosen_biases + place)
        source = row[PANELS] + word // PANEL * units * line + word % PANEL * 4
        own = target + column // PANEL * units * line + column % PANEL * 4
        for unit in range(units):
            copy_unit(source + unit * line, own + unit * line)
    for column in range(count, (count + STRIDE - 1) // STRIDE * STRIDE):
        put_float(desk.chosen_scales + shift + 4 * column, 0.0)
        put_float(desk.chosen_biases + shift + 4 * column, LOWEST)


@njit(nogil=True)
def project_words(
    plan: Plan, desk: Desk, slot: int, row: int, rows: int, count: int, columns: int
) -> None:
    """Write the logits of a sentence's shortlisted words for its beams, already rounded."""
    layer = plan.linears[len(plan.linears) - 1]
    inputs, shift = layer[INPUTS], slot * columns * 4
    wide = (count + STRIDE - 1) // STRIDE * STRIDE
    target = desk.logits + row * columns * 4
    if layer[KIND] == BYTE:
        byte_product(
            desk.quantised + row * inputs, inputs, desk.scales + 4 * row, rows, inputs,
            desk.chosen + shift * (inputs // GROUP), wide, desk.chosen_scales + shift,
            desk.chosen_corrections + shift, desk.chosen_biases + shift, target, 4 * columns, 0,
        )  # fmt: skip
    else:
        float_product(
            desk.normed + row * inputs * 4, rows, inputs, desk.chosen + shift * inputs, wide,
            desk.chosen_biases + shift, target, 4 * columns, 0,
        )  # fmt: skip


@njit(nogil=True)
def round_rows(plan: Plan, desk: Desk, rows: int) -> None:
    """Round the decoder's output for the projection."""
    row = plan.linears[len(plan.linears) - 1]
    if row[KIND] == BYTE:
        count = row[INPUTS]
        for one in range(rows):
            scale = quantise(
                desk.normed + one * count * 4, count // LANES, desk.quantised + one * count
            )
            put_float(desk.scales + 4 * one, scale)
