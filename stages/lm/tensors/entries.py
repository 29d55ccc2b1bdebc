"""What a tensor in a file is: its type, its shape, and where its bytes lie.

Types carry the names of safetensors (`F32`, `BF16`, ...). Bits are moved, never numbers: an array
of any type is an array of unsigned integers as wide as its elements (`carrier`), so types that
numpy lacks (BF16, F8) are as good as any other. Importing this imports no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.lm.weights import BITS

TORCH_NAMES = {
    "F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage",
    "I64": "LongStorage", "I32": "IntStorage", "I16": "ShortStorage", "I8": "CharStorage",
    "U8": "ByteStorage", "BOOL": "BoolStorage", "C64": "ComplexFloatStorage",
}  # fmt: skip
"""How a PyTorch pickle names the storage of each type."""
CARRIERS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
NUMBERS = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32,
    "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_, "C64": np.complex64,
    "U16": np.uint16, "U32": np.uint32, "U64": np.uint64,
}  # fmt: skip
"""The types that numpy can count with."""

Bits = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Spec:
    """Type and shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return BITS[self.dtype] // 8

    @property
    def count(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of all elements."""
        return self.count * self.itemsize

    @property
    def carrier(self) -> np.dtype:
        """The unsigned integer type that carries an element's bits."""
        return np.dtype(CARRIERS[self.itemsize])

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class Entry:
    """A tensor in a file. `strides` count elements; `offset` is that of the first in bytes."""

    path: Path
    offset: int
    spec: Spec
    strides: tuple[int, ...]
    crc32: int | None = None
    """What an archive says of the tensor's bytes, where they are a whole member of one."""

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one after the other in C order."""
        return (
            self.strides == c_strides(self.spec.shape)
            or self.spec.count < 2
            or all(
                size == 1 or stride == wanted
                for size, stride, wanted in zip(
                    self.spec.shape, self.strides, c_strides(self.spec.shape), strict=True
                )
            )
        )


def c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of a packed tensor in C order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def bits_of(array: NDArray) -> Bits:
    """Return an array's elements as unsigned integers of the same width."""
    packed = np.ascontiguousarray(array).reshape(array.shape)
    return packed.view(CARRIERS[packed.dtype.itemsize])


def numbers_of(bits: Bits, dtype: str) -> NDArray:
    """Return bits as numbers: numpy's own types, BF16 widened to float32 without loss."""
    if dtype == "BF16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(NUMBERS[dtype])


def bits_from(numbers: NDArray, dtype: str) -> Bits:
    """Return numbers rounded (to nearest, ties to even) to a type, as bits."""
    if dtype == "BF16":
        wide = np.ascontiguousarray(numbers, dtype=np.float32).view(np.uint32)
        rounded = (wide + (((wide >> 16) & 1) + np.uint32(0x7FFF))) >> 16
        quiet = (wide >> 16) | np.uint32(0x40)  # a NaN keeps its sign and stays one
        nan = (wide & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
        return np.where(nan, quiet, rounded).astype(np.uint16)
    with np.errstate(over="ignore"):
        return bits_of(numbers.astype(NUMBERS[dtype]))
