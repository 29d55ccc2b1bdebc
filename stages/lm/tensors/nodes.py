"""Tensors that are computed when read: a tree of moves over tensors in files or in memory.

A node gives any range of its elements in C order, so a tensor is written piece by piece and is
never held whole, unless a permutation must reach all over it. Everything is moved as bits.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import xxhash

from stages.lm.tensors.entries import Bits, Entry, Spec, bits_from, numbers_of

CHUNK_BYTES = 1 << 20
"""Bytes moved at a time: small enough to stay in a core's cache between reading and writing."""


class Node(Protocol):
    """A tensor: its spec, and a range of its elements as flat bits."""

    spec: Spec

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end` in C order."""
        ...


class Memory:
    """A tensor in memory."""

    def __init__(self, spec: Spec, bits: Bits) -> None:
        self.spec, self._flat = spec, bits.reshape(-1)

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end` in C order."""
        return self._flat[begin:end]


class Stored:
    """A tensor in a file, read through a descriptor that `opened` keeps.

    The checksum is taken on the way when the elements are read in order, as they mostly are.
    """

    def __init__(self, entry: Entry, opened: Callable[[Entry], int]) -> None:
        self.spec, self.entry, self._opened = entry.spec, entry, opened
        self._gathered: Bits | None = None
        self._sum, self._crc32, self._summed = xxhash.xxh3_128(), 0, 0

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end` in C order."""
        if not self.entry.contiguous:
            return self._read_strided(begin, end)
        bits = np.empty(end - begin, dtype=self.spec.carrier)
        step = CHUNK_BYTES // self.spec.itemsize
        for low in range(0, end - begin, step):
            piece = bits[low : low + step].view(np.uint8).data
            fill(self._opened(self.entry), piece, self._at(begin + low), self.entry)
            self._pass(begin + low, piece)
        return bits

    def checksum(self) -> str:
        """Return the checksum of all elements in C order (xxh3, 128 bits, hexadecimal).

        EOFError or ValueError when the file is shorter, or not what its archive recorded.
        """
        if self._summed != self.spec.count:
            self._sum, self._crc32, self._summed = xxhash.xxh3_128(), 0, 0
            for begin, end in ranges(self.spec):
                self.read(begin, end)
        if self.entry.crc32 is not None and self._crc32 != self.entry.crc32:
            raise ValueError(f"{self.entry.path.name} is damaged: the archive's checksum differs")
        return self._sum.hexdigest()

    def _pass(self, begin: int, piece: memoryview) -> None:
        """Take a piece into the checksums if it is the next one."""
        if begin == self._summed:
            self._sum.update(piece)
            if self.entry.crc32 is not None:
                self._crc32 = zlib.crc32(piece, self._crc32)
            self._summed += len(piece) // self.spec.itemsize

    def _at(self, element: int) -> int:
        return self.entry.offset + element * self.spec.itemsize

    def _read_strided(self, begin: int, end: int) -> Bits:
        """Put the stretch of storage that a strided tensor reaches in C order."""
        if self._gathered is None:
            shape, strides = self.spec.shape, self.entry.strides
            last = sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
            stretch = np.empty(last + 1, dtype=self.spec.carrier)
            fill(self._opened(self.entry), stretch.view(np.uint8).data, self._at(0), self.entry)
            steps = [step * self.spec.itemsize for step in strides]
            view = np.lib.stride_tricks.as_strided(stretch, shape, steps, writeable=False)
            self._gathered = view
        bits = _flat(self._gathered, begin, end)
        self._pass(begin, bits.view(np.uint8).data)
        if end == self.spec.count:
            self._gathered = None
        return bits


def fill(descriptor: int, into: memoryview, offset: int, entry: Entry) -> None:
    """Read bytes of a file until a buffer is full."""
    done = 0
    while done < len(into):
        got = os.preadv(descriptor, [into[done:]], offset + done)
        if not got:
            raise EOFError(f"{entry.path.name} ends at {offset + done}, inside a tensor")
        done += got


