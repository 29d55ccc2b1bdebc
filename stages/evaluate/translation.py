"""Translation scores: BLEU and chrF by sacrebleu, greedy and with a beam."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from stages.evaluate.material import open_corpus, rows_digest
from stages.evaluate.scoreboard import EXACT_DIGITS, Measure, Scoreboard, Systems
from stages.evaluate.stage import Translation
from stages.lm.generate import Search
from stages.lm.metrics import CorpusScore
from stages.lm.parts import Parts
from stages.lm.translator import Translator

METRICS = ("bleu", "chrf")
CHUNK = 64
"""Sentences translated between two reports of progress."""


def score(task: Translation, systems: Systems, corpus: Path, board: Scoreboard) -> None:
    """Score a translator on detokenised text, beside the copied source and its rivals."""
    params = board.params
    material = open_corpus(corpus, "parallel")
    pairs = material.rows(params.split, task.max_sentences)
    columns = ("target_text", "source_text") if task.reverse else ("source_text", "target_text")
    sources, references = ([row[column] for row in pairs] for column in columns)
    translated = _translate(systems.model, task, sources, board)
    greedy, beam = f"greedy:{params.model}", f"beam-{task.beam}:{params.model}"
    ours = {greedy: translated[1], beam: translated[task.beam]}
    others: dict[str, Sequence[str]] = {"copied-source": sources}
    for name, folder in systems.rivals():
        others[name] = _translate(folder, task, sources, board)[task.beam]
    digest = rows_digest({"s": a, "r": b} for a, b in zip(sources, references, strict=True))
    for metric in METRICS:
        _score_metric(metric, ours, others, references, digest, task, board)
    board.extra["direction"] = "reverse" if task.reverse else "forward"
    board.keep(
        [
            {
                "id": row["id"],
                "source": source,
                "reference": reference,
                "greedy": short,
                "beam": best,
            }
            for row, source, reference, short, best in zip(
                pairs, sources, references, translated[1], translated[task.beam], strict=True
            )
        ]
    )


def _translate(
    folder: Path, task: Translation, sources: Sequence[str], board: Scoreboard
) -> dict[int, list[str]]:
    """Return translations by beam width: 1 and the task's."""
    from stages.lm.device import prepare

    prepare(board.params.threads)
    translator = Translator.load(folder)
    ids = [translator.source_ids(text, f"pair {place + 1}") for place, text in enumerate(sources)]
    found: dict[int, list[str]] = {1: [], task.beam: []}
    for width, texts in found.items():
        search = Search(num_beams=width, max_tokens=task.max_tokens)

        def work(first: int, search: Search = search) -> list[str]:
            part = ids[first : first + CHUNK]
            best = translator.hypotheses(part, search, board.params.batch_size)
            return [translator.pipeline.decode(one[0].tokens) for one in best]

        parts = Parts(board.log, f"{folder.parent.name} {folder.name} beam {width}")
        for number, start in enumerate(range(0, len(ids), CHUNK)):
            texts += parts.make(number, partial(work, start), _packed, json.loads)
            board.log.progress(len(texts), len(ids), f"sentences, beam {width}")
        parts.close()
    return found


def _packed(texts: Iterable[str]) -> bytes:
    return json.dumps(list(texts)).encode("ascii")


def _score_metric(
    name: str,
    ours: dict[str, list[str]],
    others: dict[str, Sequence[str]],
    references: Sequence[str],
    digest: str,
    task: Translation,
    board: Scoreboard,
) -> None:
    metric = CorpusScore(name)
    tables = {
        system: metric.statistics(texts, references) for system, texts in {**ours, **others}.items()
    }
    signature = dict(part.split(":", 1) for part in metric.signature.split("|"))
    n = len(references)

    def measure(label: str, beams: int) -> Measure:
        traits: dict[str, Any] = {**signature, "beam": beams, "data": digest}
        return Measure(label, "points", metric, "sentence", traits, EXACT_DIGITS)

    greedy, beam = ours
    board.score(measure(f"{name}_greedy", 1), tables[greedy], n)
    best = measure(f"{name}_beam", task.beam)
    board.score(best, tables[beam], n)
    board.compare(best, (beam, tables[beam]), (greedy, tables[greedy]), n)
    for system in others:
        board.score(best, tables[system], n, baseline=system)
        board.compare(best, (beam, tables[beam]), (system, tables[system]), n)
