"""Summaries scored by ROUGE against one or more targets, beside the document's first sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.evaluate.material import open_corpus, rows_digest
from stages.evaluate.scoreboard import Measure, Scoreboard, Systems
from stages.evaluate.stage import Summarisation
from stages.evaluate.translation import Way, ways_of, written
from stages.lm import rouge
from stages.lm.resample import ratio

LEADS = (1, 3)
"""Sentences from a document's start that the baselines take."""
REFERENCE = "rouge_score-0.1.2"
"""The implementation whose numbers ours are equal to."""
_ENDS = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_]*[A-ZÀ-ÞĀ-Ż\"“(])")


def sentences(document: str) -> list[str]:
    """Return a document's sentences: its lines where it has several, else cut behind `.`, `!`, `?`.

    A cut needs a capital, a quotation mark or a bracket after it.
    """
    lines = [line.strip() for line in document.split("\n") if line.strip()]
    return lines if len(lines) > 1 else [part for part in _ENDS.split(document.strip()) if part]


def lead(document: str, count: int) -> str:
    """Return a document's first sentences, one a line."""
    return "\n".join(sentences(document)[:count])


def score(task: Summarisation, systems: Systems, corpus: Path, board: Scoreboard) -> None:
    """Score a summariser, beside lead-1, lead-3 and its rivals."""
    params = board.params
    rows = open_corpus(corpus, "parallel").rows(params.split, task.max_documents)
    documents = [row["source_text"] for row in rows]
    targets = [[row["target_text"], *(row.get("references") or [])] for row in rows]
    ways = ways_of(task, systems.model)
    ours = written(systems.model, ways, documents, board)
    others: dict[str, Sequence[str]] = {
        f"lead-{count}": [lead(text, count) for text in documents] for count in LEADS
    }
    for name, folder in systems.rivals():
        others[name] = written(folder, ways[:1], documents, board)[ways[0].label]
    digest = rows_digest({"s": a, "r": b} for a, b in zip(documents, targets, strict=True))
    for kind in rouge.KINDS:
        _score_kind(kind, task, ways, ours, others, targets, digest, board)
    board.extra["targets"] = {"least": min(map(len, targets)), "most": max(map(len, targets))}
    board.extra["mean_words"] = {
        name: round(sum(len(text.split()) for text in texts) / len(texts), 2)
        for name, texts in {**ours, **others, "target": [row[0] for row in targets]}.items()
    }
    board.extra["decoding"] = {way.label: way.traits["decoding"] for way in ways}
    said = [dict(zip(ours, each, strict=True)) for each in zip(*ours.values(), strict=True)]
    board.keep(
        [
            {"id": row["id"], "source": document, "reference": wanted[0], **texts}
            for row, document, wanted, texts in zip(rows, documents, targets, said, strict=True)
        ]
    )


def _score_kind(
    kind: str,
    task: Summarisation,
    ways: Sequence[Way],
    ours: Mapping[str, Sequence[str]],
    others: Mapping[str, Sequence[str]],
    targets: Sequence[Sequence[str]],
    digest: str,
    board: Scoreboard,
) -> None:
    n, model = len(targets), board.params.model

    def counts(texts: Sequence[str]) -> Any:
        return rouge.f_points(targets, texts, kind, stemmed=task.stemmed)

    def measure(way: Way) -> Measure:
        traits = {
            "like": REFERENCE,
            "stem": "porter" if task.stemmed else "none",
            "targets": "best-f",
            **way.traits,
            "data": digest,
        }
        return Measure(f"{kind}_{way.label}", "points", ratio, "document", traits)

    tables = {way.label: counts(ours[way.label]) for way in ways}
    for way in reversed(ways):
        board.score(measure(way), tables[way.label], n)
    best, own = measure(ways[0]), (f"{ways[0].label}:{model}", tables[ways[0].label])
    for way in ways[1:]:
        board.compare(best, own, (f"{way.label}:{model}", tables[way.label]), n)
    for system, texts in others.items():
        table = counts(texts)
        board.score(best, table, n, baseline=system)
        board.compare(best, own, (system, table), n)
