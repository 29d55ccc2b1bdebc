"""Publishing what an execution made: all of it, or nothing and what was there before.

Folders are exchanged by rename, small files through a temporary neighbour. Whatever can fail (a
read-only parent, a full disk, a file in the way) fails before the first exchange or is undone.
Several renames are not one: before the first a record of all is left in the scratch folder, and
whoever finds it there afterwards finishes what a kill broke off.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core import canonical

RECORD = "publication.json"
"""In the scratch folder: {folders: [[from, to, where the old one goes]], texts: [[from, to]]}."""


def publish(folders: Mapping[Path, Path], texts: Mapping[Path, str], aside: Path) -> None:
    """Move each folder to its target and write each text; `aside` keeps what is replaced.

    The record lies beside `aside`; what it names is complete, so it can always be finished.
    """
    record = aside.parent / RECORD
    with contextlib.ExitStack() as undo:
        ready = [(_beside(path, text, undo), path) for path, text in texts.items()]
        moves = [(_near(source, target, undo), target) for source, target in folders.items()]
        rows = [(source, target, _place(target, aside)) for source, target in moves]
        named = {
            "folders": [[str(path) for path in row] for row in rows],
            "texts": [[str(path) for path in row] for row in ready],
        }
        undo.callback(record.unlink, missing_ok=True)
        canonical.write_json(record, named)
        for source, target, place in rows:
            _exchange(source, target, place, undo)
        for temporary, path in ready:
            temporary.replace(path)
        undo.pop_all()
    for _, _, place in rows:
        _remove(place)
    record.unlink()


def recover(scratch: Path) -> bool:
    """Finish a publication that was killed between two renames; return whether there was one.

    Whoever calls it holds the lock of that scratch folder.
    """
    record = scratch / RECORD
    try:
        named: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    for row in named["folders"]:
        source, target, place = (Path(path) for path in row)
        if source.exists():
            if target.is_symlink() or target.exists():
                _remove(place)
                target.rename(place)
            source.rename(target)
    for row in named["texts"]:
        temporary, path = (Path(path) for path in row)
        if temporary.exists():
            temporary.replace(path)
    for row in named["folders"]:
        _remove(Path(row[2]))
    record.unlink()
    return True


def _beside(path: Path, text: str, undo: contextlib.ExitStack) -> Path:
    """Write a text to a temporary neighbour of its path, which shares its folder and disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*.tmp"):  # of an execution that was killed
        left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    undo.callback(temporary.unlink, missing_ok=True)
    temporary.write_text(text, encoding="utf-8")
    return temporary


def _near(source: Path, target: Path, undo: contextlib.ExitStack) -> Path:
    """Return a folder on its target's disk: itself, or a copy beside the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*.tmp"):
        _remove(left)
    if source.stat().st_dev == target.parent.stat().st_dev:
        return source
    near = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    undo.callback(shutil.rmtree, near, ignore_errors=True)
    shutil.copytree(source, near)
    return near


def _place(target: Path, aside: Path) -> Path:
    """Return where what is replaced goes: to `aside`, or beside it on another disk."""
    aside.mkdir(parents=True, exist_ok=True)
    if aside.stat().st_dev == target.parent.stat().st_dev:
        place = aside / f"{target.parent.name}-{target.name}"
    else:
        place = target.with_name(f".{target.name}.{os.getpid()}.old.tmp")
    _remove(place)  # of an execution that was killed just here
    return place


def _exchange(source: Path, target: Path, place: Path, undo: contextlib.ExitStack) -> None:
    """Put a folder where another may be, which goes to its place aside."""
    if target.is_symlink() or target.exists():
        target.rename(place)
        undo.callback(place.rename, target)
    source.rename(target)
    undo.callback(_remove, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
