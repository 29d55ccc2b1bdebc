"""The declaration of `label`: one entry is one round, and each round a version of the labels.

A loop is a chain of entries: labels of round k, a model tuned on them, its scores on the fixed test
set, and round k + 1, whose batch that model chose:

    label:    {ner-0: {pool: corpora/pool, test: corpora/gold, ...},
               ner-1: {..., before: corpora/ner-0, model: finetuned/ner-0, by: entropy}}
    finetune: {ner-0: {data: ner-0, ...}}
    evaluate: {ner-0: {data: ner-0, model: finetuned/ner-0, ...}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from stages.core.declare import FloatParams, Params, stage
from stages.core.log import Log

Strategy = Literal["random", "least-confidence", "margin", "entropy", "diversity"]
UNCERTAIN: tuple[str, ...] = ("least-confidence", "margin", "entropy")


class FileAnswers(Params):
    """People's answers, as files below `answers`."""

    kind: Literal["files"] = "files"
    """Discriminator."""
    patterns: list[str] = ["labels/*.jsonl", "labels/*.csv"]
    """Globs below `answers`, each round its own (`labels/ner-1*`); later names are later answers.
    JSON lines (`id`, `tags` or `spans`, `annotator`, `answer`; Prodigy's and Kili's names are read
    as well) or CSV with those columns."""
    misaligned: Literal["refuse", "skip"] = "refuse"
    """What a span means whose ends are not those of words: an error, or a sentence left out and
    counted."""


class GoldAnswers(Params):
    """A simulated annotator: the tags that the pool's own sentences have."""

    kind: Literal["gold"] = "gold"
    """Discriminator."""
    noise: float = Field(0.0, ge=0, le=1)
    """Share of words that are answered with another label, drawn by seed and word."""


class LabelParams(FloatParams):
    """Where sentences come from, who chooses them, and who has answered."""

    pool: str
    """Sentences to label, as `corpora/<key>`: its split train, texts or labelled sentences."""
    test: str
    """The fixed test set, as `corpora/<key>` of labelled sentences: its split test, all of it."""
    before: str = "none"
    """The round before, as `corpora/<key>` of a label entry, or `none` for round 0."""
    model: str = "none"
    """The tagger tuned on the round before, as `finetuned/<key>`, or `none`."""
    answers: str = "data/none"
    """Folder of the repository with answers, such as `data/external`; `data/none` has none yet."""
    annotation: FileAnswers | GoldAnswers = Field(FileAnswers(), discriminator="kind")
    """Who answers."""
    labels: list[str] = []
    """Labels that may be given; empty takes those of the test set."""
    excluded: list[str] = []
    """Labels of escape (`OTHER`): a sentence with one is left out of training, and counted."""
    by: Strategy = "random"
    """How the batch is chosen: at random, by what the tagger is unsure of (mean over words of
    1 - p1, of 1 - (p1 - p2), or of the entropy: Settles & Craven 2008), or far from each other and
    from all that is labelled (k-center greedy: Sener & Savarese 2018)."""
    diverse_of: int = Field(1, ge=1)
    """Choose by diversity among so many times `size` of the most unsure; 1 takes those."""
    size: int = Field(50, ge=1)
    """Sentences of the batch."""
    max_candidates: int = Field(5000, ge=1)
    """Sentences of the pool that are looked at, drawn by hash of seed and id."""
    valid_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of the labelled sentences that validate, by hash of their ids: none changes its side
    from round to round (but where so few are labelled that one side would have none)."""
    resolve: Literal["latest", "majority"] = "latest"
    """Which answer counts where several annotators answered: the last, or for each word the label
    that most gave (the last one's among equals)."""
    min_kappa: float = Field(-1.0, ge=-1, le=1)
    """Fail where annotators agree less beyond chance (Fleiss' kappa over words) than this."""
    leak_jaccard: float = Field(0.8, gt=0, le=1)
    """A sentence whose word bigrams are this alike to a test sentence's is never asked for."""
    seed: int = 0
    """Another seed gives other batches."""

    @model_validator(mode="after")
    def _chosen(self) -> Self:
        if self.by in UNCERTAIN and self.model == "none":
            raise ValueError(
                f"by is {self.by}, which asks a model; name the tagger of the round before"
                " (`model: finetuned/<key>`), or choose by random or diversity"
            )
        if self.model != "none" and self.before == "none":
            raise ValueError("a model is learned from a round before; name it in `before`")
        clash = sorted(set(self.labels) & set(self.excluded))
        if clash:
            raise ValueError(f"the label {clash[0]!r} is both in labels and in excluded")
        return self


@stage(
    version=1,
    reads={
        "pool": "data/${item.pool}",
        "test": "data/${item.test}",
        "before": "data/${item.before}",
        "model": "models/${item.model}",
        "answers": "${item.answers}",
    },
    writes={"corpus": "data/corpora/${key}"},
)
def label(
    params: LabelParams, pool: Path, test: Path, before: Path, model: Path, answers: Path,
    corpus: Path, log: Log,
) -> None:  # fmt: skip
    """Choose the next sentences to label, take the answers in, and write the labels so far."""
    from stages.label.rounds import Inputs, make

    made = Inputs(
        pool, test, before if params.before != "none" else None,
        model if params.model != "none" else None, answers,
    )  # fmt: skip
    make(params, made, corpus, log)
