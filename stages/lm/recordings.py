"""What the software that a model was ported from translated itself, kept beside the model.

One row per sentence and search in `recorded.jsonl`: `num_beams`, `members` (of an ensemble, else
1), `source`, `text`, and `near_tie` where two of its hypotheses lie so close in score that rounding
alone may exchange them. Only fairseq's own search with its defaults is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.lm import ensembles
from stages.lm.decoding.settings import Beam, Greedy, Settings

FILE = "recorded.jsonl"
FIELDS = {"num_beams": int, "members": int, "source": str, "text": str, "near_tie": bool}
LONGEST = 200
"""fairseq-generate's default longest output, in tokens."""


@dataclass(frozen=True)
class Recorded:
    """One recorded translation."""

    text: str
    near_tie: bool


class Recordings:
    """The recordings of one model, by search and source text."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], *, ensemble: bool = False) -> None:
        self._ensemble = ensemble
        self._known: dict[tuple[int, bool], dict[str, Recorded]] = {}
        for row in rows:
            search = self._known.setdefault((row["num_beams"], row["members"] > 1), {})
            search[row["source"]] = Recorded(row["text"], row["near_tie"])

    @classmethod
    def load(cls, folder: Path) -> Recordings:
        """Read a model folder's recordings; one without the file has none."""
        path = folder / FILE
        if not path.is_file():
            return cls([])
        try:
            rows = [
                json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line
            ]
            for row in rows:
                for name, kind in FIELDS.items():
                    if not isinstance(row[name], kind):
                        raise TypeError(f"{name} is {row[name]!r}")
        except (ValueError, KeyError, TypeError) as fault:
            raise ArtifactError(
                f"{FILE} cannot be read: {type(fault).__name__}: {fault}",
                str(path),
                "run the entry that makes this model again",
            ) from None
        return cls(rows, ensemble=(folder / ensembles.FILE).is_file())

    def of(self, settings: Settings, members: str = "all") -> Mapping[str, Recorded]:
        """Return source -> recorded translation of the same search; none under other settings."""
        beams = _beams(settings)
        if beams is None:
            return {}
        return self._known.get((beams, self._ensemble and members == "all"), {})


def write(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a model folder's recordings."""
    canonical.write_lines(folder / FILE, rows)


def _beams(settings: Settings) -> int | None:
    """Return the width where the settings are those of a recording, else None."""
    if isinstance(settings, Greedy):
        plain: Settings = Greedy(max_tokens=settings.max_tokens)
        beams = 1
    elif isinstance(settings, Beam) and settings.search == "fairseq":
        beams = settings.num_beams
        # Neither changes fairseq's search or its best hypothesis.
        plain = Beam(
            num_beams=beams,
            max_tokens=settings.max_tokens,
            early_stopping=settings.early_stopping,
            num_return_sequences=settings.num_return_sequences,
        )
    else:
        return None
    return beams if settings == plain and settings.max_tokens in (0, LONGEST) else None
