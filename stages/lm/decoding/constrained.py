"""Beam search whose outputs fulfil constraints: banks by progress, filled in turn.

Written from the description of the method (grid beam search, arXiv 1704.07138, with the banks of
dynamic beam allocation, arXiv 1804.06609), not after the code that transformers removed. A step:

- candidates are every beam's best continuations and all tokens that bring a constraint nearer
  (those may repeat an n-gram: what is required is not forbidden);
- only a beam that fulfils everything may end;
- a candidate from which what is missing no longer fits into the greatest length is dropped, unless
  none would be left; so every output fulfils all constraints whenever they fit at all;
- candidates lie in banks by progress; the order is the best of the highest bank, the best of the
  next, down to bank 0, then the second best of each; ends among the first `num_beams` are final,
  and the first `num_beams` others go on. Without constraints this is the order of scores, and the
  search is `beams.search`, whose rule of stopping and scoring it shares.

Shapes: B sentences, K beams, N = B * K rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import torch
from torch import Tensor

from stages.core.errors import ParamsError
from stages.lm.decoding.beams import Rule
from stages.lm.decoding.constraints import Constraint, cost, progress
from stages.lm.decoding.rules import Rules, no_way_on
from stages.lm.decoding.steppers import Stepper
from stages.lm.generate import Hypothesis


@dataclass(frozen=True)
class Candidate:
    """A hypothesis: its tokens, cumulative scores, constraints, and the row it came from."""

    tokens: tuple[int, ...]
    sums: tuple[float, ...]
    constraints: tuple[Constraint, ...]
    row: int
    ended: bool = False
    bank: int = field(init=False)
    met: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bank", progress(self.constraints))
        object.__setattr__(self, "met", all(one.completed for one in self.constraints))

    @property
    def total(self) -> float:
        """Cumulative score in nats."""
        return self.sums[-1] if self.sums else 0.0

    def hypothesis(self, length_penalty: float) -> Hypothesis:
        """Return it as a final output."""
        parts = [one - before for one, before in zip(self.sums, (0.0, *self.sums), strict=False)]
        score = self.total / len(self.tokens) ** length_penalty
        return Hypothesis(list(self.tokens), score, parts, self.met)


@torch.inference_mode()
def search(
    stepper: Stepper,
    ids: Tensor,
    mask: Tensor,
    rules: Rules,
    rule: Rule,
    constraints: Sequence[Constraint],
) -> list[list[Hypothesis]]:
    """Return the outputs of each sentence: those with all constraints met, best first, then others.

    Raises ParamsError when the constraints need more tokens than an output may have.
    """
    room = rules.limit - (rules.marks.forced_eos is not None)
    needed = cost([one.copy() for one in constraints])
    if needed > room:
        raise ParamsError(
            f"the phrases take {needed} tokens, an output {room} at most",
            "decoding.max_tokens",
            "raise max_tokens, or ask for fewer phrases",
        )
    run = _Run(stepper, ids, mask, rules, rule, constraints)
    while run.sentences:
        run.advance()
    if not all(run.final):
        raise no_way_on(rules.min_tokens, rules.ngram, run.vocabulary)
    return run.final


class _Run:
    def __init__(
        self,
        stepper: Stepper,
        ids: Tensor,
        mask: Tensor,
        rules: Rules,
        rule: Rule,
        constraints: Sequence[Constraint],
    ) -> None:
        self.stepper, self.rules, self.rule = stepper, rules, rule
        self.prefix = stepper.encode(ids, mask, rule.beams)
        self.width = self.prefix.shape[1]
        self.known = (
            mask.repeat_interleave(rule.beams, dim=0) if rules.marks.start is None else None
        )
        fresh = tuple(one.copy() for one in constraints)
        self.sentences = list(range(len(ids)))
        self.beams = [[Candidate((), (), fresh, at * rule.beams)] for at in self.sentences]
        """The live hypotheses of every sentence in the batch, in row order."""
        self.final: list[list[Hypothesis]] = [[] for _ in self.sentences]
        self.vocabulary = 0

    def advance(self) -> None:
        """Take one step for every sentence."""
        plain = self.stepper.step(self.prefix).nan_to_num(nan=-math.inf, neginf=-math.inf)
        self.vocabulary = plain.shape[1]
        ruled = self.rules.apply(plain, self.prefix, self.known)
        wanted = max(2, 1 + len(self.rules.marks.eos)) * self.rule.beams
        best = [one.tolist() for one in ruled.topk(min(wanted, ruled.shape[1]))]
        done = self.prefix.shape[1] + 1 - self.width
        stays: list[tuple[int, list[Candidate]]] = []
        for sentence, beams in zip(self.sentences, self.beams, strict=True):
            ordered = self._candidates(beams, plain, best, done)
            going = self._settle(sentence, ordered)
            running = max((one.total for one in going), default=-math.inf)
            met = [one for one in self.final[sentence] if one.constraints_met]
            rule = self.rule
            if rule.improvable(running, met, done, self.rules.limit, rule.beams):
                stays.append((sentence, going))
        self._follow(stays)

    def _candidates(
        self, beams: list[Candidate], plain: Tensor, best: list[list[list[float]]], done: int
    ) -> list[Candidate]:
        """Return a sentence's candidates after `done` tokens, in the order of the banks."""
        found: dict[tuple[int, ...], Candidate] = {}
        last = done >= self.rules.limit
        for beam in beams:
            row = beam.row
            offers = dict(zip(map(int, best[1][row]), best[0][row], strict=True))
            forced = self._forced(beam, done)
            offers |= {token: float(plain[row, token]) for token in forced}
            for token, nats in offers.items():
                ends = token in self.rules.marks.eos
                tokens = (*beam.tokens, token)
                if nats == -math.inf or (ends and not beam.met and not last) or tokens in found:
                    continue
                watched = tuple(one.copy(stateful=True) for one in beam.constraints)
                for one in () if ends else watched:
                    one.update(token)
                sums = (*beam.sums, beam.total + nats)
                found[tokens] = Candidate(tokens, sums, watched, row, ends or last)
        left = self.rules.limit - (self.rules.marks.forced_eos is not None) - done
        hopeful = [one for one in found.values() if cost(one.constraints) <= left]
        return in_turn(hopeful or list(found.values()))

    def _forced(self, beam: Candidate, done: int) -> list[int]:
        """Return the tokens that bring a constraint nearer and that nothing else forbids."""
        marks = self.rules.marks
        if (marks.forced_eos is not None and done == self.rules.limit) or (
            marks.forced_first is not None and done == 1
        ):
            return []
        tokens = {token for one in beam.constraints for token in one.advance() or ()}
        return sorted(tokens - {*marks.suppressed, *marks.eos})

    def _settle(self, sentence: int, ordered: list[Candidate]) -> list[Candidate]:
        """Store the ends among the first K candidates; return the first K that go on."""
        beams, final = self.rule.beams, self.final[sentence]
        final += [one.hypothesis(self.rule.length_penalty) for one in ordered[:beams] if one.ended]
        final.sort(key=lambda one: (not one.constraints_met, -one.score_nats))
        del final[beams:]
        return [one for one in ordered if not one.ended][:beams]

    def _follow(self, stays: list[tuple[int, list[Candidate]]]) -> None:
        """Move rows to the hypotheses that go on; a sentence keeps K rows, some of them idle."""
        beams = self.rule.beams
        left = len(stays) < len(self.sentences)
        self.sentences = [sentence for sentence, _ in stays]
        rows: list[int] = []
        tokens: list[int] = []
        self.beams = []
        for at, (_, going) in enumerate(stays):
            filled = [*going, *[going[0]] * (beams - len(going))]
            rows += [one.row for one in filled]
            tokens += [one.tokens[-1] for one in filled]
            self.beams.append(
                [
                    Candidate(one.tokens, one.sums, one.constraints, at * beams + place)
                    for place, one in enumerate(going)
                ]
            )
        if not stays:
            return
        chosen = torch.tensor(rows)
        new = torch.tensor(tokens).unsqueeze(1)
        self.prefix = torch.cat([self.prefix[chosen], new], dim=1)
        if self.known is not None:
            self.known = self.known[chosen]
        self.stepper.select(chosen, left)


def in_turn(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the best of the highest bank, of the next, down to the lowest, then the seconds."""
    banks: dict[int, list[Candidate]] = {}
    for one in sorted(candidates, key=lambda one: -one.total):
        banks.setdefault(one.bank, []).append(one)
    rounds = zip_longest(*(banks[bank] for bank in sorted(banks, reverse=True)))
    return [one for round_ in rounds for one in round_ if one is not None]
