"""Several folders of tokens read as one: rows of each by weight, every count exact and told.

Rows are numbered one folder after another. The blend is an endless sequence of row numbers: which
folder comes next keeps every folder's count within one of its share at every moment
(`stages.lm.kernels.blending`), and within a folder its rows come epoch by epoch, shuffled anew
(`stages.lm.packing.shuffled`). How far a run reads changes nothing of what it has read before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.kernels import blending
from stages.lm.packing import Ints, shuffled
from stages.lm.tokens import Batch, Tokens

BLOCK = 1 << 18
"""Positions of the sequence that are computed at once."""
APART = 0x9E3779B97F4A7C15
"""Added to the seed per folder, so that folders of equal size are not shuffled alike."""
WHOLE = (1 << 63) - 1
"""In place of an epoch where all epochs of a folder are shuffled together."""
SAME = ("vocab_size", "dtype", "sequence_length", "objective", "special", "tokenizer_digest")


class Blend:
    """Splits of folders of tokens as one; `shares` [k] are whole numbers, how often each is read.

    A single folder is a blend of one: its rows, in the order that `Tokens.order` gives.
    """

    def __init__(
        self, sources: Sequence[Tokens], weights: Sequence[float] = (), where: str = "blend"
    ) -> None:
        self.sources = list(sources)
        _check_alike(self.sources)
        counts = [one.rows for one in self.sources]
        self.firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.rows = int(self.firsts[-1])
        if weights and len(weights) != len(counts):
            raise ParamsError(
                f"{len(weights)} weights for {len(counts)} folders of tokens",
                where,
                "give one weight for each, in the order of tokens, second, third, fourth",
            )
        # Without weights every row comes equally often, as if all stood in one folder.
        self.shares = _shares(weights or [count if self.rows else 1 for count in counts], where)
        for one, share in zip(self.sources, self.shares.tolist(), strict=True):
            if share and not one.rows:
                raise ArtifactError(
                    "the split has no tokens to train on",
                    f"split {one.split} of {one.folder}",
                    "give the corpus more text or another share for this split",
                )
        first = self.sources[0]
        self.manifest, self.special = first.manifest, first.special
        self.sequence_length, self.vocab_size = first.sequence_length, first.vocab_size

    def drawn(self, size: int, begun: int = 0, counts: Ints | None = None) -> Iterator[Any]:
        """Yield for blocks of `size` positions: sources [n], and how many of each came before."""
        counts = np.zeros(len(self.shares), np.int64) if counts is None else counts
        for first in range(begun, size, BLOCK):
            before = counts.copy()
            yield blending.blend(self.shares, first, counts, min(BLOCK, size - first)), before

    def counts(self, size: int) -> Ints:
        """Return how many of the first `size` positions are of each source, [k]."""
        found = np.zeros(len(self.shares), np.int64)
        for _ in self.drawn(size, counts=found):
            pass
        return found

    def order(self, size: int, seed: int, whole: bool = False) -> Iterator[Ints]:
        """Yield the row numbers of the first `size` positions, block by block.

        With `whole` each folder's epochs are laid end to end and shuffled together, once: a row may
        come again before another comes at all, yet each comes equally often (give or take one).
        """
        totals = self.counts(size) if whole else None
        for sources, before in self.drawn(size):
            block = np.empty(len(sources), np.int64)
            for number, one in enumerate(self.sources):
                mine = np.flatnonzero(sources == number)
                at = before[number] + np.arange(len(mine))
                own = seed + number * APART
                if totals is not None and len(mine):
                    at = shuffled(at, int(totals[number]), own, WHOLE)
                if len(mine):
                    rows = shuffled(at % one.rows, one.rows, own, at // one.rows)
                    block[mine] = self.firsts[number] + rows
            yield block

    def first(self, size: int, seed: int) -> Ints:
        """Return the first `size` row numbers of the sequence."""
        return np.concatenate([np.zeros(0, np.int64), *self.order(size, seed)])

    def gather_flat(self, rows: Ints) -> Batch:
        """Return rows joined as `Tokens.gather_flat` does: ids and where each segment begins."""
        if len(self.sources) == 1:
            return self.sources[0].gather_flat(rows)
        owners = np.searchsorted(self.firsts, rows, side="right") - 1
        parts = [
            self.sources[owner].gather_flat(np.array([row - self.firsts[owner]]))
            for row, owner in zip(rows.tolist(), owners.tolist(), strict=True)
        ]
        ids = np.concatenate([part["input_ids"] for part in parts])
        ends = np.cumsum([0, *(len(part["input_ids"]) for part in parts)])
        starts = [
            part["segment_starts"][:-1] + end for part, end in zip(parts, ends[:-1], strict=True)
        ]
        return {"input_ids": ids, "segment_starts": np.concatenate([*starts, ends[-1:]])}


def _shares(weights: Sequence[float], where: str) -> Ints:
    """Return weights as whole numbers without a common factor."""
    exact = [Fraction(str(weight)) for weight in weights]
    if min(exact) < 0 or not sum(exact):
        raise ParamsError(
            f"the weights {', '.join(map(str, weights))} cannot be shared by",
            where,
            "give weights of 0 or more, of which at least one is above 0",
        )
    over = lcm(*(one.denominator for one in exact))
    numbers = [int(one * over) for one in exact]
    common = gcd(*numbers)
    if sum(numbers) // common >= 1 << 31:
        raise ParamsError(
            f"the weights {', '.join(map(str, weights))} have too many digits",
            where,
            "give weights of at most nine digits",
        )
    return np.array([number // common for number in numbers], np.int64)


def _check_alike(sources: Sequence[Tokens]) -> None:
    """Refuse folders that one model cannot read together."""
    first = sources[0]
    for other in sources[1:]:
        for name in SAME:
            one, two = first.manifest[name], other.manifest[name]
            if one != two:
                raise ArtifactError(
                    f"{name} is {two}, and that of {first.folder.name} is {one}",
                    str(other.folder),
                    "blend tokens that were encoded alike, with one tokenizer",
                )
