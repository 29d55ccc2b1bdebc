"""Matrix products on packed weights, in tiles that stay in registers.

A weight [N, K] is packed in panels of `PANEL` outputs: for each panel, for each group of inputs
(4 bytes, or one float), the numbers of all its outputs lie together, so that a tile reads them as
whole vectors and multiplies them by one broadcast input per row. A tile is R rows by one panel;
its R x 2 sums never leave the registers (Goto & van de Geijn 2008; FBGEMM, Khudia et al. 2021).

Sums run over the inputs in one order whatever R is, so a row's result does not depend on the rows
beside it: translations are the same in every batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit

from stages.lm.runner.vectors import (
    F32,
    FAST,
    FLOATS,
    I8,
    I16,
    I32,
    INTS,
    LANES,
    Emitter,
    compiled,
    instructions,
)

PANEL = 2 * LANES
"""Outputs per panel."""
GROUP = 4
"""Inputs that one byte product sums."""
ROWS = (12, 8, 4, 2, 1) if instructions() == "vnni" else (6, 4, 2, 1)
"""Heights of tiles: 16 or 32 vector registers hold sums, weights and one input."""
WIDTH = 4 * LANES
"""Bytes in a vector."""
BYTES = ir.VectorType(I8, WIDTH)


def _byte_product(emit: Emitter, total: Any, inputs: Any, weights: Any) -> Any:
    """Return total [16] + inputs [16, 4] * weights [16, 4] summed over the fours.

    Inputs are bytes 1..255 that stand for -127..127 with AVX-512 (the packed correction takes the
    128 off again), and the signed numbers themselves elsewhere. AVX2 has only a product that
    saturates at 16 bits: 2 x 127 x 127 does not reach it, which is why -128 is never used. The
    integers are the same on every CPU.
    """
    kind = instructions()
    if kind == "vnni":
        return emit.call("llvm.x86.avx512.vpdpbusd.512", INTS, total, inputs, weights)
    build = emit.builder
    if kind == "avx2":
        halves = []
        for half in range(2):
            left, right = (_half(emit, one, half, 32) for one in (inputs, weights))
            size = ir.VectorType(I8, 32)
            signed = emit.call("llvm.x86.avx2.psign.b", size, right, left)
            plain = emit.call("llvm.x86.avx2.psign.b", size, left, left)
            pairs = emit.call("llvm.x86.avx2.pmadd.ub.sw", ir.VectorType(I16, 16), plain, signed)
            ones = ir.Constant(ir.VectorType(I16, 16), [1] * 16)
            halves.append(emit.call("llvm.x86.avx2.pmadd.wd", ir.VectorType(I32, 8), pairs, ones))
        order = ir.Constant(ir.VectorType(I32, 16), list(range(16)))
        return build.add(total, build.shuffle_vector(*halves, order))
    wide = ir.VectorType(I32, WIDTH)
    product = build.mul(build.sext(inputs, wide), build.sext(weights, wide))
    for part in range(GROUP):
        places = ir.Constant(INTS, list(range(part, WIDTH, GROUP)))
        total = build.add(total, build.shuffle_vector(product, product, places))
    return total


def _half(emit: Emitter, value: Any, half: int, size: int) -> Any:
    places = list(range(half * size, (half + 1) * size))
    return emit.builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(I32, size), places))


def _byte_tile(rows: int) -> Any:
    """Return a tile of `rows` x PANEL: (inputs, their stride, panel, groups, row scales,
    column scales, corrections, biases, result, its stride, whether negatives become 0)."""

    def body(
        emit: Emitter, inputs: Any, stride: Any, panel: Any, groups: Any, row_scales: Any,
        scales: Any, corrections: Any, biases: Any, result: Any, width: Any, clip: Any,
    ) -> None:  # fmt: skip
        zero = ir.Constant(INTS, [0] * LANES)
        sums = [[emit.variable(zero) for _ in range(2)] for _ in range(rows)]
        starts = [emit.add(inputs, emit.times(stride, row)) for row in range(rows)]
        build = emit.builder
        with emit.loop(groups) as group:
            at = emit.add(panel, emit.times(group, 2 * WIDTH))
            weights = [emit.load(emit.add(at, part * WIDTH), BYTES) for part in range(2)]
            for row in range(rows):
                four = emit.load(emit.add(starts[row], emit.times(group, GROUP)), I32)
                spread = build.bitcast(emit.splat(four), BYTES)
                for part in range(2):
                    place = sums[row][part]
                    build.store(
                        _byte_product(emit, build.load(place), spread, weights[part]), place
                    )
        for part in range(2):
            shift = part * WIDTH
            correction = emit.load(emit.add(corrections, shift), INTS)
            scale, bias = (emit.load(emit.add(one, shift)) for one in (scales, biases))
            for row in range(rows):
                number = build.sitofp(build.sub(build.load(sums[row][part]), correction), FLOATS)
                own = emit.splat(emit.load(emit.add(row_scales, 4 * row), F32))
                value = emit.multiply_add(number, build.fmul(own, scale), bias)
                _finish(emit, value, clip, emit.add(result, emit.times(width, row), shift))

    return compiled(f"byte_tile_{rows}", "iiiiiiiiiii", body)


def _float_tile(rows: int, vectors: int) -> Any:
    """Return a tile of `rows` x 16 * `vectors`: (inputs, their stride, weights, their stride,
    inputs per row, biases, result, its stride, whether negatives become 0)."""

    def body(
        emit: Emitter, inputs: Any, stride: Any, weights: Any, step: Any, count: Any,
        biases: Any, result: Any, width: Any, clip: Any,
    ) -> None:  # fmt: skip
        sums = [[emit.variable(emit.constant(0.0)) for _ in range(vectors)] for _ in range(rows)]
        starts = [emit.add(inputs, emit.times(stride, row)) for row in range(rows)]
        build = emit.builder
        with emit.loop(count) as number:
            at = emit.add(weights, build.mul(step, number))
            loaded = [emit.load(emit.add(at, part * WIDTH)) for part in range(vectors)]
            for row in range(rows):
                place = emit.add(starts[row], emit.times(number, 4))
                spread = emit.splat(emit.load(place, F32))
                for part in range(vectors):
                    total = sums[row][part]
                    build.store(emit.multiply_add(spread, loaded[part], build.load(total)), total)
        for part in range(vectors):
            shift = part * WIDTH
            bias = emit.load(emit.add(biases, shift))
            for row in range(rows):
                value = build.fadd(build.load(sums[row][part]), bias, flags=FAST)
                _finish(emit, value, clip, emit.add(result, emit.times(width, row), shift))

    return compiled(f"float_tile_{rows}_{vectors}", "iiiiiiiii", body)


def _finish(emit: Emitter, value: Any, clip: Any, place: Any) -> None:
    clipped = emit.larger(value, emit.constant(0.0))
    wanted = emit.builder.icmp_signed("!=", clip, emit.integer(0))
    emit.store(emit.builder.select(wanted, clipped, value), place)


TALL = ROWS[0]
_BYTES_TALL, _BYTES_4, _BYTES_2, _BYTES_1 = (_byte_tile(rows) for rows in (TALL, 4, 2, 1))
_FLOATS_TALL, _FLOATS_4, _FLOATS_2, _FLOATS_1 = (_float_tile(rows, 2) for rows in (TALL, 4, 2, 1))
_THIN_8, _THIN_5, _THIN_4, _THIN_2, _THIN_1 = (_float_tile(rows, 1) for rows in (8, 5, 4, 2, 1))


@njit(nogil=True)
def byte_product(
    inputs: int, stride: int, row_scales: int, rows: int, count: int, panels: int,
    outputs: int, scales: int, corrections: int, biases: int, result: int, width: int, clip: int,
) -> None:  # fmt: skip
    """Multiply bytes [rows, count] by packed bytes [outputs, count] into floats."""
    groups = count // GROUP
    for panel in range(outputs // PANEL):
        weights = panels + panel * count * PANEL
        shift = panel * PANEL * 4
        scale, correction, bias = scales + shift, corrections + shift, biases + shift
        row = np.int64(0)
        while row < rows:
            left = rows - row
            a, s, c = inputs + row * stride, row_scales + 4 * row, result + row * width + shift
            if left >= TALL:
                _BYTES_TALL(a, stride, weights, groups, s, scale, correction, bias, c, width, clip)
                row += TALL
            elif left >= 4:
                _BYTES_4(a, stride, weights, groups, s, scale, correction, bias, c, width, clip)
                row += 4
            elif left >= 2:
                _BYTES_2(a, stride, weights, groups, s, scale, correction, bias, c, width, clip)
                row += 2
            else:
                _BYTES_1(a, stride, weights, groups, s, scale, correction, bias, c, width, clip)
                row += 1


@njit(nogil=True)
def float_product(
    inputs: int, rows: int, count: int, panels: int, outputs: int, biases: int,
    result: int, width: int, clip: int,
) -> None:  # fmt: skip
    """Multiply floats [rows, count] by packed floats [outputs, count]."""
    stride, step = 4 * count, 4 * PANEL
    for panel in range(outputs // PANEL):
        weights = panels + panel * count * step
        shift = panel * step
        bias = biases + shift
        row = np.int64(0)
        while row < rows:
            left = rows - row
            a, c = inputs + row * stride, result + row * width + shift
            if left >= TALL:
                _FLOATS_TALL(a, stride, weights, step, count, bias, c, width, clip)
                row += TALL
            elif left >= 4:
                _FLOATS_4(a, stride, weights, step, count, bias, c, width, clip)
                row += 4
            elif left >= 2:
                _FLOATS_2(a, stride, weights, step, count, bias, c, width, clip)
                row += 2
            else:
                _FLOATS_1(a, stride, weights, step, count, bias, c, width, clip)
                row += 1


@njit(nogil=True)
def plain_product(
    inputs: int, stride: int, rows: int, count: int, weights: int, step: int, outputs: int,
    zeros: int, result: int, width: int,
) -> None:  # fmt: skip
    """Multiply floats [rows, count] by floats [count, outputs] that are not packed.

    Strides are in bytes; `outputs` is a multiple of 16; `zeros` is a vector of them.
    """
    for column in range(0, 4 * outputs, 4 * LANES):
        b = weights + column
        row = np.int64(0)
        while row < rows:
            left = rows - row
            a, c = inputs + row * stride, result + row * width + column
            if left >= 8:
                _THIN_8(a, stride, b, step, count, zeros, c, width, 0)
                row += 8
            elif left >= 5:
                _THIN_5(a, stride, b, step, count, zeros, c, width, 0)
                row += 5
            elif left == 4:
                _THIN_4(a, stride, b, step, count, zeros, c, width, 0)
                row += 4
            elif left >= 2:
                _THIN_2(a, stride, b, step, count, zeros, c, width, 0)
                row += 2
            else:
                _THIN_1(a, stride, b, step, count, zeros, c, width, 0)
                row += 1
