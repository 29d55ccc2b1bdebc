"""Documents in batches: choose plans, fill their variables, join the pieces.

Everything that happens for each word happens in numpy; Python joins one string per document (and
one per sentence where there is gold).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.acquire.generator.sampling import Sampler
from stages.acquire.generator.templates import Pool, Runs
from stages.acquire.generator.vocabulary import Category

SHORTEST, LONGEST = 3, 60
LENGTHS = np.array(
    [n for n in range(SHORTEST, LONGEST + 1) for _ in range(1 + 2400 // (n + 12) ** 2)]
)
"""Sentences of a document, drawn evenly from this list: short documents are commoner."""
HEADING_SHARE, PARAGRAPH_SHARE = 0.45, 0.2
ORIGINS = {"root": 0, "affix": 1, "compound": 2}


Gold = tuple[int, str, str, str]
"""A sentence: its document's number in the batch, text, annotation lines, English."""


@dataclass
class Batch:
    """Documents in order: texts, topics, last sentences, gold, pairs, and by sentence the plan.

    `ends` says where each document ends among the sentences; `origins` has bit 1 for sentences with
    derived words and bit 2 for those with compounds.
    """

    texts: list[str]
    topics: list[str]
    annotated: list[Gold]
    paired: list[Gold]
    last: list[str]
    plan: NDArray[np.int64]
    ends: list[int]
    origins: NDArray[np.uint8]


def ragged(start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of runs one after the other: start, start + 1, ... for each run."""
    before = np.cumsum(length) - length
    return np.arange(int(length.sum()), dtype=np.int64) + np.repeat(start - before, length)


class Assembler:
    """Makes batches of documents from a sampler and a pool of plans."""

    def __init__(self, categories: dict[str, Category], sampler: Sampler) -> None:
        self._sampler = sampler
        origins = [[ORIGINS[word.origin] for word in c.words] for c in categories.values()]
        sizes = np.array([len(row) for row in origins], dtype=np.int64)
        self._origin_start = np.cumsum(sizes) - sizes
        self._origin = np.array([flag for row in origins for flag in row], dtype=np.uint8)

    def batch(
        self, pool: Pool, num_documents: int, gold_share: float, pair_share: float,
        random: np.random.PCG64,
    ) -> Batch:  # fmt: skip
        """Return a batch of documents from random bits."""
        uniform = _uniform(random, (num_documents, 5))
        topic = (uniform[:, 0] * len(self._sampler.topics)).astype(np.int64)
        sentences = LENGTHS[(uniform[:, 1] * len(LENGTHS)).astype(np.int64)]
        plan, separator = self._choose(pool, sentences, uniform[:, 2], random)
        of_topic = np.repeat(topic, sentences)
        values, first, origins = self._fill(pool, plan, of_topic, separator, random)
        parts, ends = self._pieces(pool, pool.eo, plan, values, first)
        last = np.cumsum(sentences)
        bounds = [0, *ends[last - 1].tolist()]
        texts = ["".join(parts[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
        final = ["".join(parts[e - n + 1 : e]) for e, n in zip(
            ends[last - 1].tolist(), pool.eo.length[plan[last - 1]].tolist(), strict=True
        )]  # fmt: skip
        batch = Batch(
            texts,
            [self._sampler.topics[k] for k in topic.tolist()],
            [],
            [],
            final,
            plan,
            last.tolist(),
            origins,
        )
        document = np.repeat(np.arange(num_documents), sentences)
        gold = uniform[:, 3] < gold_share
        paired = uniform[:, 4] < pair_share
        wanted = np.flatnonzero((gold | paired)[document])
        if len(wanted):
            made = self._gold(pool, plan, values, first, parts, ends, document, wanted)
            batch.annotated = made if gold.all() else [item for item in made if gold[item[0]]]
            batch.paired = made if paired.all() else [item for item in made if paired[item[0]]]
        return batch

    def _choose(
        self, pool: Pool, sentences: NDArray[np.int64], heading: NDArray[np.float64],
        random: np.random.PCG64,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
        """Return the plan of every sentence and the separator before it."""
        total = int(sentences.sum())
        uniform = _uniform(random, (total, 2))
        count = len(pool.plans) - pool.num_headings
        plan = pool.num_headings + (uniform[:, 0] * count).astype(np.int64)
        separator = np.where(uniform[:, 1] < PARAGRAPH_SHARE, 2, 1)
        first = np.cumsum(sentences) - sentences
        separator[first] = 0
        titled = first[heading < HEADING_SHARE]
        plan[titled] = (uniform[titled, 0] * pool.num_headings).astype(np.int64)
        separator[titled + 1] = 2
        return plan, separator

    def _fill(
        self, pool: Pool, plan: NDArray[np.int64], topic: NDArray[np.int64],
        separator: NDArray[np.int64], random: np.random.PCG64,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:  # fmt: skip
        """Return the values of all variables, where each sentence's begin, and origin flags."""
        length = pool.slots.length[plan]
        category = pool.slots.offset[ragged(pool.slots.start[plan], length)]
        bits = random.random_raw((len(category) + 1) // 2).view(np.uint32)[: len(category)]
        values = self._sampler.draw(category, np.repeat(topic, length), bits).astype(np.int64)
        first = np.cumsum(length) - length
        values[first] = 0
        flags = np.bitwise_or.reduceat(self._origin[self._origin_start[category] + values], first)
        values[first + 1] = separator
        return values, first, flags

    def _pieces(
        self, pool: Pool, runs: Runs, plan: NDArray[np.int64], values: NDArray[np.int64],
        first: NDArray[np.int64],
    ) -> tuple[list[str], NDArray[np.int64]]:  # fmt: skip
        """Return all parts of the sentences and where each sentence ends among them."""
        length = runs.length[plan]
        where = ragged(runs.start[plan], length)
        chosen = values[runs.variable[where] + np.repeat(first, length)]
        return pool.pieces[runs.offset[where] + chosen].tolist(), np.cumsum(length)

    def _gold(
        self, pool: Pool, plan: NDArray[np.int64], values: NDArray[np.int64],
        first: NDArray[np.int64], parts: list[str], ends: NDArray[np.int64],
        document: NDArray[np.int64], wanted: NDArray[np.int64],
    ) -> list[Gold]:  # fmt: skip
        plan, first = plan[wanted], first[wanted]
        lines, lines_end = self._pieces(pool, pool.gold, plan, values, first)
        english, english_end = self._pieces(pool, pool.en, plan, values, first)
        rows = zip(
            document[wanted].tolist(),
            (ends[wanted] - pool.eo.length[plan] + 1).tolist(),
            ends[wanted].tolist(),
            [0, *lines_end.tolist()],
            lines_end.tolist(),
            [0, *english_end.tolist()],
            english_end.tolist(),
            strict=False,
        )
        return [
            (d, "".join(parts[a:b]), "".join(lines[c:e]), "".join(english[f:g]))
            for d, a, b, c, e, f, g in rows
        ]


def _uniform(random: np.random.PCG64, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return numbers in [0, 1) from the top 53 bits of raw draws."""
    raw = random.random_raw(shape[0] * shape[1]) >> np.uint64(11)
    return np.asarray(raw * (1.0 / (1 << 53)), dtype=np.float64).reshape(shape)
