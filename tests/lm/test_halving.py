"""Batches halve when memory runs out, wherever and however torch says so."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from stages.core.errors import CheckFailed
from stages.lm.halving import in_batches, out_of_memory

TOLD = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    MemoryError(),
]


@pytest.mark.parametrize("error", TOLD, ids=range(len(TOLD)))
def test_a_batch_without_memory_is_done_in_halves_and_nothing_twice(error: Exception) -> None:
    done: list[int] = []
    tried: list[int] = []

    def work(batch: Sequence[int]) -> None:
        tried.append(len(batch))
        if len(batch) > 3:
            raise error
        done.extend(batch)

    assert in_batches(range(20), 16, work) == 2
    assert done == list(range(20))
    assert tried[:4] == [16, 8, 4, 2]
    assert set(tried[4:]) == {2}


def test_batches_that_fit_keep_their_size() -> None:
    sizes: list[int] = []
    assert in_batches(range(10), 4, lambda batch: sizes.append(len(batch))) == 0
    assert sizes == [4, 4, 2]


def test_one_input_that_does_not_fit_ends_in_an_error_that_says_so() -> None:
    def work(batch: Sequence[int]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory\nmore lines")

    with pytest.raises(
        CheckFailed, match="no memory for a batch of one: CUDA out of memory"
    ) as told:
        in_batches([5], 8, work, "sentences")
    assert "more lines" not in str(told.value)


def test_another_error_is_never_taken_for_a_lack_of_memory() -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)")
    assert not out_of_memory(error)
    assert not out_of_memory(ValueError("out of memory"))

    def work(batch: Sequence[int]) -> None:
        raise error

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        in_batches(range(4), 4, work)
