"""Loader: batches of packed rows beside a DataLoader over `datasets` with torch format.

    DEVENO_PEERS_PYTHON=... python -m benchmarks.corpus loader [--rounds 5] [--vocab 32000]
        [--lengths 128,1024] [--batch 32] [--tokens 2000000]

Both read the set that the row `packing` makes of the shared Esperanto text (without it: of Python
source), shuffled, in batches of int64 torch tensors. Ours gives ids, positions and segments of
every row; the peer ids, attention mask and labels. What is compared is CPU seconds per token;
besides, how long a step of any number takes to find. Run for a row of
this house's default length and for run_clm's. Writes `loader.json`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.corpus import bpe_training, packing, rounds
from benchmarks.corpus.rounds import PEERS, Contestant

GOAL = 50
PEER = "DataLoader, torch format"
PACKAGES = ("datasets", "torch", "pyarrow")


def compare(folder: str, length: int, how: argparse.Namespace, own: Contestant) -> dict[str, Any]:
    """Compare both on one set, packed into rows of one length."""
    ask = {"folder": folder, "length": length}
    own.ask(system="pack", **ask)
    load = {**ask, "batch": how.batch, "tokens": how.tokens}
    systems: dict[str, Any] = {
        "ours": partial(own.ask, system="load", **load),
        "ours, without padding": partial(own.ask, system="load", flat=True, **load),
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
    if peer is not None:
        peer.close()
    return {
        "row_tokens": length,
        "million_tokens_per_cpu_s": {
            system: rounds.quartiles([1e-6 / one["cpu_s"] for one in answers])
            for system, answers in scaled.items()
        },
        "cpu_ratio_to_ours": rounds.ratios(scaled, "ours"),
        "milliseconds_to_a_step": steps,
    }


def main(arguments: Sequence[str]) -> None:
    """Run the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--lengths", default="128,1024")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--slow-mb", type=float, default=3)
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
    rounds.write(
        "loader",
        {
            "peers": rounds.versions(PACKAGES) if PEERS else "none: DEVENO_PEERS_PYTHON is not set",
            "passes": {
                "ratio_by_row_tokens": ratios,
                "goal": GOAL,
                "pass": all(ratio >= GOAL for ratio in ratios.values()),
            },
            "text": name,
            "results": results,
        },
    )
