"""Beam search under transformers' rule, in one group or in several that avoid one another.

The rule (transformers 5.23, `GenerationMixin._beam_search`): a step takes the best continuations,
(closing tokens + 1) x beams of them and at least 2 x beams; those that end among the first
`num_beams` are final, with their sum of log-probabilities over length ** length_penalty; the best
others go on. A sentence is done when no running beam can still win, which `early_stopping` decides:

- true: as soon as `num_beams` outputs are final;
- false: when the best running sum over its present length ** penalty loses to the worst final;
- never: the same with the greatest length where the penalty is positive.

Groups (arXiv 1610.02424, as transformers had it until 4.x): the beams of a sentence are divided;
one group after the other takes its step, and a token costs `diversity_penalty` for every earlier
group's beam that has just taken it. The cost stays in the scores.

Shapes: B sentences, G groups, K beams of a group, N = B * G * K rows, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stages.lm.decoding.rules import Rules, no_way_on
from stages.lm.decoding.settings import Beam, Constrained, DiverseBeam
from stages.lm.decoding.steppers import Stepper
from stages.lm.generate import Hypothesis


@dataclass(frozen=True)
class Rule:
    """What transformers' rule needs to know."""

    beams: int
    """Beams of one group."""
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    groups: int = 1
    diversity_penalty: float = 0.0

    @classmethod
    def of(cls, settings: Beam | DiverseBeam | Constrained) -> Rule:
        """Return the rule of a settings block."""
        if isinstance(settings, DiverseBeam):
            return cls(
                settings.num_beams // settings.groups,
                settings.length_penalty,
                settings.early_stopping,
                settings.groups,
                settings.diversity_penalty,
            )
        return cls(settings.num_beams, settings.length_penalty, settings.early_stopping)

    def improvable(
        self, running: float, final: list[Hypothesis], length: int, limit: int, full: int
    ) -> bool:
        """Whether the best running sum may still beat the worst of `full` final outputs."""
        if math.isinf(running):
            return False
        if len(final) < full:
            return True
        if self.early_stopping is True:
            return False
        exact = self.early_stopping == "never" and self.length_penalty > 0.0
        hoped = limit if exact else length
        return running / hoped**self.length_penalty > min(one.score_nats for one in final)


@torch.inference_mode()
def search(
    stepper: Stepper, ids: Tensor, mask: Tensor, rules: Rules, rule: Rule
) -> list[list[Hypothesis]]:
    """Return the final outputs of each sentence, best first, over all groups."""
    run = _Run(stepper, ids, mask, rules, rule)
    while run.sentences:
        run.advance()
    found = [
        sorted((one for group in groups for one in group), key=lambda one: -one.score_nats)
        for groups in run.final
    ]
    if not all(found):
        raise no_way_on(rules.min_tokens, rules.ngram, run.vocabulary)
    return found


