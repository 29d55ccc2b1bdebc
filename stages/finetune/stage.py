"""The declaration of `finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from stages.core.declare import Params, stage
from stages.core.log import Log
from stages.lm.decoding.settings import Beam, Decoding
from stages.lm.optimisation import OptimisationParams

WarmStart = Literal[
    "rnd2rnd", "rnd2bert", "bert2rnd", "bert2bert", "shared", "rnd2gpt2", "bert2gpt2"
]


class TokenClassification(Params):
    """One label per word, on the word's first token."""

    kind: Literal["token-classification"] = "token-classification"


class Seq2Seq(Params):
    """What every task has that writes a text for a text."""

    warm_start: WarmStart = "bert2bert"
    """Whose weights each side starts from, named as in arXiv 1907.12461: `bert` is a pretrained
    encoder (the base, or `decoder`), `gpt2` a pretrained causal `decoder`, `rnd` new weights in the
    same architecture; `shared` is `bert2bert` with encoder and decoder as one set of weights."""
    max_target_length: int = Field(128, ge=0)
    """Tokens of an output at most, its closing one counted (0: what the model writes); longer
    training targets are cut."""
    selection: Literal["score", "loss"] = "score"
    """By what the kept weights are chosen: chrF or ROUGE-L of generated outputs, or the loss of all
    validation targets (steadier where few outputs are generated)."""
    evaluate_epochs: int = Field(1, ge=1)
    """Passes over the training pairs between two looks at validation; the last is always one."""
    max_generated: int = Field(100, ge=1)
    """Validation pairs that are generated for and scored, of those whose loss is taken."""


class Translation(Seq2Seq):
    """Translate one side of a parallel corpus into the other."""

    kind: Literal["translation"] = "translation"
    reverse: bool = False
    """Translate from the pairs' second language into their first."""
    decoding: Decoding = Beam()
    """How the model decodes by default; stored with it."""


class Summarisation(Seq2Seq):
    """Write a document's summary: the pairs' source is the document, their target the summary."""

    kind: Literal["summarisation"] = "summarisation"
    decoding: Decoding = Beam(num_beams=4, no_repeat_ngram_size=3, search="transformers")
    """How the model decodes by default; stored with it."""


class FinetuneParams(OptimisationParams):
    """A model to start from, labelled data or pairs, and how long it learns."""

    base: str
    """The model to start from (`pretrained/<key>`); of a translator or summariser, its encoder."""
    decoder: str = "none"
    """The model that a translator's or summariser's decoder starts from; `none` is the base."""
    data: str
    """The refine entry with labelled sentences, or with pairs of texts."""
    task: TokenClassification | Translation | Summarisation = Field(
        TokenClassification(), discriminator="kind"
    )
    """What is learned."""
    initial: Literal["pretrained", "random"] = "pretrained"
    """`random` keeps the base's architecture and starts from new weights (a baseline of a tagger;
    others say `warm_start`)."""
    max_sentences: int = Field(3000, ge=0)
    """Training sentences or pairs at most, chosen by the hash of seed and id; 0 takes all."""
    max_valid_sentences: int = Field(500, ge=0)
    """Validation sentences or pairs at most, chosen alike but by no seed; 0 takes all."""
    max_length: int = Field(0, ge=0)
    """Tokens of an input at most (0: what the model reads); longer sentences to tag are cut at
    words, longer texts lose their end."""
    epochs: int = Field(3, ge=1)
    """Passes over the training sentences; the best weights on validation are kept."""
    patience: int = Field(0, ge=0)
    """Stop once so many looks at validation in a row brought nothing better; 0 goes on to the end.
    The learning rate falls as it would over all epochs."""
    batch_sentences: int = Field(32, ge=1)
    """Sentences or pairs of a batch."""
    freeze_embeddings: bool = False
    """Whether the base's embeddings stay as they are (faster, and hardly worse)."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of activations dropped in training, whatever the base was trained with."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """Highest learning rate (small models want more than the 5e-5 of large ones)."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of matrices."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if isinstance(self.task, TokenClassification):
            if self.decoder != "none":
                raise ValueError("a tagger has no decoder; leave `decoder` out")
        else:
            if self.initial == "random":
                raise ValueError("say `task: {warm_start: rnd2rnd}` instead of initial: random")
            if self.task.warm_start.endswith("gpt2") and self.decoder == "none":
                raise ValueError(f"{self.task.warm_start} asks for a causal model in `decoder`")
        return self


@stage(
    version=1,
    reads={
        "base": "models/${item.base}",
        "decoder": "models/${item.decoder}",
        "corpus": "data/corpora/${item.data}",
    },
    writes={"model": "models/finetuned/${key}"},
    curves=("valid_accuracy_fraction", "loss_nats", "learning_rate", "gradient_norm"),
)
def finetune(
    params: FinetuneParams, base: Path, decoder: Path, corpus: Path, model: Path, log: Log
) -> None:
    """Fine-tune a pretrained model for a task."""
    if isinstance(params.task, TokenClassification):
        from stages.finetune.tagging import run

        run(params, base, corpus, model, log)
    else:
        from stages.finetune import writing

        own = base if params.decoder == "none" else decoder
        writing.run(params, params.task, base, own, corpus, model, log)
