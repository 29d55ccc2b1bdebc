"""Before anything is planned: what a kill broke off is finished or mended, so that nobody must.

Publications between two renames (stages.core.publication), DVC's torn files (stages.core.dvclock).
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from stages.core import dvclock, publication, workspace


def recover(root: Path) -> list[str]:
    """Make good what killed runs left; return what was done, in words. Living runs are left be."""
    done = []
    for record in sorted((workspace.home(root) / "scratch").glob(f"*/*/{publication.RECORD}")):
        with (record.parent / "lock").open("a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # it is being published right now
            if publication.recover(record.parent):
                stage, fingerprint = record.parent.parts[-2:]
                done.append(f"a publication of {stage} ({fingerprint}) was finished")
    return done + (dvclock.mend(root) if (root / ".dvc" / "tmp").is_dir() else [])
