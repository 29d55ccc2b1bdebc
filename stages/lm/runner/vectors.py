"""Vector code that numba does not write by itself, built as LLVM instructions.

numba compiles loops well, but no Python expression says "multiply 64 bytes and add by fours"
(`vpdpbusd`), and its vectoriser gives up on short rows. An `@intrinsic` may hand LLVM the
instructions directly: this module is the small vocabulary (`Emitter`) that `tiles` and `rows` are
written in. All vectors have 16 lanes; LLVM splits them where the CPU's are shorter.

Addresses are plain integers, so the arrays behind them must outlive the call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
"""Numbers in a vector; rows are padded to a multiple of it."""

I8, I16, I32, I64, F32 = (ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64),
                          ir.FloatType())  # fmt: skip
FLOATS, INTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
FAST = ("nsz", "contract")
"""Multiply-add may be one instruction; the order of a sum is kept."""
TREE = ("nnan", "nsz", "reassoc", "contract")
"""The lanes of one vector may be summed in any order."""

Instructions = Literal["vnni", "avx2", "plain"]


@functools.cache
def instructions() -> Instructions:
    """Return which byte products this CPU has."""
    found = binding.get_host_cpu_features()
    if found.get("avx512vnni") and found.get("avx512bw"):
        return "vnni"
    return "avx2" if found.get("avx2") else "plain"


class Emitter:
    """Instructions for vectors of 16 floats or integers, added to one function."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def integer(self, value: int) -> Any:
        """Return a 64-bit constant."""
        return ir.Constant(I64, value)

    def constant(self, value: float) -> Any:
        """Return a vector of 16 equal floats."""
        return ir.Constant(FLOATS, [float(value)] * LANES)

    def add(self, address: Any, *parts: Any) -> Any:
        """Return an address moved by bytes."""
        for part in parts:
            moved = self.integer(part) if isinstance(part, int) else part
            address = self.builder.add(address, moved)
        return address

    def times(self, value: Any, factor: int) -> Any:
        """Return an integer times a constant."""
        return self.builder.mul(value, self.integer(factor))

    def load(self, address: Any, kind: Any = FLOATS) -> Any:
        """Return what lies at an address."""
        pointer = self.builder.inttoptr(address, kind.as_pointer())
        return self.builder.load(pointer, align=1)

    def store(self, value: Any, address: Any) -> None:
        """Write a value to an address."""
        pointer = self.builder.inttoptr(address, value.type.as_pointer())
        self.builder.store(value, pointer, align=1)

    def splat(self, value: Any) -> Any:
        """Return a vector of 16 copies of a number."""
        kind = ir.VectorType(value.type, LANES)
        nothing = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(nothing, value, ir.Constant(I32, 0))
        places = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
        return self.builder.shuffle_vector(first, nothing, places)

    def call(self, name: str, result: Any, *arguments: Any, flags: tuple[str, ...] = ()) -> Any:
        """Call an LLVM intrinsic by its full name."""
        kind = ir.FunctionType(result, [one.type for one in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, arguments, fastmath=flags)

    def multiply_add(self, left: Any, right: Any, total: Any) -> Any:
        """Return left * right + total, fused where the CPU can."""
        product = self.builder.fmul(left, right, flags=FAST)
        return self.builder.fadd(product, total, flags=FAST)

    def larger(self, left: Any, right: Any) -> Any:
        """Return the larger number of every lane."""
        return self.builder.select(self.builder.fcmp_ordered(">", left, right), left, right)

    def absolute(self, value: Any) -> Any:
        """Return the value without its sign."""
        return self.call("llvm.fabs.v16f32", FLOATS, value)

    def largest(self, value: Any) -> Any:
        """Return the largest of 16 lanes."""
        return self.call("llvm.vector.reduce.fmax.v16f32", F32, value, flags=TREE)

    def total(self, value: Any) -> Any:
        """Return the sum of 16 lanes."""
        zero = ir.Constant(F32, 0.0)
        return self.call("llvm.vector.reduce.fadd.v16f32", F32, zero, value, flags=TREE)

    def variable(self, start: Any) -> Any:
        """Return a place for a value that a loop changes; LLVM keeps it in a register."""
        place = cgutils.alloca_once(self.builder, start.type)
        self.builder.store(start, place)
        return place

    @contextmanager
    def loop(self, count: Any) -> Iterator[Any]:
        """Repeat what is emitted inside; gives the number of the round."""
        with cgutils.for_range(self.builder, count) as loop:
            yield loop.index

    def exponential(self, value: Any) -> Any:
        """Return e ** value for value <= 0, within 2 units in the last place.

        2 ** n times a polynomial of degree 6 on [-ln 2 / 2, ln 2 / 2] (Cephes, expf).
        """
        build = self.builder
        low = self.larger(value, self.constant(-87.0))
        turns = self.call(
            "llvm.rint.v16f32", FLOATS, build.fmul(low, self.constant(1.4426950408889634))
        )
        rest = self.multiply_add(turns, self.constant(-0.693359375), low)
        rest = self.multiply_add(turns, self.constant(2.12194440e-4), rest)
        result = self.constant(1.9875691500e-4)
        for factor in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5):
            result = self.multiply_add(result, rest, self.constant(factor))
        square = build.fmul(rest, rest)
        result = self.multiply_add(result, square, rest)
        result = build.fadd(result, self.constant(1.0))
        bits = build.add(build.fptosi(turns, INTS), ir.Constant(INTS, [127] * LANES))
        power = build.bitcast(build.shl(bits, ir.Constant(INTS, [23] * LANES)), FLOATS)
        return build.fmul(result, power)


