"""Tagger scores by sentence: accuracy, macro-F1, baselines, confusion and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError
from stages.evaluate.material import Corpus, open_corpus, rows_digest
from stages.evaluate.rules import MajorityTagger, SuffixTagger
from stages.evaluate.scoreboard import DIGITS, Measure, Scoreboard, Systems
from stages.evaluate.stage import TokenClassification
from stages.evaluate.taggers import open_tagger
from stages.lm import metrics
from stages.lm.resample import Counts, significant

Tags = list[list[str]]


@dataclass(frozen=True)
class Gold:
    """What is scored: words and their true tags, and every label that may come up."""

    rows: list[dict[str, Any]]
    labels: list[str]
    unseen: list[str]
    """Labels of the gold standard that the model was never taught."""

    @property
    def words(self) -> list[list[str]]:
        """The sentences, word by word."""
        return [row["tokens"] for row in self.rows]

    @property
    def tags(self) -> Tags:
        """The true tags."""
        return [row["tags"] for row in self.rows]

    @property
    def n(self) -> int:
        """How many words are scored."""
        return sum(map(len, self.tags))

    @property
    def unseen_words(self) -> int:
        """How many words bear a label that the model cannot give."""
        return sum(tag in self.unseen for row in self.tags for tag in row)


def score(task: TokenClassification, systems: Systems, corpus: Path, board: Scoreboard) -> None:
    """Score a tagger, its baselines and its rivals on the same sentences."""
    params = board.params
    material = open_corpus(corpus, "labelled")
    rows = material.rows(params.split, task.max_sentences)
    tagger = open_tagger(systems.model, params.threads, params.batch_size)
    gold = _gold(rows, tagger.labels)
    _check_labels(gold, tagger.labels, corpus)
    said = tagger.tag(gold.words)
    measures = _measures(gold, rows_digest(rows))
    counts = metrics.tag_counts(gold.tags, said, gold.labels)
    for measure in measures:
        board.score(measure, counts, gold.n)
    _note_gaps(gold, said, params.model, board)
    rivals: list[tuple[str, Tags]] = []
    for name, rule in _rules(task, material, board).items():
        rivals.append((name, rule.tag(gold.words)))
    for name, folder in systems.rivals():
        other = open_tagger(folder, params.threads, params.batch_size)
        rivals.append((name, other.tag(gold.words)))
    for name, tags in rivals:
        _add_rival(name, tags, (said, counts), gold, measures, board)
    board.files["confusion.json"] = {
        "labels": gold.labels,
        "matrix": metrics.confusion(gold.tags, said, gold.labels),
        "rows": "gold",
        "columns": "predicted",
    }
    board.extra["labels"] = _label_table(counts, gold)
    board.keep(_samples(gold, said))


def _rules(
    task: TokenClassification, material: Corpus, board: Scoreboard
) -> dict[str, MajorityTagger | SuffixTagger]:
    """Return the rules that the training split teaches; an empty one teaches none."""
    if next(iter(material.each("train")), None) is None:
        board.note("The corpus has no training split: no rule can be learnt from it as a baseline.")
        return {}
    return {
        "majority-tag": MajorityTagger(material.each("train")),
        f"suffix-{task.suffix_characters}": SuffixTagger(
            material.each("train"), task.suffix_characters
        ),
    }


def _gold(rows: list[dict[str, Any]], known: Sequence[str]) -> Gold:
    present = {tag for row in rows for tag in row["tags"]}
    labels = sorted(present | set(known))
    return Gold(rows, labels, sorted(present - set(known)))


def _check_labels(gold: Gold, known: Sequence[str], corpus: Path) -> None:
    """Refuse a corpus of another tag set: some unseen labels are errors, all of them a mix-up."""
    if gold.unseen_words == gold.n:
        raise ArtifactError(
            f"no label of the corpus was seen in training: {', '.join(gold.unseen[:8])};"
            f" the model knows {', '.join(sorted(known)[:20])}",
            str(corpus),
            "point `data` at a corpus with the model's tag set, or `model` at one trained on it",
        )


def _measures(gold: Gold, digest: str) -> list[Measure]:
    traits: Mapping[str, Any] = {
        "unit": "word",
        "missing": "error",
        "unseen": gold.unseen_words,
        "data": digest,
    }
    make = partial(Measure, unit="fraction", resampled="sentence")
    return [
        make(name="accuracy", statistic=metrics.accuracy, traits=traits),
        make(
            name="macro_f1",
            statistic=metrics.macro_f1,
            traits={**traits, "average": "macro", "labels": "gold"},
        ),
    ]


def _note_gaps(gold: Gold, said: Tags, model: str, board: Scoreboard) -> None:
    missing = sum(
        max(0, len(truth) - len(guess)) for truth, guess in zip(gold.tags, said, strict=True)
    )
    board.log.metric("words_unseen_label", gold.unseen_words)
    board.log.metric("words_untagged", missing)
    if gold.unseen:
        board.note(
            f"{gold.unseen_words} of {gold.n} words bear labels that {model} was not taught "
            f"({', '.join(gold.unseen)}); they count as errors."
        )
    if missing:
        board.note(f"{missing} of {gold.n} words got no tag from {model}; they count as errors.")


def _add_rival(
    name: str,
    tags: Tags,
    ours: tuple[Tags, Counts],
    gold: Gold,
    measures: list[Measure],
    board: Scoreboard,
) -> None:
    said, counts = ours
    theirs = metrics.tag_counts(gold.tags, tags, gold.labels)
    same = sum(
        a == b
        for mine, other in zip(said, tags, strict=True)
        for a, b in zip(mine, other, strict=False)
    )
    for measure in measures:
        board.score(measure, theirs, gold.n, baseline=name)
        board.compare(
            measure, (board.params.model, counts), (name, theirs), gold.n, words_alike=same
        )


def _label_table(counts: Counts, gold: Gold) -> list[dict[str, Any]]:
    """Return one row per label: how many words, precision, recall and F1."""
    total = counts.sum(axis=0)
    size = len(gold.labels)
    rows: list[dict[str, Any]] = []
    for place, label in enumerate(gold.labels):
        hits, said, true = (int(total[place + part * size]) for part in range(3))
        if not said and not true:
            continue
        rows.append(
            {
                "label": label,
                "words": true,
                "predicted": said,
                "correct": hits,
                "precision": significant(hits / said, DIGITS) if said else None,
                "recall": significant(hits / true, DIGITS) if true else None,
                "f1": significant(2 * hits / (said + true), DIGITS),
            }
        )
    return rows


def _samples(gold: Gold, said: Tags) -> list[dict[str, Any]]:
    """Return sentences to look at: those with errors first, since they teach most."""
    rows = [
        {
            "id": row["id"],
            "tokens": row["tokens"],
            "gold": row["tags"],
            "predicted": guess,
            "errors": _errors(row["tags"], guess),
        }
        for row, guess in zip(gold.rows, said, strict=True)
    ]
    half = [row for row in rows if row["errors"]]
    whole = [row for row in rows if not row["errors"]]
    mixed: list[dict[str, Any]] = []
    for place in range(max(len(half), len(whole))):
        mixed += half[place : place + 1] + whole[place : place + 1]
    return mixed


def _errors(truth: list[str], guess: list[str]) -> int:
    return len(truth) - sum(a == b for a, b in zip(truth, guess, strict=False))
