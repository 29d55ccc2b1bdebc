"""What is done to single rows: rounding to bytes, norms, softmax, sums over the past.

Rows are padded with zeros to a multiple of 16; every count of vectors is that length over 16.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from stages.lm.runner.vectors import (
    F32,
    FAST,
    FLOATS,
    I8,
    INTS,
    LANES,
    Emitter,
    compiled,
    instructions,
)

BLOCK = 4
"""Vectors of logits whose largest value is kept, so that most are never looked at again."""
LOWEST = -1.0e30
"""Stands for minus infinity where infinities would make NaN."""
_WIDTH = 4 * LANES


def _quantise(emit: Emitter, row: Any, vectors: Any, target: Any) -> Any:
    build = emit.builder
    peak = emit.variable(emit.constant(0.0))
    with emit.loop(vectors) as number:
        value = emit.absolute(emit.load(emit.add(row, emit.times(number, _WIDTH))))
        build.store(emit.larger(value, build.load(peak)), peak)
    largest = emit.largest(build.load(peak))
    scale = build.fmul(largest, ir.Constant(F32, 1.0 / 127.0))
    empty = build.fcmp_ordered("==", largest, ir.Constant(F32, 0.0))
    inverse = build.fdiv(ir.Constant(F32, 127.0), largest)
    inverse = emit.splat(build.select(empty, ir.Constant(F32, 0.0), inverse))
    # Truncation of x + 128.5 > 0 rounds; AVX-512 wants 1..255, the others -127..127.
    shift = 0 if instructions() == "vnni" else -128
    with emit.loop(vectors) as number:
        value = emit.load(emit.add(row, emit.times(number, _WIDTH)))
        scaled = build.fadd(build.fmul(value, inverse), emit.constant(128.5))
        rounded = build.fptosi(scaled, INTS)
        rounded = build.add(rounded, ir.Constant(INTS, [shift] * LANES))
        small = build.trunc(rounded, ir.VectorType(I8, LANES))
        emit.store(small, emit.add(target, emit.times(number, LANES)))
    return scale


def _normalise(
    emit: Emitter, row: Any, other: Any, target: Any, gain: Any, bias: Any, vectors: Any,
    width: Any, epsilon: Any,
) -> None:  # fmt: skip
    build = emit.builder
    total = emit.variable(emit.constant(0.0))
    with emit.loop(vectors) as number:
        at = emit.times(number, _WIDTH)
        place = emit.add(row, at)
        value = build.fadd(emit.load(place), emit.load(emit.add(other, at)))
        emit.store(value, place)
        build.store(build.fadd(value, build.load(total)), total)
    mean = build.fdiv(emit.total(build.load(total)), width)
    spread = emit.variable(emit.constant(0.0))
    middle = emit.splat(mean)
    with emit.loop(vectors) as number:
        value = build.fsub(emit.load(emit.add(row, emit.times(number, _WIDTH))), middle)
        build.store(emit.multiply_add(value, value, build.load(spread)), spread)
    # Padding is zero and so adds its distance to the mean, which is taken off again.
    padded = build.uitofp(emit.times(vectors, LANES), F32)
    extra = build.fmul(build.fmul(mean, mean), build.fsub(padded, width))
    variance = build.fdiv(build.fsub(emit.total(build.load(spread)), extra), width)
    root = emit.call("llvm.sqrt.f32", F32, build.fadd(variance, epsilon))
    factor = emit.splat(build.fdiv(ir.Constant(F32, 1.0), root))
    with emit.loop(vectors) as number:
        at = emit.times(number, _WIDTH)
        value = build.fmul(build.fsub(emit.load(emit.add(row, at)), middle), factor)
        gained = emit.multiply_add(
            value, emit.load(emit.add(gain, at)), emit.load(emit.add(bias, at))
        )
        emit.store(gained, emit.add(target, at))


def _softmax(emit: Emitter, row: Any, vectors: Any) -> None:
    build = emit.builder
    peak = emit.variable(emit.constant(LOWEST))
    with emit.loop(vectors) as number:
        value = emit.load(emit.add(row, emit.times(number, _WIDTH)))
        build.store(emit.larger(value, build.load(peak)), peak)
    largest = emit.splat(emit.largest(build.load(peak)))
    total = emit.variable(emit.constant(0.0))
    with emit.loop(vectors) as number:
        place = emit.add(row, emit.times(number, _WIDTH))
        value = emit.exponential(build.fsub(emit.load(place), largest))
        emit.store(value, place)
        build.store(build.fadd(value, build.load(total)), total)
    inverse = build.fdiv(ir.Constant(F32, 1.0), emit.total(build.load(total)))
    factor = emit.splat(inverse)
    with emit.loop(vectors) as number:
        place = emit.add(row, emit.times(number, _WIDTH))
        emit.store(build.fmul(emit.load(place), factor), place)


def _maxima(emit: Emitter, row: Any, blocks: Any, found: Any) -> Any:
    build = emit.builder
    peak = emit.variable(ir.Constant(F32, LOWEST))
    with emit.loop(blocks) as number:
        at = emit.add(row, emit.times(number, BLOCK * _WIDTH))
        values = [emit.load(emit.add(at, part * _WIDTH)) for part in range(BLOCK)]
        largest = values[0]
        for value in values[1:]:
            largest = emit.larger(value, largest)
        one = emit.largest(largest)
        emit.store(one, emit.add(found, emit.times(number, 4)))
        before = build.load(peak)
        build.store(build.select(build.fcmp_ordered(">", one, before), one, before), peak)
    return build.load(peak)


def _exponential_sum(emit: Emitter, row: Any, blocks: Any, peak: Any) -> Any:
    build = emit.builder
    totals = [emit.variable(emit.constant(0.0)) for _ in range(BLOCK)]
    largest = emit.splat(peak)
    with emit.loop(blocks) as number:
        at = emit.add(row, emit.times(number, BLOCK * _WIDTH))
        for part, total in enumerate(totals):
            value = build.fsub(emit.load(emit.add(at, part * _WIDTH)), largest)
            build.store(build.fadd(emit.exponential(value), build.load(total)), total)
    first, second, third, fourth = (build.load(total) for total in totals)
    return emit.total(build.fadd(build.fadd(first, second), build.fadd(third, fourth)))


def _halved(emit: Emitter, left: Any, right: Any, size: int) -> Any:
    """Return the sums of neighbouring runs of `size` lanes of two vectors, left's and right's."""
    places: list[list[int]] = [[], []]
    for start in (0, LANES):
        for run in range(0, LANES, 2 * size):
            for half in range(2):
                at = start + run + half * size
                places[half] += range(at, at + size)
    parts = [emit.builder.shuffle_vector(left, right, ir.Constant(INTS, order)) for order in places]
    return emit.builder.fadd(*parts, flags=FAST)


def _scores(
    emit: Emitter, query: Any, places: Any, blocks: Any, shift: Any, vectors: Any, result: Any
) -> None:
    """Write query . key for sixteen keys at a time, found by their addresses."""
    build = emit.builder
    with emit.loop(blocks) as block:
        at = emit.add(places, emit.times(block, 8 * LANES))
        keys = [
            emit.add(emit.load(emit.add(at, 8 * lane), ir.IntType(64)), shift)
            for lane in range(LANES)
        ]
        sums = [emit.variable(emit.constant(0.0)) for _ in range(LANES)]
        for place in sums:
            build.store(emit.constant(0.0), place)
        with emit.loop(vectors) as number:
            step = emit.times(number, _WIDTH)
            own = emit.load(emit.add(query, step))
            for key, place in zip(keys, sums, strict=True):
                value = emit.multiply_add(own, emit.load(emit.add(key, step)), build.load(place))
                build.store(value, place)
        # Sixteen sums across lanes at once: every level halves runs of lanes and vectors, which
        # leaves the sums in the order of reversed bits.
        rows = [build.load(sums[int(f"{lane:04b}"[::-1], 2)]) for lane in range(LANES)]
        for size in (8, 4, 2, 1):
            rows = [
                _halved(emit, rows[one], rows[one + len(rows) // 2], size)
                for one in range(len(rows) // 2)
            ]
        emit.store(rows[0], emit.add(result, emit.times(block, _WIDTH)))


def _mix(emit: Emitter, places: Any, fours: Any, shares: Any, shift: Any, result: Any) -> None:
    """Write a weighted sum of rows, four at a time so that additions need not wait."""
    build = emit.builder
    totals = [emit.variable(emit.constant(0.0)) for _ in range(4)]
    with emit.loop(fours) as number:
        for part, total in enumerate(totals):
            place = emit.load(emit.add(places, emit.times(number, 32), 8 * part), ir.IntType(64))
            share = emit.load(emit.add(shares, emit.times(number, 16), 4 * part), F32)
            value = emit.load(emit.add(place, shift))
            build.store(emit.multiply_add(emit.splat(share), value, build.load(total)), total)
    first, second, third, fourth = (build.load(total) for total in totals)
    emit.store(build.fadd(build.fadd(first, second), build.fadd(third, fourth)), result)


def _copy(emit: Emitter, source: Any, target: Any, vectors: Any) -> None:
    with emit.loop(vectors) as number:
        at = emit.times(number, _WIDTH)
        emit.store(emit.load(emit.add(source, at)), emit.add(target, at))


def _embed(
    emit: Emitter, token: Any, position: Any, factor: Any, vectors: Any, target: Any
) -> None:
    with emit.loop(vectors) as number:
        at = emit.times(number, _WIDTH)
        value, place = emit.load(emit.add(token, at)), emit.load(emit.add(position, at))
        # Two roundings, as frameworks do: scale, then add.
        scaled = emit.builder.fmul(value, emit.splat(factor))
        emit.store(emit.builder.fadd(scaled, place), emit.add(target, at))


quantise = compiled("quantise", "iii", _quantise, types.float32)
"""(row, vectors, bytes): round a row to bytes; returns what one byte step is worth."""
add_normalise = compiled("add_normalise", "iiiiiiff", _normalise)
"""(row, other, target, gain, bias, vectors, width, epsilon): row += other, target = LayerNorm(row);
the target may be the row."""
softmax = compiled("softmax", "ii", _softmax)
"""(row, vectors): softmax in place; padding holds LOWEST."""
maxima = compiled("maxima", "iii", _maxima, types.float32)
"""(row, blocks, found): the largest of each block of 64, and of all."""
exponential_sum = compiled("exponential_sum", "iif", _exponential_sum, types.float32)
"""(row, blocks, largest): sum of exp(x - largest)."""
key_scores = compiled("key_scores", "iiiiii", _scores)
"""(query, addresses of rows, blocks of 16, byte of the key, vectors, result): inner products."""
mix = compiled("mix", "iiiii", _mix)
"""(addresses of rows, fours, shares, byte of the vector, result): 16 lanes of a weighted sum."""
copy = compiled("copy", "iii", _copy)
"""(source, target, vectors): copy a row."""
embed = compiled("embed", "iifii", _embed)
"""(token row, position row, factor, vectors, target): factor * token + position."""
assert FLOATS.count == LANES
