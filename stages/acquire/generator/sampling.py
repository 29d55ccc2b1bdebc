"""Which word a variable becomes: a Zipf law per category, bent towards the topic's own words.

A draw takes one 32-bit number: one bit decides between the general law and the topic's list, the
rest looks the word up in a table that holds each word as often as its probability says. The tables
are the same on every machine.
"""

from __future__ import annotations

import random
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from stages.acquire.generator.vocabulary import Category

GENERAL_BITS = 15
TOPIC_BITS = 7
TOPIC_WORDS = 40
OWN_FIELD_SHARE = 0.7
ZIPF_OFFSET = 1
"""Zipf-Mandelbrot: the word of rank r (from 0) has weight 1 / (r + 1 + offset)^(9/8).

The categories together then fall with the power 0.9 to 1 of the rank. The root is taken by square
roots, which IEEE 754 rounds exactly everywhere, and not by `pow`.
"""
TOPIC_BIT = np.uint32(1 << 31)


def table(num_words: int, bits: int) -> NDArray[np.int32]:
    """Return word numbers, each as often as its share of 2^bits places, rarest at the end."""
    places = 1 << bits
    bases = [float(rank + 1 + ZIPF_OFFSET) for rank in range(num_words)]
    weights = [1.0 / (base * sqrt(sqrt(sqrt(base)))) for base in bases]
    total = sum(weights)
    edges, mass = [], 0.0
    for weight in weights:
        mass += weight
        edges.append(round(mass / total * places))
    counts = [after - before for before, after in zip([0, *edges], edges, strict=False)]
    return np.repeat(np.arange(num_words, dtype=np.int32), np.array(counts, dtype=np.int64))


def topic_words(category: Category, field: str, rng: random.Random) -> list[int]:
    """Return the words of a category that a topic favours: mostly of its field, commonest first."""
    own = [n for n, word in enumerate(category.words) if word.field == field]
    size = len(category.words)
    chosen: dict[int, None] = {}
    for number in range(min(TOPIC_WORDS, size)):
        if own and rng.random() < OWN_FIELD_SHARE:
            # Squaring prefers the commoner words of the field.
            chosen[own[int(rng.random() ** 2 * len(own))]] = None
        else:
            chosen[int(rng.random() ** 2 * size) if size > 1 else number] = None
    return sorted(chosen)


class Sampler:
    """Draws word numbers for variables of any category under any topic."""

    def __init__(self, categories: dict[str, Category], num_topics: int, seed: int) -> None:
        rng = random.Random(f"topics {seed}")
        fields = sorted({word.field for c in categories.values() for word in c.words if word.field})
        self.topics = [f"{fields[k % len(fields)]}-{k // len(fields)}" for k in range(num_topics)]
        self.numbers = {name: number for number, name in enumerate(categories)}
        general, topical = [], []
        for category in categories.values():
            general.append(table(len(category.words), GENERAL_BITS))
            for k in range(num_topics):
                chosen = topic_words(category, fields[k % len(fields)], rng)
                topical.append(np.array(chosen, dtype=np.int32)[table(len(chosen), TOPIC_BITS)])
        self._general = np.concatenate(general)
        self._topical = np.concatenate(topical)
        self._num_topics = num_topics

    def draw(
        self, category: NDArray[np.int64], topic: NDArray[np.int64], bits: NDArray[np.uint32]
    ) -> NDArray[np.int32]:
        """Return a word number for each variable, from its category, topic and 32 random bits."""
        low = (bits & np.uint32((1 << GENERAL_BITS) - 1)).astype(np.int64)
        found = self._general[(category << GENERAL_BITS) + low]
        own = np.flatnonzero((bits & TOPIC_BIT) != 0)
        place = (category[own] * self._num_topics + topic[own]) << TOPIC_BITS
        found[own] = self._topical[place + (low[own] & ((1 << TOPIC_BITS) - 1))]
        return found
