"""Assisted generation: a small draft proposes tokens, the model checks them in one pass.

The output is the model's own, token for token: at every position the model chooses (the most
probable token, or one drawn with the row's number of that position), and proposals count only as
far as they equal what it chose. So a greedy output is that of `greedy`, and a sampled one that of
`sampling` with the same seed (Leviathan et al. 2023; the schedule is that of transformers).

One pass over several tokens may differ from single steps in the last bits, so positions where the
two best logits lie within `TIE` are counted as near ties: only there could an output differ.

One input at a time. Shapes: T tokens so far, k proposals, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stages.core.errors import ArtifactError
from stages.lm.decoding.rules import Rules
from stages.lm.decoding.sampling import Chooser
from stages.lm.decoding.settings import Assisted
from stages.lm.decoding.steppers import Stepper
from stages.lm.generate import Hypothesis

TIE = 1e-4
"""Two logits this close may change places between one pass over many tokens and single steps."""


@dataclass
class Assistance:
    """What the draft was worth; filled while decoding."""

    passes: int = 0
    """Forward passes of the model."""
    draft_passes: int = 0
    proposed: int = 0
    accepted: int = 0
    tokens: int = 0
    """Tokens of all outputs."""
    near_ties: list[tuple[int, int]] = field(default_factory=list)
    """(input, position) where the two best logits lie within `TIE`."""
    numbers: list[int] = field(default_factory=list)
    """Proposals asked for in every round."""

    @property
    def acceptance_fraction(self) -> float:
        """Share of proposals that the model took."""
        return self.accepted / self.proposed if self.proposed else 0.0

    @property
    def tokens_per_pass(self) -> float:
        """Tokens of output for one pass of the model."""
        return self.tokens / self.passes if self.passes else 0.0

    def row(self) -> dict[str, float]:
        """Return the figures of a report."""
        return {
            "acceptance_fraction": self.acceptance_fraction,
            "tokens_per_pass": self.tokens_per_pass,
            "draft_passes_per_pass": self.draft_passes / self.passes if self.passes else 0.0,
            "near_ties": float(len(self.near_ties)),
        }


def expected_tokens_per_pass(acceptance: float, proposals: int) -> float:
    """Return (1 - a^(k+1)) / (1 - a), if every proposal is taken with the same chance a."""
    if acceptance >= 1:
        return proposals + 1.0
    return (1 - acceptance ** (proposals + 1)) / (1 - acceptance)


class Assistant:
    """Decodes with a draft; the number of proposals carries over from input to input."""

    def __init__(
        self,
        stepper: Stepper,
        draft: Stepper,
        settings: Assisted,
        rules: Rules,
        draft_rules: Rules,
        draft_reads: int = 1 << 30,
    ) -> None:
        self.stepper, self.draft, self.settings = stepper, draft, settings
        self.rules, self.draft_rules = rules, draft_rules
        self.draft_reads = draft_reads
        """Tokens that the draft can read; behind them the model goes on alone."""
        self.candidates = settings.candidates
        self.chooser = Chooser(settings)
        self.record = Assistance()

    @torch.inference_mode()
    def decode(self, ids: Tensor, place: int) -> Hypothesis:
        """Return the output of one input [1, S]; `place` is its number among all inputs."""
        mask = torch.ones_like(ids)
        prefix = self.stepper.encode(ids, mask, 1)
        proposing = self.draft.encode(ids, mask, 1)
        width, limit = prefix.shape[1], self.rules.limit
        if not torch.equal(prefix, proposing):
            raise ArtifactError(
                f"the draft begins its outputs with {proposing[0, -1]}, the model with "
                f"{prefix[0, -1]}",
                "decoding.draft",
                "name a draft made with the same tokenizer",
            )
        numbers = self.chooser.numbers([(place, 0)], limit)[0]
        nats: list[float] = []
        ended = False
        while not ended and prefix.shape[1] - width < limit:
            done = prefix.shape[1] - width
            room = max(0, self.draft_reads + 1 - prefix.shape[1])
            wanted = min(self.candidates, limit - done - 1, room)
            proposals = self._propose(prefix, wanted)
            longer = torch.cat([prefix, proposals], dim=1)
            logits = self.stepper.read(longer, keep=wanted + 1)[0]
            self.record.passes += 1
            matched = 0
            for at in range(wanted + 1):
                scores = self.rules.choosable(self.rules.apply(logits[at : at + 1], prefix))
                token = self.chooser.choose(scores, numbers[done + at : done + at + 1])
                self._look_for_tie(scores[0], place, done + at)
                nats.append(float(torch.log_softmax(logits[at], dim=-1)[token]))
                prefix = torch.cat([prefix, token.unsqueeze(0)], dim=1)
                agrees = at < wanted and bool(token[0] == proposals[0, at])
                matched += agrees
                ended = bool(self.rules.ends(token)[0])
                if ended or not agrees:
                    break
            self._learn(wanted, matched)
            # The last token is not read yet; what was read beyond it is forgotten.
            self.stepper.crop(prefix.shape[1] - 1)
            self.draft.crop(prefix.shape[1] - 1)
        output = prefix[0, width:].tolist()
        self.record.tokens += len(output)
        return Hypothesis(output, sum(nats) / max(1, len(nats)), nats)

    def _propose(self, prefix: Tensor, count: int) -> Tensor:
        """Return the draft's greedy continuation [1, count]."""
        found = prefix
        for _ in range(count):
            logits = self.draft.read(found)[:, -1]
            self.record.draft_passes += 1
            token = self.draft_rules.apply(logits, found).argmax(dim=-1)
            found = torch.cat([found, token.unsqueeze(1)], dim=1)
        return found[:, prefix.shape[1] :]

    def _look_for_tie(self, scores: Tensor, place: int, position: int) -> None:
        if self.chooser.settings is None and len(scores) > 1:
            best, second = scores.topk(2).values.tolist()
            if best - second < TIE:
                self.record.near_ties.append((place, position))

    def _learn(self, proposed: int, matched: int) -> None:
        self.record.numbers.append(proposed)
        self.record.proposed += proposed
        self.record.accepted += matched
        if self.settings.schedule == "constant" or not proposed:
            return
        if matched == proposed:
            self.candidates += 2
        else:
            self.candidates = max(1, self.candidates - 1)


def check_vocabulary(model: Any, draft: Any) -> None:
    """Refuse a draft of another vocabulary: its ids would mean other words."""
    sizes = [one.get_output_embeddings().weight.shape[0] for one in (model, draft)]
    if sizes[0] != sizes[1]:
        raise ArtifactError(
            f"the draft writes {sizes[1]} tokens, the model {sizes[0]}",
            "decoding.draft",
            "name a draft made with the same tokenizer",
        )
    if model.config.is_encoder_decoder != draft.config.is_encoder_decoder:
        kinds = ["an encoder-decoder" if one.config.is_encoder_decoder else "a decoder"
                 for one in (draft, model)]  # fmt: skip
        raise ArtifactError(
            f"the draft is {kinds[0]}, the model {kinds[1]}",
            "decoding.draft",
            "name a draft of the model's kind",
        )
