"""The runner's vector functions against torch in 64 bits, over all inputs that matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from torch.nn import functional

from stages.lm.runner import activations, packing, probabilities
from stages.lm.runner.rows import LOWEST
from stages.lm.runner.vectors import LANES

INPUTS = np.concatenate(
    [np.linspace(-30, 30, 6000), np.linspace(-1e-3, 1e-3, 96), [0.0, -0.0, 88.0, -88.0, 1e4, -1e4]]
).astype(np.float32)


def applied(function: Any, numbers: np.ndarray[Any, Any], *more: Any) -> np.ndarray[Any, Any]:
    """Return what an intrinsic (row, vectors, ...) makes of numbers."""

    @njit
    def run(row: int, vectors: int, *rest: Any) -> None:
        function(row, vectors, *rest)

    row = packing.aligned((-(-len(numbers) // LANES) * LANES,), np.float32)
    row[: len(numbers)] = numbers
    run(row.ctypes.data, len(row) // LANES, *more)
    return row[: len(numbers)].copy()


@pytest.mark.parametrize(
    ("function", "expected", "least"),
    [
        (activations.gelu, functional.gelu, 0.0),
        (activations.gelu_tanh, lambda x: functional.gelu(x, approximate="tanh"), 0.0),
        (activations.tanh, torch.tanh, 1.2e-7),
        (activations.swish, functional.silu, 0.0),
        (activations.square, torch.square, 0.0),
    ],
)
def test_activations_are_torchs(
    function: Any, expected: Callable[[torch.Tensor], torch.Tensor], least: float
) -> None:
    wanted = expected(torch.from_numpy(INPUTS.astype(np.float64))).numpy()
    apart = np.abs(applied(function, INPUTS) - wanted)
    assert (apart <= least + 5e-7 * np.abs(INPUTS) + 1e-7 * np.abs(wanted)).all()


def test_logarithms_keep_excluded_words_out() -> None:
    numbers = np.exp(np.linspace(-80, 0.7, 992)).astype(np.float32)
    found = applied(probabilities.logarithms, np.append(numbers, [-2.0] * 16), np.float32(0.5))
    wanted = np.log(numbers.astype(np.float64) * 0.5)
    assert np.abs(found[:992] - wanted).max() < 5e-6
    assert (np.abs(found[:992] - wanted) <= 2e-7 * np.maximum(np.abs(wanted), 1)).all()
    assert (found[992:] == np.float32(LOWEST)).all()
