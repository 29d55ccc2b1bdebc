"""What the table of warm starts learns from: corpora of two tasks, and an encoder for each.

The encoder is pretrained by the line's own stages on text in the languages of its task (for
translation in both, as the multilingual BERT of arXiv 1907.12461), never on a pair that a run
learns from or is scored on.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SPLITS = ("train", "valid", "test")
Row = dict[str, Any]


def write_corpus(folder: Path, kind: str, splits: dict[str, list[Row]]) -> Path:
    """Write a refined corpus's needed part."""
    from stages.core import canonical
    from stages.lm import tables
    from stages.refine.output import REFERENCES

    schema = tables.TEXT_SCHEMA if kind == "text" else tables.PARALLEL_SCHEMA.append(REFERENCES)
    for split in SPLITS:
        with tables.ShardWriter(folder, split, schema) as writer:
            for row in splits[split]:
                writer.add({"source": "benchmark", **row})
    counts = {
        split: {
            "documents": len(rows),
            "characters": sum(len(row.get("text", "")) for row in rows),
            "bytes": sum(len(row.get("text", "").encode()) for row in rows),
        }
        for split, rows in splits.items()
    }
    canonical.write_json(folder / "corpus.json", {"kind": kind, "splits": counts})
    return folder


def translation(pairs: Path, folder: Path, sizes: Sequence[int], texts: int) -> tuple[Path, Path]:
    """Write pairs (train, valid, test) and text of both languages from other pairs of a corpus."""
    from stages.lm import corpora

    counts = dict(zip(SPLITS, sizes, strict=True))
    splits: dict[str, list[Row]] = {}
    spoken: list[str] = []
    for split in SPLITS:
        rows = corpora.pairs(pairs, split)
        splits[split] = [row for row, _ in zip(rows, range(counts[split]), strict=False)]
        if split == "train":
            for row, _ in zip(rows, range(texts), strict=False):
                spoken += [row["source_text"], row["target_text"]]
    # One document is some sentences of one language.
    sides = [spoken[side::2] for side in (0, 1)]
    documents = [" ".join(side[at : at + 6]) for at in range(0, len(sides[0]), 6) for side in sides]
    corpus = write_corpus(folder / "pairs", "parallel", splits)
    return corpus, _texts(folder / "text", documents)


def summarisation(abstracts: Path, folder: Path, extra: Path | None) -> tuple[Path, Path]:
    """Write SciTLDR's abstracts with their targets, and English text: abstracts and sentences.

    `train` of SciTLDR gives train and valid, its `dev` the split test; the text is the training
    abstracts themselves (not their summaries) and numbered sentences of `extra`.
    """
    rows = {name: list(_abstracts(abstracts / f"{name}.jsonl.gz")) for name in ("train", "dev")}
    splits = {"train": rows["train"][60:], "valid": rows["train"][:60], "test": rows["dev"]}
    documents = [row["source_text"].replace("\n", " ") for row in splits["train"]]
    if extra is not None:
        import bz2

        with bz2.open(extra, "rt", encoding="utf-8") as lines:
            sentences = [line.split(". ", 1)[-1].strip() for line in lines]
        documents += [" ".join(sentences[at : at + 6]) for at in range(0, len(sentences), 6)]
    corpus = write_corpus(folder / "pairs", "parallel", splits)
    return corpus, _texts(folder / "text", documents)


def _abstracts(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            target, *references = row["target"]
            yield {
                "id": f"{path.stem}-{number}",
                "source_text": "\n".join(" ".join(one.split()) for one in row["source"]),
                "target_text": target,
                "references": references,
            }


def _texts(folder: Path, documents: Sequence[str]) -> Path:
    rows = [{"id": str(number), "text": text} for number, text in enumerate(documents)]
    held = max(20, len(rows) // 50)
    splits = {"train": rows[2 * held :], "valid": rows[:held], "test": rows[held : 2 * held]}
    return write_corpus(folder, "text", splits)


def encoder(texts: Path, folder: Path, size: dict[str, Any]) -> Path:
    """Pretrain a small RoBERTa on texts by the line's own stages; returns its folder."""
    from stages.core.log import Log
    from stages.encode.stage import EncodeParams, encode
    from stages.pretrain.stage import PretrainParams, Roberta, pretrain
    from stages.tokenizer.stage import TokenizerParams, tokenizer

    none = folder / "none"
    none.mkdir(parents=True, exist_ok=True)
    words, tokens, model = folder / "tokenizer", folder / "tokens", folder / "model"
    tokenizer(TokenizerParams(corpus="x", vocab_size=size["vocab_size"]), texts, none, words, Log())
    encode(
        EncodeParams(corpus="x", tokenizer="x", sequence_length=size["positions"]),
        texts,
        words,
        tokens,
        Log(),
    )
    params = PretrainParams(
        tokens="x",
        tokenizer="x",
        model=Roberta(
            hidden_size=size["hidden_size"],
            layers=size["layers"],
            heads=size["heads"],
            feed_forward_size=4 * size["hidden_size"],
            positions=size["positions"],
        ),
        objective={"kind": "masked", "share": 0.3},
        steps=size["steps"],
        batch_rows=size["batch_rows"],
        evaluate_every=size["steps"],
        learning_rate=3e-3,
        short_share=0.0,
    )
    pretrain(params, tokens, none, none, none, words, none, model, Log(scratch=folder / "scratch"))
    return model
