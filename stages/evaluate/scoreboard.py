"""The rows of scores.json: a value with its unit, sample count, interval and signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.core.log import Log
from stages.evaluate.stage import EvaluateParams
from stages.lm import statistics
from stages.lm.resample import (
    Counts,
    Statistic,
    bootstrap,
    paired_bootstrap,
    significant,
)

DIGITS = 7
"""Significant digits of a score: below what a library's last bits can move, above any interval."""
EXACT_DIGITS = 17
"""Those of a float without loss: for scores that must be another program's to the last digit and
are plain arithmetic on whole numbers."""
VERSION = "1"
"""Version of the scoring rules in every signature; raised when a score's meaning changes."""


@dataclass(frozen=True)
class Systems:
    """The model folders of one evaluation and the names their rows go by."""

    params: EvaluateParams
    model: Path
    baseline: Path
    against: Path

    def rivals(self) -> list[tuple[str, Path]]:
        """Return the other models to score on the same data, by reference."""
        named = ((self.params.baseline, self.baseline), (self.params.against, self.against))
        rivals = [(name, folder) for name, folder in named if name != "none"]
        return list(dict(rivals).items())


@dataclass(frozen=True)
class Measure:
    """How a score is made of sums per unit."""

    name: str
    unit: str
    statistic: Statistic
    resampled: str
    """What one row of counts is: `sentence`, `document`."""
    traits: Mapping[str, Any]
    """What else a reader must know to compare, in the order of the signature."""
    digits: int = DIGITS
    """Significant digits of the value."""


class Scoreboard:
    """Collects scores, comparisons, samples and side files of one evaluation."""

    def __init__(self, params: EvaluateParams, log: Log) -> None:
        self.params = params
        self.log = log
        self.scores: list[dict[str, Any]] = []
        self.comparisons: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.samples: list[Mapping[str, Any]] = []
        self.files: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        self.units: list[statistics.Score] = []

    def signature(self, measure: Measure) -> str:
        """Return how a score was made, in sacrebleu's manner: `key:value|key:value`."""
        traits = {
            **measure.traits,
            "split": self.params.split,
            "boot": f"{measure.resampled}/{self.params.resamples}",
            "seed": self.params.seed,
            "deveno": VERSION,
        }
        return "|".join(f"{key}:{value}" for key, value in traits.items())

    def score(
        self, measure: Measure, counts: Counts, n: int, *, baseline: str | None = None
    ) -> float:
        """Add one score; `baseline` names the system where it is not the model itself."""
        settings = self._settings()
        found = bootstrap(measure.statistic, counts, **settings)
        row: dict[str, Any] = {
            "name": measure.name,
            "value": significant(found.value, measure.digits),
            "unit": measure.unit,
            "n": n,
            "interval": found.interval(DIGITS),
            "confidence": self.params.confidence,
            "signature": self.signature(measure),
        }
        if baseline is None:
            suffix = {"fraction": "_fraction", "nats": "_nats", "points": "_points"}
            ending = suffix.get(measure.unit, "")
            name = measure.name if measure.name.endswith(ending) else measure.name + ending
            self.log.metric(name, row["value"])
            kind, signature = statistics.name_of(measure.statistic), row["signature"]
            self.units.append(statistics.Score(measure.name, measure.unit, signature, kind, counts))
        else:
            row["baseline"] = baseline
        self.scores.append(row)
        return float(row["value"])

    def compare(
        self, measure: Measure, a: tuple[str, Counts], b: tuple[str, Counts], n: int, **facts: Any
    ) -> None:
        """Add the paired difference of two systems on the same units."""
        found = paired_bootstrap(measure.statistic, a[1], b[1], **self._settings())
        self.comparisons.append(
            {
                "name": measure.name,
                "a": a[0],
                "b": b[0],
                "difference": significant(found.value, DIGITS),
                "unit": measure.unit,
                "interval": found.interval(DIGITS),
                "reversed_share": significant(found.reversed_share, DIGITS),
                "confidence": self.params.confidence,
                "n": n,
                "signature": self.signature(measure),
                **facts,
            }
        )

    def note(self, text: str) -> None:
        """Add a sentence that a reader of the scores must not miss."""
        self.notes.append(text)
        self.log.text("note", text)

    def keep(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep rows to look at, as many as the entry asks for."""
        self.samples.extend(rows[: max(0, self.params.samples - len(self.samples))])

    def write(self, folder: Path) -> None:
        """Write scores.json, samples.jsonl, units.jsonl and what the task added."""
        folder.mkdir(parents=True)
        content = {
            "model": self.params.model,
            "data": self.params.data,
            "task": self.params.task.kind,
            "scores": self.scores,
            "comparisons": self.comparisons,
            "notes": self.notes,
            **self.extra,
        }
        canonical.write_json(folder / "scores.json", content)
        canonical.write_lines(folder / "samples.jsonl", self.samples)
        statistics.write(folder / statistics.UNITS, self.units)
        for name, value in sorted(self.files.items()):
            canonical.write_json(folder / name, value)

    def _settings(self) -> dict[str, Any]:
        return {
            "resamples": self.params.resamples,
            "confidence": self.params.confidence,
            "seed": self.params.seed,
        }
