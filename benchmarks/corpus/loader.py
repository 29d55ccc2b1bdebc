"""Loader: what `pretrain` takes its steps from, beside a DataLoader with torch format.

    DEVENO_PEERS_PYTHON=... python -m benchmarks.corpus loader [--rounds 5] [--vocab 32000]
        [--lengths 128,1024] [--batch 32] [--tokens 4000000]

Both read, shuffled, the set that the row `packing` makes of the shared Esperanto text (without it:
of Python source), the same text. "ours" is `Loader.tasks`, which the stage `pretrain` calls at
every step: rows of the saved order, ids and positions laid out for attention within documents, the
places that are predicted and the answers, all int64 tensors. The peer gives ids, attention mask and
labels. Besides: what padded rows cost, the share of a real training step that waits for data (a GPT
of two layers of width 128, trained by the stage), and how long a fresh start takes to the batch of
a step. Writes `loader.json`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.corpus import bpe_training, packing, rounds
from benchmarks.corpus.rounds import PEERS, Contestant

GOAL = 50
WAIT = 0.002
BYTES = {"read": 2, "ids": 4, "positions": 4, "places": 4, "answers": 8}
"""What a token costs the memory: all but the first are written, and a C kernel would write them."""
PEER = "DataLoader, torch format"
PACKAGES = ("datasets", "torch", "pyarrow")


def compare(folder: str, length: int, how: argparse.Namespace, own: Contestant) -> dict[str, Any]:
    """Compare both on one set, packed into rows of one length."""
    ask = {"folder": folder, "length": length}
    own.ask(system="pack", **ask)
    load = {**ask, "batch": how.batch, "tokens": how.tokens}
    systems: dict[str, Any] = {
        "ours": partial(own.ask, system="load", **load),
        "ours, padded rows": partial(own.ask, system="load", padded=True, **load),
    }
    peer = Contestant("packing_peers", python=PEERS) if PEERS else None
    if peer is not None:
        peer.ask(system="pack", **ask)
        systems[PEER] = partial(peer.ask, system="load", **load)
    found = rounds.interleaved(systems, how.rounds)
    scaled = {
        system: [{"cpu_s": one["cpu_s"] / one["found"]["tokens"]} for one in answers]
        for system, answers in found.items()
    }
    steps = own.ask(system="resume", **ask)["found"]
    alone = own.ask(system="kernel", **ask, batch=how.batch)["found"]
    waited = own.ask(system="wait", **ask, steps=20)["found"]
    if peer is not None:
        peer.close()
    return {
        "row_tokens": length,
        "million_tokens_per_cpu_s": {
            system: rounds.quartiles([1e-6 / one["cpu_s"] for one in answers])
            for system, answers in scaled.items()
        },
        "microseconds_per_batch": {
            system: rounds.quartiles([1e6 * one["cpu_s"] / one["found"]["batches"] for one in got])
            for system, got in found.items()
        },
        "cpu_ratio_to_ours": rounds.ratios(scaled, "ours"),
        "bound": {
            "microseconds_of_the_kernel": alone["kernel"],
            "of_which_calling_it": alone["call"],
            "bytes_per_token": BYTES,
            "ratio_if_only_the_kernel_cost": _if_only(found, alone["kernel"]),
        },
        "milliseconds_to_a_step": steps,
        "data_wait_fraction_of_training": waited,
    }


def _if_only(found: dict[str, list[rounds.Answer]], kernel: float) -> float | None:
    """Return the ratio if a batch cost nothing but the kernel."""
    if PEER not in found:
        return None
    spent = [1e6 * one["cpu_s"] / one["found"]["batches"] for one in found[PEER]]
    return round(rounds.quartiles(spent)["median"] / kernel, 1)


def main(arguments: Sequence[str]) -> None:
    """Run the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--lengths", default="128,1024")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=4_000_000)
    how = parser.parse_args(list(arguments))
    name, path = next(iter(bpe_training.texts(16, 0).items()))
    own = Contestant("packing_ours")
    folder = packing.prepared(path, how, own)["folder"]
    results = [compare(folder, int(one), how, own) for one in how.lengths.split(",")]
    own.close()
    ratios = {
        str(row["row_tokens"]): row["cpu_ratio_to_ours"].get(PEER, {"median": 0})["median"]
        for row in results
    }
    waited = max(row["data_wait_fraction_of_training"] for row in results)
    rounds.write(
        "loader",
        {
            "peers": rounds.versions(PACKAGES) if PEERS else "none: DEVENO_PEERS_PYTHON is not set",
            "passes": {
                "ratio_by_row_tokens": ratios,
                "goal": GOAL,
                "pass": all(ratio >= GOAL for ratio in ratios.values()),
            },
            "wait_passes": {
                "data_wait_fraction": waited,
                "goal": WAIT,
                "pass": waited <= WAIT,
            },
            "text": name,
            "results": results,
        },
    )
