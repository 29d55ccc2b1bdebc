"""Which sentences are asked for next: at random, by doubt, or by distance from what is known."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stages.label.sentences import Sentence, place
from stages.label.stage import UNCERTAIN, LabelParams

if TYPE_CHECKING:
    from stages.lm.classify import Tagger

DIMENSIONS = 256
"""Numbers of a sentence's vector."""
DIGITS = 6
"""Digits of a doubt that count: equal ones are put in the order of their draw."""

Asked = list[tuple[Sentence, float | None]]
"""Sentences and the doubt about each, where a model was asked."""


def choose(
    params: LabelParams, candidates: Sequence[Sentence], labelled: Sequence[Sentence],
    model: Path | None,
) -> Asked:  # fmt: skip
    """Return the batch, the most wanted first."""
    drawn = sorted(candidates, key=lambda one: (place(params.seed, "draw", one.id), one.id))
    drawn = drawn[: params.max_candidates]
    if params.by == "random":
        return [(one, None) for one in drawn[: params.size]]
    if params.by not in UNCERTAIN:
        far = farthest(vectors(drawn), vectors(labelled), params.size)
        return [(drawn[number], None) for number in far]
    assert model is not None, "the parameters name a model"
    doubt = doubts(params, drawn, model)
    order = np.argsort(-doubt, kind="stable")[: params.size * params.diverse_of]
    if params.diverse_of > 1:
        unsure = [drawn[number] for number in order.tolist()]
        order = order[farthest(vectors(unsure), vectors(labelled), params.size)]
    return [(drawn[number], float(doubt[number])) for number in order[: params.size].tolist()]


def doubts(params: LabelParams, drawn: Sequence[Sentence], model: Path) -> NDArray[np.float64]:
    """Return a tagger's doubt about each sentence [S], the mean over its words, six digits."""
    from stages.lm.classify import Tagger

    tagger: Tagger = Tagger.load(model, params.threads)
    rows = tagger.probabilities([one.tokens for one in drawn])
    return np.array([round(doubt(row, params.by), DIGITS) for row in rows])


def doubt(shares: NDArray[np.float64], by: str) -> float:
    """Return the mean over words of what [words, C] probabilities leave open."""
    if by == "entropy":
        logs = np.log(np.maximum(shares, 1e-12))
        return float(-(shares * logs).sum(axis=1).mean())
    best = np.sort(shares, axis=1)[:, ::-1]
    if by == "margin":
        return float((1 - (best[:, 0] - best[:, 1])).mean())
    return float((1 - best[:, 0]).mean())


def vectors(sentences: Sequence[Sentence]) -> NDArray[np.float64]:
    """Return unit vectors [S, 256] of hashed words and endings of words."""
    found = np.zeros((len(sentences), DIMENSIONS))
    for number, one in enumerate(sentences):
        for word in one.tokens:
            plain = word.casefold()
            for part in (plain, f"-{plain[-3:]}"):
                found[number, zlib.crc32(part.encode("utf-8", "surrogatepass")) % DIMENSIONS] += 1
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    return found / np.maximum(norms, 1e-12)


def farthest(points: NDArray[np.float64], known: NDArray[np.float64], size: int) -> list[int]:
    """Return numbers of points, each the farthest from all known and chosen before (k-center).

    Of equally far ones the first is taken; with nothing known the first point begins.
    """
    likeness = np.full(len(points), -1.0)
    for start in range(0, len(known), 512):
        part = np.round(points @ known[start : start + 512].T, DIGITS)
        likeness = np.maximum(likeness, part.max(axis=1))
    chosen: list[int] = []
    left = np.ones(len(points), bool)
    while len(chosen) < min(size, len(points)):
        number = int(np.where(left, likeness, np.inf).argmin())
        chosen.append(number)
        left[number] = False
        likeness = np.maximum(likeness, np.round(points @ points[number], DIGITS))
    return chosen