class _Run:
    """The state of one batch; sentences that are done leave it."""

    def __init__(
        self, stepper: Stepper, ids: Tensor, mask: Tensor, rules: Rules, rule: Rule
    ) -> None:
        self.stepper, self.rules, self.rule = stepper, rules, rule
        count, per = len(ids), rule.groups * rule.beams
        self.prefix = stepper.encode(ids, mask, per)
        self.width = self.prefix.shape[1]
        prompts = self.width == mask.shape[1] and rules.marks.start is None
        self.known = mask.repeat_interleave(per, dim=0) if prompts else None
        self.final: list[list[list[Hypothesis]]] = [
            [[] for _ in range(rule.groups)] for _ in range(count)
        ]
        self.sentences = list(range(count))
        self.open = torch.ones(count, rule.groups, dtype=torch.bool)
        """Groups that may still find better outputs, [B, G]."""
        self.sums = torch.zeros(count * per, 0)
        """Cumulative scores of every token, [N, generated]."""
        # All beams of a group begin as the same one.
        self.last = torch.full((count, rule.groups, rule.beams), -math.inf)
        self.last[:, :, 0] = 0.0
        self.vocabulary = 0

    def advance(self) -> None:
        """Take one step in every group, then let the sentences go that are done."""
        rule, count = self.rule, len(self.sentences)
        nats = self.rules.apply(self.stepper.step(self.prefix), self.prefix, self.known)
        nats = nats.view(count, rule.groups, rule.beams, -1)
        self.vocabulary = nats.shape[-1]
        taken = torch.zeros(count, nats.shape[-1])
        rows = torch.empty(count, rule.groups, rule.beams, dtype=torch.long)
        tokens = torch.empty_like(rows)
        for group in range(rule.groups):
            scores = nats[:, group] - rule.diversity_penalty * taken.unsqueeze(1)
            open_before = self.open[:, group].unsqueeze(1).clone()
            rows[:, group], tokens[:, group] = self._advance_group(group, scores)
            kept = self.last[:, group].isfinite() & open_before
            taken.scatter_add_(1, tokens[:, group], kept.float())
        # Rows whose beam is dead repeat some token; their score stays at -inf.
        flat = rows.view(-1)
        self.prefix = torch.cat([self.prefix[flat], tokens.view(-1, 1)], dim=1)
        self.sums = torch.cat([self.sums[flat], self.last.view(-1, 1)], dim=1)
        self._leave(flat)

    def _advance_group(self, group: int, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Extend one group by scores [B, K, V]; return rows and tokens that go on, each [B, K]."""
        rule, size = self.rule, scores.shape[-1]
        totals = (scores + self.last[:, group].unsqueeze(2)).flatten(1)
        wanted = max(2, 1 + len(self.rules.marks.eos)) * rule.beams
        best, places = torch.topk(totals, min(wanted, totals.shape[1]))
        tokens, parents = places % size, places // size
        firsts = (torch.arange(len(scores)) * rule.groups + group).unsqueeze(1) * rule.beams
        rows = parents + firsts
        done = self.prefix.shape[1] + 1 - self.width
        ended, last = self.rules.ends(tokens), done >= self.rules.limit
        self._finish(group, (ended | last) & best.isfinite(), best, rows, tokens)
        running = best.masked_fill(ended, -math.inf)
        if running.shape[1] < rule.beams:  # a vocabulary smaller than the beam
            room = rule.beams - running.shape[1]
            running = torch.nn.functional.pad(running, (0, room), value=-math.inf)
            rows, tokens = (torch.nn.functional.pad(one, (0, room)) for one in (rows, tokens))
            rows[:, -room:] = firsts
        self.last[:, group], chosen = torch.topk(running, rule.beams)
        for at, sentence in enumerate(self.sentences):
            final = self.final[sentence][group]
            best_sum = float(self.last[at, group, 0])
            self.open[at, group] &= not last and rule.improvable(
                best_sum, final, done, self.rules.limit, rule.beams
            )
        return rows.gather(1, chosen), tokens.gather(1, chosen)

    def _finish(
        self, group: int, ended: Tensor, totals: Tensor, rows: Tensor, tokens: Tensor
    ) -> None:
        """Keep the best `num_beams` final outputs of a group; only its first K candidates count."""
        rule = self.rule
        allowed = ended[:, : rule.beams] & self.open[:, group].unsqueeze(1)
        length = self.prefix.shape[1] + 1 - self.width
        for at, place in allowed.nonzero().tolist():
            row, total = int(rows[at, place]), totals[at, place]
            sums = torch.cat([self.sums[row], total.view(1)])
            parts = torch.cat([sums[:1], sums[1:] - sums[:-1]])
            output = [*self.prefix[row, self.width :].tolist(), int(tokens[at, place])]
            score = float(total / length**rule.length_penalty)
            found = self.final[self.sentences[at]][group]
            found.append(Hypothesis(output, score, parts.tolist()))
        for at in sorted({at for at, _ in allowed.nonzero().tolist()}):
            found = self.final[self.sentences[at]][group]
            found.sort(key=lambda one: -one.score_nats)
            del found[rule.beams :]

    def _leave(self, rows: Tensor) -> None:
        """Follow the chosen rows without those of sentences in which every group is done."""
        keep = self.open.any(dim=1).nonzero().squeeze(1)
        left = len(keep) < len(self.sentences)
        if left:
            per = self.rule.groups * self.rule.beams
            self.sentences = [self.sentences[at] for at in keep.tolist()]
            kept = (keep.unsqueeze(1) * per + torch.arange(per)).flatten()
            self.prefix, self.sums = self.prefix[kept], self.sums[kept]
            self.last, self.open = self.last[keep], self.open[keep]
            if self.known is not None:
                self.known = self.known[kept]
            rows = rows[kept]
        if self.sentences:
            self.stepper.select(rows, left)
