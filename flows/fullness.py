"""Is a disk full that an entry is written to, and is DVC caught in a loop for it.

DVC keeps the hashes it knows in sqlite through diskcache, which tries a transaction that a full
disk refuses again for ever (`Cache._transact(retry=True)`), and holds DVC's lock meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from stages.core import plan
from stages.core.errors import LITTLE_BYTES

WRITTEN = (".", "data", "models", "reports", "metrics", "plots", "scratch", ".dvc", ".deveno")
LOOK_S = 5.0
"""How often a command that runs is looked at."""
STUCK_S = 30.0
"""How long DVC may work alone on a full disk before it counts as caught."""


def full(root: Path) -> tuple[Path, int] | None:
    """Return the first place that is full and the bytes free there; None if there is none."""
    for place in _places(root):
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(place).free
            if free < LITTLE_BYTES:
                return place, free
    return None


def _places(root: Path) -> Iterator[Path]:
    yield from (root / name for name in WRITTEN)
    yield plan.cache_folder(root) / "files"
    yield Path(os.environ.get("DVC_SITE_CACHE_DIR", "/var/tmp"))
    yield Path(tempfile.gettempdir())


def waited(guard: subprocess.Popen[bytes], root: Path) -> int:
    """Wait for a guarded DVC command and return its exit code; end one that is caught."""
    caught_since: float | None = None
    descriptor = os.pidfd_open(guard.pid)
    try:
        while not select.select([descriptor], [], [], LOOK_S)[0]:
            if not (_alone(guard.pid) and full(root)):
                caught_since = None
                continue
            caught_since = caught_since or time.monotonic()
            if time.monotonic() - caught_since >= STUCK_S:
                guard.terminate()
    finally:
        os.close(descriptor)
    return guard.wait()


def _alone(guard: int) -> bool:
    """Return whether DVC runs without a stage below it."""
    import psutil

    try:
        return len(psutil.Process(guard).children(recursive=True)) <= 1
    except psutil.Error:
        return False
