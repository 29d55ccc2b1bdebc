"""Exact Jaccard similarity of two texts by their word 5-grams."""

from __future__ import annotations

import re

SIZE = 5
WORD = re.compile(r"\w+")


def shingles(text: str, size: int = SIZE) -> set[tuple[str, ...]]:
    r"""Return the set of word n-grams over the tokens that `\w+` finds, case kept.

    A text with fewer words is one shingle of all its words; a text without words has none.
    """
    found = WORD.findall(text)
    if len(found) < size:
        return {tuple(found)} if found else set()
    return set(zip(*(found[n:] for n in range(size)), strict=False))


def jaccard(one: str, two: str) -> tuple[int, int]:
    """Return how many shingles two texts share and how many they have together."""
    first, second = shingles(one), shingles(two)
    shared = len(first & second)
    return shared, len(first) + len(second) - shared
