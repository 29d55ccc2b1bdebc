"""Decode with a sequence-to-sequence model: beam search as fairseq does it, and plain scoring.

`transformers.generate` is another search than fairseq's: it keeps going until no running beam can
win, fairseq stops a sentence as soon as `num_beams` hypotheses have ended. A ported model therefore
repeats its origin's translations only under fairseq's rule, which `beam_search` follows step by
step (fairseq 0.12.2, `sequence_generator.py` and `search.py::BeamSearch`):

- a step takes the best 2 x beams continuations of a sentence; those ending in `</s>` among the
  first `num_beams` are final; the best `num_beams` of the others go on;
- a final score is the sum of log-probabilities over length ** length_penalty, `</s>` counted;
- padding is never chosen, `</s>` not before `min_tokens`, and only `</s>` after `max_tokens`;
- a sentence with `num_beams` final hypotheses leaves the batch.

The encoder runs once per batch. Shapes: B sentences, K beams, N = B * K rows, T target tokens,
S source tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from stages.lm import models
from stages.lm.decoding.rules import block_ngrams, no_way_on


@dataclass(frozen=True)
class Search:
    """Settings of a search; the defaults are those of fairseq-generate."""

    num_beams: int = 5
    length_penalty: float = 1.0
    max_tokens: int = 200
    """Longest output in tokens, `</s>` not counted."""
    min_tokens: int = 1
    unknown_penalty: float = 0.0
    """Nats taken from the log-probability of `<unk>`."""
    no_repeat_ngram_size: int = 0
    """No n-gram of this size occurs twice in a hypothesis; 0 allows all."""


@dataclass(frozen=True)
class Specials:
    """Ids with a meaning of their own; decoding starts with `start`."""

    pad: int = 1
    eos: int = 2
    unk: int = 3
    start: int = 2


@dataclass(frozen=True)
class Hypothesis:
    """A finished output: ids with the final `</s>`, and log-probabilities in nats."""

    tokens: list[int]
    score_nats: float
    """Sum of `positional_nats` over length ** length_penalty."""
    positional_nats: list[float]
    constraints_met: bool = True
    """Whether the output holds every phrase that was asked for."""


class Stepper(Protocol):
    """What a search needs of a model: encode a batch once, then log-probabilities step by step."""

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> Tensor | None:
        """Encode ids [B, S] once and hold `copies` rows of each sentence.

        A decoder-only model returns its prompts [N, S], which outputs go on from.
        """
        ...

    def step(self, prefix: Tensor) -> Tensor:
        """Return log-probabilities [N, V] of the token after prefix [N, T], T growing by one."""
        ...

    def select(self, rows: Tensor, sentences_left: bool) -> None:
        """Keep these rows in this order; `sentences_left` says that whole sentences are gone."""
        ...


class TransformersStepper:
    """Steps a transformers encoder-decoder, with its key-value cache or without."""

    def __init__(self, model: Any, *, use_cache: bool = True) -> None:
        self.model = model
        self.use_cache = use_cache
        self.encoder_calls = 0
        self._states: Tensor = torch.empty(0)
        self._mask: Tensor = torch.empty(0)
        self._cache: Any = None

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> None:
        """Run the encoder once for the batch."""
        encoded = self.model.get_encoder()(input_ids=ids, attention_mask=mask, return_dict=True)
        self.encoder_calls += 1
        self._states = encoded.last_hidden_state.repeat_interleave(copies, dim=0)
        self._mask = mask.repeat_interleave(copies, dim=0)
        self._cache = None

    def step(self, prefix: Tensor) -> Tensor:
        """Return the next token's log-probabilities in fp32, whatever the model computes in."""
        from transformers.modeling_outputs import BaseModelOutput

        output = self.model(
            attention_mask=self._mask,
            encoder_outputs=BaseModelOutput(last_hidden_state=self._states),
            decoder_input_ids=prefix[:, -1:] if self._cache is not None else prefix,
            past_key_values=self._cache,
            # FSMT masks the future only when it is given ids and no cache.
            input_ids=None if self.use_cache else prefix,
            use_cache=self.use_cache,
        )
        if self.use_cache:
            self._cache = output.past_key_values
        return self.next_nats(output.logits[:, -1])

    def next_nats(self, logits: Tensor) -> Tensor:
        """Return log-probabilities [N, V] of logits, in fp32 whatever those are in."""
        return torch.log_softmax(logits.float(), dim=-1)

    def select(self, rows: Tensor, sentences_left: bool) -> None:
        """Reorder the cache; cross-attention moves only when sentences left the batch."""
        if self._cache is not None:
            _reorder(self._cache.self_attention_cache, rows)
        if sentences_left:
            self._states = self._states.index_select(0, rows)
            self._mask = self._mask.index_select(0, rows)
            if self._cache is not None:
                _reorder(self._cache.cross_attention_cache, rows)


