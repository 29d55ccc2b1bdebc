"""What an output's tokens tell of its decoding: repetition, variety, probability.

No torch: lists of token ids in, floats out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

Tokens = Sequence[int]


def ngrams(tokens: Tokens, size: int) -> list[tuple[int, ...]]:
    """Return the n-grams of one text."""
    return [tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)]


def repeated_fraction(texts: Sequence[Tokens], size: int) -> float:
    """Return rep-n: the share of n-grams that occurred before in their text (Welleck 2020)."""
    total = sum(len(ngrams(text, size)) for text in texts)
    unique = sum(len(set(ngrams(text, size))) for text in texts)
    return 1.0 - unique / total if total else 0.0


def distinct_fraction(texts: Sequence[Tokens], size: int) -> float:
    """Return distinct-n: different n-grams of all texts over n-grams (Li 2016)."""
    found = [one for text in texts for one in ngrams(text, size)]
    return len(set(found)) / len(found) if found else 0.0


def diversity_fraction(texts: Sequence[Tokens]) -> float:
    """Return the product of 1 - rep-n for n of 2, 3 and 4 (arXiv 2202.06417)."""
    product = 1.0
    for size in (2, 3, 4):
        product *= 1.0 - repeated_fraction(texts, size)
    return product


@dataclass(frozen=True)
class Degeneration:
    """The figures of a report on generated texts."""

    rep2_fraction: float
    rep3_fraction: float
    rep4_fraction: float
    diversity_fraction: float
    distinct1_fraction: float
    distinct2_fraction: float
    mean_nats: float
    """Mean log-probability of a token under the model that wrote it."""

    def row(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def degeneration(texts: Sequence[Tokens], nats: Sequence[Sequence[float]]) -> Degeneration:
    """Return the figures of texts and of their tokens' log-probabilities in nats."""
    parts = [one for row in nats for one in row]
    return Degeneration(
        rep2_fraction=repeated_fraction(texts, 2),
        rep3_fraction=repeated_fraction(texts, 3),
        rep4_fraction=repeated_fraction(texts, 4),
        diversity_fraction=diversity_fraction(texts),
        distinct1_fraction=distinct_fraction(texts, 1),
        distinct2_fraction=distinct_fraction(texts, 2),
        mean_nats=sum(parts) / len(parts) if parts else 0.0,
    )
