"""Writes the record by which the next `deveno run` knows at a glance that all is still fresh.

Whatever the record will call fresh, `dvc status` calls fresh (`stages.core.agreement`), with the
very stamps that the record holds. What is not in the workspace but enters that verdict is listed:
the cache object of every output, dependencies and outputs in folders that are else not looked at.
No process is started for it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.core import agreement, canonical, freshness, plan, settings, workspace, yamlfile
from stages.core.errors import DevenoError

EMPTY = "d751713988987e9331980363e24189ce.dir"
"""DVC's hash of a folder without files."""


class Witness:
    """Sees a workspace before a verdict, and records that verdict if nothing moved meanwhile."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.before = freshness.Stamps(str(root)).workspace().text

    def record(self, words: list[str], told: str, made: plan.Plan) -> bool:
        """Record what was printed for these words, where a plan is fresh; return whether it was."""
        if workspace.home(self.root) != self.root:
            return False  # a copy that vanishes
        asked = freshness.question(words, str(self.root))
        if asked is None:
            return False
        with contextlib.suppress(OSError, DevenoError):
            fill_empty(self.root)  # not sooner: a run that is refused changes nothing
        try:
            found = list(agreement.records(self.root, freshness.SKIPPED))
            cache = settings.cache_folder(self.root) / "files" / "md5"
            extra, objects = watched(self.root, cache, found)
            clock_ns = self._clock_ns()
            seen = freshness.Stamps(str(self.root)).workspace()
            if seen.text != self.before:
                return False
            seen.beyond(extra, str(cache), objects)
            answers = self._known(seen.text)
            if not answers and not self._fresh(made, cache, found):
                return False
            body = {
                "version": freshness.VERSION,
                "variables": freshness.variables(),
                "rows": seen.text,
                "racy": seen.racy(clock_ns),
                "extra": extra,
                "cache": str(cache),
                "objects": objects,
                "answers": answers | {asked: told},
            }
            canonical.write_text(self.root / freshness.RECORD, json.dumps(body))
        except (OSError, ValueError, KeyError, TypeError, DevenoError):
            return False  # such a workspace is looked at the long way every time
        return True

    def _known(self, rows: str) -> dict[str, str]:
        """Return the answers that a record of these very stamps already gives."""
        try:
            text = (self.root / freshness.RECORD).read_text(encoding="utf-8")
            record = json.loads(text)
            return dict(record["answers"]) if record["rows"] == rows else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _clock_ns(self) -> int:
        """Return what time the workspace's own file system has: stamps are compared with that."""
        path = self.root / ".deveno" / f"clock-{os.getpid()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_bytes(b"tick")
            return path.stat().st_ctime_ns
        finally:
            path.unlink(missing_ok=True)

    def _fresh(self, made: plan.Plan, cache: Path, found: list[Path]) -> bool:
        """Return whether all entries are fresh, and `dvc status` would say so too."""
        if made.pending or set(made.steps) != set(made.graph):
            return False
        return not any(agreement.objections(self.root, made, cache, found))


def watched(root: Path, cache: Path, found: list[Path]) -> tuple[list[str], list[str]]:
    """Return paths to watch beside the workspace's own, and the cache objects of all outputs.

    Raises ValueError where a verdict stands on more than files (a URL, a versioned cloud).
    """
    extra: set[str] = set()
    objects: set[str] = set()
    for folder, row, is_out in _rows(found):
        path = str(row.get("path", ""))
        if "://" in path or "repo" in row or "cloud" in row or "db" in row:
            raise ValueError(f"{path} is not a file")
        if _hidden(folder, path, root):
            extra.add(os.path.relpath(folder / path, root))
        if is_out and row.get("md5"):
            objects |= set(agreement.objects(cache, str(row["md5"])))
    if objects and not any((cache / name).exists() for name in objects):
        raise ValueError(f"{cache} is not where the objects are")
    return sorted(extra), sorted(objects)


def _hidden(folder: Path, path: str, root: Path) -> bool:
    """Return whether a path is outside what is looked through anyway."""
    place = Path(os.path.normpath(folder / path))
    if not place.is_relative_to(root):
        return True
    parts = place.relative_to(root).parts
    return bool(parts) and (
        parts[0] in freshness.SKIPPED
        or freshness.COMPILED in parts
        or (parts[0] == ".dvc" and parts[1:2] != () and parts[1] in freshness.DVC_OWN)
    )


def _rows(found: list[Path]) -> Iterator[tuple[Path, Mapping[str, Any], bool]]:
    """Yield the folder, the record and whether it is an output, of all that DVC tracks here."""
    for path in found:
        is_lock = path.name == agreement.LOCK
        if not is_lock and path.suffix != ".dvc":
            continue
        body = yamlfile.plain(yamlfile.read(path)) or {}
        for entry in body.get("stages", {}).values() if is_lock else [body]:
            folder = path.parent / str(entry.get("wdir", "."))
            yield from ((folder, row, False) for row in entry.get("deps") or [])
            yield from ((folder, row, True) for row in entry.get("outs") or [])
            if is_lock:
                yield from ((folder, {"path": file}, False) for file in entry.get("params") or {})


def fill_empty(root: Path) -> None:
    """Make the folders that DVC tracks as empty, and what the cache holds of them.

    git keeps no empty folder, so after a clone `dvc status` calls data/external lost.
    """
    for path in agreement.records(root, freshness.SKIPPED):
        if path.suffix != ".dvc":
            continue
        for row in (yamlfile.plain(yamlfile.read(path)) or {}).get("outs") or []:
            if row.get("md5") != EMPTY:
                continue
            (path.parent / str(row["path"])).mkdir(parents=True, exist_ok=True)
            listing = settings.cache_folder(root) / "files" / "md5" / EMPTY[:2] / EMPTY[2:]
            if not listing.exists():
                canonical.write_text(listing, "[]")
                listing.chmod(0o444)
