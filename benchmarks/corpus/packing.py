"""Encode and pack: the stage `encode` beside `datasets.map` twice, as run_clm does it.

    DEVENO_PEERS_PYTHON=... python -m benchmarks.corpus packing [--rounds 3] [--vocab 32000]
        [--python-mb 16] [--generated-mb 40] [--slow-mb 3] [--length 1024]

From Parquet shards to a training set on disk. Ours is the whole stage: three splits, packed by best
fit without a lost token, document boundaries kept, a ledger, parts kept against a kill. The peer is
what the examples of transformers do: `map(tokenizer)` and `map(group_texts)` in batches of 1000,
which concatenates, cuts at the length and drops the last piece of each batch. It reads a beginning
of the text, as it takes minutes, and rates are compared. Writes `packing.json`.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.corpus import bpe_training, material, rounds
from benchmarks.corpus.rounds import PEERS, Contestant

GOAL = 100
WASTE = 0.005
PACKAGES = ("datasets", "transformers", "tokenizers", "pyarrow")


def prepared(path: Path, how: argparse.Namespace, one: Contestant) -> dict[str, Any]:
    """Write a text as a corpus with a tokenizer; returns where they are and how large."""
    folder = material.KEPT / "packing" / path.stem
    shutil.rmtree(folder, ignore_errors=True)
    found = one.ask(
        system="prepare", path=str(path), folder=str(folder), vocab=how.vocab, least_mb=how.slow_mb
    )["found"]
    return {"folder": str(folder), **found}


def compare(name: str, path: Path, how: argparse.Namespace) -> dict[str, Any]:
    """Compare both on one text."""
    one = Contestant("packing_ours")
    given = prepared(path, how, one)
    ask = {"folder": given["folder"], "length": how.length}
    systems = {"ours": partial(one.ask, system="pack", **ask)}
    contestants = [one]
    if PEERS:
        peer = Contestant("packing_peers", python=PEERS)
        contestants.append(peer)
        systems["run_clm"] = partial(peer.ask, system="pack", **ask)
    found = rounds.interleaved(systems, how.rounds)
    sizes = {"ours": given["mb"], "run_clm": given["beginning_mb"]}
    scaled = {
        system: [{"cpu_s": one["cpu_s"] / sizes[system]} for one in answers]
        for system, answers in found.items()
    }
    for contestant in contestants:
        contestant.close()
    return {
        "text": name,
        "mb": round(given["mb"], 3),
        "mb_of_the_peer": round(given["beginning_mb"], 3),
        "sequence_length": how.length,
        "mb_per_cpu_s": {
            system: rounds.quartiles([1 / one["cpu_s"] for one in answers])
            for system, answers in scaled.items()
        },
        "cpu_ratio_to_ours": rounds.ratios(scaled, "ours"),
        "ours": found["ours"][0]["found"],
        "run_clm": found["run_clm"][0]["found"] if PEERS else None,
    }


def main(arguments: Sequence[str]) -> None:
    """Run the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--python-mb", type=float, default=16)
    parser.add_argument("--generated-mb", type=float, default=40)
    parser.add_argument("--slow-mb", type=float, default=3)
    parser.add_argument("--length", type=int, default=1024)
    how = parser.parse_args(list(arguments))
    given = bpe_training.texts(how.python_mb, how.generated_mb)
    results = [compare(name, path, how) for name, path in given.items()]
    rows = [row["cpu_ratio_to_ours"]["run_clm"]["median"] for row in results if PEERS]
    least = min(rows, default=None)
    waste = max(row["ours"]["waste_fraction"] for row in results)
    lost = sum(row["ours"]["lost_tokens"] for row in results)
    rounds.write(
        "packing",
        {
            "peers": rounds.versions(PACKAGES) if PEERS else "none: DEVENO_PEERS_PYTHON is not set",
            "passes": {
                "least_ratio": least,
                "goal": GOAL,
                "most_waste_fraction": waste,
                "waste_goal": WASTE,
                "lost_tokens": lost,
                "pass": least is not None and least >= GOAL and waste <= WASTE and lost == 0,
            },
            "results": results,
        },
    )
