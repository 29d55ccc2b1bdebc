"""Exact loss of a causal language model: every token of every document, scored once.

A document longer than the window is read in overlapping windows; each token is scored in the first
window that holds it, with at least half a window of context (except at the document's start).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stages.evaluate.encoding import Encoding, chunks, num_bytes, unigram_nats
from stages.evaluate.language import Losses
from stages.lm import models, phrases
from stages.lm.decoding.decoder import Decoder
from stages.lm.decoding.settings import Settings
from stages.lm.device import prepare


@dataclass(frozen=True)
class Window:
    """Part of a document: `ids` with their context; the last `scored` of them count."""

    document: int
    ids: list[int]
    scored: int


class CausalModel:
    """A causal language model and its tokenizer."""

    def __init__(self, folder: Path, threads: int, batch_size: int) -> None:
        prepare(threads)
        self.folder = folder
        self.encoding = Encoding(folder)
        self.model = models.load(folder, "causal").eval()
        self.batch_size = batch_size
        self.window = models.longest(self.model.config)
        self.stride = self.window // 2
        self.tokenizer_digest = self.encoding.digest

    def losses(self, texts: Sequence[str]) -> Losses:
        """Return the summed loss of all tokens, by document."""
        documents = self.encoding.ids(texts)
        nats = np.zeros(len(texts))
        windows = [
            part for place, ids in enumerate(documents) for part in self._windows(place, ids)
        ]
        with torch.inference_mode():
            for batch in chunks(windows, self.batch_size):
                self._add_nats(batch, nats)
        tokens = np.array([len(ids) for ids in documents], dtype=np.float64)
        return Losses(nats, tokens, num_bytes(texts))

    def unigram_losses(self, texts: Sequence[str], counts: Counter[int]) -> Losses:
        """Return the loss of token frequencies alone."""
        documents = self.encoding.ids(texts)
        vocabulary = self.encoding.vocabulary
        nats = np.array([unigram_nats(counts, vocabulary, ids) for ids in documents])
        tokens = np.array([len(ids) for ids in documents], dtype=np.float64)
        return Losses(nats, tokens, num_bytes(texts))

    def token_counts(self, texts: Iterable[str]) -> Counter[int]:
        """Return how often each token occurs in the texts."""
        return self.encoding.counts(texts)

    def complete(
        self, prompts: Sequence[str], decoding: Settings, max_tokens: int, before: int = 0
    ) -> list[str]:
        """Return a continuation of each prompt, of at most `max_tokens` where decoding says none.

        `before` counts the prompts that went before, which decides what a sampler draws.
        """
        encoding, longest = self.encoding, decoding.max_tokens or max_tokens
        chosen = decoding.model_copy(update={"max_tokens": longest})
        room = max(1, self.window - longest)
        rows = [[encoding.start, *ids][-room:] for ids in encoding.ids(prompts)]
        self.model.set_attn_implementation("sdpa")
        try:
            decoder = Decoder(self.model, cut=phrases.of_tokenizer(encoding.tokenizer))
            found = decoder.decode(rows, chosen, self.batch_size, first_place=before)
        finally:
            models.without_padding(self.model)
        ends = set(decoder.marks.eos)
        return [
            encoding.tokenizer.decode([one for one in outputs[0].tokens if one not in ends])
            for outputs in found
        ]

    def _windows(self, document: int, ids: Sequence[int]) -> list[Window]:
        whole = [self.encoding.start, *ids]
        windows, done = [], 1
        while done < len(whole):
            stop = min(len(whole), self.window if done == 1 else done + self.stride)
            start = max(0, stop - self.window)
            windows.append(Window(document, whole[start:stop], stop - done))
            done = stop
        return windows

    def _add_nats(self, batch: Sequence[Window], nats: np.ndarray) -> None:
        pieces = models.from_lists([window.ids for window in batch])
        where = torch.empty(len(pieces.sources), dtype=torch.long)
        where[pieces.sources] = torch.arange(len(pieces.sources))
        places: list[int] = []
        targets: list[int] = []
        owners: list[int] = []
        end = 0
        for window in batch:
            end += len(window.ids)
            places += range(end - window.scored - 1, end - 1)
            targets += window.ids[len(window.ids) - window.scored :]
            owners += [window.document] * window.scored
        states = models.hidden_states(self.model, pieces)[where[torch.tensor(places)]]
        logits = models.head_logits(self.model, states).double()
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="none")
        np.add.at(nats, owners, losses.numpy())
