"""Make torch compute the same bits every time: threads, deterministic kernels, seeds."""

from __future__ import annotations

import resource

import torch

from stages.core.log import Log

MASK64 = (1 << 64) - 1


def prepare(threads: int) -> None:
    """Set the thread count and allow only deterministic kernels.

    The thread count decides how sums are split, and so the bits of the result.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.set_default_dtype(torch.float32)


def seed_step(seed: int, step: int) -> None:
    """Seed torch's generator (dropout) from the step alone: a resumed run needs no state."""
    torch.manual_seed(mix(seed, step) >> 1)


def mix(*numbers: int) -> int:
    """Fold whole numbers into 64 well-mixed bits (splitmix64, Steele et al. 2014)."""
    state = 0
    for number in numbers:
        state = (state ^ (number & MASK64)) + 0x9E3779B97F4A7C15 & MASK64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & MASK64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & MASK64
        state ^= state >> 31
    return state


def observe_memory(log: Log) -> None:
    """Report the process's largest resident memory so far in bytes."""
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    log.observe("memory_peak_bytes", peak_kib * 1024)
