"""The bytes of what is recorded: by path and MD5, from wherever they still are."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core import canonical, snapshots
from stages.core.records import Record, Records


class Contents:
    """Finds small recorded files: in the workspace, in bundles, in DVC's cache, in git."""

    def __init__(self, records: Records, folders: Sequence[Path] = ()) -> None:
        self.records = records
        self.folders = [records.root, *folders]
        self._commits: dict[int, str | None] = {}

    def of(self, record: Record, path: str, md5: str) -> bytes | None:
        """Return the bytes of a file of a record, proved by their MD5; None if they are gone."""
        for folder in self.folders:
            place = folder / path
            if place.is_file() and canonical.file_digest(place, "md5") == md5:
                return place.read_bytes()
        stored = self.records.cache / "files" / "md5" / md5[:2] / md5[2:]
        if stored.is_file() and canonical.file_digest(stored, "md5") == md5:
            return stored.read_bytes()
        for commit in dict.fromkeys([*record.commits[:3], self.commit(record)]):
            found = _shown(self.records.root, commit, path) if commit else None
            if found is not None and hashlib.md5(found, usedforsecurity=False).hexdigest() == md5:
                return found
        return None

    def member(self, record: Record, path: str, name: str) -> bytes | None:
        """Return a file inside an output folder of a record, or None if it is gone."""
        listing = self.records.listing(record.outs.get(path, "")) or []
        md5 = dict(listing).get(name)
        if md5 is not None:
            return self.of(record, f"{path}/{name}", md5)
        for folder in self.folders:  # whose listing the cache lacks, as in a bundle
            place = folder / path
            if (place / name).is_file() and _md5(place) == record.outs.get(path):
                return (place / name).read_bytes()
        return None

    def json(self, record: Record, path: str, name: str = "") -> Any:
        """Return a file's JSON: an output itself, or a file inside one; None if it is gone."""
        data = self.member(record, path, name) if name else self.of(record, path, record.outs[path])
        try:
            return None if data is None else json.loads(data)
        except ValueError:
            return None

    def figures(self, record: Record) -> dict[str, Any] | None:
        """Return what a record's entry wrote into metrics/, or None if that is gone."""
        path = next((out for out in record.outs if out.startswith("metrics/")), None)
        found = self.json(record, path) if path else None
        return found if isinstance(found, dict) else None

    def commit(self, record: Record) -> str | None:
        """Return a commit that has a record's code."""
        if id(record) not in self._commits:
            found = snapshots.commit_of(self.records.root, record, self.records)
            self._commits[id(record)] = found
        return self._commits[id(record)]


def _shown(root: Path, commit: str, path: str) -> bytes | None:
    done = subprocess.run(
        ["git", "-C", str(root), "show", f"{commit}:./{path}"], capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else None


def _md5(folder: Path) -> str | None:
    from stages.core.bundles import md5_of

    return md5_of(folder)
