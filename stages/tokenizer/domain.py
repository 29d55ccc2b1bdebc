"""Domain tokens: texts that are one token wherever they stand, never cut and never normalised."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stages.core.errors import ParamsError
from stages.lm.spelling import (
    BYTE,
    BYTES_SPECIALS,
    CAUSAL_SPECIALS,
    MASKED_SPECIALS,
    SPACE,
    unspell,
)

SPECIALS = frozenset((*MASKED_SPECIALS, *CAUSAL_SPECIALS, *BYTES_SPECIALS))


def refuse(tokens: Sequence[str], algorithm: str) -> None:
    """Refuse domain tokens that could not be told from each other or from the vocabulary."""
    seen: dict[str, int] = {}
    for number, token in enumerate(tokens):
        why = _fault(token, algorithm)
        if token in seen:
            why = (
                f"stands there twice, as number {seen[token] + 1} and {number + 1}",
                "name it once",
            )
        if why:
            raise ParamsError(
                f"the domain token {token!r} {why[0]}",
                f"tokenizer: domain_tokens[{number}]",
                why[1],
            )
        seen[token] = number


def _fault(token: str, algorithm: str) -> tuple[str, str] | None:
    """Return what is wrong with a domain token and what to do."""
    if not token:
        return "is empty", "take it away"
    if token in SPECIALS:
        return "is a special token", "take it away: special tokens are never read out of text"
    try:
        token.encode("utf-8")
    except UnicodeEncodeError:
        return "is no Unicode text (a surrogate stands alone)", "write the characters themselves"
    if algorithm in ("bpe", "bytes"):
        return _byte_level(token)
    if algorithm == "unigram" and (SPACE in token or BYTE.fullmatch(token)):
        return "is spelled as Unigram spells a space or a byte", "choose another spelling"
    if algorithm == "wordpiece" and token.startswith("##"):
        return "is spelled as WordPiece spells the inside of a word", "choose another spelling"
    return None


def _byte_level(token: str) -> tuple[str, str] | None:
    """Byte-level vocabularies spell bytes 0x21 to 0xFF and more as letters up to U+0143.

    A token of such letters alone would be decoded as the bytes they spell.
    """
    spelled = unspell(token)
    if spelled is None:
        return None
    if len(token) == 1:
        return "is in the alphabet of bytes", "take it away, or make it longer"
    if spelled != token.encode("utf-8"):
        return (
            "has only letters with which a byte-level vocabulary spells bytes, and would be"
            " decoded as those",
            "add a space or another sign to it, or set algorithm to `unigram`",
        )
    return None


class Cutter:
    """Cuts texts at domain tokens, as `tokenizers` does: from the left, the longest first.

    A special token that a text spells stays text, and so does what it holds of a domain token.
    """

    def __init__(self, tokens: Sequence[str], specials: Sequence[str] = ()) -> None:
        longest = sorted([*tokens, *specials], key=lambda one: (-len(one), one))
        self._specials = frozenset(specials)
        self._pattern = re.compile("|".join(map(re.escape, longest))) if tokens else None

    def cut(self, text: str) -> list[str]:
        """Return what stands between domain tokens at even places, and the tokens at odd ones."""
        if self._pattern is None:
            return [text]
        found, at = [], 0
        for match in self._pattern.finditer(text):
            if match[0] not in self._specials:
                found += [text[at : match.start()], match[0]]
                at = match.end()
        return [*found, text[at:]]
