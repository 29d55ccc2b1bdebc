"""Answers to questions over tables, right or wrong as denotations, beside blind ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.evaluate.material import Corpus, open_corpus, rows_digest
from stages.evaluate.scoreboard import Measure, Scoreboard, Systems
from stages.evaluate.stage import TableAnswering
from stages.evaluate.translation import ways_of, written
from stages.lm import denotation
from stages.lm.resample import Counts, ratio

HEADER = " col : "
ROW = " row "
CELL = " | "


def first_cell(text: str) -> str:
    """Return the first cell of a flattened table: an answer without a look at the question."""
    _, _, row = text.partition(f"{ROW}1 : ")
    return row.partition(ROW)[0].partition(CELL)[0].strip()


def most_frequent(material: Corpus) -> str:
    """Return the answer that most training pairs have, the first of equals; or nothing."""
    counts = Counter(row["target_text"] for row in material.each("train"))
    return counts.most_common(1)[0][0] if counts else ""


def score(task: TableAnswering, systems: Systems, corpus: Path, board: Scoreboard) -> None:
    """Score a model that answers questions over tables, beside blind answers and its rivals."""
    params = board.params
    material = open_corpus(corpus, "parallel")
    rows = material.rows(params.split, task.max_questions)
    sources = [row["source_text"] for row in rows]
    gold = [row["target_text"] for row in rows]
    ways = ways_of(task, systems.model)
    ours = written(systems.model, ways, sources, board)
    others: dict[str, Sequence[str]] = {"first-cell": [first_cell(text) for text in sources]}
    frequent = most_frequent(material)
    if frequent:
        others["most-frequent-answer"] = [frequent] * len(rows)
    for name, folder in systems.rivals():
        others[name] = written(folder, ways[:1], sources, board)[ways[0].label]
    digest = rows_digest({"s": a, "r": b} for a, b in zip(sources, gold, strict=True))
    tables = {way.label: counts(ours[way.label], gold) for way in ways}
    measures = {
        way.label: Measure(
            f"denotation_{way.label}", "fraction", ratio, "question",
            {"like": "set-of-answers", **way.traits, "data": digest},
        )
        for way in ways
    }  # fmt: skip
    for way in reversed(ways):
        board.score(measures[way.label], tables[way.label], len(rows))
    best = measures[ways[0].label]
    own = (f"{ways[0].label}:{params.model}", tables[ways[0].label])
    for way in ways[1:]:
        board.compare(best, own, (f"{way.label}:{params.model}", tables[way.label]), len(rows))
    for system, texts in others.items():
        table = counts(texts, gold)
        board.score(best, table, len(rows), baseline=system)
        board.compare(best, own, (system, table), len(rows))
    said = [dict(zip(ours, each, strict=True)) for each in zip(*ours.values(), strict=True)]
    board.keep(
        [
            {"id": row["id"], "source": source, "reference": wanted, **texts}
            for row, source, wanted, texts in zip(rows, sources, gold, said, strict=True)
        ]
    )


def counts(said: Sequence[str], gold: Sequence[str]) -> Counts:
    """Return [N, 2]: whether each question was answered right, and 1."""
    right = [denotation.equal(one, wanted) for one, wanted in zip(said, gold, strict=True)]
    return np.stack([np.array(right, np.float64), np.ones(len(right))], axis=1)
