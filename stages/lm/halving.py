"""Batches that halve when memory runs out: a search of eleven beams should not lose a night."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence

from stages.core.errors import CheckFailed

_logger = logging.getLogger("deveno.halving")
TOLD = re.compile(r"out of memory|can't allocate memory|not enough memory|alloc_failed", re.I)
"""How torch says it on GPUs and, as a plain RuntimeError, on CPUs."""


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on a CPU or a GPU."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and TOLD.search(str(error)) is not None
    )


def in_batches(
    order: Sequence[int], size: int, work: Callable[[Sequence[int]], None], what: str = "inputs"
) -> int:
    """Do `work` on at most `size` members of `order` at a time; return the size it ended with.

    A batch that runs out of memory is done again in halves, and so is what follows; done batches
    stay done. One single input that does not fit ends in a CheckFailed that says so.
    """
    at = 0
    while at < len(order):
        batch = order[at : at + size]
        try:
            work(batch)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                raise CheckFailed(
                    f"no memory for a batch of one ({str(error).splitlines()[0][:120]})",
                    what,
                    "take fewer beams or shorter inputs, or a machine with more memory",
                ) from error
            size = len(batch) // 2
            _logger.warning("out of memory with %d %s, going on with %d", len(batch), what, size)
            continue
        at += len(batch)
    return size
