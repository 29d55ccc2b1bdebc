"""What lies at a path: a file, a folder, or something that cannot be read to its end."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from stages.core.errors import ArtifactError

OTHERS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
VIEWS = ("/proc", "/sys")
"""File systems that show the running machine: their files have no size and may wait for ever."""


def refuse(place: Path, facts: os.stat_result, name: str = "") -> None:
    """Raise an ArtifactError for what is neither a file nor a folder, or a view of the machine."""
    kind = next((word for test, word in OTHERS if test(facts.st_mode)), None)
    if kind is None and facts.st_dev in _views():
        kind = "a view of the running machine"
    if kind is not None:
        raise ArtifactError(
            f"{name or place.name or place} is {kind}, and an artifact is files and folders",
            str(place),
            "name an artifact, a file of one or a copy; where it lies inside one, remove it",
        )


def refuse_circle(link: Path) -> None:
    """Raise an ArtifactError for a link to a folder that holds it: walking it would never end."""
    if link.parent.resolve().is_relative_to(link.resolve()):
        raise ArtifactError(
            f"{link.name} links to a folder that holds it", str(link), "remove that link"
        )


def _views() -> set[int]:
    found = set()
    for name in VIEWS:
        with contextlib.suppress(OSError):
            if os.path.ismount(name):
                found.add(Path(name).stat().st_dev)
    return found
