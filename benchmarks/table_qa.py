"""A small model learns to execute queries: answers on tables it never saw, beside blind ones.

    python -m benchmarks.table_qa [--pairs N] [--epochs N]

Everything goes through the stages: `acquire` (kind table-qa), `refine` (split by table),
`tokenizer`, `encode`, `pretrain` (some steps, for the architecture), `finetune` (an encoder and a
decoder from new weights). The test tables are the split's; answers are compared as denotations.
Beside it: the most frequent answer of the training pairs, and a cell of the asked column taken
blindly. Writes `benchmarks/table_qa.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.labelling import run

RESULT = Path(__file__).with_suffix(".json")
SHAPE = {"hidden_size": 96, "layers": 2, "heads": 4, "feed_forward_size": 256, "positions": 96}
SPLIT = {"train": 0.9, "valid": 0.05, "test": 0.05, "by": "group"}
SCORED = 300


def made(work: Path, pairs: int) -> dict[str, Path]:
    """Return the folders of a corpus of pairs and of a small model to take the shape from."""
    source = {
        "kind": "table-qa", "pairs": pairs, "pairs_per_table": 3, "templates": ["where"],
        "min_rows": 3, "max_rows": 4, "min_columns": 2, "max_columns": 3, "seed": 11,
    }  # fmt: skip
    raw = run("acquire", work / "raw", {"source": source})
    kept = {"raw": "x", "intact": True, "split": SPLIT}
    corpus = run("refine", work / "pairs", kept | {"kind": "parallel"}, raw=raw)
    texts = run("refine", work / "texts", kept, raw=raw)
    words = {"corpus": "x", "vocab_size": 700}
    tokenizer = run("tokenizer", work / "tokenizer", words, corpus=texts)
    packed = {"corpus": "x", "tokenizer": "x", "sequence_length": 96}
    tokens = run("encode", work / "tokens", packed, corpus=texts, tokenizer=tokenizer)
    short = {
        "tokens": "x", "tokenizer": "x", "steps": 20, "evaluate_every": 20, "batch_rows": 4,
        "model": {"kind": "roberta", **SHAPE},
    }  # fmt: skip
    base = run("pretrain", work / "base", short, tokens=tokens, tokenizer=tokenizer)
    return {"raw": raw, "corpus": corpus, "base": base}


def tuned(work: Path, places: dict[str, Path], epochs: int) -> Path:
    """Return a model that was taught to answer."""
    params = {
        "base": "x", "data": "x", "epochs": epochs, "batch_sentences": 64, "max_sentences": 0,
        "max_valid_sentences": 200, "learning_rate": 2e-3, "dropout": 0.0,
        "task": {
            "kind": "translation", "warm_start": "rnd2rnd", "max_target_length": 16,
            "selection": "loss", "evaluate_epochs": 5, "max_generated": 20,
            "decoding": {"kind": "greedy"},
        },
    }  # fmt: skip
    base, corpus = places["base"], places["corpus"]
    return run("finetune", work / "model", params, base=base, corpus=corpus)


def answered(model: Path, texts: list[str]) -> list[str]:
    """Return what the model says, the most probable token every time."""
    from stages.lm.writer import Writer

    return Writer.load(model).write(texts)


def asked_column(row: dict[str, Any]) -> list[str]:
    """Return the cells of the column that a `where` query asks for, by the text alone."""
    _, _, table = row["source_text"].rpartition(" col : ")
    header, *rows = table.split(" row ")
    place = header.split(" | ").index(row["source_text"].split()[1])
    return [one.partition(" : ")[2].split(" | ")[place] for one in rows]


def main(pairs: int, epochs: int, work: Path) -> dict[str, Any]:
    """Return the accuracies and the verdict."""
    from stages.lm import corpora, denotation

    places = made(work, pairs)
    model = tuned(work, places, epochs)
    train = list(corpora.pairs(places["corpus"], "train"))
    test = list(corpora.pairs(places["corpus"], "test"))[:SCORED]
    gold = [row["target_text"] for row in test]
    said = answered(model, [row["source_text"] for row in test])
    frequent = Counter(row["target_text"] for row in train).most_common(1)[0][0]
    blind = []
    for row, wanted in zip(test, gold, strict=True):
        cells = asked_column(row)
        blind.append(sum(denotation.equal(cell, wanted) for cell in cells) / len(cells))
    right = sum(map(denotation.equal, said, gold)) / len(gold)
    tables = {name: {row["id"].rpartition(":")[0] for row in rows} for name, rows in
              (("train", train), ("test", test))}  # fmt: skip
    return {
        "train_pairs": len(train), "test_pairs": len(test), "epochs": epochs,
        "tables_on_both_sides": len(tables["train"] & tables["test"]),
        "denotation_accuracy": round(right, 4),
        "most_frequent_answer": round(
            sum(denotation.equal(frequent, one) for one in gold) / len(gold), 4
        ),
        "a_cell_of_the_asked_column": round(sum(blind) / len(blind), 4),
        "parameters": json.loads((model / "training.json").read_text())["parameters"],
        "samples": [
            {"source": row["source_text"], "gold": row["target_text"], "said": one}
            for row, one in list(zip(test, said, strict=True))[:5]
        ],
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=25)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = main(given.pairs, given.epochs, Path(place))
    blind = max(found["most_frequent_answer"], found["a_cell_of_the_asked_column"])
    found["passes"] = {
        "above blind": found["denotation_accuracy"] > blind + 0.1,
        "no table on both sides": found["tables_on_both_sides"] == 0,
    }
    RESULT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(json.dumps(found, indent=1, ensure_ascii=False))
    sys.exit(not all(found["passes"].values()))
