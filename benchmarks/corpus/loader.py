"""Loader: batches of packed rows beside a DataLoader over `datasets` with torch format.

    DEVENO_PEERS_PYTHON=... python -m benchmarks.corpus loader [--rounds 5] [--vocab 32000]
        [--length 1024] [--batch 32] [--tokens 2000000]

Both read the set that the row `packing` makes of the shared Esperanto text (without it: of Python
source), shuffled, in batches of int64 torch tensors. Ours gives ids, positions and segments of
every row; the peer ids, attention mask and labels. What is compared is CPU seconds per token;
besides, how long a step of any number takes to find. Writes `loader.json`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.corpus import bpe_training, packing, rounds
from benchmarks.corpus.rounds import PEERS, Contestant

GOAL = 50
PACKAGES = ("datasets", "torch", "pyarrow")


def main(arguments: Sequence[str]) -> None:
    """Run the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=2_000_000)
    parser.add_argument("--slow-mb", type=float, default=3)
    how = parser.parse_args(list(arguments))
    name, path = next(iter(bpe_training.texts(16, 0).items()))
    one = Contestant("packing_ours")
    folder = packing.prepared(path, how, one)["folder"]
    ask = {"folder": folder, "length": how.length}
    one.ask(system="pack", **ask)
    load = {**ask, "batch": how.batch, "tokens": how.tokens}
    systems: dict[str, Any] = {"ours": partial(one.ask, system="load", **load)}
    systems["ours, without padding"] = partial(one.ask, system="load", flat=True, **load)
    contestants = [one]
    if PEERS:
        peer = Contestant("packing_peers", python=PEERS)
        contestants.append(peer)
        peer.ask(system="pack", **ask)
        systems["DataLoader, torch format"] = partial(peer.ask, system="load", **load)
    found = rounds.interleaved(systems, how.rounds)
    scaled = {
        system: [{"cpu_s": one["cpu_s"] / one["found"]["tokens"]} for one in answers]
        for system, answers in found.items()
    }
    steps = one.ask(system="resume", **ask)["found"]
    for contestant in contestants:
        contestant.close()
    ratios = rounds.ratios(scaled, "ours")
    peer_ratio = ratios.get("DataLoader, torch format", {"median": None})["median"]
    rounds.write(
        "loader",
        {
            "command": "python -m benchmarks.corpus loader",
            "peers": rounds.versions(PACKAGES) if PEERS else "none: DEVENO_PEERS_PYTHON is not set",
            "passes": {
                "ratio": peer_ratio,
                "goal": GOAL,
                "pass": peer_ratio is not None and peer_ratio >= GOAL,
            },
            "text": name,
            "million_tokens_per_cpu_s": {
                system: rounds.quartiles([1e-6 / one["cpu_s"] for one in answers])
                for system, answers in scaled.items()
            },
            "cpu_ratio_to_ours": ratios,
            "milliseconds_to_a_step": steps,
        },
    )
