"""Near-duplicates, text to keep-list: the kernels beside rensa, gaoya and datatrove.

    DEVENO_PEERS_PYTHON=... python -m benchmarks.corpus near_duplicates [--rounds 5] [--mb 48]
        [--small-mb 2] [--generated-mb 100]

Same bytes, word 5-grams, 14 bands of 8 rows, candidates trusted by all (`ours verified` compares
them exactly at 0.7 besides; `ours as refine` does so with its own 32 bands of 8). Into each text
copies are planted at similarities 0.5 to 0.95: recall is the share of copies dropped, by
similarity; precision the share of what is dropped that has another document of at least 0.6 by
exact comparison. datatrove takes minutes per megabyte, so its turn is a beginning of the text.
Writes `near_duplicates.json`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus import material, rounds
from benchmarks.corpus.rounds import PEERS, Answer, Contestant
from stages.lm import minhash, neighbours
from stages.lm.kernels import text
from stages.lm.signatures import sign

BANDS, ROWS, NGRAM = 14, 8, 5
SIMILARITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
LEAST = 0.6
"""Jaccard similarity from which what is dropped counts as rightly dropped."""
GOALS = {"rensa": 20, "gaoya": 5, "datatrove": 500}
PACKAGES = ("rensa", "gaoya", "datatrove", "pyarrow", "spacy")


class Judge:
    """What is true of a text: its planted copies, and who has a neighbour."""

    def __init__(self, path: Path, truth: Sequence[dict[str, float]], documents: int) -> None:
        column = material.load(path)[:documents]
        texts = text.of_arrow(column)
        self._comparison = neighbours.Comparison(
            lambda rows: text.of_arrow(column.take(rows)), np.diff(texts.offsets), NGRAM, "unicode"
        )
        own = [row for row in truth if row["copy"] < documents]
        self._copies = np.array([row["copy"] for row in own], np.int64)
        originals = np.array([row["original"] for row in own], np.int64)
        order = np.argsort(originals, kind="stable")
        self._copies = self._copies[order]
        found = self._comparison.measure(originals[order], self._copies)
        self._similarities = found.jaccard()
        self._near = self._with_neighbours(texts)

    def _with_neighbours(self, texts: text.Texts) -> set[int]:
        """Return who has a neighbour of at least `LEAST`: 64 bands of 4 rows miss one in 10^4."""
        signed = sign(texts, "fast", 256, ngram=NGRAM)
        judged = (signed.sizes > 0).astype(np.uint8)
        roots, _ = neighbours.cluster(signed.signatures, judged, (64, 4), self._comparison, LEAST)
        counts = np.bincount(roots, minlength=len(roots))
        return set(np.flatnonzero(counts[roots] > 1).tolist())

    def verdict(self, dropped: Sequence[int]) -> dict[str, Any]:
        """Return recall by similarity beside the S-curve, and precision."""
        gone = set(dropped)
        recalls = {}
        for aimed in SIMILARITIES:
            places = np.flatnonzero(np.abs(self._similarities - aimed) < 0.025)
            if len(places):
                hits = sum(int(self._copies[place]) in gone for place in places)
                curve = minhash.recall(self._similarities[places], BANDS, ROWS)
                recalls[str(aimed)] = {
                    "copies": len(places),
                    "found": round(hits / len(places), 4),
                    "curve": round(float(np.mean(curve)), 4),
                }
        right = sum(number in self._near for number in gone)
        return {
            "dropped": len(gone),
            "recall": recalls,
            "precision": round(right / max(1, len(gone)), 4),
        }


def compare(name: str, path: Path, truth: Any, documents: int, how: Any) -> dict[str, Any]:
    """Compare everyone on the first documents of one text."""
    column = material.load(path)[:documents]
    size_mb = len(text.of_arrow(column).data) / 1e6
    given = {"path": str(path), "bands": BANDS, "rows": ROWS, "documents": documents}
    one, two = Contestant("near_duplicates_ours"), Contestant("near_duplicates_ours", threads=2)
    peers = Contestant("near_duplicates_peers", python=PEERS) if PEERS else None
    systems = {
        "ours": partial(one.ask, system="ours", **given),
        "ours on two threads": partial(two.ask, system="ours", threads=2, **given),
        "ours verified": partial(one.ask, system="ours", threshold=0.7, **given),
        "ours as refine": partial(
            one.ask, system="ours", threshold=0.7, **{**given, "bands": 32, "rows": 8}
        ),
    }
    several = None
    if peers is not None:
        systems |= {peer: partial(peers.ask, system=peer, **given) for peer in how.peers}
        if how.two_threads:
            several = Contestant("near_duplicates_peers", python=PEERS, threads=2)
            systems |= {
                f"{peer} on two threads": partial(several.ask, system=peer, **given)
                for peer in how.peers
            }
    found = rounds.interleaved(systems, how.rounds)
    judge = Judge(path, truth, documents)
    decisions = {system: judge.verdict(answers[-1]["found"]) for system, answers in found.items()}
    result = {
        "text": name,
        "documents": documents,
        "mb": round(size_mb, 3),
        "mb_per_cpu_s": {
            system: rounds.quartiles([size_mb / answer["cpu_s"] for answer in answers])
            for system, answers in found.items()
        },
        "mb_per_wall_s": {
            system: rounds.quartiles([size_mb / answer["wall_s"] for answer in answers])
            for system, answers in found.items()
        },
        "cpu_ratio_to_ours": rounds.ratios(found, "ours"),
        "wall_ratio_to_ours_on_two_threads": rounds.ratios(
            {name: found[name] for name in found if "two threads" in name},
            "ours on two threads",
            "wall_s",
        ),
        "decisions": decisions,
        "recall_as_ours": {peer: alike(decisions["ours"], decisions[peer]) for peer in how.peers},
        "two_threads_decide_the_same": _same(found, "ours", "ours on two threads"),
        "kernels_ready_cpu_s": round(one.ask(system="ready")["found"][0], 2),
    }
    for contestant in (one, two, peers, several):
        if contestant is not None:
            contestant.close()
    return result


def alike(own: dict[str, Any], peer: dict[str, Any]) -> bool:
    """Return whether two recalls agree at every similarity within 3 standard errors and one copy.

    The two draw their hashes independently, so their difference has twice the variance of one.
    """
    for aimed, mine in own["recall"].items():
        count, share = mine["copies"], mine["curve"]
        error = 3 * (2 * share * (1 - share) / count) ** 0.5 + 1 / count
        if abs(mine["found"] - peer["recall"][aimed]["found"]) > error:
            return False
    return True


def _passes(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return of each peer the least median ratio, and whether the goal is met at equal recall."""
    found = {}
    for peer, goal in GOALS.items():
        rows = [row for row in results if peer in row["cpu_ratio_to_ours"]]
        least = min((row["cpu_ratio_to_ours"][peer]["median"] for row in rows), default=None)
        same = all(row["recall_as_ours"][peer] for row in rows)
        passed = least is not None and least >= goal and same
        found[peer] = {"least_ratio": least, "goal": goal, "same_recall": same, "pass": passed}
    return found


