"""Steps that only some families need: another shape of the same bytes, and rows made of nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stages.lm.layouts.steps import Lookup, Step, StepError
from stages.lm.tensors.entries import Bits, Spec
from stages.lm.tensors.nodes import Node, Zeros


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
