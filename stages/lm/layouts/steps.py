"""The steps of a rule: moves over tensors, each with its inverse.

A step takes the nodes of some tensors and returns those of others; it checks their shapes and
reads nothing yet. Letters: H heads, K head size, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stages.lm.tensors.entries import NUMBERS, Bits, Spec, bits_from, numbers_of
from stages.lm.tensors.nodes import Combined, Joined, Node, Part, Permuted, Zeros, cast

Lookup = Callable[[str], Node]
"""Gives a tensor of the second model (the base of a delta) by name."""


class StepError(ValueError):
    """A tensor that a step cannot take: the words say what it is and what was expected."""


class Step(Protocol):
    """A move that can be undone."""

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the tensors made of the given ones; StepError when they do not fit."""
        ...

    def inverse(self) -> Step:
        """Return the step that undoes this one."""
        ...


@dataclass(frozen=True)
class Transpose:
    """A matrix [M, N] becomes [N, M]; its own inverse."""

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the transposed matrix."""
        (node,) = given
        if len(node.spec.shape) != 2:
            raise StepError("a matrix is expected")
        return [Permuted(node, node.spec.shape, (1, 0), node.spec.shape[::-1])]

    def inverse(self) -> Step:
        """Return itself."""
        return self

    def __str__(self) -> str:
        return "transpose"


@dataclass(frozen=True)
class Permute:
    """A tensor of shape `before` is seen as `dims`, its axes permuted, and seen as `after`."""

    before: tuple[int, ...]
    dims: tuple[int, ...]
    axes: tuple[int, ...]
    after: tuple[int, ...]

    def __post_init__(self) -> None:
        sizes = {math.prod(self.before), math.prod(self.dims), math.prod(self.after)}
        if len(sizes) != 1 or sorted(self.axes) != list(range(len(self.dims))):
            raise StepError(f"{self.before}, {self.dims} and {self.after} are of several sizes")

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the permuted tensor."""
        (node,) = given
        if node.spec.shape != self.before:
            raise StepError(f"the settings say {list(self.before)}")
        return [Permuted(node, self.dims, self.axes, self.after)]

    def inverse(self) -> Step:
        """Return the permutation back."""
        back = tuple(int(axis) for axis in np.argsort(self.axes))
        moved = tuple(self.dims[axis] for axis in self.axes)
        return Permute(self.after, moved, back, self.before)

    def __str__(self) -> str:
        dims, axes = "x".join(map(str, self.dims)), "".join(map(str, self.axes))
        return f"permute {dims} by {axes}"


def permuted_rows(shape: Sequence[int], dims: Sequence[int], axes: Sequence[int]) -> Permute:
    """Return the permutation of a tensor's rows, seen as `dims` (axis 0 split), by `axes`.

    `permuted_rows((D, N), (H, K // 2, 2), (0, 2, 1))` turns interleaved rotary pairs to halves.
    """
    rest = tuple(shape[1:])
    count = len(dims)
    return Permute(
        tuple(shape),
        (*dims, *rest),
        (*axes, *range(count, count + len(rest))),
        tuple(shape),
    )


@dataclass(frozen=True)
class Split:
    """A tensor is cut into parts of `sizes` along an axis (0 or 1)."""

    sizes: tuple[int, ...]
    axis: int = 0

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the parts."""
        (node,) = given
        shape = node.spec.shape
        if len(shape) <= self.axis or shape[self.axis] != sum(self.sizes):
            raise StepError(f"{sum(self.sizes)} are expected along axis {self.axis}")
        parts, at = [], 0
        for size in self.sizes:
            parts.append(Part(node, self.axis, at, size))
            at += size
        return list(parts)

    def inverse(self) -> Step:
        """Return the join."""
        return Join(self.sizes, self.axis)

    def __str__(self) -> str:
        return f"split {'+'.join(map(str, self.sizes))} along axis {self.axis}"


@dataclass(frozen=True)
class Join:
    """Parts of `sizes` become one tensor along an axis (0 or 1)."""

    sizes: tuple[int, ...]
    axis: int = 0

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the joined tensor."""
        sizes = [node.spec.shape[self.axis : self.axis + 1] for node in given]
        if sizes != [(size,) for size in self.sizes]:
            raise StepError(f"parts of {list(self.sizes)} along axis {self.axis} are expected")
        rest = {
            (one.spec.dtype, *one.spec.shape[: self.axis], *one.spec.shape[self.axis + 1 :])
            for one in given
        }
        if len(rest) != 1:
            raise StepError("the parts are of several types or shapes")
        return [Joined(list(given), self.axis)]

    def inverse(self) -> Step:
        """Return the split."""
        return Split(self.sizes, self.axis)

    def __str__(self) -> str:
        return f"join {'+'.join(map(str, self.sizes))} along axis {self.axis}"


