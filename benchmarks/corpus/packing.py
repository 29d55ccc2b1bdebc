"""Encode and pack: the stage `encode` beside `datasets.map` twice, as run_clm does it.

    DEVENO_PEERS_PYTHON=... python -m benchmarks.corpus packing [--rounds 2] [--vocab 32000]
        [--python-mb 64] [--generated-mb 100] [--length 1024]

From Parquet shards to a training set on disk, the same text for both; both open the tokenizer and
read the Parquet within the time. Ours is the whole stage: three splits, packed by best fit without
a lost token, document boundaries kept, a ledger, parts kept against a kill. The peer is what the
examples of transformers do: `load_dataset`, `map(tokenizer)` and `map(group_texts)` in batches of
1000, which concatenates, cuts at the length and drops the last piece of each batch. Writes
`packing.json`, with what each step of ours costs and what bounds it.
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
STEPS = ("read and decompress Parquet", "encode, no word known before")
"""What remains if opening, packing, hashing and writing cost nothing."""


def prepared(path: Path, how: argparse.Namespace, one: Contestant) -> dict[str, Any]:
    """Write a text as a corpus with a tokenizer; returns where they are and how large."""
    folder = material.KEPT / "packing" / path.stem
    shutil.rmtree(folder, ignore_errors=True)
    found = one.ask(system="prepare", path=str(path), folder=str(folder), vocab=how.vocab)
    return {"folder": str(folder), **found["found"]}


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
    steps = one.ask(system="parts", folder=given["folder"])["found"]
    for contestant in contestants:
        contestant.close()
    return {
        "text": name,
        "mb": round(given["mb"], 3),
        "sequence_length": how.length,
        "cpu_s": {
            system: rounds.quartiles([one["cpu_s"] for one in answers])
            for system, answers in found.items()
        },
        "mb_per_cpu_s": {
            system: rounds.quartiles([given["mb"] / one["cpu_s"] for one in answers])
            for system, answers in found.items()
        },
        "cpu_ratio_to_ours": rounds.ratios(found, "ours"),
        "steps_cpu_s": steps,
        "bound": _bound(found, steps) if PEERS else None,
        "ours": found["ours"][0]["found"],
        "run_clm": found["run_clm"][0]["found"] if PEERS else None,
    }


def _bound(found: dict[str, list[rounds.Answer]], steps: dict[str, float]) -> dict[str, Any]:
    """Return the ratio if only reading and encoding were paid, and the encoding that it asks."""
    peer = rounds.quartiles([one["cpu_s"] for one in found["run_clm"]])["median"]
    ours = rounds.quartiles([one["cpu_s"] for one in found["ours"]])["median"]
    spared = ours - steps[STEPS[1]]
    return {
        "ratio_if_only_reading_and_encoding_cost": round(peer / sum(steps[s] for s in STEPS), 1),
        "ratio_if_encoding_cost_nothing": round(peer / spared, 1),
        "encoding_must_be_faster_by": round(steps[STEPS[1]] / (peer / GOAL - spared), 2)
        if peer / GOAL > spared
        else "not enough alone",
    }


def main(arguments: Sequence[str]) -> None:
    """Run the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--python-mb", type=float, default=64)
    parser.add_argument("--generated-mb", type=float, default=100)
    parser.add_argument("--length", type=int, default=1024)
    how = parser.parse_args(list(arguments))
    given = bpe_training.texts(how.python_mb, how.generated_mb)
    results = [compare(name, path, how) for name, path in given.items()]
    rows = [row["cpu_ratio_to_ours"]["run_clm"]["median"] for row in results if PEERS]
    least = min(rows, default=None)
    waste = max(row["ours"]["waste_fraction"] for row in results)
    lost = sum(row["ours"]["lost_tokens"] for row in results)
    packed = waste <= WASTE and lost == 0
    rounds.write(
        "packing",
        {
            "peers": rounds.versions(PACKAGES) if PEERS else "none: DEVENO_PEERS_PYTHON is not set",
            "passes": {
                "least_ratio": least,
                "goal": GOAL,
                "pass": least is not None and least >= GOAL and packed,
            },
            "packing_passes": {
                "most_waste_fraction": waste,
                "goal": WASTE,
                "lost_tokens": lost,
                "pass": packed,
            },
            "results": results,
        },
    )
