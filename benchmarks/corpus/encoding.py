"""BPE encoding: the kernels beside tokenizers 0.23, tokenizers 1.0's pre-release and fastokens.

    DEVENO_PEERS_PYTHON=... DEVENO_PEERS_PRE_PYTHON=... python -m benchmarks.corpus encoding
        [--rounds 5] [--vocab 32000] [--python-mb 16] [--generated-mb 40] [--slow-mb 3]

From texts in memory to ids in memory with one tokenizer.json of GPT-2's kind, learned from the
text; ours from Arrow buffers to uint16, the peers from Python strings in the form that is fastest
for them: `encode_batch_fast` of 64 texts, `encode_batch` and `ids_array` (1.0),
`encode_batch_flat`. Each process encodes the text once before it is timed, so all are warm;
`ours cold` starts without a word in memory each time. The digests of all ids are compared, also on
a text that holds every code point between a letter, a number, a space and itself. The slow peer
reads a beginning of the text, and rates are compared. DEVENO_PEERS_PRE_PYTHON names an environment
with `peers-pre.txt`. Writes `encoding.json`.
"""

from __future__ import annotations

import argparse
import os
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.corpus import bpe_training, material, rounds
from benchmarks.corpus.rounds import PEERS, Contestant

PRE = os.environ.get("DEVENO_PEERS_PRE_PYTHON", "")
GOALS = {"tokenizers 0.23": 40, "tokenizers 1.0 pre": 1, "fastokens": 1}


def every_code_point() -> Path:
    """Return an Arrow file with all code points in places where their classes show."""
    path = material.KEPT / "code-points.arrow"
    if not path.exists():
        points = (chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) != "Cs")
        given = [f"a{one}{one}1{one}!{one} {one}." for one in points]
        lines = ["|".join(given[at : at + 64]) for at in range(0, len(given), 64)]
        material.save(path, lines)
    return path


def compare(name: str, path: Path, how: argparse.Namespace) -> dict[str, Any]:
    """Compare everyone on one text."""
    kept = material.KEPT / "tokenizers"
    kept.mkdir(parents=True, exist_ok=True)
    file = str(kept / f"{path.stem}-{how.vocab}.json")
    one, two = Contestant("encoding_ours"), Contestant("encoding_ours", threads=2)
    one.ask(system="learn", path=str(path), vocab=how.vocab, out=file)
    size = one.ask(system="size", path=str(path), least_mb=how.slow_mb)["found"]
    given = {"path": str(path), "tokenizer": file}
    beginning = {**given, "documents": size["documents"]}
    asked: dict[str, tuple[Contestant, dict[str, Any]]] = {
        "ours": (one, {"system": "ours", **given}),
        "ours cold": (one, {"system": "ours", "cold": True, **given}),
        "ours on two threads": (two, {"system": "ours", "threads": 2, **given}),
        "ours, a beginning": (one, {"system": "ours", **beginning}),
    }
    if PEERS:
        peer = Contestant("encoding_peers", python=PEERS)
        pair = Contestant("encoding_peers", python=PEERS, threads=2)
        asked |= {
            "tokenizers 0.23": (peer, {"system": "tokenizers", **beginning}),
            "tokenizers 0.23 on two threads": (pair, {"system": "tokenizers", **beginning}),
            "fastokens": (peer, {"system": "fastokens", **given}),
            "fastokens on two threads": (pair, {"system": "fastokens", **given}),
        }
    if PRE:
        pre = Contestant("encoding_peers", python=PRE)
        asked["tokenizers 1.0 pre"] = (pre, {"system": "pre", **given})
    calls = {
        system: partial(contestant.ask, name=system, **request)
        for system, (contestant, request) in asked.items()
    }
    found = rounds.interleaved(calls, how.rounds)
    told = {
        system: contestant.ask(system="digest", name=system)["found"]
        for system, (contestant, _) in asked.items()
    }
    sizes = {
        system: size["mb" if _counterpart(system) == "ours" else "beginning_mb"] for system in found
    }
    result = {
        "text": name,
        "mb": round(size["mb"], 3),
        "tokens": told["ours"]["tokens"],
        "mb_per_cpu_s": _rates(found, sizes, "cpu_s"),
        "mb_per_wall_s": _rates(found, sizes, "wall_s"),
        "cpu_ratio_to_ours": _ratios(found, sizes, "ours", "cpu_s"),
        "cpu_ratio_to_ours_cold": _ratios(found, sizes, "ours cold", "cpu_s"),
        "wall_ratio_to_ours_two_threads": _ratios(found, sizes, "ours on two threads", "wall_s"),
        "identical_ids": {
            system: one["digest"] == told[_counterpart(system)]["digest"]
            for system, one in told.items()
        },
    }
    for contestant in {contestant for contestant, _ in asked.values()}:
        contestant.close()
    return result


