"""The stage process ends with the DVC that started it.

When DVC is killed its lock is free, and a second trainer would start beside the first. Linux tells
us of our parent's death; where a shell stands between (`/bin/sh -c`, as under cron), the shell
survives DVC, so its own parent is watched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

PDEATHSIG = 1
"""prctl option: the signal to get when the parent dies."""
EVERY_S = 1.0
"""Seconds between two looks at a shell's parent."""


def die_with_dvc() -> None:
    """Get SIGTERM when DVC dies, whether it is our parent or our shell's."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    parent = os.getppid()
    above = parent_of(parent)
    if above is not None and is_between(parent):
        threading.Thread(target=_watch, args=(parent, above), daemon=True).start()


def is_between(pid: int) -> bool:
    """Return whether a process is DVC's child like us: DVC gives DVC_STAGE to what it starts."""
    name = os.environ.get("DVC_STAGE")
    try:
        given = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return name is not None and f"DVC_STAGE={name}".encode() in given


def parent_of(pid: int) -> int | None:
    """Return the parent of a process, or None if it is gone."""
    try:
        # The name in field 2 may hold blanks and brackets, so cut behind it.
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _watch(shell: int, dvc: int) -> None:
    while parent_of(shell) == dvc:
        time.sleep(EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
