"""How far annotators agree beyond chance: Cohen's and Fleiss' kappa, over words.

Cohen 1960, Educational and Psychological Measurement 20:1; Fleiss 1971, Psychological Bulletin
76:5. With nothing but one label given, chance explains all and kappa is not defined: None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

Answers = Mapping[str, Sequence[str]]
"""Labels of the words of one sentence, by annotator."""


def cohen(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Return Cohen's kappa of two annotators' labels of the same items."""
    if not first or len(first) != len(second):
        return None
    seen = sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
    one, other = Counter(first), Counter(second)
    chance = sum(one[label] * other[label] for label in one) / len(first) ** 2
    return None if chance == 1 else (seen - chance) / (1 - chance)


def fleiss(items: Sequence[Sequence[str]]) -> float | None:
    """Return Fleiss' kappa of items that were each given two labels or more.

    Items may have different numbers of labels: an item's agreement is that of its own pairs, and
    chance follows from all labels.
    """
    rated = [item for item in items if len(item) > 1]
    if not rated:
        return None
    every = Counter(label for item in rated for label in item)
    total = every.total()
    chance = sum((count / total) ** 2 for count in every.values())
    alike = 0.0
    for item in rated:
        counts = Counter(item)
        alike += sum(n * (n - 1) for n in counts.values()) / (len(item) * (len(item) - 1))
    seen = alike / len(rated)
    return None if chance == 1 else (seen - chance) / (1 - chance)


def told(sentences: Sequence[Answers]) -> dict[str, Any]:
    """Return how annotators agree on the sentences that two or more of them answered."""
    several = [answers for answers in sentences if len(answers) > 1]
    if not several:
        return {"sentences": 0}
    pairs: dict[str, Any] = {}
    names = sorted({name for answers in several for name in answers})
    for one, other in combinations(names, 2):
        both = [answers for answers in several if one in answers and other in answers]
        first = [label for answers in both for label in answers[one]]
        second = [label for answers in both for label in answers[other]]
        if both:
            pairs[f"{one} and {other}"] = {
                "sentences": len(both),
                "words": len(first),
                "agreement": _rounded(
                    sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
                ),
                "cohen_kappa": _rounded(cohen(first, second)),
            }
    items = [list(word) for answers in several for word in zip(*answers.values(), strict=True)]
    return {
        "sentences": len(several),
        "words": len(items),
        "annotators": names,
        "fleiss_kappa": _rounded(fleiss(items)),
        "pairs": pairs,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
