"""Activations on whole vectors, in place.

All are built on one exponential of numbers below zero, so that nothing overflows. Absolute errors
stay below 5e-7 times the input's size (tanh: 1.2e-7 for small ones), about what frameworks differ
by in 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from stages.lm.runner.vectors import FLOATS, LANES, Emitter, compiled

_WIDTH = 4 * LANES
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
"""Factors of t .. t ** 5 with t = 1 / (1 + 0.3275911 |x|), error below 1.5e-7 (Abramowitz and
Stegun, Handbook of Mathematical Functions, 7.1.26)."""


def _each(change: Callable[[Emitter, Any], Any]) -> Callable[..., None]:
    """Return a loop that changes vector after vector: (row, vectors)."""

    def body(emit: Emitter, row: Any, vectors: Any) -> None:
        with emit.loop(vectors) as number:
            place = emit.add(row, emit.times(number, _WIDTH))
            emit.store(change(emit, emit.load(place)), place)

    return body


def _negative(emit: Emitter, value: Any) -> Any:
    return emit.builder.fsub(ir.Constant(FLOATS, [-0.0] * LANES), value)


def _chosen(emit: Emitter, value: Any, positive: Any, other: Any) -> Any:
    """Return `positive` in lanes where the value is not below zero, `other` elsewhere."""
    build = emit.builder
    return build.select(build.fcmp_ordered(">=", value, emit.constant(0.0)), positive, other)


def _sigmoid(emit: Emitter, value: Any) -> Any:
    """Return 1 / (1 + e ** -value)."""
    build, one = emit.builder, emit.constant(1.0)
    power = emit.exponential(_negative(emit, emit.absolute(value)))
    return build.fdiv(_chosen(emit, value, one, power), build.fadd(one, power))


def _swish(emit: Emitter, value: Any) -> Any:
    return emit.builder.fmul(value, _sigmoid(emit, value))


def _gelu_tanh(emit: Emitter, value: Any) -> Any:
    """Return x (1 + tanh u) / 2 = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x ** 3)."""
    build = emit.builder
    square = build.fmul(value, value)
    inner = emit.multiply_add(square, emit.constant(0.044715), emit.constant(1.0))
    twice = build.fmul(build.fmul(value, inner), emit.constant(1.5957691216057308))
    return build.fmul(value, _sigmoid(emit, twice))


def _tanh(emit: Emitter, value: Any) -> Any:
    build, one = emit.builder, emit.constant(1.0)
    size = emit.absolute(value)
    power = emit.exponential(build.fmul(size, emit.constant(-2.0)))
    found = build.fdiv(build.fsub(one, power), build.fadd(one, power))
    return _chosen(emit, value, found, _negative(emit, found))


def _gelu(emit: Emitter, value: Any) -> Any:
    """Return x (1 + erf(x / sqrt 2)) / 2."""
    build, one = emit.builder, emit.constant(1.0)
    size = build.fmul(emit.absolute(value), emit.constant(0.7071067811865476))
    t = build.fdiv(one, emit.multiply_add(size, emit.constant(0.3275911), one))
    tail = emit.constant(_ERF[-1])
    for factor in reversed(_ERF[:-1]):
        tail = emit.multiply_add(tail, t, emit.constant(factor))
    power = emit.exponential(_negative(emit, build.fmul(size, size)))
    tail = build.fmul(build.fmul(tail, t), power)
    share = _chosen(emit, value, build.fsub(emit.constant(2.0), tail), tail)
    return build.fmul(build.fmul(value, emit.constant(0.5)), share)


def _square(emit: Emitter, value: Any) -> Any:
    return emit.builder.fmul(value, value)


gelu = compiled("gelu", "ii", _each(_gelu))
"""(row, vectors): GELU by the error function."""
gelu_tanh = compiled("gelu_tanh", "ii", _each(_gelu_tanh))
"""(row, vectors): GELU by the hyperbolic tangent, which fairseq calls gelu_accurate."""
tanh = compiled("tanh", "ii", _each(_tanh))
"""(row, vectors): the hyperbolic tangent."""
swish = compiled("swish", "ii", _each(_swish))
"""(row, vectors): x / (1 + e ** -x)."""
square = compiled("square", "ii", _each(_square))
"""(row, vectors): x ** 2; behind a tile that clips, ReLU squared."""
