"""What nights found on this machine: `.deveno/nightly/history.jsonl`, one row per night or more.

A row is an observation of this machine, so it is not tracked. Rows are only ever appended: `begun`
when a night begins, then how it ended. The last good commit is a git reference, so that git keeps
its objects and anybody can move it by hand.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.worktree import git
from stages.core import canonical

GOOD = "refs/deveno/nightly/good"
MEASURED, FAILED, SKIPPED, CANCELLED, BEGUN = "measured", "failed", "skipped", "cancelled", "begun"
LOST = "broken off: what measured was killed, or the machine went down"


def folder(home: Path) -> Path:
    """Return where nights leave what they found."""
    return home / ".deveno" / "nightly"


def append(home: Path, row: Mapping[str, Any], name: str = "history.jsonl") -> None:
    """Append a row whole; a line that a crash tore before it is closed first."""
    path = folder(home) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        torn = b""
        if stream.tell():
            stream.seek(-1, 2)
            torn = b"" if stream.read(1) == b"\n" else b"\n"
        stream.write(torn + canonical.line(row).encode("utf-8") + b"\n")


def nights(home: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the last row of every night, oldest first, and how many lines could not be read.

    A night that begun and never ended is failed: it was killed.
    """
    path = folder(home) / "history.jsonl"
    found: dict[str, dict[str, Any]] = {}
    torn = 0
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    for line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            found[str(row["night"])] = {**found.get(str(row["night"]), {}), **row}
        except (ValueError, KeyError, TypeError):
            torn += 1
    return list(found.values()), torn


def known(home: Path) -> list[str]:
    """Return the names of all nights that have a row."""
    return [str(row["night"]) for row in nights(home)[0]]


def settled(home: Path, running: str = "") -> tuple[list[dict[str, Any]], int]:
    """Return the nights as `nights` does; one that is begun and is not `running` was killed."""
    rows, torn = nights(home)
    return [
        {**row, "state": FAILED, "reason": LOST}
        if row["state"] == BEGUN and row["night"] != running
        else row
        for row in rows
    ], torn


def good(home: Path) -> str:
    """Return the last good commit, or an empty text before the first good night."""
    return git(home, "for-each-ref", "--format=%(objectname)", GOOD)


def keep(home: Path, commit: str) -> None:
    """Make a commit the last good one."""
    git(home, "update-ref", GOOD, commit)
