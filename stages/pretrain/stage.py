"""The declaration of `pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.core.declare import Params, stage
from stages.core.log import Log
from stages.lm.optimisation import OptimisationParams


class Architecture(Params):
    """The size of a transformer."""

    hidden_size: int = Field(128, ge=8)
    """Width of the residual stream."""
    layers: int = Field(3, ge=1)
    """Transformer blocks."""
    heads: int = Field(4, ge=1)
    """Attention heads; the width must be a multiple of it."""
    feed_forward_size: int = Field(512, ge=8)
    """Width inside the feed-forward layers."""
    positions: int = Field(128, ge=8)
    """Longest sequence that the model reads, in tokens."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of activations dropped in training (0 pays while data is seen about once)."""

    @model_validator(mode="after")
    def _divisible(self) -> Architecture:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of {self.heads} heads")
        return self


class Roberta(Architecture):
    """RoBERTa (arXiv 1907.11692): reads both ways, for the objective `masked`."""

    kind: Literal["roberta"] = "roberta"
    """Tag of this choice."""


class Gpt2(Architecture):
    """GPT-2 with CodeParrot's stable attention scale, for the objective `causal`."""

    kind: Literal["gpt2"]
    """Tag of this choice."""


class Llama(Architecture):
    """Llama (arXiv 2302.13971): rotary positions, RMS norm, gated layers; objective `causal`."""

    kind: Literal["llama"]
    """Tag of this choice."""
    key_value_heads: int = Field(0, ge=0)
    """Heads of keys and values, shared by groups of query heads; 0 is as many as heads."""


class Masked(Params):
    """Predict hidden tokens from both sides."""

    kind: Literal["masked"] = "masked"
    """Tag of this choice."""
    share: float = Field(0.15, gt=0, lt=1)
    """Share of text tokens predicted; of these 80 % are hidden, 10 % random, 10 % left."""


class Causal(Params):
    """Predict the next token."""

    kind: Literal["causal"]
    """Tag of this choice."""


class PretrainParams(OptimisationParams):
    """A model, what it predicts, and how long it learns."""

    tokens: str
    """The encode entry to learn from."""
    second: str = "none"
    """More tokens to learn from at the same time (`tokens/<key>`), or `none`. They must be encoded
    like the first, whose split `valid` is what the model is measured on."""
    third: str = "none"
    """As `second`."""
    fourth: str = "none"
    """As `second`."""
    weights: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = []
    """How often rows of `tokens`, `second`, ... are read, one weight each, in shares of their sum:
    at every step each has been read as often as its share says, give or take one row. Empty: every
    row equally often. `order.json` tells rows and epochs of each."""
    most_epochs: float | None = Field(None, gt=0, allow_inf_nan=False)
    """How often the rows of any of the tokens may be read; a run that reads some more often is
    refused before it begins. null allows any number."""
    shuffle: Literal["epochs", "whole"] = "epochs"
    """`epochs` reads every row once before any again, each epoch in an order of its own; `whole`
    shuffles all epochs together, once (BLOOM, section 3 of arXiv 2211.05100)."""
    tokenizer: str
    """The tokenizer entry that those tokens were encoded with."""
    base: str = "none"
    """A model to go on with (`pretrained/<key>`), or `none` for new weights."""
    base_step: int | None = Field(None, ge=1)
    """The published checkpoint of the base to go on from (its `publish_every`), optimizer, data
    order and learning rate included: with all else equal the same bits as if never interrupted.
    null takes the base's last weights and starts anew."""
    model: Annotated[Roberta | Gpt2 | Llama, Field(discriminator="kind")] = Roberta()
    """The architecture (of new weights; a base brings its own)."""
    beginning: Literal["counted", "random"] = "counted"
    """New weights: `counted` lets the training text's counts of neighbours and frequencies shape
    token vectors, first heads and output bias; `random` leaves all as transformers draws it."""
    objective: Annotated[Masked | Causal, Field(discriminator="kind")] = Masked()
    """What the model predicts."""
    steps: int = Field(900, ge=1)
    """Updates."""
    training_bytes: int | None = Field(None, ge=1)
    """Text to learn from in place of `steps`, in bytes: as many updates as these tokens take for
    it, so that models over different vocabularies see equally much. null takes `steps`."""
    batch_rows: int = Field(8, ge=1)
    """Packed rows of a batch (tokens = rows x sequence length of the tokens)."""
    short_length: int = Field(16, ge=4)
    """Tokens of a piece in the first phase: attention that starts out even over few neighbours
    finds what matters much sooner (sequence length warm-up, Li et al. 2022, arXiv 2108.06084)."""
    short_share: float = Field(0.7, ge=0, le=1)
    """Share of the steps that are the first phase; the rest sees pieces of full length."""
    evaluate_every: int = Field(150, ge=1)
    """Steps between measurements of the held-out loss."""
    evaluate_rows: int = Field(64, ge=1)
    """Rows of the split `valid` that are measured (all, where it has fewer)."""
    publish_every: int | None = Field(None, ge=1)
    """Steps between checkpoints published with the model (`checkpoints/step-<n>/`: weights and
    optimizer state, for others to go on from); null publishes none."""
    initial_loss_tolerance: float = Field(0.05, gt=0, le=1)
    """How far the loss of new weights may be from ln V, as a share of it."""
    probes: list[str] = []
    """Sentences with one `<mask>` whose five best fillings are written to probes.json."""

    @model_validator(mode="after")
    def _matching(self) -> PretrainParams:
        if (self.model.kind == "roberta") != (self.objective.kind == "masked"):
            raise ValueError(
                f"a {self.model.kind} model cannot learn the objective {self.objective.kind}"
            )
        if self.base_step is not None and self.base == "none":
            raise ValueError("base_step needs a base")
        if self.base_step is not None and self.training_bytes is not None:
            raise ValueError("base_step goes on for `steps`: training_bytes must be null")
        if self.base_step is not None and self.base_step >= self.steps:
            raise ValueError(f"base_step {self.base_step} leaves nothing of {self.steps} steps")
        if self.probes and self.objective.kind != "masked":
            raise ValueError("probes need the objective masked")
        return self


@stage(
    version=1,
    reads={
        "tokens": "data/tokens/${item.tokens}",
        "second": "data/${item.second}",
        "third": "data/${item.third}",
        "fourth": "data/${item.fourth}",
        "tokenizer": "models/tokenizers/${item.tokenizer}",
        "base": "models/${item.base}",
    },
    writes={"model": "models/pretrained/${key}"},
    curves=("valid_loss_nats", "loss_nats", "learning_rate", "gradient_norm"),
)
def pretrain(
    params: PretrainParams,
    tokens: Path,
    second: Path,
    third: Path,
    fourth: Path,
    tokenizer: Path,
    base: Path,
    model: Path,
    log: Log,
) -> None:
    """Pretrain a language model from scratch."""
    from stages.pretrain.pretraining import run

    run(params, [tokens, second, third, fourth], tokenizer, base, model, log)
