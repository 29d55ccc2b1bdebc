"""Documents before a trained identifier: label and probability of each stay as columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.core.errors import ArtifactError
from stages.lm import tables
from stages.lm.identifiers import UNDETERMINED, Identifier
from stages.lm.kernels.text import of_strings
from stages.refine.ledger import Ledger
from stages.refine.measured import Identified
from stages.refine.rows import Rows
from stages.refine.ruled import Waiting

RULE = "identified"
FILE = "languages.parquet"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("language", pa.string()),
        ("probability", pa.float64()),
        ("second_language", pa.string()),
        ("second_probability", pa.float64()),
        ("wanted_probability", pa.float64()),
        ("characters", pa.int64()),
        ("kept", pa.bool_()),
    ]
)
"""A row per document that met the identifier, dropped ones too: another threshold needs no other
look at the texts."""
Row = list[Any]


class Judge:
    """The identifier of an entry, as a rule."""

    def __init__(
        self, settings: Identified, folder: Path, ledger: Ledger, threads: int, where: str
    ) -> None:
        self._model, self._settings = Identifier.load(folder), settings
        unknown = [name for name in settings.languages if name not in self._model.labels]
        if unknown:
            raise ArtifactError(
                f"the identifier knows no {unknown[0]!r}, only {', '.join(self._model.labels)}",
                where,
                "name one of its labels in refine: identified, or train it on more text",
            )
        self._wanted = [self._model.labels.index(name) for name in settings.languages]
        self._ledger, self._rule, self._threads = ledger, ledger.rule(RULE), threads

    def judge(self, waiting: Sequence[Waiting], rows: Rows | list[Row]) -> Iterator[Waiting]:
        """Yield the documents in a wanted language; append to `rows` what is said of each."""
        if not waiting:
            return
        found = self._model.judge(of_strings([one.text for one in waiting]), self._threads)
        order = (-found.probabilities).argsort(axis=1, kind="stable")[:, :2].tolist()
        names = self._model.labels
        for one, shares, (first, second), known in zip(
            waiting, found.probabilities.tolist(), order, found.known.tolist(), strict=True
        ):
            wanted = sum(shares[place] for place in self._wanted) if self._wanted else 1.0
            kept = not self._wanted or wanted >= self._settings.min_probability
            row: Row = [names[first], shares[first], names[second], shares[second], wanted]
            if not known:
                kept = not self._wanted or self._settings.undetermined
                row = [UNDETERMINED, 0.0, UNDETERMINED, 0.0, 0.0]
            rows.append([one.identity, *row, one.size.characters, kept])
            if kept:
                self._rule.pass_on(one.size, one.size)
                yield one
            else:
                self._ledger.drop(self._rule, one.identity, one.size, f"{row[0]} {row[1]:.4f}")


def write(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write languages.parquet."""
    tables.write_rows(path, SCHEMA, rows)


def summary(rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Return by label how many documents there were and which share of them was rejected."""
    found: dict[str, list[int]] = {}
    for _, label, *_, characters, kept in rows:
        counts = found.setdefault(label, [0, 0, 0, 0])
        for place, number in enumerate((1, characters)):
            counts[place] += number
            counts[place + 2] += 0 if kept else number
    return {
        label: {
            "documents": documents,
            "characters": characters,
            "rejected_documents": gone,
            "rejected_characters": gone_characters,
            "rejected_fraction": round(gone / documents, 6),
        }
        for label, (documents, characters, gone, gone_characters) in sorted(found.items())
    }
