"""The full rule set: one counting pass beside datatrove's Gopher, C4 and FineWeb filters.

    DEVENO_PEERS_PYTHON=... python -m benchmarks.corpus rules [--rounds 3] [--mb 4] [--code-mb 2]
        [--python-mb 16] [--generated-mb 40] [--slow-mb 0.5]

Speed is that of the chain (repetition, quality, C4 with its cut of lines, FineWeb on what C4 left),
from texts in memory to the reason of each drop. Decisions are compared for the chain and for every
set on its own on the texts as they are; those that differ are listed with both reasons. The texts
of other rows follow: ours counts all of each, datatrove reads its first `--slow-mb` (at some 0.2 MB
a second it would take hours), and what is compared is seconds per megabyte; decisions are compared
on those first documents. Writes `rules.json`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.corpus import bpe_training, english, material, rounds
from benchmarks.corpus.rounds import PEERS, Contestant

CHAIN = ["gopher-repetition", "gopher-quality", "c4", "fineweb"]
GOAL, AGREEMENT = 100, 0.995
LISTED = 30
PACKAGES = ("datatrove", "spacy", "nltk", "pyarrow")


def compared(own: Sequence[str], peer: Sequence[str], texts: Sequence[str]) -> dict[str, Any]:
    """Return how far two lists of reasons say the same, and where not."""
    apart = [
        number
        for number, (mine, other) in enumerate(zip(own, peer, strict=True))
        if bool(mine) != bool(other)
    ]
    return {
        "documents": len(own),
        "dropped": sum(map(bool, own)),
        "dropped_by_peer": sum(map(bool, peer)),
        "agreement": round(1 - len(apart) / max(1, len(own)), 5),
        "reasons": [
            {"ours": mine, "peer": other, "documents": count}
            for (mine, other), count in Counter(zip(own, peer, strict=True)).most_common()
        ],
        "apart": [
            {"document": number, "ours": own[number], "peer": peer[number],
             "begins": texts[number][:80]}
            for number in apart[:LISTED]
        ],
    }  # fmt: skip


def elsewhere(name: str, path: Path, how: argparse.Namespace) -> dict[str, Any]:
    """Return how fast both are on another text, and how far they say the same of its beginning."""
    texts = material.load(path).to_pylist()
    sizes = [len(text.encode("utf-8", "surrogatepass")) / 1e6 for text in texts]
    held, total = 0, 0.0
    while held < len(texts) and total < how.slow_mb:
        total, held = total + sizes[held], held + 1
    one, two = Contestant("rules_ours"), Contestant("rules_ours", threads=2)
    given = {"system": "chain", "path": str(path), "sets": CHAIN}
    systems = {
        "ours": partial(one.ask, **given),
        "ours on two threads": partial(two.ask, threads=2, **given),
    }
    contestants = [one, two]
    if PEERS:
        contestants.append(Contestant("rules_peers", python=PEERS))
        systems["datatrove"] = partial(contestants[-1].ask, stop=held, **given)
    found = rounds.interleaved(systems, how.rounds)
    read = {system: total if system == "datatrove" else sum(sizes) for system in systems}
    scaled = {
        system: [{"cpu_s": answer["cpu_s"] / read[system]} for answer in answers]
        for system, answers in found.items()
    }
    result: dict[str, Any] = {
        "text": {"name": name, "documents": len(texts), "mb": round(sum(sizes), 3)},
        "datatrove_read": {"documents": held, "mb": round(total, 3)},
        "mb_per_cpu_s": {
            system: rounds.quartiles([1 / answer["cpu_s"] for answer in answers])
            for system, answers in scaled.items()
        },
        "cpu_ratio_to_ours": rounds.ratios(scaled, "ours"),
        "two_threads_decide_the_same": found["ours"][-1]["found"]
        == found["ours on two threads"][-1]["found"],
    }
    if PEERS:
        own, theirs = found["ours"][-1]["found"][:held], found["datatrove"][-1]["found"]
        result["decisions"] = compared(own, theirs, texts[:held])
    for contestant in contestants:
        contestant.close()
    return result


def main(arguments: Sequence[str]) -> None:
    """Run the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mb", type=float, default=4)
    parser.add_argument("--code-mb", type=float, default=2)
    parser.add_argument("--python-mb", type=float, default=16)
    parser.add_argument("--generated-mb", type=float, default=40)
    parser.add_argument("--slow-mb", type=float, default=0.5)
    options = parser.parse_args(list(arguments))
    texts = english.texts(options.mb, options.code_mb)
    size_mb = sum(len(text.encode()) for text in texts) / 1e6
    path = str(material.save(material.KEPT / "rules.arrow", texts))
    one, two = Contestant("rules_ours"), Contestant("rules_ours", threads=2)
    ready = one.ask(system="ready")["found"]
    given = {"system": "chain", "path": path, "sets": CHAIN}
    systems = {
        "ours": partial(one.ask, **given),
        "ours on two threads": partial(two.ask, threads=2, **given),
    }
    peer = Contestant("rules_peers", python=PEERS) if PEERS else None
    if peer is not None:
        systems["datatrove"] = partial(peer.ask, **given)
    found = rounds.interleaved(systems, options.rounds)
    result: dict[str, Any] = {
        "peers": rounds.versions(PACKAGES) if PEERS else "none: DEVENO_PEERS_PYTHON is not set",
        "text": {"documents": len(texts), "mb": round(size_mb, 3)},
        "kernels_ready_cpu_s": round(ready[0], 2),
        "mb_per_cpu_s": {
            name: rounds.quartiles([size_mb / answer["cpu_s"] for answer in answers])
            for name, answers in found.items()
        },
        "cpu_ratio_to_ours": rounds.ratios(found, "ours"),
        "wall_ratio_to_ours": rounds.ratios(found, "ours", "wall_s"),
        "two_threads_decide_the_same": found["ours"][-1]["found"]
        == found["ours on two threads"][-1]["found"],
    }
    if peer is not None:
        theirs = peer.ask(system="alone", path=path)["found"]
        own = one.ask(system="alone", path=path)["found"]
        decisions = {name: compared(own[name], theirs[name], texts) for name in theirs}
        decisions["chain"] = compared(
            found["ours"][-1]["found"], found["datatrove"][-1]["found"], texts
        )
        least = min(decision["agreement"] for decision in decisions.values())
        ratio = result["cpu_ratio_to_ours"]["datatrove"]["median"]
        result["passes"] = {
            "ratio": ratio, "goal": GOAL, "least_agreement": least, "agreement_goal": AGREEMENT,
            "pass": ratio >= GOAL and least >= AGREEMENT,
        }  # fmt: skip
        result["decisions"] = decisions
        peer.close()
    for contestant in (one, two):
        contestant.close()
    others = bpe_training.texts(options.python_mb, options.generated_mb)
    result["other_texts"] = [elsewhere(name, path, options) for name, path in others.items()]
    if PEERS:
        rows = result["other_texts"]
        ratios = [ratio, *(row["cpu_ratio_to_ours"]["datatrove"]["median"] for row in rows)]
        agreed = [least, *(row["decisions"]["agreement"] for row in rows)]
        result["passes"] |= {
            "ratio": min(ratios), "least_agreement": min(agreed),
            "pass": min(ratios) >= GOAL and min(agreed) >= AGREEMENT,
        }  # fmt: skip
    rounds.write("rules", result)
