"""Exact substrings: the kernel beside a suffix array with common prefixes and a scan.

    DEVENO_PEERS_PYTHON=... python -m benchmarks.corpus substrings [--rounds 5] [--mb 48]
        [--generated-mb 100] [--least 100]

Same bytes, every maximal span of at least so many bytes that stands twice; lists must be equal to
the byte (their SHA-256 is compared). Memory is what the process's peak grew by while it worked, of
a process of its own that did nothing before. Writes `substrings.json`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.corpus import material, rounds
from benchmarks.corpus.rounds import PEERS, Contestant
from stages.lm.kernels import text

GOAL, MEMORY_GOAL = 10, 4


def compare(name: str, path: Path, how: Any) -> dict[str, Any]:
    """Compare everyone on one text."""
    size_mb = len(text.of_arrow(material.load(path)).data) / 1e6
    given = {"path": str(path), "least": how.least}
    one, two = Contestant("substrings_ours"), Contestant("substrings_ours", threads=2)
    peer = Contestant("substrings_peers", python=PEERS) if PEERS else None
    systems = {
        "ours": partial(one.ask, system="ours", **given),
        "ours on two threads": partial(two.ask, system="ours", threads=2, **given),
    }
    if peer is not None:
        systems["suffix array"] = partial(peer.ask, system="suffix array", **given)
    memory = {name: _memory(call()) for name, call in systems.items()}
    found = rounds.interleaved(systems, how.rounds)
    lists = {name: answers[-1]["found"] for name, answers in found.items()}
    result = {
        "text": name,
        "mb": round(size_mb, 3),
        "least_bytes": how.least,
        "spans": {name: one["spans"] for name, one in lists.items()},
        "lists_equal": len({one["sha256"] for one in lists.values()}) == 1,
        "mb_per_cpu_s": _rates(found, size_mb, "cpu_s"),
        "mb_per_wall_s": _rates(found, size_mb, "wall_s"),
        "cpu_ratio_to_ours": rounds.ratios(found, "ours"),
        "wall_ratio_to_ours_on_two_threads": rounds.ratios(found, "ours on two threads", "wall_s"),
        "memory_mb": {name: round(size, 1) for name, size in memory.items()},
        "kernels_ready_cpu_s": round(one.ask(system="ready")["found"][0], 2),
    }
    if peer is not None:
        share = memory["suffix array"] / max(0.001, memory["ours"])
        result["memory_ratio_to_ours"] = round(share, 1)
        peer.close()
    one.close()
    two.close()
    return result


def _rates(found: Any, size_mb: float, kind: str) -> dict[str, Any]:
    return {
        name: rounds.quartiles([size_mb / answer[kind] for answer in answers])
        for name, answers in found.items()
    }


def _memory(answer: Any) -> float:
    return float(answer["found"]["peak_kb"] - answer["found"]["start_kb"]) / 1024


def main(arguments: Sequence[str]) -> None:
    """Run the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mb", type=float, default=48)
    parser.add_argument("--generated-mb", type=float, default=100)
    parser.add_argument("--least", type=int, default=100)
    options = parser.parse_args(list(arguments))
    paths = {
        "Esperanto": material.save(material.KEPT / "spans-eo.arrow", _clean(material.esperanto())),
        "Python source": material.save(
            material.KEPT / "spans-py.arrow", _clean(material.python_source(options.mb))
        ),
    }
    if options.generated_mb:
        paths["generated"] = material.generated(options.generated_mb)
    results = [compare(name, path, options) for name, path in paths.items()]
    passes = {
        one["text"]: {
            "lists equal": one["lists_equal"],
            f"{GOAL}x": one["cpu_ratio_to_ours"]["suffix array"]["median"] >= GOAL,
            "a quarter of the memory": one["memory_ratio_to_ours"] >= MEMORY_GOAL,
        }
        for one in results
        if PEERS
    }
    rounds.write(
        "substrings",
        {
            "peers": rounds.versions(("pydivsufsort", "numpy")) if PEERS
            else "none: DEVENO_PEERS_PYTHON is not set",
            "passes": passes,
            "results": results,
        },
    )  # fmt: skip


def _clean(texts: Sequence[str]) -> list[str]:
    """Return the texts without zero bytes: the suffix array separates documents by them."""
    return [one.replace("\0", "") for one in texts]


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
