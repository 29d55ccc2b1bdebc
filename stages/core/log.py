"""Where a stage's numbers go: one small object with seven calls.

A stage gets a `Log`. In a test `Log()` just remembers; in a run the runner hands over one whose
`sink` appends every event to the journal, from which MLflow is fed.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Event = dict[str, Any]

STOP = "stop"
"""A file of this name in a scratch folder stops its execution at the next safe point."""


class Log:
    """Remembers and passes on what a stage reports.

    `metric` is for deterministic numbers only: the last value per name becomes
    `metrics/<stage>/<key>.json`, which is compared byte for byte between machines.
    `observe` is for times, rates, memory and whatever else this machine did: journal and MLflow.
    """

    def __init__(
        self,
        sink: Callable[[Event], None] | None = None,
        scratch: Path | None = None,
        flush: Callable[[], None] | None = None,
    ) -> None:
        self._sink = sink
        self._flush = flush
        self._scratch = scratch
        self._stopping = False
        self.polled = False
        self._last_progress = 0.0
        self.metrics: dict[str, float | int] = {}
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self.observed: dict[str, float] = {}
        self.tables: dict[str, list[Mapping[str, Any]]] = {}
        self.texts: dict[str, str] = {}

    @property
    def scratch(self) -> Path:
        """A folder that survives a kill; the same fingerprint finds it again (checkpoints)."""
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="deveno-scratch-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        return self._scratch

    @property
    def stopping(self) -> bool:
        """True once SIGTERM came or the file `stop` is there: checkpoint, then raise `Resumable`.

        The file lets everybody who may write the folder stop a run, whoever owns its process.
        """
        self.polled = True
        if not self._stopping and self._scratch is not None:
            self._stopping = (self._scratch / STOP).exists()
        return self._stopping

    def request_stop(self) -> None:
        """Ask the stage to stop at its next safe point (called by the signal handler)."""
        self._stopping = True

    def metric(self, name: str, value: float, *, step: int | None = None) -> None:
        """Report a deterministic number; with `step` it is a point of a curve."""
        # A training thread waits for this, so it is written flat: 2 us (benchmarks/overhead.py).
        number = value if type(value) is float and value - value == 0 else _number(name, value)
        self.metrics[name] = number
        if step is not None:
            curve = self.curves.get(name)
            if curve is None:
                curve = self.curves[name] = []
            curve.append((int(step), float(number)))
        if self._sink is not None:
            self._sink({"event": "metric", "name": name, "value": number, "step": step})

    def resumed(
        self, at: int, unit: str = "steps", curve: Iterable[tuple[str, int, float]] = ()
    ) -> None:
        """Say that the work goes on behind what an earlier execution did.

        The earlier points of `curve` belong to this execution's metrics and curves, but its journal
        does not tell them again: whoever joins the executions of a run sees every step once.
        """
        for name, step, value in curve:
            self.metrics[name] = _number(name, value)
            self.curves.setdefault(name, []).append((int(step), float(value)))
        self._emit("resumed", step=int(at), unit=unit)

    def flush(self) -> None:
        """Have all that was reported written down; to be called before a checkpoint is.

        Else a kill just after it could lose numbers of steps that nobody does again.
        """
        if self._flush is not None:
            self._flush()

    def observe(self, name: str, value: float, *, step: int | None = None) -> None:
        """Report a time, rate or size of this run on this machine; it never enters an output."""
        number = self.observed[name] = float(value)
        if self._sink is not None:
            self._sink({"event": "observe", "name": name, "value": number, "step": step})

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Report a small table (at most some hundred rows)."""
        self.tables[name] = [dict(row) for row in rows]  # written later: no row may change
        self._emit("table", name=name, rows=self.tables[name])

    def text(self, name: str, text: str) -> None:
        """Report a piece of text: samples, warnings, a summary line."""
        self.texts[name] = text
        self._emit("text", name=name, text=text)

    def progress(self, done: float, total: float | None = None, unit: str = "steps") -> None:
        """Say how far a long stage is; at most twice a second reaches the journal."""
        now = time.monotonic()
        finished = total is not None and done >= total
        if finished or now - self._last_progress >= 0.5:
            self._last_progress = now
            self._emit("progress", done=done, total=total, unit=unit)

    def _emit(self, kind: str, **fields: Any) -> None:
        if self._sink is not None:
            self._sink({"event": kind, **fields})


def _number(name: str, value: float) -> float | int:
    number = value if isinstance(value, int) and not isinstance(value, bool) else float(value)
    if not math.isfinite(number):
        raise ValueError(f"metric {name} is {value}, which is not a number")
    return number
