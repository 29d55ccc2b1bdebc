"""The environment of a commit: the running one where its lock agrees, else one made from the lock.

Made ones lie under `.deveno/environments/<digest of the lock>` and serve every later night.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from stages.core import canonical, environment
from stages.core.errors import MachineError

WHOLE = "whole"
"""A file in an environment that was made to its end."""


def differences(folder: Path) -> dict[str, tuple[str, str]]:
    """Return for each package that is installed otherwise than locked: (installed, locked)."""
    found = {}
    for name, version in environment.locked(folder).items():
        try:
            installed = environment.public(metadata.version(name))
        except metadata.PackageNotFoundError:
            installed = "none"
        if installed != version:
            found[name] = (installed, version)
    return found


def interpreter(home: Path, folder: Path, tell: Callable[[str], None]) -> str:
    """Return the interpreter for the commit in a worktree; its environment is made if need be."""
    unlike = differences(folder)
    if not unlike:
        return sys.executable
    name, (installed, locked) = next(iter(unlike.items()))
    digest = canonical.file_digest(folder / environment.LOCK)[:16]
    place = home / ".deveno" / "environments" / digest
    tell(
        f"the lock names {len(unlike)} packages otherwise ({name} {locked}, here {installed}):"
        f" environment {digest}"
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not (place / WHOLE).exists():
            _make(folder / environment.LOCK, place)
    return str(place / "bin" / "python")


def _make(lock: Path, place: Path) -> None:
    """Make an environment exactly as locked, in the way that `make setup` does."""
    python = str(place / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(place)],
        [*pip, "--no-deps", "-r", str(lock)],
    ]
    if "torch" in environment.locked(lock.parent):
        # Where the index serves torch built for GPUs, it needs libraries the lock cannot name.
        commands.append([*pip, "-c", str(lock), "torch"])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            told = [row for row in done.stderr.splitlines() if row.strip()] or ["it said nothing"]
            reason = next((row for row in told if row.startswith("ERROR")), told[-1])
            raise MachineError(
                f"the environment of this lock cannot be made: {reason.removeprefix('ERROR: ')}",
                str(place),
                "see that the package index is reachable; the next night tries again",
            )
    with contextlib.suppress(OSError):
        (place / WHOLE).write_text("", encoding="utf-8")
