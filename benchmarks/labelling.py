"""Rounds of labels by a simulated annotator: learning curves of ways to choose, three seeds.

    python -m benchmarks.labelling [--data FOLDER]

The pool is the training part of UD_Welsh-CCG, the fixed test set its test part (both shared data),
the annotator the treebank. Every round goes through the stages themselves: `label` chooses and
answers, `finetune` learns (from a small model pretrained here on the pool's plain text), and the
tagger is scored on the whole test set. Writes `benchmarks/labelling.json`; `--again` reads the
curves that stand there and sums them up anew.

Doubt takes short sentences, and annotators are paid by the word: every way is held against random
at equal numbers of sentences, and, between its points, at equal numbers of words.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core import canonical, registry
from stages.core.declare import Params
from stages.core.log import Log

RESULT = Path(__file__).with_suffix(".json")
TREEBANK = "ud/UD_Welsh-CCG"
SEEDS = (1, 2, 3)
WAYS: dict[str, dict[str, Any]] = {
    "random": {"by": "random"},
    "entropy": {"by": "entropy"},
    "entropy-diverse": {"by": "entropy", "diverse_of": 4},
    "diversity": {"by": "diversity"},
}
ROUNDS = 6
SIZE = 25
TUNED = {"epochs": 15, "batch_sentences": 8, "patience": 5, "learning_rate": 2e-3}


def run(stage: str, out: Path, params: dict[str, Any], **reads: Path) -> Path:
    """Run one stage's function; what it may read and does not is an empty place."""
    made = registry.get(stage)
    checked: Params = made.params.model_validate(params)
    every = dict.fromkeys(made.reads, out.parent / "none") | reads
    log = Log(scratch=out.parent / f"{out.name}-scratch")
    made.function(params=checked, **every, **{next(iter(made.writes)): out}, log=log)
    return out


def corpora(data: Path, work: Path) -> tuple[Path, Path, Path]:
    """Return corpora of the pool (labelled), of the test set, and of the pool's plain text."""
    found = {}
    for part in ("train", "test"):
        (path,) = (data / TREEBANK).glob(f"*-{part}.conllu*")
        raw = path.read_bytes()
        text = gzip.decompress(raw) if path.suffix == ".gz" else raw
        folder = work / f"raw-{part}"
        (folder / "files").mkdir(parents=True)
        (folder / "files" / f"{part}.conllu").write_bytes(text)
        rows = [{"path": f"files/{part}.conllu", "format": "conllu"}]
        canonical.write_json(folder / "manifest.json", {"files": rows, "licence": "CC-BY-SA-4.0"})
        share = {"train": float(part == "train"), "valid": 0.0, "test": float(part == "test")}
        kept = {"raw": "x", "kind": "labelled", "intact": True, "split": share}
        found[part] = run("refine", work / f"corpus-{part}", kept, raw=folder)
    plain = work / "raw-plain"
    (plain / "files").mkdir(parents=True)
    lines = [
        line.removeprefix("# text = ")
        for line in (work / "raw-train/files/train.conllu").read_text("utf-8").split("\n")
        if line.startswith("# text = ")
    ]
    (plain / "files" / "a.txt").write_text("\n".join(lines), "utf-8")
    rows = [{"path": "files/a.txt", "format": "text"}]
    canonical.write_json(plain / "manifest.json", {"files": rows, "licence": "CC-BY-SA-4.0"})
    kept = {"raw": "x", "documents": "line", "split": {"train": 0.9, "valid": 0.05, "test": 0.05}}
    return found["train"], found["test"], run("refine", work / "corpus-plain", kept, raw=plain)


def pretrained(plain: Path, work: Path) -> Path:
    """Return a small model of the pool's plain text."""
    vocabulary = {"corpus": "x", "vocab_size": 3000}
    tokenizer = run("tokenizer", work / "tokenizer", vocabulary, corpus=plain)
    packed = {"corpus": "x", "tokenizer": "x", "sequence_length": 64}
    tokens = run("encode", work / "tokens", packed, corpus=plain, tokenizer=tokenizer)
    shape = {"hidden_size": 96, "layers": 2, "heads": 4, "feed_forward_size": 256, "positions": 128}
    params = {
        "tokens": "x", "tokenizer": "x", "steps": 600, "evaluate_every": 200, "batch_rows": 16,
        "learning_rate": 2e-3, "model": {"kind": "roberta", **shape},
    }  # fmt: skip
    return run("pretrain", work / "base", params, tokens=tokens, tokenizer=tokenizer)


def scored(model: Path, corpus: Path) -> tuple[float, float]:
    """Return accuracy and macro-F1 of a tagger on the test set."""
    from stages.lm import metrics, tables
    from stages.lm.classify import Tagger

    rows = list(tables.iter_rows(corpus, "test", ["tokens", "tags"]))
    said = [[tag for tag, _ in row] for row in Tagger.load(model).tag([r["tokens"] for r in rows])]
    gold = [row["tags"] for row in rows]
    counts = metrics.tag_counts(gold, said, sorted({tag for row in gold + said for tag in row}))
    total = counts.sum(axis=0, keepdims=True)
    return float(metrics.accuracy(total)[0]), float(metrics.macro_f1(total)[0])


