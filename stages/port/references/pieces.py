"""Tables, matrices and tensors of several ranks, read piece by piece; plain torch.

A reference of a model that is larger than memory takes its tensors from a mapping that can give
some rows of one (`Rows`); from any other mapping a tensor comes whole. A tensor of three axes, the
first of one, counts as the matrix that it holds.

Letters: B sentences, T tokens, D width, N and M the axes of a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

PIECE_ELEMENTS = 1 << 20
"""Elements of a table or matrix that are read at once, where rows can be read."""


@runtime_checkable
class Rows(Protocol):
    """A mapping of tensors that also reads some rows of one."""

    def rows(self, name: str, begin: int, end: int) -> Tensor:
        """Return rows of a matrix."""
        ...

    def size(self, name: str) -> int:
        """Return how many rows a matrix has."""
        ...


def looked_up(tensors: Mapping[str, Tensor], name: str, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the rows [B, T, D] of a table that ids [B, T] name."""
    if not isinstance(tensors, Rows):
        return tensors[name].to(dtype)[ids]
    wanted, places = torch.unique(ids, return_inverse=True)
    rows = torch.cat([tensors.rows(name, at, at + 1) for at in wanted.tolist()])
    return rows.to(dtype)[places]


def projected(
    x: Tensor, tensors: Mapping[str, Tensor], name: str, rows: int | None = None
) -> Tensor:
    """Return x [..., M] times the transpose of a matrix [N, M], or of its first `rows` rows."""
    if not isinstance(tensors, Rows):
        return x @ tensors[name][:rows].to(x.dtype).T
    count = tensors.size(name) if rows is None else rows
    parts = _pieces(tensors, name, count, x.shape[-1])
    return torch.cat([x @ piece.to(x.dtype).T for _, piece in parts], dim=-1)


def multiplied(x: Tensor, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """Return x [..., N] times a matrix [N, M]."""
    if not isinstance(tensors, Rows):
        return x @ tensors[name].flatten(0, -2).to(x.dtype)
    width = tensors.rows(name, 0, 1).shape[-1]
    found = x.new_zeros(*x.shape[:-1], width)
    for begin, piece in _pieces(tensors, name, x.shape[-1], width):
        found += x[..., begin : begin + len(piece)] @ piece.to(x.dtype)
    return found


def _pieces(tensors: Rows, name: str, count: int, width: int) -> Iterator[tuple[int, Tensor]]:
    """Yield pieces of some rows each, and where they begin."""
    step = max(PIECE_ELEMENTS // width, 1)
    for begin in range(0, count, step):
        yield begin, tensors.rows(name, begin, min(begin + step, count))


class OfRanks(Mapping[str, Tensor]):
    """The tensors of all tensor-parallel ranks (`rank:name`), put together when asked for.

    `axis` tells along which axis a tensor is spread over the ranks, None: all hold the same;
    `thirds` whether every rank holds three tensors one below the other, each spread by itself.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        ranks: int,
        axis: Callable[[str], int | None],
        thirds: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._tensors, self._ranks, self._axis, self._thirds = tensors, ranks, axis, thirds
        self._names = {name.split(":", 1)[1] for name in tensors}

    def __getitem__(self, name: str) -> Tensor:
        axis = self._axis(name)
        if axis is None:
            return self._tensors[f"0:{name}"]
        parts = [self._tensors[f"{rank}:{name}"] for rank in range(self._ranks)]
        if self._thirds(name):
            thirds = [part.chunk(3) for part in parts]
            parts = [third[place] for place in range(3) for third in thirds]
        return torch.cat(parts, dim=axis)

    def _stretches(self, name: str) -> list[tuple[int, int, int]]:
        """Return (rank, first row, last row) of what lies one below the other."""
        size = self._rank_size(name)
        places = 3 if self._thirds(name) else 1
        step = size // places
        return [
            (rank, place * step, (place + 1) * step)
            for place in range(places)
            for rank in range(self._ranks)
        ]

    def _rank_size(self, name: str) -> int:
        held = self._tensors
        key = f"0:{name}"
        return held.size(key) if isinstance(held, Rows) else len(held[key])

    def rows(self, name: str, begin: int, end: int) -> Tensor:
        """Return rows `begin` to `end` of a matrix; nothing else of it is read."""
        axis = self._axis(name)
        if axis is None:
            return self._some(f"0:{name}", begin, end)
        if axis == 1:
            parts = [self._some(f"{rank}:{name}", begin, end) for rank in range(self._ranks)]
            return torch.cat(parts, dim=1)
        found, at = [], 0
        for rank, low, high in self._stretches(name):
            first, last = max(begin, at), min(end, at + high - low)
            if first < last:
                found.append(self._some(f"{rank}:{name}", low + first - at, low + last - at))
            at += high - low
        return torch.cat(found)

    def _some(self, name: str, begin: int, end: int) -> Tensor:
        held = self._tensors
        return held.rows(name, begin, end) if isinstance(held, Rows) else held[name][begin:end]

    def size(self, name: str) -> int:
        """Return how many rows a matrix has."""
        return self._rank_size(name) * (self._ranks if self._axis(name) == 0 else 1)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)
