"""The whole benchmark: every cell of the grid, the machine it ran on, and its summary."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from stages.benchmark import footprint, timing, variants
from stages.benchmark.stage import BenchmarkParams
from stages.core import canonical, machine
from stages.core.errors import MachineError
from stages.core.log import Log
from stages.lm import models

PACKAGES = ("numpy", "onnxruntime", "torch", "transformers")
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
SETTINGS = (
    "ATEN_CPU_CAPABILITY",
    "GOMP_SPINCOUNT",
    "MKL_CBWR",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "ONEDNN_MAX_CPU_ISA",
)
"""Environment variables that decide which kernels run and how threads wait for each other."""
SHOWN = (
    "variant",
    "threads",
    "batch",
    "length",
    "n",
    "latency_ms_p50",
    "latency_ms_p95",
    "tokens_per_s",
    "latency_ratio_q25",
    "latency_ratio_p50",
    "latency_ratio_q75",
)
"""Columns of the table in the log; latency.json has all."""
PROTOCOL = (
    "Every round times each variant once, in an order drawn anew; each timed call follows an"
    " untimed one of the same variant; arrays go in and come out; sequences hold no padding;"
    " ratios are taken within a round, below 1 is faster than the first variant."
)


def run(params: BenchmarkParams, folders: Sequence[tuple[str, Path]], out: Path, log: Log) -> None:
    """Time the models of `folders` (the torch baseline first) and fill `out`."""
    found = variants.candidates(folders)
    threads, skipped = usable(params.threads_grid)
    batches, lengths = sorted(set(params.batches)), sorted(set(params.lengths))
    before = torch.get_num_threads()
    try:
        opened = _open(found, params.threads)
        models.check_length(opened["torch"].model.config, lengths[-1], f"{params.model}: `lengths`")
        largest = batches[-1], lengths[-1]
        footprints = [footprint.measure(one, *largest, params.threads) for one in found]
        timing.touch(params.touch_mib)
        cells = [timing.Cell(t, b, n) for t in threads for b in batches for n in lengths]
        turns = _time(params, found, cells, log)
    finally:
        torch.set_num_threads(before)
    rows = [row for one in turns for row in timing.rows(one)]
    described = [
        {
            "variant": one.label,
            "model": one.model,
            "runtime": one.runtime,
            "size_bytes": one.size_bytes,
            **costs,
        }
        for one, costs in zip(found, footprints, strict=True)
    ]
    out.mkdir(parents=True)
    canonical.write_json(
        out / "latency.json",
        {
            "baseline": found[0].label,
            "protocol": PROTOCOL,
            "rounds": params.rounds,
            "warmup": params.warmup,
            "cell_limit_s": params.cell_limit_s,
            "seed": params.seed,
            "variants": described,
            "rows": rows,
        },
    )
    canonical.write_lines(out / "rounds.jsonl", [row for one in turns for row in one.rounds()])
    asked = {"batches": batches, "lengths": lengths, "threads": threads}
    canonical.write_json(out / "machine.json", _machine() | {"grid": asked, "skipped": skipped})
    _summarise(described, rows, log)
    _warn(rows, params.rounds, skipped, log)


def usable(threads_grid: list[int]) -> tuple[list[int], list[dict[str, Any]]]:
    """Return the thread counts this machine has cores for, and the others with the reason."""
    cores = machine.cores()
    wanted = sorted(set(threads_grid))
    skipped = [
        {"threads": count, "reason": f"only {cores} usable cores"}
        for count in wanted
        if count > cores
    ]
    kept = [count for count in wanted if count <= cores]
    if not kept:
        raise MachineError(
            f"no thread count of {wanted} fits the {cores} usable cores",
            "`threads_grid`",
            "add 1 to it",
        )
    return kept, skipped


def _open(found: list[variants.Candidate], threads: int) -> dict[str, Any]:
    return {one.label: one.open(threads) for one in found}


def _time(
    params: BenchmarkParams, found: list[variants.Candidate], cells: list[timing.Cell], log: Log
) -> list[timing.Turns]:
    """Time all cells, those of one thread count together: each count has its own sessions."""
    config = found[0].config
    special = {name: int(config[name]) for name in SPECIAL if config.get(name) is not None}
    size = int(config["vocab_size"])
    given = {cell: timing.arrays(cell, size, special, params.seed) for cell in cells}
    protocol = timing.Protocol(params.rounds, params.warmup, params.seed, params.cell_limit_s)
    opened: dict[str, Any] = {}
    made, threads = [], 0
    for number, cell in enumerate(cells, 1):
        if cell.threads != threads:
            opened.clear()
            threads = cell.threads
            opened = _open(found, threads)
        made.append(timing.take_turns(cell, opened, given[cell], protocol))
        log.progress(number, len(cells), "cells")
    return made


def _machine() -> dict[str, Any]:
    """Return what decides speed here: the machine, the packages, the kernels chosen."""
    return {
        "facts": machine.facts(),
        "declared": machine.declared(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "settings": {name: os.environ.get(name, "") for name in SETTINGS},
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _summarise(described: list[dict[str, Any]], rows: list[dict[str, Any]], log: Log) -> None:
    log.table("latency", [{name: row[name] for name in SHOWN} for row in rows])
    log.table("variants", described)
    told = []
    for one in described:
        label = one["variant"]
        name = label.replace("-", "_")
        ratios = [row["latency_ratio_p50"] for row in rows if row["variant"] == label]
        mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
        if one is not described[0]:
            log.metric(f"{name}_latency_ratio", round(mean, 6))
            told.append(f"{label} {mean:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        log.metric(f"{name}_size_bytes", one["size_bytes"])
        for cost in ("import_ms", "load_ms", "memory_peak_bytes", "memory_model_bytes"):
            log.observe(f"{name}_{cost}", one[cost])
        for row in rows:
            if row["variant"] == label:
                cell = timing.Cell(row["threads"], row["batch"], row["length"])
                log.observe(f"{name}_{cell.name}_latency_ms_p50", row["latency_ms_p50"])
    log.observe("memory_peak_bytes", machine.peak_rss_mib() * 2**20)
    log.observe("load_average", max(row["load_average_after"] for row in rows))
    against = f"latency as a ratio to {described[0]['variant']} (mean, range over cells): "
    log.text("summary", against + (", ".join(told) or "nothing to compare"))


def _warn(rows: list[dict[str, Any]], rounds: int, skipped: list[dict[str, Any]], log: Log) -> None:
    """Say what makes the figures weaker than asked: other work, short cells, skipped threads."""
    busy, cores = rows[0]["load_average_before"], machine.cores()
    short = sorted(
        {(row["threads"], row["batch"], row["length"]) for row in rows if row["n"] < rounds}
    )
    told = [f"threads {one['threads']} skipped: {one['reason']}" for one in skipped]
    if busy > cores:
        told.append(f"the machine was busy: load average {busy:.1f} on {cores} cores")
    told += [
        f"threads {threads}, batch {batch}, length {length}: stopped early by cell_limit_s"
        for threads, batch, length in short
    ]
    if told:
        log.text("warnings", "\n".join(told))
