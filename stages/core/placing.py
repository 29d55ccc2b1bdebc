"""Objects for DVC's cache: made under temporary names while their hash is computed, then named.

A reflink or a hard link where the settings have it, else a copy that goes past the page cache: the
workspace's pages are there already, and a second set of them costs more than writing to the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

PROTECTED = 0o444
"""DVC trusts an object of this mode without reading it."""
COPIED_BYTES = 16 << 20
"""Smaller files are left to DVC to copy."""
PIECE = 4 << 20
ALIGNED = 4096
FICLONE = 0x40049409
"""ioctl by which a file shares another's blocks."""
MARK = "deveno-"


class Placing:
    """Makes objects of files, in the background; `finish` names them or takes them away again."""

    def __init__(self, cache: Path, types: Sequence[str]) -> None:
        self.cache = cache
        # Root writes through a read-only link and so into the cache: it gets copies.
        self.types = [one for one in types if one != "hardlink" or os.geteuid() != 0]
        self._pool = ThreadPoolExecutor(2)
        self._begun: dict[Path, tuple[Path, Future[bool]]] = {}

    def start(self, files: Sequence[Path]) -> None:
        """Begin to make an object of each file."""
        with contextlib.suppress(OSError):
            self.cache.mkdir(parents=True, exist_ok=True)
            _sweep(self.cache)
        for number, path in enumerate(files):
            temporary = self.cache / f"{MARK}{os.getpid()}-{number}.tmp"
            self._begun[path] = temporary, self._pool.submit(_make, path, temporary, self.types)

    def finish(self, values: Mapping[Path, str]) -> dict[Path, str]:
        """Give the objects of these files their names; return them with their hashes.

        Files that are not among `values` changed meanwhile: what was made of them is dropped.
        """
        placed: dict[Path, str] = {}
        for path, (temporary, made) in self._begun.items():
            try:
                if made.result() and path in values:
                    name = self.cache / "files" / "md5" / values[path][:2] / values[path][2:]
                    if not name.exists():
                        name.parent.mkdir(parents=True, exist_ok=True)
                        temporary.chmod(PROTECTED)
                        temporary.replace(name)
                        placed[name] = values[path]
            except OSError:
                continue  # DVC then copies it, or says what is wrong
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
        self._pool.shutdown()
        return placed


def _sweep(cache: Path) -> None:
    """Remove what killed processes left."""
    for path in cache.glob(f"{MARK}*.tmp"):
        pid = path.name.removeprefix(MARK).split("-")[0]
        if not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            path.unlink(missing_ok=True)


def _make(path: Path, temporary: Path, types: Sequence[str]) -> bool:
    """Make an object in the first way that works; return whether one did."""
    facts = path.lstat()
    if path.is_symlink() or not facts.st_size or facts.st_mode & 0o111:
        return False
    ways: dict[str, Callable[[Path, Path], None]]
    ways = {"reflink": _reflink, "hardlink": lambda a, b: os.link(a, b), "copy": _copy}
    for one in types:
        if one not in ways or (one == "copy" and facts.st_size < COPIED_BYTES):
            return False
        try:
            temporary.unlink(missing_ok=True)
            ways[one](path, temporary)
            return True
        except OSError:
            continue
    return False


def _reflink(path: Path, temporary: Path) -> None:
    with path.open("rb") as source, temporary.open("wb") as target:
        fcntl.ioctl(target.fileno(), FICLONE, source.fileno())


def _copy(path: Path, temporary: Path) -> None:
    """Copy past the page cache where the file system lets us, else through it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            target = os.open(temporary, flags | getattr(os, "O_DIRECT", 0), 0o600)
        except OSError:
            temporary.unlink(missing_ok=True)
            target = os.open(temporary, flags, 0o600)
        try:
            _pump(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _pump(source: int, target: int) -> None:
    size = os.fstat(source).st_size
    os.posix_fallocate(target, 0, size)  # a full disk is known before anything is written
    with mmap.mmap(-1, PIECE) as room, memoryview(room) as view:
        while got := os.readv(source, [view]):
            if got % ALIGNED:  # the end of the file: such a piece cannot go past the page cache
                _buffered(target)
            _whole(target, view, got)


def _whole(target: int, view: memoryview, got: int) -> None:
    done = 0
    while done < got:
        try:
            done += os.write(target, view[done:got])
        except OSError:
            if not _buffered(target):
                raise


def _buffered(target: int) -> bool:
    """Write through the page cache from here on; return whether that changed anything."""
    flags = fcntl.fcntl(target, fcntl.F_GETFL)
    direct = getattr(os, "O_DIRECT", 0)
    if not flags & direct:
        return False
    fcntl.fcntl(target, fcntl.F_SETFL, flags & ~direct)
    return True
