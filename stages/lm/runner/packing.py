"""A ported translator's weights in the runner's order: padded, packed in panels, rounded to bytes.

Heads are padded to a multiple of 16 features, widths to one of 32, with zeros that change nothing;
`head ** -0.5` goes into the queries' weights. Bytes are symmetric, one scale per output
(127 / largest), so that -128 never appears (`tiles`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.lm.runner.network import BYTE, FLOAT, NONE, Plan, Shape
from stages.lm.runner.rows import BLOCK, LOWEST
from stages.lm.runner.tiles import GROUP, PANEL
from stages.lm.runner.vectors import LANES, instructions

Floats = NDArray[np.float32]
ALIGNMENT = 64
ZERO_BYTE = 128
"""What AVX-512's unsigned bytes add to an input."""


@dataclass(frozen=True)
class Linear:
    """A layer [N, K] with its bias [N]; negative infinity in a bias excludes an output."""

    weight: Floats
    bias: Floats
    activation: int = NONE


@dataclass(frozen=True)
class Layout:
    """A model as the runner computes it: its layers and norms in the order of their use."""

    shape: Shape
    linears: list[Linear]
    norms: list[tuple[Floats, Floats]]
    source_tokens: Floats
    source_positions: Floats
    """Row p belongs to position p."""
    target_tokens: Floats
    target_positions: Floats
    scale: float
    epsilon: float = 1e-5


@dataclass(frozen=True)
class Packed:
    """A plan and the arrays that its addresses point into."""

    plan: Plan
    keep: list[Any] = field(repr=False)
    projection: Mapping[str, Any] = field(repr=False)
    """Arrays of the output projection, from which shortlists are cut."""
    positions: int
    """Rows of the shorter table of positions."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all weights in memory."""
        return sum(array.nbytes for array in self.keep)


def aligned(shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    """Return zeros that start on a cache line."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(kind).reshape(shape)


def up(number: int, multiple: int = PANEL) -> int:
    """Return a number rounded up to a multiple."""
    return -(-number // multiple) * multiple


def padded(array: Floats, *sizes: int) -> Floats:
    """Return an array with zeros behind, on a cache line."""
    result = aligned(sizes, np.float32)
    result[tuple(slice(0, size) for size in array.shape)] = array
    return result


def head_size(width: int, heads: int) -> int:
    """Return the padded size of a head, so that all heads together fill panels."""
    size = up(width // heads, LANES)
    return size if size * heads % PANEL == 0 else up(width // heads)


def split_heads(weight: Floats, heads: int, size: int) -> Floats:
    """Return rows [H * E0, ...] as [H * size, ...], every head padded with zero rows."""
    own = weight.shape[0] // heads
    parts = weight.reshape(heads, own, *weight.shape[1:])
    result = np.zeros((heads, size, *weight.shape[1:]), np.float32)
    result[:, :own] = parts
    return result.reshape(heads * size, *weight.shape[1:])


def rounded(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Return [N, K] as bytes -127..127, and what one step of each row is worth."""
    peak = np.abs(weight).max(axis=1, initial=0.0)
    scale = np.where(peak > 0, peak / np.float32(127), np.float32(1)).astype(np.float32)
    return np.rint(weight / scale[:, None]).clip(-127, 127).astype(np.int8), scale


def byte_panels(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return [N, K] as [N / 32, K / 4, 32, 4]."""
    outputs, inputs = weight.shape
    result = aligned((outputs // PANEL, inputs // GROUP, PANEL, GROUP), np.int8)
    result[:] = weight.reshape(outputs // PANEL, PANEL, inputs // GROUP, GROUP).transpose(
        0, 2, 1, 3
    )
    return result


def float_panels(weight: Floats) -> Floats:
    """Return [N, K] as [N / 32, K, 32]."""
    outputs, inputs = weight.shape
    result = aligned((outputs // PANEL, inputs, PANEL), np.float32)
    result[:] = weight.reshape(outputs // PANEL, PANEL, inputs).transpose(0, 2, 1)
    return result


def pack(layout: Layout, *, quantize: bool) -> Packed:
    """Return a model in the runner's memory, in floats or bytes."""
    keep: list[Any] = []
    table = np.zeros((len(layout.linears), 8), np.int64)
    projection: dict[str, Any] = {}
    for number, layer in enumerate(layout.linears):
        last = number == len(layout.linears) - 1
        arrays = _packed_linear(layer, quantize, LANES * BLOCK if last else PANEL, last)
        keep += arrays.values()
        outputs, inputs = arrays["weight"].shape
        del keep[-1]
        addresses = [arrays[name].ctypes.data for name in ("panels", "scales", "corrections")]
        bias = arrays["biases"].ctypes.data
        kind = BYTE if quantize else FLOAT
        table[number] = (kind, inputs, outputs, *addresses, bias, layer.activation)
        if last:
            projection = {**arrays, "kind": kind}
    wide = layout.shape.padded
    norms = np.zeros((len(layout.norms), 2), np.int64)
    for number, pair in enumerate(layout.norms):
        for place, one in enumerate(pair):
            keep.append(padded(one, wide))
            norms[number, place] = keep[-1].ctypes.data
    tables = np.zeros(4, np.int64)
    names = ("source_tokens", "source_positions", "target_tokens", "target_positions")
    seen: dict[int, Floats] = {}
    for place, name in enumerate(names):
        array = getattr(layout, name)
        if id(array) not in seen:
            seen[id(array)] = padded(array, array.shape[0], wide)
            keep.append(seen[id(array)])
        tables[place] = seen[id(array)].ctypes.data
    plan = Plan(layout.shape, table, norms, tables, layout.scale, layout.epsilon)
    rows = min(len(layout.source_positions), len(layout.target_positions))
    return Packed(plan, keep, projection, rows)


def _packed_linear(layer: Linear, quantize: bool, multiple: int, last: bool) -> dict[str, Any]:
    """Return panels, scales, corrections and biases, and the padded weight itself (last)."""
    outputs, inputs = layer.weight.shape
    weight = padded(layer.weight, up(outputs, multiple), up(inputs))
    biases = aligned((weight.shape[0],), np.float32)
    biases[:outputs] = np.maximum(layer.bias, LOWEST)
    if last:
        biases[outputs:] = LOWEST
    corrections = aligned((weight.shape[0],), np.int32)
    scales = aligned((weight.shape[0],), np.float32)
    if quantize:
        numbers, scales[:] = rounded(weight)
        panels: Any = byte_panels(numbers)
        if instructions() == "vnni":
            corrections[:] = ZERO_BYTE * numbers.sum(axis=1, dtype=np.int32)
    else:
        panels = float_panels(weight)
    return {"panels": panels, "scales": scales, "corrections": corrections, "biases": biases,
            "weight": weight}  # fmt: skip
