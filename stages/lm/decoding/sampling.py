"""Greedy decoding and sampling with a seed; every row draws from a stream of its own.

A row's stream comes from the seed and the row's place among all inputs, so an output depends
neither on the batch it was computed in nor on its neighbours. Shapes: N rows, T tokens, V
vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stages.lm.decoding.rules import Rules
from stages.lm.decoding.settings import Assisted, Sampling
from stages.lm.decoding.steppers import Stepper
from stages.lm.generate import Hypothesis


def filtered(logits: Tensor, temperature: float, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Return probabilities [..., V] in fp64 after temperature, then top_k, then top_p.

    top_p keeps the fewest tokens whose probabilities reach it. Of equally probable tokens those of
    the lower ids are kept.
    """
    # The best is 0 before it is divided, so that the smallest temperature gives no infinity.
    scaled = (logits.double() - logits.double().amax(dim=-1, keepdim=True)) / temperature
    if not top_k and top_p >= 1:
        return torch.softmax(scaled, dim=-1)
    best, order = torch.sort(scaled, dim=-1, descending=True, stable=True)
    if top_k:
        best[..., top_k:] = -math.inf
    shares = torch.softmax(best, dim=-1)
    if top_p < 1:
        before = shares.cumsum(dim=-1) - shares
        shares = torch.where(before < top_p, shares, 0.0)
        shares = shares / shares.sum(dim=-1, keepdim=True)
    return torch.zeros_like(shares).scatter(-1, order, shares)


def draws(seed: int, rows: Sequence[tuple[int, int]], steps: int) -> Tensor:
    """Return numbers in [0, 1) for each (input, copy), [N, steps] in fp64.

    The first numbers of a row do not depend on how many are taken.
    """
    streams = [np.random.Generator(np.random.PCG64([seed, *row])).random(steps) for row in rows]
    return torch.from_numpy(np.stack(streams))


def pick(shares: Tensor, numbers: Tensor) -> Tensor:
    """Return tokens [...] of probabilities [..., V] by inverse transform of numbers [...]."""
    sums = shares.cumsum(dim=-1)
    total = sums[..., -1:].contiguous()  # a rounding away from 1
    found = torch.searchsorted(sums, numbers.unsqueeze(-1) * total, right=True)
    last = torch.searchsorted(sums, total)  # the last token that has a share
    return torch.minimum(found, last).squeeze(-1)


class Chooser:
    """Chooses the next token: the most probable one, or one drawn by a row's numbers."""

    def __init__(self, settings: Sampling | Assisted | None) -> None:
        drawn = settings is not None and settings.temperature > 0
        self.settings = settings if drawn else None

    def numbers(self, places: Sequence[tuple[int, int]], steps: int) -> Tensor:
        """Return the numbers of every row and step; greedy needs none."""
        if self.settings is None:
            return torch.zeros(len(places), steps, dtype=torch.float64)
        return draws(self.settings.seed, places, steps)

    def choose(self, logits: Tensor, numbers: Tensor) -> Tensor:
        """Return tokens [N] for logits [N, V]."""
        one = self.settings
        if one is None:
            return logits.argmax(dim=-1)
        return pick(filtered(logits, one.temperature, one.top_k, one.top_p), numbers)


@torch.inference_mode()
def follow(
    stepper: Stepper,
    ids: Tensor,
    mask: Tensor,
    rules: Rules,
    chooser: Chooser,
    places: Sequence[tuple[int, int]],
    copies: int = 1,
) -> list[Hypothesis]:
    """Return one output per row: `copies` of each input, in order.

    `places` are (input, copy) of every row. An output that has ended leaves the batch. Scores are
    the mean log-probability under the model itself, whatever was drawn from.
    """
    prefix = stepper.encode(ids, mask, copies)
    width = prefix.shape[1]
    known = mask.repeat_interleave(copies, dim=0) if width == mask.shape[1] else None
    numbers = chooser.numbers(places, rules.limit)
    alive = torch.arange(len(prefix))
    outputs: list[list[int]] = [[] for _ in places]
    nats: list[list[float]] = [[] for _ in places]
    for step in range(rules.limit):
        logits = stepper.read(prefix)[:, -1]
        scores = rules.choosable(rules.apply(logits, prefix, known))
        tokens = chooser.choose(scores, numbers[alive, step])
        chances = torch.log_softmax(logits, dim=-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
        for row, token, chance in zip(
            alive.tolist(), tokens.tolist(), chances.tolist(), strict=True
        ):
            outputs[row].append(token)
            nats[row].append(chance)
        going = (~rules.ends(tokens)).nonzero().squeeze(1)
        if not len(going):
            break
        prefix = torch.cat([prefix, tokens.unsqueeze(1)], dim=1)
        if len(going) < len(alive):
            prefix, alive = prefix[going], alive[going]
            known = known[going] if known is not None else None
            stepper.select(going)
    return [
        Hypothesis(tokens, sum(parts) / max(1, len(parts)), parts)
        for tokens, parts in zip(outputs, nats, strict=True)
    ]
