"""Held-out rows of a refined corpus, and the digest by which two scores know they share them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.canonical import line
from stages.core.errors import ArtifactError
from stages.lm.corpora import pairs, read_corpus
from stages.lm.tables import iter_rows

COLUMNS = {
    "text": ("id", "text"),
    "labelled": ("id", "tokens", "tags"),
}


@dataclass(frozen=True)
class Corpus:
    """A corpus folder of the kind that a task needs."""

    folder: Path
    facts: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """`text`, `labelled` or `parallel`."""
        return str(self.facts["kind"])

    def rows(self, split: str, limit: int = 0) -> list[dict[str, Any]]:
        """Return rows of a split; of more than `limit` (unless 0) the first by a hash of their id.

        The hash makes the choice independent of the order in which shards were written.
        """
        rows = list(self.each(split))
        if not rows:
            raise ArtifactError(
                f"the {split} split of the corpus holds nothing",
                str(self.folder),
                "give the corpus more material or a larger held-out share in refine",
            )
        if limit and len(rows) > limit:
            rows = sorted(rows, key=_place)[:limit]
        return rows

    def each(self, split: str) -> Iterable[dict[str, Any]]:
        """Yield every row of a split, for what learns from it."""
        if self.kind == "parallel":
            return pairs(self.folder, split)
        return iter_rows(self.folder, split, COLUMNS[self.kind])


def open_corpus(folder: Path, kind: str) -> Corpus:
    """Open a corpus and see that it is of the kind that the task needs."""
    return Corpus(folder, read_corpus(folder, [kind], "evaluate"))


def rows_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return 12 hex digits of what was scored: equal only where material and order are equal."""
    state = hashlib.sha256()
    for row in rows:
        state.update(line(row).encode("utf-8") + b"\n")
    return state.hexdigest()[:12]


def _place(row: Mapping[str, Any]) -> tuple[str, str]:
    return hashlib.sha256(str(row["id"]).encode("utf-8")).hexdigest(), str(row["id"])