@dataclass(frozen=True)
class Same:
    """`count` copies of one tensor, equal to the last bit, become one."""

    count: int

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return one of them; reading it compares them all."""
        if len(given) != self.count or len({node.spec for node in given}) != 1:
            raise StepError("equal tensors are expected")
        return [Combined(list(given), given[0].spec, _equal)]

    def inverse(self) -> Step:
        """Return the copying."""
        return Repeat(self.count)

    def __str__(self) -> str:
        return f"one of {self.count} equal copies"


@dataclass(frozen=True)
class Repeat:
    """A tensor is written `count` times under several names."""

    count: int

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return it as often."""
        (node,) = given
        return [node] * self.count

    def inverse(self) -> Step:
        """Return the joining of equal copies."""
        return Same(self.count)

    def __str__(self) -> str:
        return f"{self.count} copies"


@dataclass(frozen=True)
class Pad:
    """Rows of zeros are added: `rows` become `padded` rows."""

    rows: int
    padded: int

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the longer tensor."""
        (node,) = given
        shape = node.spec.shape
        if shape[:1] != (self.rows,):
            raise StepError(f"{self.rows} rows are expected")
        zeros = Zeros(Spec(node.spec.dtype, (self.padded - self.rows, *shape[1:])))
        return [Joined([node, zeros], 0)]

    def inverse(self) -> Step:
        """Return the cut."""
        return Unpad(self.rows, self.padded)

    def __str__(self) -> str:
        return f"pad {self.rows} rows to {self.padded} with zeros"


@dataclass(frozen=True)
class Unpad:
    """The last rows, which must be zeros, are left out: `padded` become `rows` rows.

    Rows that hold something are no padding: cut them off with `Split` and keep them (`KEPT`).
    """

    rows: int
    padded: int

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the shorter tensor; reading its last row looks at the rows left out."""
        (node,) = given
        if node.spec.shape[:1] != (self.padded,):
            raise StepError(f"{self.padded} rows are expected")
        return [_Unpadded(node, self.rows)]

    def inverse(self) -> Step:
        """Return the padding."""
        return Pad(self.rows, self.padded)

    def __str__(self) -> str:
        return f"cut {self.padded} rows to {self.rows}, the rest zeros"


class _Unpadded(Part):
    """The first rows of a tensor whose other rows are zeros."""

    def __init__(self, inner: Node, rows: int) -> None:
        super().__init__(inner, 0, 0, rows)
        self._rows = rows

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end`; StepError if the rows left out hold something."""
        if end == self.spec.count and self._inner.read(end, self._inner.spec.count).any():
            raise StepError(f"the rows after the first {self._rows} are no zeros")
        return super().read(begin, end)


@dataclass(frozen=True)
class Cast:
    """Numbers change their type; exact both ways only from a type to a wider one and back."""

    before: str
    after: str

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the tensor in the other type."""
        (node,) = given
        if node.spec.dtype != self.before:
            raise StepError(f"{self.before} is expected")
        return [cast(node, self.after)]

    def inverse(self) -> Step:
        """Return the cast back."""
        return Cast(self.after, self.before)

    def __str__(self) -> str:
        return f"cast {self.before} to {self.after}"


@dataclass(frozen=True)
class Exclusive:
    """Bits are combined with those of a base tensor by exclusive or: exact, its own inverse."""

    name: str

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the combined tensor."""
        node, base = _with_base(given, other, self.name)
        return [Combined([node, base], node.spec, np.bitwise_xor)]

    def inverse(self) -> Step:
        """Return itself."""
        return self

    def __str__(self) -> str:
        return f"bits xor base {self.name}"


@dataclass(frozen=True)
class Add:
    """A base tensor is added (`sign` 1) or taken away (-1) in the tensor's own float type.

    Sums of floats are rounded, so `Add(x, -1)` and `Add(x)` need not lead back to equal bits.
    """

    name: str
    sign: int = 1

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the sum or difference."""
        node, base = _with_base(given, other, self.name)
        dtype = node.spec.dtype
        if dtype not in ("BF16", "F16", "F32", "F64"):
            raise StepError("a type of floats is expected")
        operation = np.add if self.sign > 0 else np.subtract

        def combined(bits: Bits, others: Bits) -> Bits:
            return bits_from(operation(numbers_of(bits, dtype), numbers_of(others, dtype)), dtype)

        return [Combined([node, base], node.spec, combined)]

    def inverse(self) -> Step:
        """Return the opposite."""
        return Add(self.name, -self.sign)

    def __str__(self) -> str:
        return f"{'plus' if self.sign > 0 else 'minus'} base {self.name}"


def _with_base(given: Sequence[Node], other: Lookup, name: str) -> tuple[Node, Node]:
    (node,) = given
    base = other(name)
    if base.spec != node.spec:
        raise StepError(f"the base has {base.spec}")
    return node, base


def _equal(first: Bits, *others: Bits) -> Bits:
    if not all(np.array_equal(first, one) for one in others):
        raise StepError("tensors that shall be equal copies differ")
    return first


def floats(dtype: str) -> bool:
    """Tell whether a type holds floating-point numbers that numpy or we can count with."""
    return dtype == "BF16" or (dtype in NUMBERS and np.dtype(NUMBERS[dtype]).kind == "f")
