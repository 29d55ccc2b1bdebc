"""Batches that halve when memory runs out: a search of eleven beams should not lose a night."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence

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
    """Do `work` on at most `size` members of `order` at a time, as `in_halves` does."""
    return in_halves((order[at : at + size] for at in range(0, len(order), size)), work, what)


def in_halves(
    batches: Iterable[Sequence[int]], work: Callable[[Sequence[int]], None], what: str = "inputs"
) -> int:
    """Do `work` on every batch; return the largest size that was left, 0 where nothing failed.

    A batch that runs out of memory is done again in halves, and so are those that follow; what is
    done stays done. One single input that does not fit ends in a CheckFailed that says so.
    """
    most = 0
    for batch in batches:
        at = 0
        while at < len(batch):
            part = batch[at : at + (most or len(batch))]
            try:
                work(part)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if len(part) == 1:
                    raise CheckFailed(
                        f"no memory for a batch of one: {_first_line(error)}",
                        what,
                        "take fewer beams or shorter inputs, or a machine with more memory",
                    ) from error
                most = len(part) // 2
                _logger.warning("out of memory with %d %s, going on with %d", len(part), what, most)
                continue
            at += len(part)
    return most


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:120]
