"""The whole chain, raw text to a packed set, beside the peers chained.

    DEVENO_PEERS_PYTHON=... python -m benchmarks.corpus chain [--rounds 3] [--mb 4] [--code-mb 1]
        [--vocab 8000] [--length 1024]

From two Parquet shards to rows on disk: Gopher's, C4's and FineWeb's rules, near-duplicates in 14
bands of 8 rows over word 5-grams, a byte-level BPE vocabulary learned from what is left, ids, rows.
The peers are datatrove's filters and its four stages of MinHash (executor, JSON lines between
steps, models loaded before), the trainer of tokenizers, and the two maps of run_clm. `functions` is
what the stages are made of, in a row; `stages` are acquire, refine, tokenizer and encode as a
project runs them: with ledgers, measures, a vocabulary's report, parts kept against a kill. Two
threads: two workers of datatrove and of the maps. What each decides is compared document by
document. Writes `chain.json` and `chain.svg`.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import drawing
from benchmarks.corpus import english, material, rounds
from benchmarks.corpus.rounds import PEERS, Answer, Contestant

GOAL, AGREEMENT = 50, 0.995
PACKAGES = ("datatrove", "spacy", "nltk", "tokenizers", "datasets", "transformers", "pyarrow")
ENGLISH = ["the", "be", "to", "of", "and", "that", "have", "with"]
ESPERANTO = ["la", "kaj", "de", "en", "estas", "al", "por", "ke"]
"""Words of which Gopher asks two, given to both sides."""
SIMILARITIES = (0.6, 0.8, 0.95)


def texts(how: argparse.Namespace) -> dict[str, tuple[list[str], list[str]]]:
    """Return texts and stop words by name; copies are planted where the text has none."""
    found = material.load(material.generated(how.generated_mb)).to_pylist()
    given = {
        "English and Python": (english.texts(how.mb, how.code_mb), ENGLISH),
        "Esperanto": (_beginning(_unwrapped(), how.esperanto_mb), ESPERANTO),
        "generated": (_beginning(found, how.generated_mb), ESPERANTO),
    }
    planted = {
        name: (one if name == "generated" else material.plant(one, len(one) // 20, SIMILARITIES)[0])
        for name, (one, _) in given.items()
    }
    return {name: (planted[name], words) for name, (_, words) in given.items()}


def _unwrapped() -> list[str]:
    """Return the Esperanto texts with a paragraph a line: C4 asks how each line ends."""
    return [
        "\n".join(" ".join(part.split()) for part in text.split("\n\n"))
        for text in material.esperanto()
    ]


def _beginning(given: Sequence[str], size_mb: float) -> list[str]:
    kept: list[str] = []
    total = 0
    for text in given:
        if total >= size_mb * 1e6:
            break
        kept.append(text)
        total += len(text.encode())
    return kept


def shards(name: str, given: Sequence[str]) -> Path:
    """Write texts as two Parquet shards with ids; return their folder."""
    folder = material.KEPT / "chain" / name.replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "raw").mkdir(parents=True)
    half = -(-len(given) // 2)
    for number in range(2):
        rows = range(number * half, min(len(given), (number + 1) * half))
        ids = [f"d{row:08d}" for row in rows]
        table = pa.table({"id": ids, "text": [given[row] for row in rows]})
        pq.write_table(table, folder / "raw" / f"raw-{number}.parquet")
    return folder


def compare(
    name: str, given: Sequence[str], words: Sequence[str], how: argparse.Namespace
) -> dict[str, Any]:
    """Compare everyone on one text."""
    folder = shards(name, given)
    size_mb = sum(len(text.encode()) for text in given) / 1e6
    ask = {"raw": str(folder / "raw"), "out": str(folder), "vocab": how.vocab,
           "length": how.length, "stop_words": list(words)}  # fmt: skip
    one = Contestant("chain_ours")
    contestants, systems = [one], {
        "functions": partial(one.ask, system="functions", **ask),
        "stages": partial(one.ask, system="stages", **ask),
    }  # fmt: skip
    peer = Contestant("chain_peers", python=PEERS) if PEERS else None
    if peer is not None:
        contestants.append(peer)
        systems["peers"] = partial(peer.ask, system="peers", **ask)
    if how.threads:
        two = Contestant("chain_ours", threads=2)
        contestants.append(two)
        for kind in ("functions", "stages"):
            systems[f"{kind} on two threads"] = partial(two.ask, system=kind, threads=2, **ask)
        if peer is not None:
            several = Contestant("chain_peers", python=PEERS, threads=2)
            contestants.append(several)
            systems["peers on two threads"] = partial(several.ask, system="peers", **ask)
    ready = [system for system in systems if "peers" in system]
    found = rounds.interleaved(systems, how.rounds, ready=ready)
    result = _figures(name, size_mb, len(given), found)
    if peer is not None:
        one.ask(system="functions", **ask)
        own = one.ask(system="decisions")["found"]
        result["decisions"] = decided(
            own, peer.ask(system="decisions", out=str(folder))["found"], len(given)
        )
    for contestant in contestants:
        contestant.close()
    return result


def _figures(
    name: str, size_mb: float, documents: int, found: Mapping[str, Sequence[Answer]]
) -> dict[str, Any]:
    threaded = {system: answers for system, answers in found.items() if "two threads" in system}
    result: dict[str, Any] = {
        "text": name,
        "documents": documents,
        "mb": round(size_mb, 3),
        "mb_per_cpu_s": {
            system: rounds.quartiles([size_mb / answer["cpu_s"] for answer in answers])
            for system, answers in found.items()
        },
        "cpu_ratio_to_functions": rounds.ratios(found, "functions"),
        "cpu_ratio_to_stages": rounds.ratios(found, "stages"),
        "wall_ratio_to_functions": rounds.ratios(found, "functions", "wall_s"),
        "cpu_s_by_phase": {
            system: {
                part: rounds.quartiles([one["found"]["phases"][part]["cpu_s"] for one in answers])
                for part in answers[0]["found"]["phases"]
            }
            for system, answers in found.items()
        },
        "made": {
            system: {key: value for key, value in answers[-1]["found"].items() if key != "phases"}
            for system, answers in found.items()
        },
    }
    if threaded:
        result["on_two_threads"] = {
            kind: rounds.ratios(threaded, "functions on two threads", kind)
            for kind in ("cpu_s", "wall_s")
        }
        result["two_threads_make_the_same"] = (
            found["functions"][-1]["found"]["tokens"]
            == found["functions on two threads"][-1]["found"]["tokens"]
        )
    return result


def decided(
    own: Mapping[str, Sequence[str]], peer: Mapping[str, Sequence[str]], documents: int
) -> dict[str, Any]:
    """Return how far both sides keep the same documents, after the rules and after duplicates."""
    found = {}
    for name in own:
        mine, other = set(own[name]), set(peer[name])
        found[name] = {
            "kept": len(mine),
            "kept_by_peers": len(other),
            "kept_by_one": len(mine ^ other),
            "agreement": round(1 - len(mine ^ other) / documents, 5),
            "apart": sorted(mine ^ other)[:20],
        }
    return found


def passes(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the verdict: speed, rules decided alike, duplicates alike but for chance.

    Both sides draw their own hash functions, so a pair near the threshold is found by one and not
    by the other; which of them found it must be chance: of b + c documents that one side alone
    keeps, b - c is within three standard deviations of nothing (McNemar 1947).
    """
    told: dict[str, Any] = {"goal": GOAL, "agreement_goal": AGREEMENT}
    if not PEERS:
        return told | {"pass": False}
    least = min(row["cpu_ratio_to_functions"]["peers"]["median"] for row in results)
    two = results[0]["on_two_threads"]["wall_s"]["peers on two threads"]["median"]
    alike = [row["decisions"]["near duplicates"] for row in results]
    chance = all(
        abs(one["kept"] - one["kept_by_peers"]) <= 3 * one["kept_by_one"] ** 0.5 for one in alike
    )
    agreed = min(row["decisions"]["rules"]["agreement"] for row in results)
    return told | {
        "least_ratio": least,
        "wall_ratio_on_two_threads": two,
        "least_agreement_on_rules": agreed,
        "least_agreement_on_duplicates": min(one["agreement"] for one in alike),
        "duplicates_differ_by_chance": chance,
        "least_ratio_of_whole_stages": min(
            row["cpu_ratio_to_stages"]["peers"]["median"] for row in results
        ),
        "pass": min(least, two) >= GOAL and agreed >= AGREEMENT and chance,
    }


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw CPU seconds per megabyte of every phase and of the whole, first text."""
    result = results[0]
    phases = result["cpu_s_by_phase"]
    named = {"peers": "the peers chained", "functions": "Deveno's functions"}
    groups: dict[str, dict[str, float]] = {
        part: {
            named[system]: phases[system][part]["median"] / result["mb"]
            for system in named
            if system in phases
        }
        for part in phases["functions"]
    }
    whole = result["mb_per_cpu_s"]
    named |= {"stages": "Deveno's stages"}
    groups["the whole chain"] = {
        named[system]: 1 / whole[system]["median"] for system in named if system in whole
    }
    title = f"Raw text to a packed set: {result['text']}, {result['mb']:.1f} MB, one thread"
    drawing.bars(path, title, "CPU seconds per megabyte, less is better (log scale)", groups)


def main(arguments: Sequence[str]) -> None:
    """Run the row, write it, draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mb", type=float, default=4)
    parser.add_argument("--code-mb", type=float, default=1)
    parser.add_argument("--esperanto-mb", type=float, default=3)
    parser.add_argument("--generated-mb", type=float, default=3)
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--length", type=int, default=1024)
    how = parser.parse_args(list(arguments))
    results = []
    for number, (name, (given, words)) in enumerate(texts(how).items()):
        how.threads = number == 0
        results.append(compare(name, given, words, how))
    told = rounds.versions(PACKAGES) if PEERS else "none: DEVENO_PEERS_PYTHON is not set"
    rounds.write("chain", {"peers": told, "passes": passes(results), "results": results})
    draw(results, rounds.FOLDER / "chain.svg")
