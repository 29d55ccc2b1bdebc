"""What is still held of a recorded output: its bytes in the workspace, DVC's cache or in git.

Nothing is taken for what its name says: every file is read and hashed, past any remembered hash,
before and after it is copied. Workspace, cache and history are only read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from stages.core import canonical, hashes, plan

WORKSPACE, CACHE, HISTORY = "workspace", "cache", "git"
REVISIONS = 200
"""How many of the newest commits that touched a file are looked through."""


class Holdings:
    """Gives recorded bytes by path and md5, verified, as copies."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = plan.cache_folder(root) / "files" / "md5"

    def copy(self, path: str, md5: str, target: Path) -> str | None:
        """Copy the bytes that an output had to `target`; return where they were, or None.

        `path` is the output's, from the root; `md5` is DVC's hash of it (`.dir` for a folder).
        What is not whole leaves nothing behind.
        """
        sources = self._folder(path, md5) if md5.endswith(".dir") else self._single(path, md5)
        for place, rows in sources:
            _remove(target)
            if _copied(rows, target) and actual(target) == md5:
                return place
        _remove(target)
        return None

    def _single(self, path: str, md5: str) -> Iterator[tuple[str, Rows]]:
        yield WORKSPACE, [("", self.root / path, md5)]
        yield CACHE, [("", self._object(md5), md5)]
        data = self._committed(path, md5)
        if data is not None:
            yield HISTORY, [("", data, md5)]

    def _folder(self, path: str, md5: str) -> Iterator[tuple[str, Rows]]:
        folder = self.root / path
        if actual(folder) == md5:
            yield WORKSPACE, [(name, file, "") for name, file in hashes.files(folder)]
        listed = self._listing(md5)
        if listed is not None:
            yield CACHE, [(name, self._object(value), value) for name, value in listed]

    def _listing(self, md5: str) -> list[tuple[str, str]] | None:
        """Return the files of a folder as the cache lists them, if that list is whole."""
        if hashes.combined([], True) == md5:
            return []
        listing = self._object(md5)
        if not listing.is_file() or canonical.file_digest(listing, "md5") + ".dir" != md5:
            return None
        rows = json.loads(listing.read_text(encoding="utf-8"))
        return [(str(row["relpath"]), str(row["md5"])) for row in rows]

    def _object(self, md5: str) -> Path:
        return self.cache / md5[:2] / md5[2:]

    def _committed(self, path: str, md5: str) -> bytes | None:
        """Return a file that git tracks (metrics, curves) as some commit has it."""
        listed = _git(self.root, "rev-list", "--all", f"-n{REVISIONS}", "--", path)
        for commit in (listed or b"").decode().split():
            data = _git(self.root, "show", f"{commit}:./{path}")
            if data is not None and hashlib.md5(data, usedforsecurity=False).hexdigest() == md5:
                return data
        return None


Rows = list[tuple[str, Path | bytes, str]]
"""Files to copy: the relative name ("" for a single file), where it is, its md5 ("" if unknown)."""


def _copied(rows: Rows, target: Path) -> bool:
    """Copy files one by one; False at the first that is not there or not what it should be."""
    if not rows or rows[0][0]:
        target.mkdir(parents=True, exist_ok=True)
    for name, source, md5 in rows:
        goal = target / name if name else target
        goal.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, bytes):
            goal.write_bytes(source)
            continue
        if not source.is_file():
            return False
        shutil.copyfile(source, goal)
        if md5 and canonical.file_digest(goal, "md5") != md5:
            return False
    return True


def actual(path: Path) -> str | None:
    """Return DVC's hash of what lies at a path, every byte read; None if nothing is there."""
    if path.is_file():
        return canonical.file_digest(path, "md5")
    if not path.is_dir():
        return None
    rows = [(name, canonical.file_digest(file, "md5")) for name, file in hashes.files(path)]
    return hashes.combined(rows, True)


def link(source: Path, target: Path) -> None:
    """Put a file, or all files of a folder, at another path by hard links where possible."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for name, file in hashes.files(source):
            link(file, target / name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _git(root: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, check=False
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
