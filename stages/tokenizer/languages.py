"""What a vocabulary costs each language: by source of the text, and on both sides of a translation.

Tokens per word depend on how a language writes words, so languages are compared by the tokens that
the same content takes: the parity of Petrov et al. 2023 (arXiv 2305.15425), 1 where both sides of
a translation take as many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from stages.lm import corpora
from stages.lm.tokenizers import encode_texts
from stages.tokenizer.stage import TokenizerParams

MOST_GROUPS = 24
"""Groups with a row of their own: the largest; the others share one."""
OTHERS = "others"
SIDES = ("source_text", "target_text")
MOST_PAIRS = 20_000
AT_ONCE = 64


@dataclass
class Group:
    """Sums over texts of one language or source."""

    texts: int = 0
    text_bytes: int = 0
    characters: int = 0
    words: int = 0
    tokens: int = 0
    unknown: int = 0

    def add(self, text: str, ids: Sequence[int], unknown: int | None) -> None:
        """Count one text and its tokens."""
        self.texts += 1
        self.text_bytes += len(text.encode("utf-8"))
        self.characters += len(text)
        self.words += len(text.split())
        self.tokens += len(ids)
        self.unknown += 0 if unknown is None else list(ids).count(unknown)

    def merge(self, other: Group) -> None:
        """Take the sums of another group in."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def row(self, name: str, parity: float | None = None) -> dict[str, Any]:
        """Return what one row of the table says; `parity` is tokens by those of the other side."""
        return {
            "name": name,
            "texts": self.texts,
            "bytes": self.text_bytes,
            "words": self.words,
            "tokens": self.tokens,
            "tokens_per_word": share(self.tokens, self.words),
            "bytes_per_token": share(self.text_bytes, self.tokens),
            "characters_per_token": share(self.characters, self.tokens),
            "unknown_fraction": share(self.unknown, self.tokens),
            "parity": parity,
        }


def share(part: int, whole: int) -> float:
    """Return a quotient, 0 where there is nothing to divide by."""
    return part / whole if whole else 0.0


def of_groups(groups: Mapping[str, Group]) -> list[dict[str, Any]]:
    """Return a row for each of the largest groups, and one for all others together."""
    ranked = sorted(groups, key=lambda name: (-groups[name].text_bytes, name))
    rows = [groups[name].row(name) for name in ranked[:MOST_GROUPS]]
    rest = Group()
    for name in ranked[MOST_GROUPS:]:
        rest.merge(groups[name])
    return [*rows, rest.row(OTHERS)] if rest.texts else rows


def of_sides(params: TokenizerParams, backend: Tokenizer, reference: Path) -> list[dict[str, Any]]:
    """Return a row for each side of a parallel reference corpus; none where it is no such one."""
    if params.reference == "none":
        return []
    described = corpora.read_corpus(reference, list(corpora.TEXT_COLUMNS), "tokenizer")
    if described["kind"] != "parallel":
        return []
    splits = ("test", "valid", "train")
    split = next((name for name in splits if corpora.split_size(described, name)), None)
    if split is None:
        return []
    pairs = []
    for number, pair in enumerate(corpora.pairs(reference, split)):
        if number == MOST_PAIRS:
            break
        pairs.append([pair[side] for side in SIDES])
    sides = aligned(backend, list(zip(*pairs, strict=True)))
    names = [f"{params.reference}:{side.removesuffix('_text')}" for side in SIDES]
    return [
        one.row(name, share(one.tokens, other.tokens))
        for name, one, other in zip(names, sides, reversed(sides), strict=True)
    ]


def aligned(backend: Tokenizer, sides: Sequence[Sequence[str]]) -> list[Group]:
    """Return the sums of each side of aligned texts."""
    unknown = backend.token_to_id("<unk>")
    return [_counted(backend, texts, unknown) for texts in sides]


def _counted(backend: Tokenizer, texts: Iterable[str], unknown: int | None) -> Group:
    group, held = Group(), list(texts)
    for first in range(0, len(held), AT_ONCE):
        batch = held[first : first + AT_ONCE]
        for text, ids in zip(batch, encode_texts(backend, batch), strict=True):
            group.add(text, ids, unknown)
    return group
