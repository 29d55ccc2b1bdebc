"""The `evaluate` stage: what a model is worth, with its uncertainty and how it was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.core.declare import FloatParams, Params, stage
from stages.core.log import Log
from stages.lm.decoding.settings import Decoding, Greedy, Settings


class Stored(Params):
    """What the model's own decoding.json says; without one a beam of five, or greedy completion."""

    kind: Literal["stored"] = "stored"


class LanguageModelling(Params):
    """Loss on held-out text; masked or causal, as the model is."""

    kind: Literal["language-modelling"] = "language-modelling"
    max_documents: int = Field(500, ge=0)
    """Documents scored at most, drawn by a hash of their id; 0 means all."""
    mask_fraction: float = Field(0.15, gt=0, lt=1)
    """Share of tokens predicted (masked models); corrupted 80/10/10 as in training."""
    pseudo_documents: int = Field(40, ge=0)
    """Documents whose pseudo-perplexity is taken (masked models); 0 means none."""
    pseudo_tokens: int = Field(48, gt=0)
    """Tokens of such a document used, from its start; each costs one forward pass."""
    completions: int = Field(0, ge=0)
    """Functions of held-out Python files to complete and parse (causal models); 0 means none."""
    completion_tokens: int = Field(96, gt=0)
    """Tokens generated at most for one completion, where `decoding` sets no max_tokens."""
    decoding: Stored | Settings = Field(Greedy(), discriminator="kind")
    """How functions are completed; of several outputs the first counts."""


class TokenClassification(Params):
    """Tags of words against a gold standard."""

    kind: Literal["token-classification"] = "token-classification"
    max_sentences: int = Field(0, ge=0)
    """Sentences scored at most, drawn by a hash of their id; 0 means all."""
    suffix_characters: int = Field(5, gt=0)
    """Longest word ending that the suffix-rule baseline learns."""


class Translation(Params):
    """BLEU and chrF against one reference, under one way of decoding and others beside it."""

    kind: Literal["translation"] = "translation"
    decoding: Stored | Settings = Field(Stored(), discriminator="kind")
    """How the model decodes; rivals decode in the same way."""
    beside: list[Decoding] = Field([Greedy()], max_length=20)
    """Other ways of decoding that the same model is scored under and compared with."""
    members: Literal["all", "first"] = "all"
    """Whether an ensemble decodes together, or its first member alone."""
    max_sentences: int = Field(200, ge=0)
    """Pairs scored at most, drawn by a hash of their id; 0 means all, in their order."""
    reverse: bool = False
    """Translate from the pairs' second language into their first."""


class Summarisation(Params):
    """ROUGE-1, 2, L and Lsum against one or more summaries, under chosen ways of decoding."""

    kind: Literal["summarisation"] = "summarisation"
    decoding: Stored | Settings = Field(Stored(), discriminator="kind")
    """How the model decodes; rivals decode in the same way."""
    beside: list[Decoding] = []
    """Other ways of decoding that the same model is scored under and compared with."""
    max_documents: int = Field(200, ge=0)
    """Documents scored at most, drawn by a hash of their id; 0 means all, in their order."""
    stemmed: bool = True
    """Whether words of four letters and more are stemmed (Porter's, for English)."""


class TableAnswering(Params):
    """Denotation accuracy: whether the set of answers is the right one (arXiv 2107.07653)."""

    kind: Literal["table-answering"] = "table-answering"
    decoding: Stored | Settings = Field(Stored(), discriminator="kind")
    """How the model decodes; rivals decode in the same way."""
    beside: list[Decoding] = []
    """Other ways of decoding that the same model is scored under and compared with."""
    max_questions: int = Field(200, ge=0)
    """Questions scored at most, drawn by a hash of their id; 0 means all, in their order."""


class EvaluateParams(FloatParams):
    """What is scored, on what, and how its uncertainty is told."""

    model: str
    """The model: `<folder>/<entry>` under models/, such as `finetuned/pos`."""
    data: str
    """The corpus (an entry of refine) whose held-out split is scored."""
    task: LanguageModelling | TokenClassification | Translation | Summarisation | TableAnswering = (
        Field(discriminator="kind")
    )
    """What the model is asked to do."""
    baseline: str = "none"
    """A model of the same kind to be better than, such as one from random weights; or `none`."""
    against: str = "none"
    """The model that this one was made from, compared sentence by sentence; or `none`."""
    split: Literal["test", "valid"] = "test"
    """Split of the corpus that is scored."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap resamples behind every interval."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """Coverage of the intervals."""
    seed: int = Field(0, ge=0)
    """Seed of masks and resamples."""
    batch_size: int = Field(32, gt=0)
    """Sequences in one forward pass."""
    samples: int = Field(20, ge=0)
    """Rows kept in samples.jsonl to look at."""


@stage(
    version=1,
    reads={
        "model": "models/${item.model}",
        "corpus": "data/corpora/${item.data}",
        "baseline": "models/${item.baseline}",
        "against": "models/${item.against}",
    },
    writes={"scores": "reports/evaluate/${key}"},
)
def evaluate(
    params: EvaluateParams,
    model: Path,
    corpus: Path,
    baseline: Path,
    against: Path,
    scores: Path,
    log: Log,
) -> None:
    """Score a model on held-out data, with intervals, baselines and signatures."""
    from stages.evaluate import answering, language, summarisation, tagging, translation
    from stages.evaluate.scoreboard import Scoreboard, Systems

    systems = Systems(params, model=model, baseline=baseline, against=against)
    board = Scoreboard(params, log)
    if isinstance(params.task, TokenClassification):
        tagging.score(params.task, systems, corpus, board)
    elif isinstance(params.task, Translation):
        translation.score(params.task, systems, corpus, board)
    elif isinstance(params.task, Summarisation):
        summarisation.score(params.task, systems, corpus, board)
    elif isinstance(params.task, TableAnswering):
        answering.score(params.task, systems, corpus, board)
    else:
        language.score(params.task, systems, corpus, board)
    board.write(scores)