def _same(found: dict[str, list[Answer]], one: str, other: str) -> bool:
    return all(a["found"] == b["found"] for a, b in zip(found[one], found[other], strict=True))


def texts(options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the texts to compare on, before copies are planted."""
    made = {"python source": material.python_source(options.mb)}
    if material.SHARED.is_dir():
        made["shared Esperanto"] = material.esperanto()
    if options.generated_mb:
        path = material.generated(options.generated_mb)
        made["generated"] = material.load(path).to_pylist()
    return made


def main(arguments: Sequence[str]) -> None:
    """Run the row and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mb", type=float, default=48)
    parser.add_argument("--small-mb", type=float, default=2)
    parser.add_argument("--generated-mb", type=float, default=100)
    options = parser.parse_args(list(arguments))
    results = []
    for name, given in texts(options).items():
        planted, truth = material.plant(given, max(300, len(given) // 10), SIMILARITIES)
        path = material.KEPT / f"near-{name.replace(' ', '-')}.arrow"
        material.save(path, planted)
        options.peers, options.two_threads = ["rensa", "gaoya"], True
        results.append(compare(name, path, truth, len(planted), options))
        if PEERS and name != "generated":
            options.peers, options.two_threads = ["datatrove"], False
            # Copies first, so that a beginning holds some: the last documents are turned in front.
            small = _beginning(planted, truth, options.small_mb)
            path = material.save(path.with_name(path.stem + "-small.arrow"), small[0])
            small_options = argparse.Namespace(
                **{**vars(options), "rounds": min(3, options.rounds)}
            )
            results.append(
                compare(f"{name}, a beginning", path, small[1], len(small[0]), small_options)
            )
    rounds.write(
        "near_duplicates",
        {
            "peers": rounds.versions(PACKAGES) if PEERS else "none: DEVENO_PEERS_PYTHON is not set",
            "passes": _passes(results),
            "method": {"ngram": NGRAM, "bands": BANDS, "rows": ROWS},
            "results": results,
        },
    )


def _beginning(
    planted: Sequence[str], truth: Sequence[dict[str, float]], size_mb: float
) -> tuple[list[str], list[dict[str, float]]]:
    """Return pairs of originals and copies up to a size, as a text of its own."""
    made: list[str] = []
    own: list[dict[str, float]] = []
    total = 0
    for row in truth:
        pair = [planted[int(row[name])] for name in ("original", "copy")]
        own.append({"original": len(made), "copy": len(made) + 1, "aimed": row["aimed"]})
        made += pair
        total += sum(map(len, pair))
        if total >= size_mb * 1e6:
            break
    return made, own


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
