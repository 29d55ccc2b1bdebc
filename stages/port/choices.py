"""What a port may choose by itself, and on which pairs: checkpoints and decoding settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from stages.core.declare import Params

EarlyStopping = bool | Literal["never"]


class Choice(Params):
    """How checkpoints and decoding settings are compared: on the valid split of `pairs`.

    Test pairs are never looked at, so that a score on them stays one of unseen text.
    """

    metric: Literal["bleu", "chrf"] = "bleu"
    """The score that decides (sacrebleu's, on detokenised text)."""
    max_sentences: int = Field(0, ge=0)
    """Pairs used at most, drawn by a hash of their id; 0: all."""
    reverse: bool = False
    """Whether the pairs' second language is the model's source language."""
    num_beams: int = Field(5, ge=1)
    """Width of the search under which checkpoints are compared."""


class NoSearch(Params):
    """The model keeps fairseq's defaults: five beams, length penalty 1."""

    kind: Literal["none"] = "none"
    """Tag of this choice."""


class ProductSearch(Params):
    """Every combination of these is scored on `pairs`; the best becomes the model's default."""

    kind: Literal["product"] = "product"
    """Tag of this choice."""
    model_config = ConfigDict(allow_inf_nan=False)

    num_beams: list[Annotated[int, Field(ge=1)]] = Field([5, 8, 11, 15], min_length=1)
    """Widths of the beam."""
    length_penalty: list[float] = Field([0.6, 0.7, 0.8, 0.9, 1.0, 1.1], min_length=1)
    """Powers of the length that a sum of log-probabilities is divided by."""
    early_stopping: list[EarlyStopping] = Field([True, False], min_length=1)
    """transformers' stop rule: true, false or `never`; fairseq's search has only true."""
    search: Literal["fairseq", "transformers"] = "transformers"
    """Whose search is used, in the scores and afterwards."""

    @model_validator(mode="after")
    def _one_rule_of_fairseq(self) -> ProductSearch:
        if self.search == "fairseq" and self.early_stopping != [True]:
            raise ValueError(
                "fairseq's search stops in one way, as early_stopping true does; "
                "give early_stopping: [true], or set search: transformers"
            )
        return self
