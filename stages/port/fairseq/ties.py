"""A second look at a sentence that was searched otherwise: did rounding alone decide it?

Two continuations whose scores lie within rounding may change places at the edge of the beam, and
from there the search goes another way that no final score shows. So the sentence is searched again
in fp64, where rounding decides nothing, and every near tie on the way is resolved both ways. It is
explained only if one of these resolutions gives exactly what was wanted; a search without near
ties, or one that never comes there, stays a failure.
"""

from __future__ import annotations

import copy
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stages.lm.ensembles import EnsembleStepper
from stages.lm.generate import (
    Hypothesis,
    Search,
    Specials,
    TransformersStepper,
    beam_search,
    pad_batch,
)
from stages.lm.translator import Translator

TIE = 1e-5
"""Hypotheses this close in fairseq's score (bits a token) may change places by rounding alone."""
EQUAL = 1e-11
"""Nats below which two scores are set apart, so that their order is ours and not a sort's."""
MOST_SEARCHES = 64
"""Resolutions that are tried for a sentence."""
MOST_SENTENCES = 8
"""Sentences looked at again, or SHARE of them if that is more: ties explain no more than some."""
SHARE = 0.05
Wanted = Sequence[tuple[list[int], float]]
"""Hypotheses that should come, best first: ids with the final `</s>` and score in bits."""
Swap = tuple[int, int]
"""Step and rank: this candidate changes places with the one behind it."""


class Exact:
    """A translator's models in fp64, made when the first sentence asks for them."""

    def __init__(self, translator: Translator, search: Search) -> None:
        self.translator, self.search = translator, search
        self._models: list[Any] = []

    def explains(self, source: Sequence[int], wanted: Wanted) -> bool:
        """Tell whether one way of resolving near ties gives the wanted hypotheses."""
        tokens = [one for one, _ in wanted]
        waiting: list[tuple[float, list[Swap]]] = [(0.0, [])]
        tried, tied = 0, False
        while waiting and tried < MOST_SEARCHES:
            swaps = heapq.heappop(waiting)[1]
            tried += 1
            stepper = _Resolving(
                self._stepper(), self.search, self.translator.specials, swaps, tokens
            )
            ids, mask = pad_batch([source], self.translator.specials.pad)
            found = beam_search(stepper, ids, mask, self.search, self.translator.specials)[0]
            tied = tied or bool(stepper.ties)
            if tied and _same(found, wanted):
                return True
            after = max(swaps, default=(-1, 0))
            for tie in stepper.ties:
                # Earlier ones were resolved before; behind the loss it is too late.
                if after < tie and tie[0] <= stepper.lost:
                    heapq.heappush(waiting, (-stepper.lost, [*swaps, tie]))
        return False

    def _stepper(self) -> Any:
        if not self._models:
            models = (self.translator.model, *self.translator.others)
            self._models = [copy.deepcopy(one).double() for one in models]
        found = [_Double(one) for one in self._models]
        return found[0] if len(found) == 1 else EnsembleStepper(found)


def worth_it(wrong: int, sentences: int) -> bool:
    """Tell whether so few sentences differ that ties may be the reason."""
    return 0 < wrong <= max(MOST_SENTENCES, SHARE * sentences)


def _same(found: Sequence[Hypothesis], wanted: Wanted) -> bool:
    """The wanted ones are there with their scores, and none that is better was left out."""
    bits = {tuple(one.tokens): one.score_nats / math.log(2) for one in found}
    apart = [abs(bits.pop(tuple(tokens), math.inf) - score) for tokens, score in wanted]
    worst = min(score for _, score in wanted)
    # A swapped pair has each other's score, so both may be off by as much.
    return max(apart) <= 2 * TIE and all(score <= worst + 2 * TIE for score in bits.values())


class _Double(TransformersStepper):
    """A stepper of a model in fp64 whose log-probabilities stay in fp64."""

    def next_nats(self, logits: Tensor) -> Tensor:
        return torch.log_softmax(logits, dim=-1)


@dataclass
class _Resolving:
    """A stepper for one sentence that finds near ties among the candidates and swaps some."""

    stepper: Any
    search: Search
    specials: Specials
    swaps: Sequence[Swap]
    wanted: Sequence[list[int]]
    ties: list[Swap] = field(default_factory=list)
    lost: float = math.inf
    """Step whose choice ended a beginning of a wanted hypothesis."""
    _sums: Tensor = field(default_factory=lambda: torch.zeros(1))
    """Score of every beam so far [K]."""
    _nats: Tensor | None = None
    _step: int = 0

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> None:
        self.stepper.encode(ids, mask, copies)
        self._sums = torch.zeros(copies, dtype=torch.float64)

    def step(self, prefix: Tensor) -> Tensor:
        """Return log-probabilities [K, V], the two of a swapped near tie exchanged."""
        if self._nats is not None:
            self._sums = self._sums + self._nats[range(len(prefix)), prefix[:, -1]]
        self._look(prefix)
        nats = self._allowed(self.stepper.step(prefix))
        count = len(nats) if self._step else 1  # all beams are still the same one
        sums = (self._sums.unsqueeze(1) + nats)[:count]
        size = nats.shape[1]
        ranked, places = sums.flatten().topk(min(2 * self.search.num_beams + 1, count * size))
        tie = TIE * math.log(2) * (self._step + 1) ** self.search.length_penalty
        for rank in range(len(ranked) - 1):
            gap = float(ranked[rank] - ranked[rank + 1])  # -inf - -inf is NaN and no tie
            if not gap <= tie:
                continue
            matters = self._matters(rank, places % size)
            if matters:
                self.ties.append((self._step, rank))
            swapped = matters and (self._step, rank) in self.swaps
            if swapped or gap < EQUAL:
                pair = places[rank : rank + 2]
                by = (gap + EQUAL) / 2 if swapped else -EQUAL / 2
                rows, tokens = pair // size, pair % size
                nats[rows[0], tokens[0]] -= by
                nats[rows[1], tokens[1]] += by
        self._nats = nats
        self._step += 1
        return nats.clone()

    def _matters(self, rank: int, tokens: Tensor) -> bool:
        """Tell whether a candidate's place before the next one changes what is kept."""
        beams = self.search.num_beams
        ended = tokens.eq(self.specials.eos).tolist()
        one, two = ended[rank : rank + 2]
        if one or two:  # only among the first `beams` an end is final
            return rank + 1 == beams or (one and two and rank + 1 < beams)
        return rank + 1 - sum(ended[:rank]) == beams  # the last that goes on, and the next

    def _look(self, prefix: Tensor) -> None:
        rows = {tuple(row[1:]) for row in prefix.tolist()}
        gone = any(
            len(one) > self._step and tuple(one[: self._step]) not in rows for one in self.wanted
        )
        if gone:
            self.lost = min(self.lost, self._step - 1)

    def _allowed(self, nats: Tensor) -> Tensor:
        """Take out what the search never chooses, as `beam_search` does."""
        special = self.specials
        nats = nats.clone()
        nats[:, special.pad] = -math.inf
        if self._step >= self.search.max_tokens:
            nats[:, : special.eos] = -math.inf
            nats[:, special.eos + 1 :] = -math.inf
        if self._step < self.search.min_tokens:
            nats[:, special.eos] = -math.inf
        return nats

    def select(self, rows: Tensor, sentences_left: bool) -> None:
        self.stepper.select(rows, sentences_left)
        self._sums = self._sums[rows]
        assert self._nats is not None
        self._nats = self._nats[rows]
