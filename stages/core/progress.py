"""How far each journal is published to a store: what is noted, and when it counts no more."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from stages.core import canonical

STORE = "store.json"
"""Which store the notes beside it are about."""


@dataclass
class Progress:
    """How far one journal is published."""

    path: Path
    run: str | None = None
    offset: int = 0
    done: bool = False
    failures: int = 0
    not_before: float = 0.0

    def save(self) -> None:
        """Write it down, whole or not at all."""
        row = {"run": self.run, "offset": self.offset, "done": self.done}
        canonical.write_json(self.path, row)


def load(path: Path) -> Progress:
    """Return what is noted in a file; where there is none, that nothing is published."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return Progress(path, row["run"], int(row["offset"]), bool(row["done"]))
    except (OSError, ValueError, KeyError):
        return Progress(path)


def of_another(folder: Path, identity: str) -> bool:
    """Return whether the notes in a folder are about another store; they are gone then.

    A store may be deleted and made anew by somebody else (`mlflow ui` makes one) where it was, and
    nothing of what was published is in it. Notes without a name, of earlier versions, are kept.
    """
    note = folder / STORE
    try:
        other = json.loads(note.read_text(encoding="utf-8")) != identity
    except (OSError, ValueError):
        other = False
    if other:
        gone = folder.with_name(f"{folder.name}.gone")  # by rename: a kill leaves all or nothing
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    if other or not note.exists():
        canonical.write_json(note, identity)
    return other
