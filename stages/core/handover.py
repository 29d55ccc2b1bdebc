"""Hands DVC what the runner knows: each byte of an output is hashed once, and linked where it may.

DVC hashes an output when its command ends and copies it into the cache; the runner needs the same
hash. It is computed here, the objects are put into the cache (`stages.core.placing`), and the hash
is noted where DVC looks first: in the table `hashes` of its state. DVC then finds all known and in
place.

This is the one module that knows that table. It acts only beside the very versions it was written
for; with others, or where anything is not as expected, DVC does all itself as ever. A hash is noted
only for a file whose inode, time and size are still those of before it was read.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from stages.core import digests, hashes, placing, settings

WRITTEN_FOR = {"dvc": "3.67.1", "dvc-data": "3.18.3", "dvc-objects": "5.2.0", "diskcache": "5.6.3"}
"""The versions whose state and cache this module knows (they are the locked ones)."""
DVC_MAJOR = 3
PUT = (
    "INSERT INTO Cache(key, raw, store_time, expire_time, access_time, tag, mode, filename, value)"
    " VALUES (?, 1, 0, null, 0, null, 1, null, ?)"
    " ON CONFLICT(key, raw) DO UPDATE SET value = excluded.value"
)
"""dvc_data.hashfile.cache.HashesCache.set_many."""

Stamp = tuple[int, float, int]
"""Inode, time and size, as DVC compares them."""


def register(root: Path, outputs: Sequence[str], known: hashes.Hashes) -> dict[str, str]:
    """Return DVC's hash of each output (paths from the root); leave DVC as little as may be.

    `known` is told too. Raises OSError where an output cannot be read.
    """
    rows = {output: _files(root / output) for output in outputs}
    stamps = {path: _stamp(path) for found in rows.values() for _, path in found}
    table = _table(root)
    values = dict(zip(stamps, digests.md5s(list(stamps)), strict=True))

    def steady(path: Path) -> bool:
        return _stamp(path) == stamps[path]

    kept = {path: value for path, value in values.items() if steady(path)}
    if table is not None:
        cache, types = settings.cache_folder(root), settings.link_types(root)
        placed = placing.place(cache, types, kept, steady)
        kept = {path: value for path, value in kept.items() if steady(path)}
        with contextlib.suppress(sqlite3.Error, OSError):
            _note(table, kept | placed)
    for path, value in kept.items():
        known.keep(path, value)
    return {
        output: hashes.combined(
            [(name, values[path]) for name, path in found], (root / output).is_dir()
        )
        for output, found in rows.items()
    }


def _files(place: Path) -> list[tuple[str, Path]]:
    return hashes.files(place) if place.is_dir() else [("", place)]


def _stamp(path: Path) -> Stamp:
    facts = path.stat()
    return facts.st_ino, facts.st_mtime, facts.st_size


def _known_versions() -> bool:
    try:
        return all(metadata.version(name) == value for name, value in WRITTEN_FOR.items())
    except metadata.PackageNotFoundError:
        return False


def _table(root: Path) -> Path | None:
    """Return DVC's table of hashes for a workspace (dvc.repo.Repo.site_cache_dir).

    DVC has made it before it starts a stage. None where it is not there, where another version
    would read it, and where a cache is shared by a group, whose permissions are DVC's affair.
    """
    if not _known_versions() or settings.value(root, "cache", "shared"):
        return None
    place = os.environ.get("DVC_SITE_CACHE_DIR") or settings.value(root, "core", "site_cache_dir")
    try:
        born = (root / ".dvc" / "tmp" / "btime").stat().st_mtime
        token = str((str(root), None, born, getpass.getuser(), DVC_MAJOR, 0)).encode()
    except (OSError, KeyError):
        return None
    name = hashlib.md5(token, usedforsecurity=False).hexdigest()
    table = Path(place or "/var/tmp/dvc", "repo", name, "hashes", "local", "cache.db")
    return table if table.exists() else None


def _note(table: Path, values: Mapping[Path, str]) -> None:
    """Write hashes as dvc_data.hashfile.state.State.save_many does."""
    rows = []
    for path, value in values.items():
        inode, moment, size = _stamp(path)
        entry = {
            "version": 1,
            "checksum": checksum(inode, moment, size),
            "size": size,
            "hash_info": {"md5": value},
        }
        rows.append((str(path), json.dumps(entry)))
    with contextlib.closing(sqlite3.connect(table, timeout=10)) as store, store:
        store.executemany(PUT, rows)


def checksum(inode: int, moment: float, size: int) -> str:
    """Return how DVC's state names a stamp (dvc_data.hashfile.state._checksum)."""
    text = str(([inode, moment, size],)).encode()
    return str(int(hashlib.md5(text, usedforsecurity=False).hexdigest(), 16))
