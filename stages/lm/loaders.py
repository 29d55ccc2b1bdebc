"""Batches as training takes them: rows of a saved order, laid out without an object per piece.

Everything is read from maps of files. What a batch consists of is written once, by one kernel, into
arrays that are taken again when the next step is asked for: a task is good until then.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from stages.lm.blends import Blend
from stages.lm.kernels.laying import Laid, Layer
from stages.lm.models import Pieces
from stages.lm.objectives import Causal, Objective, Task
from stages.lm.orders import Order

NOWHERE = torch.zeros(0, dtype=torch.long)


class Loader:
    """Makes the tasks of a run's steps."""

    def __init__(
        self, blend: Blend, order: Order, objective: Objective, seed: int, accumulate: int = 1
    ) -> None:
        self._order, self._objective, self._seed = order, objective, seed
        batch = order.rows.shape[1]
        self._parts = min(accumulate, batch)
        self._causal = isinstance(objective, Causal)
        self._lay = Layer(
            [one.stream for one in blend.sources],
            [one.pieces for one in blend.sources],
            [one.row_offsets for one in blend.sources],
            blend.sequence_length,
            -(-batch // self._parts),
            sources=not self._causal,
            following=self._causal,
            buffers=self._parts,
        )
        self._accumulate = accumulate
        self._begun, self._spent = 0.0, 0.0

    def tasks(self, step: int, longest: int = 0) -> list[Task]:
        """Return the parts of a step's batch, pieces cut to `longest` tokens (0: as they are)."""
        begun = time.perf_counter()
        self._begun = self._begun or begun
        rows = self._order.step(step)
        parts = [rows] if self._parts == 1 else np.array_split(rows, self._parts)
        made = [
            self._task(self._lay(part, longest), step * self._accumulate + number)
            for number, part in enumerate(parts)
        ]
        self._spent += time.perf_counter() - begun
        return made

    @property
    def wait(self) -> float:
        """Return the share of the time since the first step that went into making tasks."""
        return self._spent / (time.perf_counter() - self._begun) if self._begun else 0.0

    def _task(self, laid: Laid, number: int) -> Task:
        ids, positions, groups, sources, places, answers = laid
        made = torch.from_numpy
        if self._causal:
            pieces = Pieces(made(ids), made(positions), groups, NOWHERE)
            return Task(pieces, made(places), made(answers))
        pieces = Pieces(made(ids).long(), made(positions).long(), groups, made(sources).long())
        return self._objective(pieces, self._seed, number)
