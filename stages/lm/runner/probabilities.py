"""Logits to probabilities and back, on whole vectors: what members of an ensemble are mixed by."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from stages.lm.runner.rows import LOWEST
from stages.lm.runner.vectors import FLOATS, INTS, LANES, Emitter, compiled

_WIDTH = 4 * LANES
_LOGARITHM = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
"""Factors of x ** 11 .. x ** 3 in ln(1 + x), sqrt(1/2) - 1 <= x <= sqrt(2) - 1 (Cephes, logf)."""


def _add(emit: Emitter, row: Any, vectors: Any, norm: Any, kept: Any, target: Any) -> None:
    build = emit.builder
    shift, share = emit.splat(norm), emit.splat(kept)
    with emit.loop(vectors) as number:
        at = emit.times(number, _WIDTH)
        value, place = emit.load(emit.add(row, at)), emit.add(target, at)
        found = emit.exponential(build.fsub(value, shift))
        excluded = build.fcmp_ordered("<", value, emit.constant(LOWEST / 2))
        # The sum stays below zero where a word is excluded: the exponential never is.
        found = build.select(excluded, emit.constant(-2.0), found)
        emit.store(emit.multiply_add(emit.load(place), share, found), place)


def _logarithm(emit: Emitter, value: Any) -> Any:
    """Return ln(value) of positive normal numbers, within 2 units in the last place."""
    build = emit.builder

    def whole(number: int) -> Any:
        return ir.Constant(INTS, [number] * LANES)

    bits = build.bitcast(value, INTS)
    power = build.sub(build.lshr(bits, whole(23)), whole(126))
    half = build.or_(build.and_(bits, whole(0x007FFFFF)), whole(0x3F000000))
    share = build.bitcast(half, FLOATS)
    small = build.fcmp_ordered("<", share, emit.constant(0.707106781186547524))
    power = build.select(small, build.sub(power, whole(1)), power)
    share = build.select(small, build.fadd(share, share), share)
    x, turns = build.fsub(share, emit.constant(1.0)), build.sitofp(power, FLOATS)
    square = build.fmul(x, x)
    found = emit.constant(_LOGARITHM[0])
    for factor in _LOGARITHM[1:]:
        found = emit.multiply_add(found, x, emit.constant(factor))
    found = build.fmul(build.fmul(found, x), square)
    found = emit.multiply_add(turns, emit.constant(-2.12194440e-4), found)
    found = emit.multiply_add(square, emit.constant(-0.5), found)
    return emit.multiply_add(turns, emit.constant(0.693359375), build.fadd(x, found))


def _logarithms(emit: Emitter, row: Any, vectors: Any, share: Any) -> None:
    build = emit.builder
    factor = emit.splat(share)
    with emit.loop(vectors) as number:
        place = emit.add(row, emit.times(number, _WIDTH))
        value = emit.load(place)
        excluded = build.fcmp_ordered("<", value, emit.constant(0.0))
        found = _logarithm(emit, build.fmul(value, factor))
        emit.store(build.select(excluded, emit.constant(LOWEST), found), place)


add_probabilities = compiled("add_probabilities", "iiffi", _add)
"""(logits, vectors, norm, kept, target): target = kept * target + exp(logit - norm)."""
logarithms = compiled("logarithms", "iif", _logarithms)
"""(row, vectors, share): the logarithm of share * x; LOWEST where a word is excluded."""
