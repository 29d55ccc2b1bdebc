"""The declaration of `finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.core.declare import stage
from stages.core.log import Log
from stages.lm.optimisation import OptimisationParams


class FinetuneParams(OptimisationParams):
    """A model to start from, labelled data, and how long it learns."""

    base: str
    """The model to start from (`pretrained/<key>`)."""
    data: str
    """The refine entry with labelled sentences."""
    task: Literal["token-classification"] = "token-classification"
    """What is learned: one label per word, on the word's first token."""
    initial: Literal["pretrained", "random"] = "pretrained"
    """`random` keeps the base's architecture and starts from new weights (a baseline)."""
    max_sentences: int = Field(3000, ge=0)
    """Training sentences at most, chosen by the hash of seed and id; 0 takes all."""
    max_valid_sentences: int = Field(500, ge=0)
    """Validation sentences at most, chosen alike but by no seed; 0 takes all."""
    max_length: int = Field(0, ge=0)
    """Tokens of an input at most (0: what the model reads); longer sentences are cut at words."""
    epochs: int = Field(3, ge=1)
    """Passes over the training sentences; the best weights on validation are kept."""
    batch_sentences: int = Field(32, ge=1)
    """Sentences of a batch."""
    freeze_embeddings: bool = False
    """Whether the base's embeddings stay as they are (faster, and hardly worse)."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of activations dropped in training, whatever the base was trained with."""
    learning_rate: float = Field(1e-3, gt=0, le=1)
    """Highest learning rate (small models want more than the 5e-5 of large ones)."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay of matrices."""


@stage(
    version=1,
    reads={"base": "models/${item.base}", "corpus": "data/corpora/${item.data}"},
    writes={"model": "models/finetuned/${key}"},
    curves=("valid_accuracy_fraction", "loss_nats", "learning_rate", "gradient_norm"),
)
def finetune(params: FinetuneParams, base: Path, corpus: Path, model: Path, log: Log) -> None:
    """Fine-tune a pretrained model for a task."""
    from stages.finetune.tagging import run

    run(params, base, corpus, model, log)