def curve(
    way: dict[str, Any], seed: int, made: tuple[Path, Path, Path], work: Path
) -> list[dict[str, Any]]:
    """Return what every round brought; round 0 is drawn at random whatever the way is."""
    pool, test, base = made
    before: dict[str, Path] = {}
    points = []
    for number in range(ROUNDS):
        chosen = way if number else {"by": "random"}
        named = {name: f"x/{name}" for name in before}
        params = {
            "pool": "corpora/pool", "test": "corpora/test", "annotation": {"kind": "gold"},
            "size": SIZE, "seed": seed, **chosen, **named,
        }  # fmt: skip
        if "model" in params and chosen["by"] in ("random", "diversity"):
            params["model"] = "none"
        corpus = run("label", work / f"labels-{number}", params, pool=pool, test=test, **before)
        tuned = {"base": "x", "data": "x", "seed": seed, **TUNED}
        model = run("finetune", work / f"model-{number}", tuned, base=base, corpus=corpus)
        accuracy, f1 = scored(model, corpus)
        told = json.loads((corpus / "rounds.json").read_text("utf-8"))
        row = told["rounds"][-1]
        points.append(
            {
                "labelled": row["labelled"], "words": row["labelled_words"],
                "accuracy": round(accuracy, 5), "macro_f1": round(f1, 5),
                "test_sha256": told["test_sha256"][:12], "like_test": row["pool"]["like_test"],
            }
        )  # fmt: skip
        before = {"before": corpus, "model": model}
        print(seed, chosen, points[-1], flush=True)
    return points


def area(points: Sequence[dict[str, Any]], score: str) -> float:
    """Return the mean score over the rounds after the first, which all ways share."""
    return statistics.mean(point[score] for point in points[1:])


def at_equal_words(
    points: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], score: str
) -> float:
    """Return the mean lead over another curve, whose points are joined by straight lines."""
    import numpy as np

    words = [point["words"] for point in others]
    there = [point[score] for point in others]
    return statistics.mean(
        point[score] - float(np.interp(point["words"], words, there)) for point in points[1:]
    )


def _means(rows: Sequence[Sequence[dict[str, Any]]], name: str) -> list[float]:
    """Return the mean over seeds of a number, round by round."""
    return [
        round(statistics.mean(points[at][name] for points in rows), 4) for at in range(len(rows[0]))
    ]


def summary(curves: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Return mean curves, what each way brings over random seed by seed, and the verdicts."""
    ways = {}
    for way, by_seed in curves.items():
        rows = list(by_seed.values())
        over = [
            area(points, "accuracy") - area(curves["random"][seed], "accuracy")
            for seed, points in by_seed.items()
        ]
        ways[way] = {
            "labelled": [point["labelled"] for point in rows[0]],
            **{name: _means(rows, name) for name in ("words", "accuracy", "macro_f1")},
            "accuracy_over_random_by_seed": [round(value, 4) for value in over],
            **{
                f"{score}_over_random_at_equal_words_by_seed": [
                    round(at_equal_words(points, curves["random"][seed], score), 4)
                    for seed, points in by_seed.items()
                ]
                for score in ("accuracy", "macro_f1")
            },
        }
    every = [
        point for by_seed in curves.values() for points in by_seed.values() for point in points
    ]
    return {
        "ways": ways,
        "passes": {
            "one test set": len({point["test_sha256"] for point in every}) == 1,
            "every way learns": all(
                row["accuracy"][-1] > row["accuracy"][0] for row in ways.values()
            ),
        },
        "found": {
            f"entropy beats random for every seed, {told}": min(ways["entropy"][name]) > 0
            for told, name in (
                ("accuracy at equal sentences", "accuracy_over_random_by_seed"),
                ("accuracy at equal words", "accuracy_over_random_at_equal_words_by_seed"),
                ("macro-F1 at equal words", "macro_f1_over_random_at_equal_words_by_seed"),
            )
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DEVENO_TEST_DATA"))
    parser.add_argument("--again", action="store_true", help="sum the tracked curves up anew")
    given = parser.parse_args()
    if given.again:
        curves = json.loads(RESULT.read_text("utf-8"))["curves"]
        result = {**summary(curves), "rounds": ROUNDS, "size": SIZE, "curves": curves}
        RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        print(json.dumps(summary(curves), indent=1))
        sys.exit(not all(result["passes"].values()))
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        pool, test, plain = corpora(Path(given.data) / "data" if given.data else Path("data"), work)
        base = pretrained(plain, work)
        curves = {
            name: {
                str(seed): curve(way, seed, (pool, test, base), work / f"{name}-{seed}")
                for seed in SEEDS
            }
            for name, way in WAYS.items()
        }
    result = {**summary(curves), "rounds": ROUNDS, "size": SIZE, "curves": curves}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(summary(curves), indent=1))
    sys.exit(not all(result["passes"].values()))
