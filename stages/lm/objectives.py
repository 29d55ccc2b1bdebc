"""What a model is trained to predict, and the loss of that prediction.

An objective turns pieces of text into a `Task`: the tokens that the model sees, the places where
it predicts, and the answers. The head runs at those places only, so a masked model computes 15 %
of the logits that a full pass would, for the same loss.

Shapes: N tokens of a batch, M predicted places, V vocabulary or labels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stages.lm import models
from stages.lm.device import mix
from stages.lm.models import Pieces

Words = NDArray[np.uint64]


class Question(Protocol):
    """What a step of training asks: where a model predicts, the answers, how it is run for them."""

    @property
    def places(self) -> Tensor:
        """Where the model predicts, [M]."""
        ...

    @property
    def answers(self) -> Tensor:
        """What it should predict there, [M]."""
        ...

    @property
    def tokens(self) -> int:
        """How many tokens the model reads."""
        ...

    def logits(self, model: Any) -> Tensor:
        """Return the logits at the places, [M, V]."""
        ...


@dataclass(frozen=True)
class Task:
    """Pieces as the model sees them, `places` [M] where it predicts, and `answers` [M].

    `standing` [M] is where the answer stands in the pieces: the place itself for a masked token;
    None is the place after it, as for a causal model.
    """

    pieces: Pieces
    places: Tensor
    answers: Tensor
    standing: Tensor | None = None

    @property
    def origins(self) -> Tensor:
        """Return where the answers stand in the pieces, [M]."""
        return self.places + 1 if self.standing is None else self.standing

    @property
    def tokens(self) -> int:
        """Return how many tokens the model reads."""
        return len(self.pieces.ids)

    def logits(self, model: Any) -> Tensor:
        """Return the logits at the predicted places, [M, V]."""
        return models.head_logits(model, models.hidden_states(model, self.pieces)[self.places])


def logits(model: Any, task: Question) -> Tensor:
    """Return the logits at the predicted places, [M, V]."""
    return task.logits(model)


def nats(model: Any, task: Question) -> Tensor:
    """Return the loss of every prediction in nats, [M]."""
    return functional.cross_entropy(logits(model, task), task.answers, reduction="none")


def summed_nats(model: Any, task: Question) -> Tensor:
    """Return the loss of all predictions together, in nats."""
    return functional.cross_entropy(logits(model, task), task.answers, reduction="sum")


@dataclass(frozen=True)
class Masked:
    """Masked language modelling (BERT, arXiv 1810.04805, with RoBERTa's fresh masks every step).

    Of the chosen tokens 80 % become the mask token, 10 % a random token, 10 % stay. Special
    tokens are never chosen. Every draw is a function of (seed, step, position) alone.
    """

    mask: int
    special: tuple[int, ...]
    vocab_size: int
    share: float = 0.15
    masked_share: float = 0.8
    random_share: float = 0.1

    def __call__(self, pieces: Pieces, seed: int, step: int) -> Task:
        """Choose and corrupt tokens; a batch too small to have any chosen gets one."""
        ids = pieces.ids.numpy()
        text, is_text = _texts(self.vocab_size, self.special)
        free = is_text[ids]
        draws = _draws(seed, step, pieces.sources.numpy())
        chosen = free & (draws[0] < self.share)
        if not chosen.any() and free.any():
            chosen[np.flatnonzero(free)[np.argmin(draws[0][free])]] = True
        fate = draws[1]
        seen = ids.copy()
        seen[chosen & (fate < self.masked_share)] = self.mask
        swapped = chosen & (fate >= self.masked_share)
        swapped &= fate < self.masked_share + self.random_share
        seen[swapped] = text[(draws[2][swapped] * len(text)).astype(np.int64)]
        places = torch.from_numpy(np.flatnonzero(chosen))
        return Task(pieces.replaced(torch.from_numpy(seen)), places, pieces.ids[places], places)

    def every_token_once(self, pieces: Pieces, folds: int) -> list[Task]:
        """Mask every text token in exactly one of `folds` tasks, always by the mask token.

        Within a piece neighbouring tokens fall into different folds.
        """
        ids = pieces.ids.numpy()
        free = ~np.isin(ids, self.special)
        fold = pieces.positions.numpy() % folds
        tasks = []
        for number in range(folds):
            chosen = free & (fold == number)
            if chosen.any():
                seen = np.where(chosen, self.mask, ids)
                places = torch.from_numpy(np.flatnonzero(chosen))
                corrupted = pieces.replaced(torch.from_numpy(seen))
                tasks.append(Task(corrupted, places, pieces.ids[places], places))
        return tasks


@dataclass(frozen=True)
class Causal:
    """Next-token prediction within each piece; the last token of a piece predicts nothing."""

    def __call__(self, pieces: Pieces, seed: int = 0, step: int = 0) -> Task:
        """Return every place that has a next token in its piece."""
        follows = pieces.positions[1:] > 0
        places = torch.nonzero(follows).flatten()
        return Task(pieces, places, pieces.ids[places + 1])


@functools.cache
def _texts(
    vocab_size: int, special: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the ids that are text, and per id whether it is."""
    is_text = np.ones(vocab_size, dtype=bool)
    is_text[list(special)] = False
    return np.flatnonzero(is_text), is_text


Objective = Callable[[Pieces, int, int], Task]


def labelled(pieces: Pieces, labels: Tensor) -> Task:
    """Return the task of naming labels [N] (in the pieces' order); -100 is not asked."""
    places = torch.nonzero(labels != -100).flatten()
    return Task(pieces, places, labels[places], places)


def _draws(seed: int, step: int, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return three uniform numbers per position, [3, N], keyed by seed and step (splitmix64)."""
    key = np.uint64(mix(seed, step))
    counters = positions.astype(np.uint64) * np.uint64(3)
    lanes = np.stack([counters, counters + np.uint64(1), counters + np.uint64(2)])
    return (_scramble(_scramble(lanes) ^ key) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _scramble(values: Words) -> Words:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
