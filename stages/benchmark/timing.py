"""Calls timed turn by turn, so that what the machine does meanwhile falls on all variants alike."""

from __future__ import annotations

import gc
import math
import os
import random
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.benchmark import quantiles
from stages.benchmark.variants import Variant

Arrays = tuple[NDArray[np.int64], NDArray[np.int64]]
LEAST_ROUNDS = 3
"""Rounds timed in any case, so that there are quartiles."""


@dataclass(frozen=True)
class Protocol:
    """How a cell is measured: rounds at most, warm-up calls, seed of the turns, time limit."""

    rounds: int
    warmup: int
    seed: int
    limit_s: float = math.inf


@dataclass(frozen=True)
class Cell:
    """One point of the grid."""

    threads: int
    batch: int
    length: int

    @property
    def name(self) -> str:
        """The cell as part of a metric's name."""
        return f"t{self.threads}_b{self.batch}_l{self.length}"

    def facts(self) -> dict[str, int]:
        """Return threads, batch and length."""
        return {"threads": self.threads, "batch": self.batch, "length": self.length}


@dataclass
class Turns:
    """What was measured in one cell: per round the order, and per variant wall and CPU time."""

    cell: Cell
    orders: list[list[str]] = field(default_factory=list)
    latency_ms: dict[str, list[float]] = field(default_factory=dict)
    cpu_ms: dict[str, list[float]] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    load_average: tuple[float, float] = (0.0, 0.0)
    involuntary_switches: int = 0

    def rounds(self) -> list[dict[str, Any]]:
        """Return one row per round, from which every figure can be computed again."""
        return [
            self.cell.facts()
            | {
                "round": number,
                "order": order,
                "latency_ms": {name: round(self.latency_ms[name][number], 6) for name in order},
            }
            for number, order in enumerate(self.orders)
        ]


def touch(mib: int) -> None:
    """Write to every page of so much memory and give it back, so that the host has backed it."""
    if mib:
        np.zeros(mib << 20, dtype=np.uint8)[::4096] = 1


def arrays(cell: Cell, vocabulary: int, special: Mapping[str, int], seed: int) -> Arrays:
    """Return ids and mask [B, T] of full sequences: begin, random ordinary tokens, end."""
    generator = np.random.default_rng([seed, cell.batch, cell.length])
    ordinary = np.setdiff1d(np.arange(vocabulary), list(special.values()))
    ids = generator.choice(ordinary, size=(cell.batch, cell.length)).astype(np.int64)
    ids[:, 0] = special.get("bos_token_id", ids[0, 0])
    ids[:, -1] = special.get("eos_token_id", ids[0, -1])
    return ids, np.ones_like(ids)


def orders(names: Sequence[str], rounds: int, seed: int, cell: Cell) -> list[list[str]]:
    """Return the order of the variants in each round, drawn from the seed and the cell."""
    drawn = random.Random(f"{seed} {cell.name}")
    return [drawn.sample(list(names), len(names)) for _ in range(rounds)]


def take_turns(
    cell: Cell, variants: Mapping[str, Variant], given: Arrays, protocol: Protocol
) -> Turns:
    """Time every variant once per round; the first named variant is the baseline.

    Each timed call follows an untimed one of the same variant: its weights are in the cache, and
    threads that another runtime left spinning have come to rest. So the figures are those of a
    process that serves this variant alone. The garbage collector rests meanwhile.
    """
    drawn = orders(list(variants), protocol.rounds, protocol.seed, cell)
    found = Turns(cell, latency_ms={n: [] for n in variants}, cpu_ms={n: [] for n in variants})
    ends = time.monotonic() + protocol.limit_s
    found.agreement = _warm(variants, given, protocol.warmup, ends)
    before, switches = os.getloadavg()[0], _switches()
    gc.collect()
    gc.disable()
    try:
        for order in drawn:
            if len(found.orders) >= LEAST_ROUNDS and time.monotonic() > ends:
                break
            for name in order:
                wall_ms, cpu_ms = _timed(variants[name], given)
                found.latency_ms[name].append(wall_ms)
                found.cpu_ms[name].append(cpu_ms)
            found.orders.append(order)
    finally:
        gc.enable()
    found.load_average = (before, os.getloadavg()[0])
    found.involuntary_switches = _switches() - switches
    return found


def _warm(
    variants: Mapping[str, Variant], given: Arrays, warmup: int, ends: float
) -> dict[str, float]:
    """Call every variant untimed; return the share of tokens with the baseline's best label."""
    best = {}
    for name, variant in variants.items():
        for done in range(warmup):
            if done and time.monotonic() > ends:
                break
            logits = variant.answers(*given)
        best[name] = logits.argmax(-1)
    baseline = next(iter(best.values()))
    return {name: float((answer == baseline).mean()) for name, answer in best.items()}


def _timed(variant: Variant, given: Arrays) -> tuple[float, float]:
    """Return wall and CPU milliseconds (all threads) of one call."""
    variant.answers(*given)
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    variant.answers(*given)
    return (time.perf_counter_ns() - wall) / 1e6, (time.process_time_ns() - cpu) / 1e6


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def rows(turns: Turns) -> list[dict[str, Any]]:
    """Return one row per variant: latency, throughput, and its ratio to the baseline.

    Ratios are taken within a round and then summarised; below 1 is faster than the baseline.
    """
    baseline = next(iter(turns.latency_ms.values()))
    cell, made = turns.cell, []
    for name, latency in turns.latency_ms.items():
        ratios = [mine / its for mine, its in zip(latency, baseline, strict=True)]
        low, high, coverage = quantiles.median_interval(ratios)
        per_s = 1000 * len(latency) / sum(latency)
        figures = quantiles.summary(latency, "latency_ms") | {
            "sequences_per_s": per_s * cell.batch,
            "tokens_per_s": per_s * cell.batch * cell.length,
            "cpu_ms_p50": quantiles.quantile(turns.cpu_ms[name], 0.5),
            "cpu_s": sum(turns.cpu_ms[name]) / 1000,
            "latency_ratio_q25": quantiles.quantile(ratios, 0.25),
            "latency_ratio_p50": quantiles.quantile(ratios, 0.5),
            "latency_ratio_q75": quantiles.quantile(ratios, 0.75),
            "latency_ratio_low": low,
            "latency_ratio_high": high,
            "latency_ratio_coverage": coverage,
            "agreement_fraction": turns.agreement[name],
            "load_average_before": turns.load_average[0],
            "load_average_after": turns.load_average[1],
        }
        made.append(
            cell.facts()
            | {label: round(value, 6) for label, value in figures.items()}
            | {
                "variant": name,
                "n": len(latency),
                "too_few_for": quantiles.beyond(len(latency)),
                "involuntary_switches": turns.involuntary_switches,
            }
        )
    return made