class Part:
    """Some rows or columns of a tensor: `size` indices from `first` along axis 0 or 1."""

    def __init__(self, inner: Node, axis: int, first: int, size: int) -> None:
        shape = inner.spec.shape
        self.spec = Spec(inner.spec.dtype, (*shape[:axis], size, *shape[axis + 1 :]))
        self._inner, self._axis, self._first = inner, axis, first
        self._run = _product(self.spec.shape[axis:])
        self._inner_run = _product(shape[axis:])
        self._skip = first * _product(shape[axis + 1 :])

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end` in C order."""
        if self._axis == 0:
            return self._inner.read(begin + self._skip, end + self._skip)
        if begin == end:
            return self._inner.read(0, 0)
        low, high = begin // self._run, -(-end // self._run)
        rows = self._inner.read(low * self._inner_run, high * self._inner_run)
        kept = rows.reshape(high - low, self._inner_run)[:, self._skip : self._skip + self._run]
        flat = np.ascontiguousarray(kept).reshape(-1)
        return flat[begin - low * self._run : end - low * self._run]


class Joined:
    """Tensors one after the other along an axis."""

    def __init__(self, inner: Sequence[Node], axis: int) -> None:
        first = inner[0].spec
        total = sum(node.spec.shape[axis] for node in inner)
        shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
        self.spec = Spec(first.dtype, shape)
        self._inner = inner
        self._runs = [_product(node.spec.shape[axis:]) for node in inner]
        self._run = sum(self._runs)
        self._axis = axis

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end` in C order."""
        if self._axis == 0:
            return self._along_rows(begin, end)
        if begin == end:
            return self._inner[0].read(0, 0)
        low, high = begin // self._run, -(-end // self._run)
        parts = [
            node.read(low * run, high * run).reshape(high - low, run)
            for node, run in zip(self._inner, self._runs, strict=True)
        ]
        flat = np.concatenate(parts, axis=1).reshape(-1)
        return flat[begin - low * self._run : end - low * self._run]

    def _along_rows(self, begin: int, end: int) -> Bits:
        parts, at = [], 0
        for node, run in zip(self._inner, self._runs, strict=True):
            low, high = max(begin, at), min(end, at + run)
            if low < high:
                parts.append(node.read(low - at, high - at))
            at += run
        return parts[0] if len(parts) == 1 else np.concatenate([self._inner[0].read(0, 0), *parts])


class Permuted:
    """A tensor seen as `dims`, its axes permuted, and seen as another shape again.

    The inner tensor is held whole from the first read until `release`.
    """

    def __init__(
        self, inner: Node, dims: Sequence[int], axes: Sequence[int], after: Sequence[int]
    ) -> None:
        self.spec = Spec(inner.spec.dtype, tuple(after))
        self._inner, self._dims, self._axes = inner, tuple(dims), tuple(axes)
        self._view: Bits | None = None

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end` in C order."""
        if self._view is None:
            self._view = whole(self._inner).reshape(self._dims).transpose(self._axes)
        return _flat(self._view, begin, end)

    def release(self) -> None:
        """Forget the inner tensor."""
        self._view = None


class Zeros:
    """Zeros of any type."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end` in C order."""
        return np.zeros(end - begin, dtype=self.spec.carrier)


class Combined:
    """Element by element: a function of the bits of several tensors of one shape."""

    def __init__(self, inner: Sequence[Node], spec: Spec, function: Callable[..., Bits]) -> None:
        self.spec, self._inner, self._function = spec, inner, function

    def read(self, begin: int, end: int) -> Bits:
        """Return elements `begin` to `end` in C order."""
        return self._function(*(node.read(begin, end) for node in self._inner))


def cast(inner: Node, dtype: str) -> Node:
    """Return a tensor in another type of number."""

    def converted(bits: Bits) -> Bits:
        return bits_from(numbers_of(bits, inner.spec.dtype), dtype)

    return Combined([inner], Spec(dtype, inner.spec.shape), converted)


def whole(node: Node) -> Bits:
    """Return all elements of a tensor as flat bits."""
    count = node.spec.count
    if isinstance(node, Stored):
        return node.read(0, count)
    flat = np.empty(count, dtype=node.spec.carrier)
    for begin, end in ranges(node.spec):
        flat[begin:end] = node.read(begin, end)
    return flat


def release(nodes: Iterable[Node]) -> None:
    """Let nodes forget what they hold while they are read."""
    for node in nodes:
        if isinstance(node, Permuted):
            node.release()


def checksum_of(node: Node) -> str:
    """Return the checksum of all elements in C order (xxh3, 128 bits, hexadecimal)."""
    checksum = xxhash.xxh3_128()
    for begin, end in ranges(node.spec):
        checksum.update(node.read(begin, end).view(np.uint8).data)
    return checksum.hexdigest()


def ranges(spec: Spec) -> list[tuple[int, int]]:
    """Return the ranges of elements in which a tensor is moved: whole rows where they fit."""
    row = _product(spec.shape[1:])
    fit = max(CHUNK_BYTES // spec.itemsize, 1)
    step = fit // row * row if 0 < row <= fit else fit
    return [(at, min(at + step, spec.count)) for at in range(0, spec.count, step)]


def _flat(view: Bits, begin: int, end: int) -> Bits:
    """Return elements `begin` to `end` of a view in C order, copying no more than those."""
    if begin >= end:
        return np.empty(0, dtype=view.dtype)
    if view.ndim <= 1:
        return np.ascontiguousarray(view.reshape(-1)[begin:end])
    row = _product(view.shape[1:])
    low, high = begin // row, (end - 1) // row
    if low == high:
        return _flat(view[low], begin - low * row, end - low * row)
    parts = []
    if begin % row:
        parts.append(_flat(view[low], begin - low * row, row))
        low += 1
    full = end // row
    if low < full:
        parts.append(np.ascontiguousarray(view[low:full]).reshape(-1))
    if end % row:
        parts.append(_flat(view[full], 0, end - full * row))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
