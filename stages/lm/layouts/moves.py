"""Steps that only some families need: another shape of the same bytes, and rows made of nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stages.lm.layouts.steps import Lookup, Step, StepError
from stages.lm.tensors.entries import Bits, Spec
from stages.lm.tensors.nodes import Node, Part, Zeros


@dataclass(frozen=True)
class Reshape:
    """The same elements in the same order, seen as another shape."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the tensor in its other shape."""
        (node,) = given
        if node.spec.shape != self.before or math.prod(self.before) != math.prod(self.after):
            raise StepError(f"the settings say {list(self.before)}")
        return [_Reshaped(node, self.after)]

    def inverse(self) -> Step:
        """Return the way back."""
        return Reshape(self.after, self.before)

    def __str__(self) -> str:
        shapes = ("x".join(map(str, shape)) or "scalar" for shape in (self.before, self.after))
        return f"reshape {' to '.join(shapes)}"


class _Reshaped:
    """A node whose shape is another."""

    def __init__(self, inner: Node, shape: tuple[int, ...]) -> None:
        self.spec, self._inner = Spec(inner.spec.dtype, shape), inner

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end` in C order."""
        return self._inner.read(begin, end)


@dataclass(frozen=True)
class Blank:
    """A tensor of zeros is made of nothing: the target's layout has a place the source lacks."""

    dtype: str
    shape: tuple[int, ...]

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the zeros."""
        if given:
            raise StepError("zeros are made of nothing")
        return [Zeros(Spec(self.dtype, self.shape))]

    def inverse(self) -> Step:
        """Return the leaving out."""
        return Omit(self.dtype, self.shape)

    def __str__(self) -> str:
        return f"zeros {list(self.shape)}"


@dataclass(frozen=True)
class Omit:
    """The zeros that `Blank` made are left out again."""

    dtype: str
    shape: tuple[int, ...]

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return nothing."""
        (node,) = given
        if node.spec != Spec(self.dtype, self.shape):
            raise StepError(f"{self.dtype} {list(self.shape)} is expected")
        return []

    def inverse(self) -> Step:
        """Return the making."""
        return Blank(self.dtype, self.shape)

    def __str__(self) -> str:
        return "left out, zeros"


@dataclass(frozen=True)
class Extend:
    """`extra` rows are added behind `rows`: copies of row `row`, or elements of `bits`."""

    rows: int
    extra: int
    row: int
    bits: int | None = None

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the longer tensor."""
        (node,) = given
        if node.spec.shape[:1] != (self.rows,):
            raise StepError(f"{self.rows} rows are expected")
        return [_Extended(node, self.extra, self.row, self.bits)]

    def inverse(self) -> Step:
        """Return the cut."""
        return Shorten(self.rows, self.extra, self.row, self.bits)

    def __str__(self) -> str:
        what = f"copies of row {self.row}" if self.bits is None else "a constant"
        return f"extend {self.rows} rows by {self.extra}, {what}"


@dataclass(frozen=True)
class Shorten:
    """The rows that `Extend` added are left out again."""

    rows: int
    extra: int
    row: int
    bits: int | None = None

    def nodes(self, given: Sequence[Node], other: Lookup) -> list[Node]:
        """Return the shorter tensor."""
        (node,) = given
        if node.spec.shape[:1] != (self.rows + self.extra,):
            raise StepError(f"{self.rows + self.extra} rows are expected")
        return [Part(node, 0, 0, self.rows)]

    def inverse(self) -> Step:
        """Return the extending."""
        return Extend(self.rows, self.extra, self.row, self.bits)

    def __str__(self) -> str:
        return f"cut {self.rows + self.extra} rows to {self.rows}"


class _Extended:
    """A tensor with rows behind it that are all the same."""

    def __init__(self, inner: Node, extra: int, row: int, bits: int | None) -> None:
        rows, *rest = inner.spec.shape
        self.spec = Spec(inner.spec.dtype, (rows + extra, *rest))
        self._inner, self._row, self._bits = inner, row, bits

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end` in C order."""
        held = self._inner.spec.count
        kept = self._inner.read(min(begin, held), min(end, held))
        if end <= held:
            return kept
        width = math.prod(self.spec.shape[1:])
        if self._bits is None:
            same = self._inner.read(self._row * width, (self._row + 1) * width)
        else:
            same = np.full(width, self._bits, dtype=self.spec.carrier)
        places = np.arange(max(begin, held), end) % width
        return np.concatenate([kept, same[places]])
