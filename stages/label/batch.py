"""The batch as files that annotation tools read: JSON lines as Prodigy has them, and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.label.choice import Asked
from stages.label.sentences import Sentence

FIELDS = ("id", "text", "tokens", "tags", "annotator", "answer")
"""Columns of the CSV; `tags` is left to fill in, one label per word with a blank between."""


def write(folder: Path, asked: Asked, labels: Sequence[str], number: int) -> None:
    """Write batch.jsonl and batch.csv, the most wanted sentence first."""
    canonical.write_lines(
        folder / "batch.jsonl", [_row(one, doubt, labels, number) for one, doubt in asked]
    )
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows((one.id, one.text, " ".join(one.tokens), "", "", "") for one, _ in asked)
    canonical.write_text(folder / "batch.csv", stream.getvalue())


def _row(one: Sentence, doubt: float | None, labels: Sequence[str], number: int) -> dict[str, Any]:
    tokens, at = [], 0
    for place, word in enumerate(one.tokens):
        tokens.append({"id": place, "text": word, "start": at, "end": at + len(word)})
        at += len(word) + 1
    meta: dict[str, Any] = {"round": number, "source": one.source}
    if doubt is not None:
        meta["doubt"] = doubt
    return {
        "id": one.id,
        "text": one.text,
        "tokens": tokens,
        "options": list(labels),
        "meta": meta,
    }
