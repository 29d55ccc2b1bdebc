"""Scores by name, and the counts that they are made of, kept so that two evaluations can be paired.

`units.jsonl` of an evaluation holds one line per table of counts, `{"table", "counts"}` (one row of
whole numbers per sentence or document), and one per score of the model itself, `{"name", "unit",
"signature", "statistic", "table"}`. The signature holds the digest of what was scored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core import canonical
from stages.lm import metrics
from stages.lm.resample import Counts, Difference, Statistic, paired_bootstrap, ratio

UNITS = "units.jsonl"


def exp_ratio(sums: Counts) -> Counts:
    """Return the exponential of column 0 over column 1: a perplexity, at most e^700."""
    return np.exp(np.minimum(ratio(sums), 700.0))


def bits_ratio(sums: Counts) -> Counts:
    """Return bits per byte from sums of nats and bytes."""
    return np.array([metrics.bits_per_byte(float(nats), float(size)) for nats, size in sums])


NAMED: dict[str, Callable[[Counts], Counts]] = {
    "ratio": ratio,
    "exp-ratio": exp_ratio,
    "bits-ratio": bits_ratio,
    "accuracy": metrics.accuracy,
    "macro-f1": metrics.macro_f1,
    "micro-f1": metrics.micro_f1,
}
CORPUS = ("bleu", "chrf")
RESAMPLES, CONFIDENCE = 1000, 0.95
"""How the interval of a difference is drawn."""


def name_of(statistic: Statistic) -> str:
    """Return the name under which a statistic is found again; raises KeyError for one unknown."""
    if isinstance(statistic, metrics.CorpusScore):
        return statistic.name
    return {function: name for name, function in NAMED.items()}[statistic]


def named(name: str) -> Statistic:
    """Return the statistic of that name; raises KeyError for one unknown."""
    return metrics.CorpusScore(name) if name in CORPUS else NAMED[name]


@dataclass(frozen=True)
class Score:
    """A score of an evaluation with the counts that it is made of, [units, columns]."""

    name: str
    unit: str
    signature: str
    statistic: str
    counts: Counts


def write(path: Path, scores: Sequence[Score]) -> None:
    """Write scores with their counts, each table once."""
    tables: list[Counts] = []
    rows: list[dict[str, object]] = []
    for score in scores:
        place = next(
            (i for i, table in enumerate(tables) if np.array_equal(table, score.counts)), None
        )
        if place is None:
            place = len(tables)
            tables.append(score.counts)
            whole = [[int(cell) for cell in row] for row in score.counts]
            rows.append({"table": place, "counts": whole})
        told = {name: value for name, value in vars(score).items() if name != "counts"}
        rows.append({**told, "table": place})
    canonical.write_lines(path, rows)


def parse(data: bytes) -> list[Score]:
    """Return the scores that the bytes of a `units.jsonl` hold, with their counts."""
    tables: dict[int, Counts] = {}
    found = []
    for line in data.decode("utf-8").splitlines():
        row = json.loads(line)
        if "counts" in row:
            tables[row["table"]] = np.asarray(row["counts"], dtype=np.float64)
        else:
            found.append(Score(counts=tables[row.pop("table")], **row))
    return found


def difference(a: Score, b: Score, *, seed: int = 0) -> Difference:
    """Return score a - score b with its paired interval: both on the same resampled units.

    The counts may have other columns (labels that only one model knows) where the statistic reads
    its columns by halves or thirds; a corpus score's are the same by its signature.
    """
    return paired_bootstrap(
        named(a.statistic), a.counts, b.counts,
        resamples=RESAMPLES, confidence=CONFIDENCE, seed=seed,
    )  # fmt: skip
