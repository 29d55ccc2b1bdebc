"""What a vocabulary is learned from: texts without domain tokens, normalised, in parts.

`tokenizers` takes added tokens out first, normalises what stands between them part by part, and
cuts each part into words by itself. The same is done here before anything is counted.
"""

from __future__ import annotations

from typing import Any

from stages.core.errors import CheckFailed
from stages.tokenizer.domain import Cutter
from stages.tokenizer.normalisers import rendered
from stages.tokenizer.stage import TokenizerParams


def digits(params: TokenizerParams) -> Any:
    """Return the pre-tokenizer that cuts numbers, None where they are left alone."""
    from tokenizers import Regex, pre_tokenizers

    if not params.split_digits:
        return None
    if params.digit_group == 1:
        return pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Split(Regex(rf"\p{{N}}{{1,{params.digit_group}}}"), "isolated")


class Preparation:
    """Prepares texts as the tokenizer will."""

    def __init__(self, params: TokenizerParams) -> None:
        self._cutter = Cutter(params.domain_tokens, params.specials())
        self._normaliser = rendered(params.normalise)
        self._digits = digits(params)
        self.idle = not params.domain_tokens and self._normaliser is None
        """Whether texts stay as they are."""
        self.whole = self._digits is None
        """Whether numbers do."""
        self.left = 0
        """Characters of all parts given so far."""

    def parts(self, text: str) -> list[str]:
        """Return the parts of a text between domain tokens, normalised; empty ones are left out."""
        found = [self._normal(part) for part in self._cutter.cut(text)[::2]]
        kept = [part for part in found if part]
        self.left += sum(map(len, kept))
        return kept

    def pieces(self, text: str) -> list[str]:
        """Return the parts of a text, numbers cut apart."""
        if self._digits is None:
            return self.parts(text)
        return [
            piece for part in self.parts(text) for piece, _ in self._digits.pre_tokenize_str(part)
        ]

    def decoded(self, text: str) -> str:
        """Return what encoding and decoding gives back where nothing but normalising is lost."""
        if self.idle:
            return text
        found = self._cutter.cut(text)
        found[::2] = map(self._normal, found[::2])
        return "".join(found)

    def check(self, where: str) -> None:
        """Refuse to learn from nothing."""
        if not self.left:
            raise CheckFailed(
                "nothing is left of the training text after it is normalised and domain tokens are"
                " taken out",
                where,
                "take steps out of `normalise` in the tokenizer's entry, or give the corpus other"
                " text",
            )

    def _normal(self, text: str) -> str:
        if self._normaliser is None or not text:
            return text
        return str(self._normaliser.normalize_str(text))
