"""What every encoder-decoder must satisfy, whatever it was ported, warm-started or tuned from.

Each line returns a name, the largest error found and its limit; a mask or cache mistake breaks at
least one of them (systems 004 and 006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.lm import models
from stages.lm.generate import (
    Search,
    Specials,
    TransformersStepper,
    beam_search,
    pad_batch,
    score,
)

EXACT = 1e-5
"""Largest difference of logits, in units of the largest logit, between two ways to one number."""
FELT = 1e-4
"""A change that must be felt is at least this large, in units of the largest value."""

STEPS = 24
"""Tokens of the compared searches, where the model takes as many."""


@dataclass(frozen=True)
class Line:
    """One property: `error` must not exceed `limit`."""

    name: str
    error: float
    limit: float
    n: int

    @property
    def passed(self) -> bool:
        """Whether the property holds."""
        return self.error <= self.limit


@torch.inference_mode()
def check(
    model: Any,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    special: Specials,
    felt: float = FELT,
) -> list[Line]:
    """Return the contract's lines for source ids and target ids of different lengths, eos last.

    `felt` is the least change, in units of the largest value, that counts as one. In double
    precision it may be far below what an encoder that has hardly learned yet feels.
    """
    return [
        _bidirectional(model, sources, felt),
        _causal(model, sources, targets, special, felt),
        _padding(model, sources, targets, special),
        *_search(model, sources, special),
    ]


def _logits(model: Any, ids: Tensor, mask: Tensor, prefix: Tensor) -> Tensor:
    output = model(input_ids=ids, attention_mask=mask, decoder_input_ids=prefix, use_cache=False)
    return torch.as_tensor(output.logits)


def _difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference; -inf on both sides (no such token) is none."""
    apart = torch.where(one == other, 0.0, one - other).abs().max()
    return float(apart / other[other.isfinite()].abs().max())


def _other(token: int) -> int:
    return token + 1 if token == 4 else 4


def _bidirectional(model: Any, sources: Sequence[Sequence[int]], felt: float) -> Line:
    """The first encoder state feels the last word."""
    encoder = model.get_encoder()
    dull = 0
    for row in sources:
        changed = torch.tensor([[*row[:-2], _other(row[-2]), row[-1]]])
        mask = torch.ones_like(changed)
        one = encoder(input_ids=torch.tensor([list(row)]), attention_mask=mask).last_hidden_state
        two = encoder(input_ids=changed, attention_mask=mask).last_hidden_state
        dull += one.shape[1] != len(row) or _difference(two[:, 0], one[:, 0]) < felt
    return Line("encoder is bidirectional", float(dull), 0.0, len(sources))


def _causal(
    model: Any,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    special: Specials,
    felt: float,
) -> Line:
    """A later target token changes no earlier logits, and does change its own."""
    worst = 0.0
    for row, target in zip(sources, targets, strict=True):
        ids, mask = pad_batch([row], models.source_pad(model, special.pad))
        prefix = torch.tensor([[special.start, *target[:-1]]])
        changed = prefix.clone()
        changed[0, -1] = _other(int(prefix[0, -1]))
        one, two = (_logits(model, ids, mask, each) for each in (prefix, changed))
        if one.shape[1] > 1:
            worst = max(worst, _difference(two[:, :-1], one[:, :-1]))
        if _difference(two[:, -1], one[:, -1]) < felt:
            worst = float("inf")
    return Line("decoder is causal", worst, EXACT, len(sources))


def _padding(
    model: Any,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    special: Specials,
) -> Line:
    """A sentence alone and beside longer ones gives the same logits."""
    starts = [[special.start, *target[:-1]] for target in targets]
    ids, mask = pad_batch(sources, models.source_pad(model, special.pad))
    prefix, _ = pad_batch(starts, special.pad)
    together = _logits(model, ids, mask, prefix)
    worst = 0.0
    for at, (row, start) in enumerate(zip(sources, starts, strict=True)):
        one, ones = pad_batch([row], models.source_pad(model, special.pad))
        alone = _logits(model, one, ones, torch.tensor([start]))
        worst = max(worst, _difference(together[at, : len(start)], alone[0]))
    return Line("padding changes nothing", worst, EXACT, len(sources))


def _search(model: Any, sources: Sequence[Sequence[int]], special: Specials) -> list[Line]:
    """The encoder runs once; step scores are teacher-forced scores; greedy is plain `generate`."""
    ids, mask = pad_batch(sources, models.source_pad(model, special.pad))
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    hook = model.get_encoder().register_forward_hook(count)
    longest = model.generation_config.max_length or STEPS + 2  # start and end token count there
    settings = Search(num_beams=1, max_tokens=max(1, min(STEPS, longest - 2)), min_tokens=0)
    greedy = beam_search(TransformersStepper(model), ids, mask, settings, special)
    hook.remove()
    best = [found[0] for found in greedy]
    forced = score(model, sources, [one.tokens for one in best], special)
    chain = max(
        abs(sum(one.positional_nats) - sum(nats)) / len(nats)
        for one, nats in zip(best, forced, strict=True)
    )
    plain = model.generate(
        input_ids=ids, attention_mask=mask, generation_config=_plainly(settings, special)
    )
    # Only fairseq's rule closes an output that has reached its longest; what comes before is equal.
    wrong = sum(
        one.tokens[: settings.max_tokens] != row[1 : 1 + len(one.tokens[: settings.max_tokens])]
        for one, row in zip(best, plain.tolist(), strict=True)
    )
    uncached = beam_search(
        TransformersStepper(model, use_cache=False), ids, mask, settings, special
    )
    moved = sum(a[0].tokens != b[0].tokens for a, b in zip(greedy, uncached, strict=True))
    return [
        Line("encoder runs once per batch", float(abs(calls - 1)), 0.0, 1),
        Line("steps obey the chain rule", chain, EXACT, len(best)),
        Line("greedy search is generate's", float(wrong), 0.0, len(best)),
        Line("cache changes no token", float(moved), 0.0, len(best)),
    ]


def _plainly(settings: Search, special: Specials) -> Any:
    """Return a generation configuration of greedy search alone, whatever the model's defaults."""
    from transformers import GenerationConfig

    return GenerationConfig(
        num_beams=1,
        do_sample=False,
        no_repeat_ngram_size=0,
        min_length=0,
        max_length=settings.max_tokens + 2,
        decoder_start_token_id=special.start,
        eos_token_id=special.eos,
        pad_token_id=special.pad,
        suppress_tokens=[special.pad],  # which our search never chooses
    )
