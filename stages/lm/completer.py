"""Go on from texts with a decoder-only model, under any way of decoding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.lm import device, models, phrases
from stages.lm.decoding.assisted import Assistance
from stages.lm.decoding.decoder import Decoder
from stages.lm.decoding.outputs import Output
from stages.lm.decoding.settings import Greedy, Settings, stored

USUAL = Greedy(max_tokens=40)
"""How a model goes on that has no settings of its own."""


class Completer:
    """A decoder-only language model with its tokenizer; a text begins with `<s>` or its like."""

    def __init__(self, model: Any, tokenizer: Any, draft: Any = None) -> None:
        self.tokenizer = tokenizer
        self.model = model.eval()
        self.start = next(
            token
            for token in (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id)
            if token is not None
        )
        for one in (self.model, draft):
            if one is not None:
                one.set_attn_implementation("sdpa")
        self.decoder = Decoder(self.model, cut=phrases.of_tokenizer(tokenizer), draft=draft)

    @classmethod
    def load(cls, folder: Path, threads: int = 1, draft: Path | None = None) -> Completer:
        """Open a model folder, and a draft's with the same tokenizer."""
        device.prepare(threads)
        proposing = None
        if draft is not None:
            phrases.same_tokenizer(folder, draft, ("tokenizer.json",))
            proposing = models.load(draft, "causal").eval()
        return cls(models.load(folder, "causal"), models.open_tokenizer(folder), proposing)

    @property
    def assistance(self) -> Assistance | None:
        """What the draft was worth, where there was one."""
        return self.decoder.assistance

    def complete(
        self,
        texts: Sequence[str],
        settings: Settings = USUAL,
        batch_size: int = 32,
        before: int = 0,
    ) -> list[list[Output]]:
        """Return every text with its continuations, the best (or first drawn) first.

        `before` counts the texts that went before, which decides what a sampler draws.
        """
        rows = [
            [self.start, *self.tokenizer(text, add_special_tokens=False)["input_ids"]]
            for text in texts
        ]
        found = self.decoder.decode(rows, settings, batch_size, first_place=before)
        return [
            [
                Output(
                    self.tokenizer.decode([*row[1:], *one.tokens], skip_special_tokens=True),
                    one.score_nats,
                    one.constraints_met,
                )
                for one in outputs
            ]
            for row, outputs in zip(rows, found, strict=True)
        ]


def usual(folder: Path) -> Settings:
    """Return the settings stored with a model, else greedy for forty tokens."""
    return stored(folder) or USUAL
