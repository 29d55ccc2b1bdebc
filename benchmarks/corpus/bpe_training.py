"""BPE training: the kernels beside tokenizers 0.23 and rustbpe, from texts to tokenizer.json.

    DEVENO_PEERS_PYTHON=... python -m benchmarks.corpus bpe_training [--rounds 3] [--vocab 32000]
        [--python-mb 16] [--generated-mb 40]

Same documents, GPT-2's expression, byte-level, the same vocabulary size and least frequency. Nine
of ten documents are learned from; on the tenth both tokenizers' bytes per token are compared, each
tokenizer opened by the peers' `tokenizers`. rustbpe learns other ties and writes no file: it is
timed alone. Writes `bpe_training.json`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.corpus import material, rounds
from benchmarks.corpus.rounds import PEERS, Contestant

GOAL = 10
PACKAGES = ("tokenizers", "rustbpe", "pyarrow")
HELD_OUT = 10
"""Every tenth document is not learned from."""


def texts(python_mb: float, generated_mb: float) -> dict[str, Path]:
    """Return the Arrow files that rows about tokens read, by name."""
    found: dict[str, Path] = {}
    if material.SHARED.is_dir():
        found["shared Esperanto"] = material.KEPT / "esperanto.arrow"
        if not found["shared Esperanto"].exists():
            material.save(found["shared Esperanto"], material.esperanto())
    if python_mb:
        found["python source"] = material.KEPT / f"python-{python_mb:g}.arrow"
        if not found["python source"].exists():
            material.save(found["python source"], material.python_source(python_mb))
    if generated_mb:
        found["generated"] = material.generated(generated_mb)
    return found


def size_mb(path: Path) -> float:
    """Return the megabytes of text in an Arrow file."""
    return sum(len(text.encode("utf-8")) for text in material.load(path).to_pylist()) / 1e6


def compare(name: str, path: Path, how: argparse.Namespace) -> dict[str, Any]:
    """Compare everyone on one text."""
    given = {"path": str(path), "vocab": how.vocab, "held_out": HELD_OUT}
    kept = material.KEPT / "tokenizers"
    kept.mkdir(parents=True, exist_ok=True)
    own = {**given, "out": str(kept / f"{path.stem}-ours.json")}
    foreign = {**given, "out": str(kept / f"{path.stem}-theirs.json")}
    one, two = Contestant("bpe_training_ours"), Contestant("bpe_training_ours", threads=2)
    systems: dict[str, Any] = {
        "ours": partial(one.ask, system="ours", **own),
        "ours on two threads": partial(two.ask, system="ours", threads=2, **own),
    }
    contestants = [one, two]
    if PEERS:
        peer = Contestant("bpe_training_peers", python=PEERS)
        pair = Contestant("bpe_training_peers", python=PEERS, threads=2)
        contestants += [peer, pair]
        systems |= {
            "tokenizers": partial(peer.ask, system="tokenizers", **foreign),
            "tokenizers on two threads": partial(pair.ask, system="tokenizers", **foreign),
            "rustbpe": partial(peer.ask, system="rustbpe", **foreign),
        }
    found = rounds.interleaved(systems, how.rounds)
    size = size_mb(path) * (1 - 1 / HELD_OUT)
    result: dict[str, Any] = {
        "text": name,
        "mb": round(size, 3),
        "vocabulary": how.vocab,
        "mb_per_cpu_s": {
            system: rounds.quartiles([size / answer["cpu_s"] for answer in answers])
            for system, answers in found.items()
        },
        "cpu_ratio_to_ours": rounds.ratios(found, "ours"),
        "wall_ratio_to_ours_two_threads": rounds.ratios(found, "ours on two threads", "wall_s"),
        "every_run_and_thread_count_alike": len(
            {answer["found"] for name in ("ours", "ours on two threads") for answer in found[name]}
        )
        == 1,
        "kernels_ready_cpu_s": round(one.ask(system="ready")["found"][0], 2),
    }
    if PEERS:
        judged = peer.ask(system="judge", ours=own["out"], theirs=foreign["out"], **given)["found"]
        result["decisions"] = {**judged, "same_file": found["ours"][0]["found"]
                               == found["tokenizers"][0]["found"]}  # fmt: skip
    for contestant in contestants:
        contestant.close()
    return result


def main(arguments: Sequence[str]) -> None:
    """Run the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--python-mb", type=float, default=16)
    parser.add_argument("--generated-mb", type=float, default=40)
    how = parser.parse_args(list(arguments))
    results = [
        compare(name, path, how) for name, path in texts(how.python_mb, how.generated_mb).items()
    ]
    rows = [row for row in results if "decisions" in row]
    least = min((row["cpu_ratio_to_ours"]["tokenizers"]["median"] for row in rows), default=None)
    worst = max((abs(row["decisions"]["bytes_per_token_ratio"] - 1) for row in rows), default=None)
    rounds.write(
        "bpe_training",
        {
            "peers": rounds.versions(PACKAGES) if PEERS else "none: DEVENO_PEERS_PYTHON is not set",
            "passes": {
                "least_ratio_to_tokenizers": least,
                "goal": GOAL,
                "compression_differs_by": worst,
                "compression_goal": 0.0005,
                "same_file": all(row["decisions"]["same_file"] for row in rows),
                "pass": bool(rows) and least >= GOAL and worst <= 0.0005,
            },
            "results": results,
        },
    )
