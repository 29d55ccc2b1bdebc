"""Content hashes as DVC computes them, remembered by file size, times and inode.

A file's hash is the MD5 of its bytes; a folder's is the MD5 of the JSON list of its files' hashes
and relative paths, with `.dir` appended (dvc_data.hashfile.tree.Tree.as_bytes).
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from stages.core import canonical, kinds, workspace

IGNORED = (".gitignore", "__pycache__", "*.pyc")
"""What .dvcignore leaves out everywhere; `sync` writes that file from here."""

TICK_NS = 50_000_000
"""A file that changed within the clock's tick could change once more and keep its stamp."""


class Hashes:
    """Hashes of files and folders of one workspace, kept in .deveno/hashes.db between commands."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, str | None] = {}
        self.read: set[Path] = set()
        """The files whose bytes were read by this object, not remembered from before."""
        self._store: sqlite3.Connection | None = None
        with contextlib.suppress(OSError, sqlite3.Error):
            folder = workspace.state(root)
            folder.mkdir(parents=True, exist_ok=True)
            self._store = sqlite3.connect(folder / "hashes.db", timeout=5, isolation_level=None)
            self._store.execute(
                "CREATE TABLE IF NOT EXISTS stamped"
                " (path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER,"
                " inode INTEGER, md5 TEXT)"
            )

    def of(self, path: str, fresh: bool = False) -> str | None:
        """Return the hash of a path from the root, or None if nothing is there."""
        if fresh or path not in self._known:
            self._known[path] = self._compute(self.root / path)
        return self._known[path]

    def rows(self, folder: str) -> list[tuple[str, str]]:
        """Return the files of a folder from the root with their hashes; [] if it is not there."""
        path = self.root / folder
        return [(name, self.file(file)) for name, file in files(path)] if path.is_dir() else []

    def _compute(self, path: Path) -> str | None:
        if path.is_file():
            return self.file(path)
        if not path.is_dir():
            return None
        return combined([(name, self.file(file)) for name, file in files(path)], True)

    def file(self, path: Path) -> str:
        """Return the hash of one file, remembered or read; empty for a link to nothing."""
        try:
            facts = path.stat()
        except FileNotFoundError:
            return ""
        stamp = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
        if self._store is not None:
            with contextlib.suppress(sqlite3.Error):
                row = self._store.execute(
                    "SELECT md5 FROM stamped"
                    " WHERE path=? AND size=? AND mtime=? AND ctime=? AND inode=?",
                    (str(path), *stamp),
                ).fetchone()
                if row:
                    return str(row[0])
        value = canonical.file_digest(path, "md5")
        self.read.add(path)
        self._keep(path, facts, value)
        return value

    def keep(self, path: Path, value: str) -> None:
        """Remember the hash of a file that somebody else has just read."""
        self._keep(path, path.stat(), value)

    def _keep(self, path: Path, facts: os.stat_result, value: str) -> None:
        if self._store is None or facts.st_ctime_ns >= time.time_ns() - TICK_NS:
            return
        stamp = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
        with contextlib.suppress(sqlite3.Error):
            self._store.execute(
                "INSERT OR REPLACE INTO stamped VALUES (?,?,?,?,?,?)", (str(path), *stamp, value)
            )


def combined(rows: list[tuple[str, str]], is_folder: bool) -> str:
    """Return the hash of a folder from its files' (relative path, md5), or the only file's own."""
    if not is_folder:
        return rows[0][1]
    return hashlib.md5(listing(rows), usedforsecurity=False).hexdigest() + ".dir"


def listing(rows: list[tuple[str, str]]) -> bytes:
    """Return the content of the cache object that lists a folder's (relative path, md5)."""
    listed = [{"md5": value, "relpath": name} for name, value in rows]
    return json.dumps(listed, sort_keys=True).encode("utf-8")


def files(folder: Path) -> list[tuple[str, Path]]:
    """Return a folder's files as (relative path, path), sorted, without ignored ones."""
    found = [(path.relative_to(folder).as_posix(), path) for path in _walk(folder)]
    return sorted(found)


def is_ignored(name: str) -> bool:
    """Return whether DVC leaves out whatever is called so."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in IGNORED)


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as rows:
        for row in rows:
            if is_ignored(row.name):
                continue
            path = Path(row.path)
            if row.is_dir():
                if row.is_symlink():
                    kinds.refuse_circle(path)
                yield from _walk(path)
            else:
                if not row.is_file() and path.exists():
                    kinds.refuse(path, row.stat())
                yield path


def size_bytes(path: Path) -> int:
    """Return the size of a file, or of all files below a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for _, file in files(path))
    return path.stat().st_size if path.exists() else 0
