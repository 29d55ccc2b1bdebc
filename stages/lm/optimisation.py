"""How a model is optimised: the parameters that every training stage shares, and the schedule.

Nothing heavy is imported here, so that a stage's declaration stays cheap to read.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from stages.core.declare import FloatParams


class OptimisationParams(FloatParams):
    """AdamW with warm-up, a schedule and clipping; steps are updates, never forward passes."""

    learning_rate: float = Field(1e-3, gt=0, le=1)
    """Highest learning rate, reached at the end of the warm-up."""
    warmup_share: float = Field(0.06, ge=0, lt=1)
    """Share of the steps over which the learning rate rises linearly."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    final_share: float = Field(0.05, ge=0, le=1)
    """Learning rate at the end, as a share of the highest (not used by `constant`)."""
    weight_decay: float = Field(0.1, ge=0)
    """Decoupled weight decay of matrices; vectors (biases, norms) are never decayed."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the mean of gradients."""
    beta2: float = Field(0.98, ge=0, lt=1)
    """Decay of the mean of squared gradients (0.98 is RoBERTa's, arXiv 1907.11692)."""
    epsilon: float = Field(1e-6, gt=0)
    """Term in AdamW's denominator (RoBERTa's)."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest norm of the gradient of all parameters together."""
    accumulate: int = Field(1, ge=1)
    """Parts in which a batch is computed, to save memory; the gradient stays that of the batch."""
    checkpoint_every: int = Field(100, ge=1)
    """Steps between checkpoints in the scratch folder."""
    seed: int = Field(42, ge=0)
    """Seed of weights, order, masks and dropout."""


def learning_rate(params: OptimisationParams, step: int, steps: int) -> float:
    """Return the learning rate of update `step` (0-based) of `steps`; it is never 0 before the end.

    The warm-up's first update already moves: (step + 1) / warm-up steps of the highest rate.
    """
    warmup = int(params.warmup_share * steps)
    if step < warmup:
        return params.learning_rate * (step + 1) / warmup
    if params.schedule == "constant":
        return params.learning_rate
    done = (step - warmup) / max(1, steps - warmup)
    falling = 0.5 * (1 + math.cos(math.pi * done)) if params.schedule == "cosine" else 1 - done
    return params.learning_rate * (params.final_share + (1 - params.final_share) * falling)