def _reorder(cache: Any, rows: Tensor) -> None:
    for layer in cache.layers:
        layer.keys = layer.keys.index_select(0, rows)
        layer.values = layer.values.index_select(0, rows)


def pad_batch(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return ids [B, S] padded on the right and the mask of real tokens (1 or 0)."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *([pad] * (width - len(row)))] for row in rows], dtype=torch.long)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


@torch.inference_mode()
def beam_search(
    stepper: Stepper, ids: Tensor, mask: Tensor, search: Search, specials: Specials
) -> list[list[Hypothesis]]:
    """Return the finished hypotheses of each sentence, best first, by fairseq's search."""
    run = _Run(stepper, ids, mask, search, specials)
    for step in range(search.max_tokens + 1):
        if run.advance(step):
            break
    if not all(run.finished):
        raise no_way_on(search.min_tokens, search.no_repeat_ngram_size, run.vocabulary)
    return [sorted(found, key=lambda one: -one.score_nats) for found in run.finished]


class _Run:
    """The state of one batch: rows of the sentences that are still running."""

    def __init__(
        self, stepper: Stepper, ids: Tensor, mask: Tensor, search: Search, specials: Specials
    ) -> None:
        self.stepper, self.search, self.specials = stepper, search, specials
        count, beams = ids.shape[0], search.num_beams
        prompts = stepper.encode(ids, mask, beams)
        self.finished: list[list[Hypothesis]] = [[] for _ in range(count)]
        self.sentences = list(range(count))
        """Which sentence of the batch each group of K rows belongs to."""
        self.tokens = torch.full((count * beams, 1), specials.start)
        if prompts is not None:
            self.tokens = prompts
        self.width = self.tokens.shape[1]
        """Tokens of a row that are none of its output."""
        padded = prompts is not None and self.width == mask.shape[1]
        self.padding = mask.eq(0) if padded else torch.zeros(count, 0, dtype=torch.bool)
        """Where prompts are padded [B, S]: no n-gram holds that."""
        self.scores = torch.zeros(count * beams, 0)
        """Cumulative log-probabilities [N, T]."""
        self.vocabulary = 0

    def advance(self, step: int) -> bool:
        """Take one step; True when every sentence is done."""
        beams = self.search.num_beams
        scores, tokens, parents = self._candidates(step)
        groups = torch.arange(len(self.sentences)).unsqueeze(1) * beams
        ended = tokens.eq(self.specials.eos) & scores.isfinite()
        self._finish(step, ended, scores, parents + groups)
        kept = [
            index
            for index, sentence in enumerate(self.sentences)
            if len(self.finished[sentence]) < beams and step < self.search.max_tokens
        ]
        if not kept:
            return True
        left = len(kept) < len(self.sentences)
        rows = parents + groups
        if left:
            keep = torch.tensor(kept)
            ended, scores, tokens = ended[keep], scores[keep], tokens[keep]
            rows = rows[keep]
            self.sentences = [self.sentences[index] for index in kept]
        # The first `beams` candidates that go on, in order of score; ended ones come last.
        order = torch.arange(ended.shape[1]) + ended * ended.shape[1]
        _, chosen = torch.topk(order, beams, dim=1, largest=False)
        self._follow(rows.gather(1, chosen), tokens.gather(1, chosen), scores.gather(1, chosen))
        self.stepper.select(rows.gather(1, chosen).view(-1), left)
        return False

    def _candidates(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return score, token and parent beam of the best 2K continuations, each [B, 2K]."""
        search, special = self.search, self.specials
        nats = self.stepper.step(self.tokens)
        nats[nats.isnan()] = -math.inf
        if special.pad != special.eos:
            nats[:, special.pad] = -math.inf
        nats[:, special.unk] -= search.unknown_penalty
        if step >= search.max_tokens:
            nats[:, : special.eos] = -math.inf
            nats[:, special.eos + 1 :] = -math.inf
        if step < search.min_tokens:
            nats[:, special.eos] = -math.inf
        if search.no_repeat_ngram_size:
            size = search.no_repeat_ngram_size
            block_ngrams(nats, self._known(), size, (special.eos,))
        size = self.vocabulary = nats.shape[1]
        nats = nats.view(len(self.sentences), search.num_beams, size)
        if step == 0:
            nats = nats[:, :1]  # all beams are still the same one
        else:
            nats = nats + self.scores[:, -1].view(len(self.sentences), -1, 1)
        flat = nats.reshape(len(self.sentences), -1)
        scores, places = torch.topk(flat, min(2 * search.num_beams, flat.shape[1] - 1))
        room = 2 * search.num_beams - scores.shape[1]  # of a vocabulary smaller than the beams
        scores = torch.nn.functional.pad(scores, (0, room), value=-math.inf)
        places = torch.nn.functional.pad(places, (0, room))
        return scores, places % size, places // size

    def _known(self) -> Tensor:
        """Return the tokens of every row [N, T], padding as -1."""
        known = self.tokens.clone()
        padding = self.padding[self.sentences].repeat_interleave(self.search.num_beams, dim=0)
        known[:, : padding.shape[1]][padding] = -1
        return known

    def _finish(self, step: int, ended: Tensor, scores: Tensor, rows: Tensor) -> None:
        """Store the hypotheses that end among the first K candidates of each sentence."""
        beams = self.search.num_beams
        for group, place in ended[:, :beams].nonzero().tolist():
            found = self.finished[self.sentences[group]]
            if len(found) == beams:
                continue
            row = int(rows[group, place])
            total = scores[group, place]
            sums = torch.cat([self.scores[row], total.view(1)])
            parts = torch.cat([sums[:1], sums[1:] - sums[:-1]])
            found.append(
                Hypothesis(
                    tokens=[*self.tokens[row, self.width :].tolist(), self.specials.eos],
                    score_nats=float(total / (step + 1) ** self.search.length_penalty),
                    positional_nats=parts.tolist(),
                )
            )

    def _follow(self, rows: Tensor, tokens: Tensor, scores: Tensor) -> None:
        """Append the chosen tokens and their cumulative scores to the rows they continue."""
        rows = rows.view(-1)
        self.tokens = torch.cat([self.tokens.index_select(0, rows), tokens.view(-1, 1)], dim=1)
        self.scores = torch.cat([self.scores.index_select(0, rows), scores.view(-1, 1)], dim=1)


@torch.inference_mode()
def score(
    model: Any,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    special: Specials,
    *,
    without: int | None = None,
) -> list[list[float]]:
    """Return log P of each target token in nats, in one teacher-forced pass (`</s>` included).

    `without` is a word that gets no probability.
    """
    ids, mask = pad_batch(sources, models.source_pad(model, special.pad))
    wanted, real = pad_batch(targets, special.pad)
    prefix, _ = pad_batch([[special.start, *row[:-1]] for row in targets], special.pad)
    logits = model(
        input_ids=ids, attention_mask=mask, decoder_input_ids=prefix, use_cache=False
    ).logits.float()
    if without is not None:
        logits[..., without] = -math.inf
    nats = torch.log_softmax(logits, dim=-1).gather(2, wanted.unsqueeze(2)).squeeze(2)
    return [row[: int(n)].tolist() for row, n in zip(nats, real.sum(1), strict=True)]
