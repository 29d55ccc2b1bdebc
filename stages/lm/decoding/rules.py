"""What may not come next: shortest lengths, repeated n-grams, forced and suppressed tokens.

Shapes: N rows, T tokens so far, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stages.core.errors import ParamsError
from stages.lm.decoding.marks import Marks


def block_ngrams(scores: Tensor, prefix: Tensor, size: int, exempt: tuple[int, ...] = ()) -> None:
    """Set to -inf, in place, every score [N, V] of a token that would complete a known n-gram.

    Tokens of `prefix` [N, T] below 0 are padding: no n-gram holds one. `exempt` tokens may come
    again: else a start token that is also the closing one would forbid the end when size is 1.
    """
    if prefix.shape[1] < size:
        return
    kept = {token: scores[:, token].clone() for token in exempt}
    windows = prefix.unfold(1, size, 1)
    tail = prefix[:, prefix.shape[1] - size + 1 :].unsqueeze(1)
    found = (windows[:, :, :-1] == tail).all(2) & (windows >= 0).all(2)
    rows, places = found.nonzero(as_tuple=True)
    scores[rows, windows[rows, places, -1]] = -math.inf
    for token, column in kept.items():
        scores[:, token] = column


class Rules:
    """The rules of one batch; `width` tokens of every prefix are none of the output."""

    def __init__(
        self, marks: Marks, width: int, limit: int, min_tokens: int = 0, ngram: int = 0
    ) -> None:
        self.marks, self.width, self.min_tokens, self.ngram = marks, width, min_tokens, ngram
        self.limit = limit + (marks.forced_eos is not None)
        """Tokens after which an output stops, a forced closing token among them."""

    def apply(self, scores: Tensor, prefix: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return scores [N, V] with what is forbidden after prefix [N, T] at -inf.

        `mask` [N, width] tells a prompt's real tokens. A forced token gets score 0, as
        transformers gives it.
        """
        marks, done = self.marks, prefix.shape[1] - self.width
        scores = scores.clone()
        if self.ngram:
            known = prefix
            if mask is not None:
                known = prefix.clone()
                known[:, : mask.shape[1]][mask == 0] = -1
            block_ngrams(scores, known, self.ngram, marks.eos)
        if done < self.min_tokens:
            scores[:, list(marks.eos)] = -math.inf
        if marks.suppressed:
            scores[:, list(marks.suppressed)] = -math.inf
        forced = None
        if done == 0 and marks.forced_first is not None:
            forced = marks.forced_first
        if done == self.limit - 1 and marks.forced_eos is not None:
            forced = marks.forced_eos
        if forced is not None:
            scores.fill_(-math.inf)
            scores[:, forced] = 0.0
        return scores

    def choosable(self, scores: Tensor) -> Tensor:
        """Return scores [N, V] of rows that must go on; ParamsError where one cannot."""
        if bool((scores.amax(dim=-1) == -math.inf).any()):
            raise no_way_on(self.min_tokens, self.ngram, scores.shape[-1])
        return scores

    def ends(self, tokens: Tensor) -> Tensor:
        """Return which tokens close an output."""
        return torch.isin(tokens, torch.tensor(self.marks.eos))


def no_way_on(min_tokens: int, ngram: int, vocabulary: int) -> ParamsError:
    """Return the error of rules that together forbid every token."""
    return ParamsError(
        f"nothing may come next: min_tokens = {min_tokens} forbids the end and "
        f"no_repeat_ngram_size = {ngram} every other one of {vocabulary} tokens",
        "decoding.no_repeat_ngram_size",
        "raise no_repeat_ngram_size, or lower min_tokens",
    )
