"""Eight bytes at a time: loads at any address, and masks of bits, as LLVM instructions.

numba indexes arrays by whole elements; a word of text begins at any byte. Each of these is one or
two instructions on every CPU with vectors. The arrays must reach as far as is read: kernels keep
`MARGIN` bytes behind what they work on.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

MARGIN = 64
"""Bytes that a buffer read by these functions has behind its last byte."""
I64 = ir.IntType(64)


def _address(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [place])


@intrinsic
def load8(typing: Any, array: Any, place: Any) -> Any:
    """Return the eight bytes at `array[place:]` (uint8) as a little-endian uint64."""
    del typing, place

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        found = _address(context, builder, signature.args[0], *given)
        return builder.load(builder.bitcast(found, I64.as_pointer()), align=1)

    return types.uint64(array, types.int64), build


@intrinsic
def store8(typing: Any, array: Any, place: Any, value: Any) -> Any:
    """Write a uint64 as the four uint16 at `array[place:]`, the lowest first."""
    del typing, place, value

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        found = _address(context, builder, signature.args[0], given[0], given[1])
        builder.store(given[2], builder.bitcast(found, I64.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), build


def _ask(builder: Any, place: Any) -> None:
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    called = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    flags = [ir.Constant(number, flag) for flag in (0, 3, 1)]
    builder.call(called, [builder.bitcast(place, byte), *flags])


@intrinsic
def prefetch(typing: Any, table: Any, row: Any) -> Any:
    """Ask for `table[row]` (uint64 [N, 4], 32 bytes a row) to be brought nearer; no effect else."""
    del typing

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        first = builder.shl(given[1], ir.Constant(I64, 2))
        _ask(builder, _address(context, builder, signature.args[0], given[0], first))
        return context.get_dummy_value()

    return types.void(table, row), build


@intrinsic
def prefetch_line(typing: Any, array: Any, place: Any) -> Any:
    """Ask for the 64 bytes around `array[place]`, which has one dimension, to be brought nearer."""
    del typing, place

    def build(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        _ask(builder, _address(context, builder, signature.args[0], *given))
        return context.get_dummy_value()

    return types.void(array, types.int64), build
