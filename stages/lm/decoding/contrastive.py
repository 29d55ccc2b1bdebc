"""Contrastive search: of the most probable tokens, the one least like what stands already.

The next token is the `v` of the `top_k` most probable that maximises
`(1 - alpha) * p(v | x) - alpha * max_j cos(h_v, h_j)`, where `h` are last hidden states and `j`
goes over every token of the context, a decoder's prompt included (Su et al. 2022, arXiv
2202.06417, equation 2). `h_v` costs one more forward of every candidate; its logits serve the next
step.

Shapes: B rows, K candidates, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stages.lm.decoding.rules import Rules
from stages.lm.decoding.settings import Contrastive
from stages.lm.decoding.steppers import Stepper
from stages.lm.generate import Hypothesis


@torch.inference_mode()
def search(
    stepper: Stepper, ids: Tensor, mask: Tensor, rules: Rules, settings: Contrastive
) -> list[Hypothesis]:
    """Return one output per input; the stepper must keep hidden states."""
    run = _Run(stepper, ids, mask, rules, settings)
    while len(run.alive):
        run.advance()
    return [
        Hypothesis(tokens, sum(parts) / max(1, len(parts)), parts)
        for tokens, parts in zip(run.outputs, run.nats, strict=True)
    ]


class _Run:
    def __init__(
        self, stepper: Stepper, ids: Tensor, mask: Tensor, rules: Rules, settings: Contrastive
    ) -> None:
        self.stepper, self.rules, self.settings = stepper, rules, settings
        self.prefix = stepper.encode(ids, mask, 1)
        self.width = self.prefix.shape[1]
        prompts = rules.marks.start is None
        self.known = mask if prompts else None
        self.real = mask.bool() if prompts else torch.ones(len(ids), 1, dtype=torch.bool)
        """Tokens of the context that are no padding [B, T]."""
        self.logits = stepper.read(self.prefix)[:, -1]
        self.context = torch.nn.functional.normalize(stepper.states, dim=2)
        """Directions of the states of every token read [B, T, D]."""
        self.alive = torch.arange(len(ids))
        self.outputs: list[list[int]] = [[] for _ in range(len(ids))]
        self.nats: list[list[float]] = [[] for _ in range(len(ids))]

    def advance(self) -> None:
        """Weigh the candidates of every row, take one, and let rows go that have ended."""
        scores = self.rules.choosable(self.rules.apply(self.logits, self.prefix, self.known))
        count = min(self.settings.top_k, scores.shape[1])
        shares, tokens = torch.softmax(scores, dim=-1).topk(count)
        copies = torch.arange(len(scores)).repeat_interleave(count)
        self.stepper.select(copies)
        longer = torch.cat([self.prefix[copies], tokens.view(-1, 1)], dim=1)
        logits = self.stepper.read(longer)[:, -1]
        new = torch.nn.functional.normalize(self.stepper.states[:, -1], dim=1)
        chosen = self._weigh(shares, new.view(len(scores), count, -1))
        token = tokens.gather(1, chosen.unsqueeze(1)).squeeze(1)
        chances = torch.log_softmax(self.logits, dim=-1).gather(1, token.unsqueeze(1)).squeeze(1)
        for row, one, chance in zip(
            self.alive.tolist(), token.tolist(), chances.tolist(), strict=True
        ):
            self.outputs[row].append(one)
            self.nats[row].append(chance)
        going = ~self.rules.ends(token)
        if longer.shape[1] - self.width >= self.rules.limit:
            going = torch.zeros_like(going)
        self._follow(going.nonzero().squeeze(1), chosen, count, longer, logits, new)

    def _weigh(self, shares: Tensor, new: Tensor) -> Tensor:
        """Return the best candidate [B] by shares [B, K] and directions [B, K, D]."""
        alpha = self.settings.penalty_alpha
        likeness = torch.einsum("bkd,btd->bkt", new, self.context)
        likeness = likeness.masked_fill(~self.real.unsqueeze(1), -math.inf).amax(dim=2)
        # A forbidden token has no share and must not win by being unlike everything.
        worth = (1 - alpha) * shares - alpha * likeness
        return worth.masked_fill(shares == 0, -math.inf).argmax(dim=1)

    def _follow(
        self, going: Tensor, chosen: Tensor, count: int, longer: Tensor, logits: Tensor, new: Tensor
    ) -> None:
        rows = going * count + chosen[going]
        self.alive = self.alive[going]
        if not len(going):
            return
        self.stepper.select(rows)
        self.prefix, self.logits = longer[rows], logits[rows]
        self.context = torch.cat([self.context[going], new[rows].unsqueeze(1)], dim=1)
        one = torch.ones(len(going), 1, dtype=torch.bool)
        self.real = torch.cat([self.real[going], one], dim=1)
        self.known = self.known[going] if self.known is not None else None


def likeness(states: Tensor) -> Tensor:
    """Return the cosines [T, T] of a text's hidden states [T, D]; bright blocks are repetition."""
    directions = torch.nn.functional.normalize(states, dim=1)
    return directions @ directions.T
