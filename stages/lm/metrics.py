"""Scores of taggers, language models and translators, each from whole-number sums per unit.

Every function says which of several customs it follows, because they differ: macro-F1 over the
labels that occur in the gold standard; perplexity per token of the model's own tokenizer; bits per
byte of the raw text, the one figure that compares across tokenizers.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.lm.resample import Counts

MISSING = ""
"""What a tagger is taken to have said of a word it gave no tag: always wrong."""


def tag_counts(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], labels: Sequence[str]
) -> Counts:
    """Return [S, 3L]: true positives, predictions and gold words of each label, by sentence.

    A gold label outside `labels` is an error (`ValueError`): pass the union. A prediction outside
    them, or none at all, counts only as a missed gold word.
    """
    index = {label: place for place, label in enumerate(labels)}
    size = len(labels)
    table = np.zeros((len(gold), 3 * size))
    for row, (truth, guess) in enumerate(zip(gold, predicted, strict=True)):
        for place, tag in enumerate(truth):
            said = guess[place] if place < len(guess) else MISSING
            if tag not in index:
                raise ValueError(f"gold label {tag!r} is not among the labels")
            table[row, 2 * size + index[tag]] += 1
            if said in index:
                table[row, size + index[said]] += 1
                table[row, index[said]] += said == tag
    return table


def accuracy(sums: Counts) -> Counts:
    """Return correct words over gold words, from sums of `tag_counts` [R, 3L]."""
    hits, _, gold = _thirds(sums)
    return hits.sum(axis=1) / np.maximum(gold.sum(axis=1), 1)


def f1_by_label(sums: Counts) -> Counts:
    """Return F1 per label [R, L] = 2 TP / (predictions + gold); NaN where the gold has none."""
    hits, said, gold = _thirds(sums)
    scores = 2 * hits / np.maximum(said + gold, 1)
    return np.where(gold > 0, scores, np.nan)


def macro_f1(sums: Counts) -> Counts:
    """Return the mean F1 of the labels that occur in the gold standard."""
    scores = f1_by_label(sums)
    present = ~np.isnan(scores)
    total = np.where(present, scores, 0.0).sum(axis=1)
    return total / np.maximum(present.sum(axis=1), 1)


def micro_f1(sums: Counts) -> Counts:
    """Return 2 TP / (predictions + gold) over all labels; accuracy where every word has one."""
    hits, said, gold = (part.sum(axis=1) for part in _thirds(sums))
    return 2 * hits / np.maximum(said + gold, 1)


def confusion(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], labels: Sequence[str]
) -> list[list[int]]:
    """Return counts [gold label][predicted label]; predictions outside `labels` are left out."""
    index = {label: place for place, label in enumerate(labels)}
    matrix = [[0] * len(labels) for _ in labels]
    for truth, guess in zip(gold, predicted, strict=True):
        for tag, said in zip(truth, guess, strict=False):
            if tag in index and said in index:
                matrix[index[tag]][index[said]] += 1
    return matrix


def perplexity(nats: float, tokens: float) -> float:
    """Return exp of the mean loss in nats per token; infinite where that overflows."""
    mean = nats / tokens
    return math.exp(mean) if mean < 700.0 else math.inf


def bits_per_byte(nats: float, num_bytes: float) -> float:
    """Return the code length of a text in bits per byte of its UTF-8 form."""
    return nats / (math.log(2.0) * num_bytes)


def parses_python(source: str) -> bool:
    """Say whether the text is a syntactically whole Python module; nothing of it is executed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return 1 - C(n-c, k) / C(n, k), the unbiased pass@k of one problem (Chen et al. 2021, eq. 1).

    With n samples of which c are correct; asks for n >= k.
    """
    if not 0 <= correct <= samples or not 1 <= k <= samples:
        raise ValueError(f"pass@{k} of {correct} correct among {samples} samples is not defined")
    wrong = 1.0
    for count in range(samples - correct + 1, samples + 1):
        wrong *= 1.0 - k / count
    return 1.0 - wrong


class CorpusScore:
    """A sacrebleu metric of a whole corpus, in the additive form that a bootstrap needs.

    `name` is `bleu` (13a tokenisation, case kept, exponential smoothing) or `chrf` (chrF2);
    scores run from 0 to 100. The signature is sacrebleu's own.
    """

    def __init__(self, name: str) -> None:
        from sacrebleu.metrics import BLEU, CHRF

        self.name = name
        self._metric: Any = {"bleu": BLEU, "chrf": CHRF}[name]()
        self.signature = ""

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> Counts:
        """Return whole-number n-gram statistics, one row per sentence [S, K]."""
        rows = self._metric._extract_corpus_statistics(list(hypotheses), [list(references)])
        self.signature = str(self._metric.get_signature())
        return np.asarray(rows, dtype=np.float64)

    def __call__(self, sums: Counts) -> Counts:
        """Return the corpus score of every row of sums [R, K]."""
        compute = self._metric._compute_score_from_stats
        return np.array([compute([int(cell) for cell in row]).score for row in sums])


def _thirds(sums: Counts) -> tuple[Counts, Counts, Counts]:
    hits, said, gold = np.split(sums, 3, axis=1)
    return hits, said, gold
