"""Inputs that two models are compared on: padded rows, fixed and random, drawn by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LENGTHS = (1, 2, 5, 9, 17, 24)


@dataclass(frozen=True)
class Probe:
    """A batch: ids [B, T], `real` [B, T] False where padding stands, token types [B, T]."""

    ids: Tensor
    real: Tensor
    types: Tensor

    @property
    def positions(self) -> Tensor:
        """Return [B, T]: the place of every token among the real ones of its row, from 0."""
        return (self.real.long().cumsum(dim=1) - 1).clamp(min=0)


def padded(
    vocab_size: int,
    longest: int | None,
    seed: int,
    *,
    left: bool,
    pad: int,
    first: int = 0,
    lengths: Sequence[int] = LENGTHS,
) -> Probe:
    """Return rows of several lengths, padded on one side with `pad`; ids are `first` or more.

    Half of the rows are a fixed pattern that visits the whole vocabulary, half are random.
    """
    generator = torch.Generator().manual_seed(seed)
    top = max(lengths) if longest is None else min(max(lengths), longest)
    lengths = sorted({min(length, top) for length in lengths} | {top})
    span = vocab_size - first
    rows, types = [], []
    for at, length in enumerate(lengths):
        step = span // 7 + 1
        rows.append([first + (step * i + 5 * at) % span for i in range(length)])
        drawn = torch.randint(first, vocab_size, (length,), generator=generator).tolist()
        rows.append(drawn)
        types += [[int(i > length // 2) for i in range(length)]] * 2
    ids = torch.full((len(rows), top), pad)
    real = torch.zeros(len(rows), top, dtype=torch.bool)
    kinds = torch.zeros(len(rows), top, dtype=torch.long)
    for number, (row, kind) in enumerate(zip(rows, types, strict=True)):
        where = slice(top - len(row), top) if left else slice(0, len(row))
        ids[number, where] = torch.tensor(row)
        kinds[number, where] = torch.tensor(kind)
        real[number, where] = True
    return Probe(ids, real, kinds)
