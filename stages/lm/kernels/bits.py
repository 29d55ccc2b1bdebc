"""Bits and blocks of bytes in kernels: what one vector instruction says and Python cannot.

Addresses are plain integers (`array.ctypes.data`); the arrays behind them must outlive the call and
reach as far as is said. Each function has its meaning in plain Python beside it (`reference_*`).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

BLOCK = 64
"""Bytes in a block: one bit of a mask each."""
_I8, _I64 = ir.IntType(8), ir.IntType(64)
_VECTOR = ir.VectorType(_I8, BLOCK)


def _splat(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * BLOCK)


@intrinsic
def lowest(typing: Any, mask: Any) -> Any:
    """Return the number of the lowest set bit of a uint64; 64 if there is none."""
    del typing, mask

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), make


@intrinsic
def ones(typing: Any, mask: Any) -> Any:
    """Return how many bits of a uint64 are set."""
    del typing, mask

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), make


@intrinsic
def load8(typing: Any, address: Any) -> Any:
    """Return the eight bytes at an address as a uint64, the first byte lowest."""
    del typing, address

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        pointer = builder.inttoptr(arguments[0], _I64.as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(types.uint64), make


@intrinsic
def words_block(typing: Any, source: Any, target: Any, word: Any, high: Any, fold: Any) -> Any:
    """Copy 64 bytes, and write which are ASCII word characters and which are not ASCII.

    `source` and `target` are addresses of bytes (they may be one), `word` and `high` of a uint64
    each. Where `fold` is true, ASCII capitals are written in lower case.
    """
    del typing, source, target, word, high, fold

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        origin, target, word, high, fold = arguments
        given = builder.load(builder.inttoptr(origin, _VECTOR.as_pointer()), align=1)

        def within(value: Any, first: str, count: int) -> Any:
            return builder.icmp_unsigned("<", builder.sub(value, _splat(ord(first))), _splat(count))

        def put(bits: Any, address: Any) -> None:
            whole = builder.bitcast(bits, _I64)
            builder.store(whole, builder.inttoptr(address, _I64.as_pointer()), align=8)

        small = builder.or_(given, _splat(0x20))
        found = builder.or_(within(small, "a", 26), within(given, "0", 10))
        found = builder.or_(found, builder.icmp_unsigned("==", given, _splat(ord("_"))))
        put(found, word)
        put(builder.icmp_signed("<", given, _splat(0)), high)
        folds = builder.select(fold, ir.Constant(_I8, 0x20), ir.Constant(_I8, 0))
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(nothing, folds, ir.Constant(ir.IntType(32), 0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK)
        added = builder.shuffle_vector(first, nothing, places)
        lowered = builder.or_(given, added)
        result = builder.select(within(given, "A", 26), lowered, given)
        builder.store(result, builder.inttoptr(target, _VECTOR.as_pointer()), align=1)
        return context.get_dummy_value()

    address = types.uint64
    return types.void(address, address, address, address, types.boolean), make


def reference_words_block(data: bytes, *, fold: bool) -> tuple[bytes, int, int]:
    """Return what `words_block` writes: 64 bytes, the mask of words, the mask of the rest."""
    word = sum(1 << i for i, byte in enumerate(data) if byte < 128 and _is_word(chr(byte)))
    high = sum(1 << i for i, byte in enumerate(data) if byte > 127)
    return data.lower() if fold else data, word, high


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


@intrinsic
def class_block(typing: Any, source: Any, target: Any, stride: Any) -> Any:
    """Write which of the 64 bytes at `source` are ASCII letters, digits, white space, and more.

    A mask each of letters, digits, white space (as `\\s` has it), nothing, blanks, bytes that are
    not ASCII, apostrophes and bytes that continue a character goes to `target` + k * `stride`, k
    from 1 on; all three are addresses and a number of bytes.
    """
    del typing, source, target, stride

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        source, target, stride = arguments
        given = builder.load(builder.inttoptr(source, _VECTOR.as_pointer()), align=1)

        def within(value: Any, first: int, count: int) -> Any:
            return builder.icmp_unsigned("<", builder.sub(value, _splat(first)), _splat(count))

        blank = builder.icmp_unsigned("==", given, _splat(ord(" ")))
        for kind, bits in (
            (1, within(builder.or_(given, _splat(0x20)), ord("a"), 26)),
            (2, within(given, ord("0"), 10)),
            (3, builder.or_(within(given, 9, 5), blank)),
            (5, blank),
            (6, builder.icmp_signed("<", given, _splat(0))),
            (7, builder.icmp_unsigned("==", given, _splat(ord("'")))),
            (8, builder.icmp_signed("<", given, _splat(-64))),
        ):
            place = builder.add(target, builder.mul(stride, ir.Constant(_I64, kind)))
            whole = builder.bitcast(bits, _I64)
            builder.store(whole, builder.inttoptr(place, _I64.as_pointer()), align=8)
        return context.get_dummy_value()

    address = types.uint64
    return types.void(address, address, address), make


def reference_class_block(data: bytes) -> list[int]:
    """Return what `class_block` writes of 64 bytes, nothing for row 0 and for row 4."""
    ascii_only = bytes(byte if byte < 128 else 0 for byte in data).decode("ascii")
    tests = (
        [False] * BLOCK, [one.isalpha() for one in ascii_only],
        [one in "0123456789" for one in ascii_only], [one in " \t\n\v\f\r" for one in ascii_only],
        [False] * BLOCK, [one == " " for one in ascii_only], [byte > 127 for byte in data],
        [one == "'" for one in ascii_only], [byte & 0xC0 == 0x80 for byte in data],
    )  # fmt: skip
    return [sum(1 << at for at, one in enumerate(row) if one) for row in tests]
