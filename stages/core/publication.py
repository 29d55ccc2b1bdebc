"""Publishing what an execution made: all of it, or nothing and what was there before.

Folders are exchanged by rename, small files through a temporary neighbour. Whatever can fail (a
read-only parent, a full disk, a file in the way) fails before the first exchange or is undone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path


def publish(folders: Mapping[Path, Path], texts: Mapping[Path, str], aside: Path) -> None:
    """Move each folder to its target and write each text; `aside` keeps what is replaced."""
    with contextlib.ExitStack() as undo:
        ready = [(_beside(path, text, undo), path) for path, text in texts.items()]
        replaced = [_exchange(source, target, aside, undo) for source, target in folders.items()]
        for temporary, path in ready:
            temporary.replace(path)
        undo.pop_all()
    for old in replaced:
        if old is not None:
            _remove(old)


def _beside(path: Path, text: str, undo: contextlib.ExitStack) -> Path:
    """Write a text to a temporary neighbour of its path, which shares its folder and disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    undo.callback(temporary.unlink, missing_ok=True)
    temporary.write_text(text, encoding="utf-8")
    return temporary


def _exchange(source: Path, target: Path, aside: Path, undo: contextlib.ExitStack) -> Path | None:
    """Put a folder where another may be; return where that other now is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.stat().st_dev != target.parent.stat().st_dev:
        near = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        undo.callback(shutil.rmtree, near, ignore_errors=True)
        shutil.copytree(source, near)
        source = near
    old = None
    if target.is_symlink() or target.exists():
        old = _put_aside(target, aside)
        undo.callback(old.rename, target)
    source.rename(target)
    undo.callback(_remove, target)
    return old


def _put_aside(target: Path, aside: Path) -> Path:
    """Move what is replaced out of the way: to `aside`, or beside it on another disk."""
    aside.mkdir(parents=True, exist_ok=True)
    place = aside / f"{target.parent.name}-{target.name}"
    _remove(place)  # of an execution that was killed just here
    try:
        target.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        place = target.with_name(f".{target.name}.{os.getpid()}.old.tmp")
        target.rename(place)
    return place


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