def compiled(
    name: str,
    arguments: str,
    body: Callable[..., Any],
    result: Any = types.void,
    *,
    inline: bool = False,
) -> Any:
    """Return an intrinsic whose arguments are addresses or counts (`i`) and floats (`f`).

    Its instructions stand in one function per module that is called, not copied: numba optimises
    a function again in each of its callers, and copies made compiling six times slower.
    """
    kinds = [types.intp if kind == "i" else types.float32 for kind in arguments]
    machine = [I64 if kind == "i" else F32 for kind in arguments]
    signature = result(*kinds)
    returned = {types.void: ir.VoidType(), types.float32: F32, types.int64: I64}[result]

    def typed(context: Any, *given: Any) -> Any:
        del context, given

        def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
            if inline:
                found = body(Emitter(builder), *values)
            else:
                kind = ir.FunctionType(returned, machine)
                found = builder.call(
                    _function(builder.module, f"deveno.{name}", kind, body), values
                )
            return context.get_dummy_value() if result is types.void else found

        return signature, generate

    typed.__name__ = name
    names = ["context", *(f"a{number}" for number in range(len(arguments)))]
    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    # numba folds arguments by the signature it sees; `*given` alone would make them one tuple.
    vars(typed)["__signature__"] = inspect.Signature(
        [inspect.Parameter(one, place) for one in names]
    )
    return intrinsic(typed)


def _function(module: Any, name: str, kind: Any, body: Callable[..., Any]) -> Any:
    """Return a module's function of this name, written on first use."""
    if name in module.globals:
        return module.globals[name]
    function = ir.Function(module, kind, name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    found = body(Emitter(builder), *function.args)
    if isinstance(kind.return_type, ir.VoidType):
        builder.ret_void()
    else:
        builder.ret(found)
    return function


@intrinsic
def address(context: Any, array: Any) -> Any:
    """Return where an array's data lies."""
    del context

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        found = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.ptrtoint(found.data, I64)

    return types.intp(array), generate


def _load(kind: Any) -> Callable[..., Any]:
    return lambda emit, place: emit.load(place, kind)


def _store(emit: Emitter, place: Any, value: Any) -> None:
    emit.store(value, place)


float_at = compiled("float_at", "i", _load(F32), types.float32, inline=True)
"""The float at an address."""
put_float = compiled("put_float", "if", _store, inline=True)
"""Write a float to an address."""
put_place = compiled("put_place", "ii", _store, inline=True)
"""Write an address to an address."""


def _copy_unit(emit: Emitter, source: Any, target: Any) -> None:
    emit.store(emit.load(source, I32), target)


copy_unit = compiled("copy_unit", "ii", _copy_unit, inline=True)
"""Copy four bytes from one address to another."""


def _cycles(emit: Emitter) -> Any:
    return emit.call("llvm.readcyclecounter", I64)


cycles = compiled("cycles", "", _cycles, types.int64, inline=True)
"""The CPU's time stamp counter: where the time goes is told in shares of it."""
