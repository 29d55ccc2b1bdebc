"""The tensors of a checkpoint as a reference asks for them: read when they are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from stages.lm.tensors.entries import Spec
from stages.lm.tensors.nodes import Node, whole

if TYPE_CHECKING:
    from torch import Tensor


class SourceTensors(Mapping[str, "Tensor"]):
    """The tensors of a checkpoint under their own names, read whenever they are asked for."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes

    def __getitem__(self, name: str) -> Tensor:
        from stages.lm.tensors.bridge import tensor_of

        node = self._nodes[name]
        return tensor_of(node.spec, whole(node))

    def rows(self, name: str, begin: int, end: int) -> Tensor:
        """Return rows `begin` to `end` of a tensor seen as a matrix; nothing else is read."""
        from stages.lm.tensors.bridge import tensor_of

        node = self._nodes[name]
        width = node.spec.shape[-1]
        last = min(end, self.size(name))
        bits = node.read(begin * width, last * width)
        return tensor_of(Spec(node.spec.dtype, (last - begin, width)), bits)

    def size(self, name: str) -> int:
        """Return how many rows a tensor seen as a matrix has."""
        return math.prod(self._nodes[name].spec.shape[:-1])

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)
