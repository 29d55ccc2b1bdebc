"""ROUGE-N, ROUGE-L and ROUGE-Lsum, equal to the reference implementation (rouge_score 0.1.2).

Lin (2004), ROUGE: a package for automatic evaluation of summaries. The reference's customs, which
reproduce ROUGE-1.5.5: lower case, every character outside a-z and 0-9 separates words, words of
four letters and more are stemmed where asked, a line is a sentence of ROUGE-Lsum. They make ROUGE
a measure of English: a letter with an accent splits its word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stages.lm.porter import stem
from stages.lm.resample import Counts

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_WORDS = re.compile(r"[a-z0-9]+")
STEMMED_LETTERS = 4
"""Shorter words are not stemmed."""


class Score(NamedTuple):
    """Overlap over the prediction, over the target, and their harmonic mean; 0 to 1."""

    precision: float
    recall: float
    f: float


def words(text: str, stemmed: bool = True) -> list[str]:
    """Return the words that ROUGE compares."""
    found = _WORDS.findall(text.lower())
    return (
        [stem(one) if len(one) >= STEMMED_LETTERS else one for one in found] if stemmed else found
    )


def score(target: str, prediction: str, kind: str, *, stemmed: bool = True) -> Score:
    """Return one kind of ROUGE of a prediction against one target.

    `kind` is `rouge1` to `rouge9`, `rougeL` or `rougeLsum`; others raise ValueError.
    """
    if kind == "rougeLsum":
        sides = [
            [words(line, stemmed) for line in text.split("\n") if line]
            for text in (target, prediction)
        ]
        return _summary(*sides)
    wanted, said = words(target, stemmed), words(prediction, stemmed)
    if kind == "rougeL":
        return _share(common(wanted, said), len(said), len(wanted))
    if not re.fullmatch(r"rouge[1-9]", kind):
        raise ValueError(f"no kind of ROUGE is called {kind!r}")
    return _grams(wanted, said, int(kind[-1]))


def best(targets: Sequence[str], prediction: str, kind: str, *, stemmed: bool = True) -> Score:
    """Return the score against the target with the highest F, the first of equals.

    Each kind chooses its own target, as the reference's `score_multi` does.
    """
    scores = [score(target, prediction, kind, stemmed=stemmed) for target in targets]
    return max(scores, key=lambda one: one.f)


def f_points(
    targets: Sequence[Sequence[str]],
    predictions: Sequence[str],
    kind: str,
    *,
    stemmed: bool = True,
) -> Counts:
    """Return [D, 2] for the mean F of documents in points (0 to 100): millionths, and a million.

    `targets` holds one or more texts per document; statistic `resample.ratio` gives the mean.
    """
    rows = [
        best(wanted, said, kind, stemmed=stemmed).f
        for wanted, said in zip(targets, predictions, strict=True)
    ]
    points = np.round(np.asarray(rows, dtype=np.float64) * 100.0 * 1e6)
    return np.stack([points, np.full(len(rows), 1e6)], axis=1)


def common(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    One row of the table at a time, its steps in the bits of a number (Hyyrö 2004).
    """
    where: dict[str, int] = {}
    for at, word in enumerate(a):
        where[word] = where.get(word, 0) | 1 << at
    every = (1 << len(a)) - 1
    row = every
    for word in b:
        hits = row & where.get(word, 0)
        row = (row + hits | row - hits) & every
    return len(a) - row.bit_count()


def _share(hits: int, said: int, wanted: int) -> Score:
    precision, recall = hits / max(said, 1), hits / max(wanted, 1)
    total = precision + recall
    return Score(precision, recall, 2 * precision * recall / total if total > 0 else 0.0)


def _grams(wanted: Sequence[str], said: Sequence[str], n: int) -> Score:
    one, two = (
        Counter(tuple(row[at : at + n]) for at in range(len(row) - n + 1)) for row in (wanted, said)
    )
    return _share((one & two).total(), two.total(), one.total())


def _summary(wanted: list[list[str]], said: list[list[str]]) -> Score:
    """Union of the longest common subsequences of each target sentence with all predicted ones.

    A word counts at most as often as it stands on either side (ROUGE-1.5.5; the paper does not
    say so).
    """
    left, right = (Counter(word for row in side for word in row) for side in (wanted, said))
    totals = left.total(), right.total()
    hits = 0
    for sentence in wanted:
        union = sorted(set().union(*(_matched(sentence, other) for other in said)))
        for at in union:
            word = sentence[at]
            if left[word] > 0 and right[word] > 0:
                hits += 1
                left[word] -= 1
                right[word] -= 1
    return _share(hits, totals[1], totals[0])


def _matched(a: Sequence[str], b: Sequence[str]) -> set[int]:
    """Return where in `a` the words of one longest common subsequence with `b` stand.

    Of several the one that the reference takes: read from the end, and at a tie by leaving out a
    word of `a`.
    """
    table = [[0] * (len(b) + 1)]
    for word in a:
        above, row = table[-1], [0]
        for at, other in enumerate(b):
            row.append(above[at] + 1 if word == other else max(above[at + 1], row[at]))
        table.append(row)
    i, j, found = len(a), len(b), set()
    while i and j:
        if a[i - 1] == b[j - 1]:
            found.add(i - 1)
            i, j = i - 1, j - 1
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return found
