"""Pairs of texts of a corpus: which are used, how long they are, and the batches they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.core.errors import ArtifactError
from stages.finetune import sentences
from stages.lm import corpora, models, seq2seq
from stages.lm.device import mix
from stages.lm.packing import shuffled

POOL_BATCHES = 16
"""Batches whose pairs are sorted by length together: little padding, and still a mixed order."""
MARKS = (32, 64, 128, 256, 512)
"""Lengths whose excess the table of lengths tells."""


@dataclass(frozen=True)
class Pairs:
    """Source texts, and for each one or more target texts, the first being the one to learn."""

    ids: list[str]
    sources: list[str]
    targets: list[list[str]]

    def __len__(self) -> int:
        return len(self.ids)


def read(corpus: Path, split: str, limit: int, salt: str, *, reverse: bool = False) -> Pairs:
    """Return a split's pairs in order, or `limit` of them chosen by the hash of salt and id."""
    corpora.read_corpus(corpus, ["parallel"], "finetune")
    chosen = sentences.choose(corpus, split, limit, salt)
    found = Pairs([], [], [])
    for row in corpora.pairs(corpus, split):
        if chosen is not None and row["id"] not in chosen:
            continue
        found.ids.append(row["id"])
        texts = (row["source_text"], row["target_text"])
        found.sources.append(texts[reverse])
        found.targets.append([texts[0]] if reverse else [texts[1], *(row.get("references") or [])])
    if not len(found):
        raise ArtifactError(
            f"the split {split} holds no pair",
            str(corpus),
            "give the corpus pairs of texts, and each split a share of them",
        )
    return found


@dataclass(frozen=True)
class Encoded:
    """Source ids and labels of pairs, cut to the limits; `cut_*` count those that were longer."""

    sources: list[list[int]]
    labels: list[list[int]]
    cut_sources: int
    cut_targets: int

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True)
class Limits:
    """Tokens of a source with its opening and closing one, and of labels with their closing one."""

    source: int
    target: int


def encode(pairs: Pairs, source: Any, target: Any, limits: Limits) -> Encoded:
    """Return pairs as ids; what is too long loses its end, a source keeps its closing token.

    A target that is cut has no closing token: it did not end there.
    """
    sources = seq2seq.encode_sources(source, pairs.sources)
    labels = seq2seq.encode_targets(target, [texts[0] for texts in pairs.targets])
    long = [len(row) > limits.source for row in sources], [len(r) > limits.target for r in labels]
    return Encoded(
        [
            [*row[: limits.source - 1], row[-1]] if over else row
            for row, over in zip(sources, long[0], strict=True)
        ],
        [row[: limits.target] for row in labels],
        sum(long[0]),
        sum(long[1]),
    )


def lengths(pairs: Pairs, source: Any, target: Any, limits: Limits) -> list[dict[str, Any]]:
    """Return a table of lengths in tokens, by side: what one looks at before choosing limits."""
    sides = (
        ("source", seq2seq.encode_sources(source, pairs.sources), limits.source),
        (
            "target",
            seq2seq.encode_targets(target, [row[0] for row in pairs.targets]),
            limits.target,
        ),
    )
    rows = []
    for name, ids, limit in sides:
        sizes = np.array([len(row) for row in ids])
        rows.append(
            {
                "side": name,
                "pairs": len(sizes),
                "mean_tokens": round(float(sizes.mean()), 2),
                "median_tokens": float(np.median(sizes)),
                "p95_tokens": float(np.quantile(sizes, 0.95)),
                "p99_tokens": float(np.quantile(sizes, 0.99)),
                "max_tokens": int(sizes.max()),
                **{f"above_{mark}_share": round(float((sizes > mark).mean()), 6) for mark in MARKS},
                "limit_tokens": limit,
                "cut_share": round(float((sizes > limit).mean()), 6),
            }
        )
    return rows


@dataclass(frozen=True)
class Written:
    """The question of teacher forcing: the next token of every target, given source and prefix.

    `ids` and `mask` are [B, S], `prefix` [B, T]; `places` [M] are the positions of B * T that have
    an answer, so padding is never asked (transformers' -100).
    """

    ids: Tensor
    mask: Tensor
    prefix: Tensor
    places: Tensor
    answers: Tensor

    @property
    def tokens(self) -> int:
        """Return how many real tokens both sides read."""
        return int(self.mask.sum()) + len(self.places)

    def logits(self, model: Any) -> Tensor:
        """Return the logits at the places, [M, V]; the head runs there only."""
        states = model.encoder(input_ids=self.ids, attention_mask=self.mask).last_hidden_state
        read = model.decoder.base_model(
            input_ids=self.prefix,
            encoder_hidden_states=states,
            encoder_attention_mask=self.mask,
            use_cache=False,
        ).last_hidden_state
        return models.head_logits(model.decoder, read.flatten(0, 1)[self.places])


def ask(
    sources: Sequence[Sequence[int]],
    labels: Sequence[Sequence[int]],
    start: int,
    pads: Sequence[int],
) -> Written:
    """Return the question of some pairs; the decoder reads the labels shifted right by one.

    `pads` fill sources and targets. What follows a target's last label is neither read by a label
    before it (the decoder is causal) nor asked.
    """
    from stages.lm.generate import pad_batch

    ids, mask = pad_batch(sources, pads[0])
    prefix, _ = pad_batch([[start, *row[:-1]] for row in labels], pads[1])
    answers, real = pad_batch(labels, pads[1])
    places = torch.nonzero(real.flatten()).flatten()
    return Written(ids, mask, prefix, places, answers.flatten()[places])


class Batches:
    """Training pairs in batches of like lengths, in a new order every epoch."""

    def __init__(
        self, encoded: Encoded, start: int, pads: Sequence[int], *, size: int, parts: int, seed: int
    ) -> None:
        self._encoded, self._start, self._pads = encoded, start, pads
        self._size, self._parts, self._seed = size, parts, seed
        self.per_epoch = -(-len(encoded) // size)
        self._epoch = -1
        self._order: list[list[int]] = []

    def tasks(self, step: int) -> list[Written]:
        """Return the parts of a step's batch."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self.order(epoch)
        numbers = self._order[place]
        parts = np.array_split(np.array(numbers), min(self._parts, len(numbers)))
        return [self.task(part.tolist()) for part in parts]

    def order(self, epoch: int) -> list[list[int]]:
        """Return an epoch's batches: every pair once; a function of seed and epoch alone."""
        count = len(self._encoded)
        mixed = shuffled(np.arange(count), count, self._seed, epoch).tolist()
        pool = self._size * POOL_BATCHES
        batches = []
        for first in range(0, count, pool):
            part = sorted(mixed[first : first + pool], key=self._sizes)
            batches += [part[at : at + self._size] for at in range(0, len(part), self._size)]
        turn = shuffled(np.arange(len(batches)), len(batches), mix(self._seed, 1) >> 1, epoch)
        return [batches[number] for number in turn.tolist()]

    def task(self, numbers: Sequence[int]) -> Written:
        """Return the question of some pairs by their numbers."""
        return ask(
            [self._encoded.sources[number] for number in numbers],
            [self._encoded.labels[number] for number in numbers],
            self._start,
            self._pads,
        )

    def _sizes(self, number: int) -> tuple[int, int, int]:
        return len(self._encoded.sources[number]), len(self._encoded.labels[number]), number