def _counterpart(system: str) -> str:
    """Return who of ours encodes the same documents."""
    return "ours, a beginning" if "0.23" in system or "beginning" in system else "ours"


def _rates(found: Any, sizes: dict[str, float], kind: str) -> dict[str, Any]:
    return {
        system: rounds.quartiles([sizes[system] / answer[kind] for answer in answers])
        for system, answers in found.items()
    }


def _ratios(found: Any, sizes: dict[str, float], ours: str, kind: str) -> dict[str, Any]:
    """Return how many times the others' seconds per megabyte hold ours, round by round."""
    scaled = {
        system: [{kind: answer[kind] / sizes[system]} for answer in answers]
        for system, answers in found.items()
    }
    return rounds.ratios(scaled, ours, kind)


def check(how: argparse.Namespace) -> dict[str, Any]:
    """Return whether the ids of every code point are the peers'."""
    path = every_code_point()
    file = str(material.KEPT / "tokenizers" / f"code-points-{how.vocab}.json")
    lines, given = file + ".lines", {"path": str(path), "tokenizer": file, "name": "check"}
    one = Contestant("encoding_ours")
    one.ask(system="learn", path=str(path), vocab=how.vocab, out=file)
    one.ask(system="ours", **given)
    ours = one.ask(system="digest", name="check", lines=lines)["found"]
    one.close()
    result: dict[str, Any] = {"code_points": 0x110000 - 0x800, "tokens": ours["tokens"]}
    for name, python, system in (
        ("tokenizers 0.23", PEERS, "tokenizers"),
        ("fastokens", PEERS, "fastokens"),
        ("tokenizers 1.0 pre", PRE, "pre"),
    ):
        if python:
            peer = Contestant("encoding_peers", python=python)
            peer.ask(system=system, **given)
            found = peer.ask(system="digest", name="check", lines=lines)["found"]
            result[name] = {
                "identical_ids": found["digest"] == ours["digest"],
                "lines_that_differ": found["different"],
            }
            peer.close()
    return result


def main(arguments: Sequence[str]) -> None:
    """Run the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--python-mb", type=float, default=16)
    parser.add_argument("--generated-mb", type=float, default=40)
    parser.add_argument("--slow-mb", type=float, default=3)
    how = parser.parse_args(list(arguments))
    given = bpe_training.texts(how.python_mb, how.generated_mb)
    results = [compare(name, path, how) for name, path in given.items()]
    passes: dict[str, Any] = {}
    for peer, goal in GOALS.items():
        rows = [row for row in results if peer in row["cpu_ratio_to_ours"]]
        least = min((row["cpu_ratio_to_ours"][peer]["median"] for row in rows), default=None)
        same = all(row["identical_ids"][peer] for row in rows)
        passed = least is not None and least >= goal and same
        passes[peer] = {"least_ratio": least, "goal": goal, "identical_ids": same, "pass": passed}
    peers: dict[str, Any] = {}
    if PEERS:
        peers |= rounds.versions(("tokenizers", "fastokens", "pyarrow"))
    if PRE:
        peers["tokenizers, pre-release"] = rounds.versions(("tokenizers",), PRE)["tokenizers"]
    rounds.write(
        "encoding",
        {
            "peers": peers or "none: DEVENO_PEERS_PYTHON is not set",
            "passes": passes,
            "every_code_point": check(how),
            "results": results,
        },
    )
