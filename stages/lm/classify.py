"""Using a trained model: tag words, fill masks, complete text.

Shapes: N tokens of a batch, C labels, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.core.errors import ArtifactError, ParamsError
from stages.lm import device, models
from stages.lm.models import Pieces
from stages.lm.words import Encoder, Window, words

__all__ = ["Filler", "Tagger", "fill_mask", "load", "words"]

SCORE_DIGITS = 4
"""Digits of a probability that are shown and written."""
BATCH_TOKENS = 4096
"""Tokens of a tagging batch at most (a single longer sentence is a batch of its own)."""


class Tagger:
    """A token classifier: one tag and its probability per word, any length of sentence."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model.eval()
        self.encoder = Encoder(tokenizer, models.longest(model.config))
        names = model.config.id2label
        self.labels = [str(names[number]) for number in range(len(names))]

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Tagger:
        """Open a fine-tuned folder."""
        device.prepare(threads)
        return cls(models.load(folder, "token-classification"), models.open_tokenizer(folder))

    def tag(
        self, sentences: Sequence[Sequence[str]], batch_size: int = 0
    ) -> list[list[tuple[str, float]]]:
        """Return (tag, probability) for every word of every sentence.

        Sentences of like length run together, `batch_size` at a time (0: as many as make some
        4,096 tokens); the result does not depend on it beyond rounding.
        """
        windows = self.encoder.encode(sentences)
        found: list[list[tuple[str, float]]] = [
            [("", 0.0)] * len(sentence) for sentence in sentences
        ]
        order = sorted(range(len(windows)), key=lambda number: -len(windows[number].ids))
        with torch.inference_mode():
            for batch in _batches([windows[number] for number in order], batch_size):
                scores, best = self._scores(batch).max(-1)
                at = 0
                for window in batch:
                    for word in range(len(window.heads)):
                        label = self.labels[int(best[at])]
                        found[window.sentence][window.first + word] = (label, float(scores[at]))
                        at += 1
        return found

    def probabilities(self, sentences: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        """Return the probability of every label of every word, [words, C] for each sentence."""
        windows = self.encoder.encode(sentences)
        shape = len(self.labels)
        found = [np.full((len(sentence), shape), 1 / shape) for sentence in sentences]
        order = sorted(range(len(windows)), key=lambda number: -len(windows[number].ids))
        with torch.inference_mode():
            for batch in _batches([windows[number] for number in order], 0):
                shares = self._scores(batch).double().numpy()
                at = 0
                for window in batch:
                    end = window.first + len(window.heads)
                    found[window.sentence][window.first : end] = shares[at : at + len(window.heads)]
                    at += len(window.heads)
        return found

    def _scores(self, batch: Sequence[Window]) -> Tensor:
        """Return probabilities [words, C], window by window."""
        pieces = models.from_lists([window.ids for window in batch])
        heads, start = [], 0
        for window in batch:
            heads += [start + head for head in window.heads]
            start += len(window.ids)
        states = models.hidden_states(self.model, pieces)[places(pieces)[torch.tensor(heads)]]
        return models.head_logits(self.model, states).softmax(-1)


def places(pieces: Pieces) -> Tensor:
    """Return where each given token lies in the pieces, [N]: the inverse of `sources`."""
    where = torch.empty_like(pieces.sources)
    where[pieces.sources] = torch.arange(len(where))
    return where


def load(folder: Path, threads: int = 1) -> Tagger:
    """Open a tagger."""
    return Tagger.load(folder, threads)


class Filler:
    """A masked language model that fills in the one mask of a text."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    def fill(self, texts: Sequence[str], top_k: int = 5) -> list[list[dict[str, Any]]]:
        """Return the best tokens for the mask of each text: token, text, score (four digits).

        Equal scores are put in the order of token ids.
        """
        return [self._fill(text, top_k) for text in texts]

    def _fill(self, text: str, top_k: int) -> list[dict[str, Any]]:
        mask = self.tokenizer.mask_token
        ids = self.tokenizer(text, verbose=False)["input_ids"]
        if ids.count(self.tokenizer.mask_token_id) != 1:
            raise ParamsError(
                f"the text {text!r} does not hold exactly one {mask}",
                "fill in the mask",
                f"write {mask} where the model shall fill in a word",
            )
        _check_fits(self.model, ids)
        place = ids.index(self.tokenizer.mask_token_id)
        with torch.inference_mode():
            states = models.hidden_states(self.model, models.from_lists([ids]))
            shares = models.head_logits(self.model, states[place : place + 1])[0].softmax(-1)
        rounded = [round(value, SCORE_DIGITS) for value in shares.tolist()]
        best = sorted(range(len(rounded)), key=lambda token: (-rounded[token], token))[:top_k]
        return [
            {
                "token": self.tokenizer.convert_ids_to_tokens(token),
                "text": text.replace(mask, self.tokenizer.decode([token]).strip()),
                "score": rounded[token],
            }
            for token in best
        ]


def fill_mask(
    folder: Path, texts: Sequence[str], top_k: int = 5, threads: int = 1
) -> list[list[dict[str, Any]]]:
    """Return the best fillings of the mask in each text."""
    device.prepare(threads)
    return Filler(models.load(folder, "mlm"), models.open_tokenizer(folder)).fill(texts, top_k)


def _check_fits(model: Any, ids: Sequence[int]) -> None:
    limit = models.longest(model.config)
    if len(ids) > limit:
        raise ArtifactError(
            f"the text has {len(ids)} tokens and the model reads {limit}",
            "the text",
            "shorten the text",
        )


def _batches(windows: Sequence[Window], batch_size: int) -> list[list[Window]]:
    """Cut windows, longest first, into batches."""
    found: list[list[Window]] = []
    tokens = 0
    for window in windows:
        full = len(found[-1]) >= batch_size if batch_size and found else tokens > BATCH_TOKENS
        if not found or full:
            found.append([])
            tokens = 0
        found[-1].append(window)
        tokens += len(window.ids)
    return found
