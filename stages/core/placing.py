"""Objects for DVC's cache: made under temporary names, then named, whole or not at all.

A reflink or a hard link where the settings have it, else a copy that goes past the page cache: the
workspace's pages are there already, and a second set of them costs more than writing to the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROTECTED = 0o444
"""DVC trusts an object of this mode without reading it."""
COPIED_BYTES = 16 << 20
"""Smaller files are left to DVC to copy."""
AT_ONCE = 2
"""Copies at a time: they wait for the disk."""
PIECE = 16 << 20
ALIGNED = 4096
FICLONE = 0x40049409
"""ioctl by which a file shares another's blocks."""
MARK = "deveno-"


def place(
    cache: Path,
    types: Sequence[str],
    values: Mapping[Path, str],
    steady: Callable[[Path], bool] = lambda path: True,
) -> dict[Path, str]:
    """Make cache objects of files whose hashes are known; return those made, with their hashes.

    `types` are DVC's ways to fill a workspace, the best first. What cannot be made is left to DVC,
    and so is a file that is not `steady` any more when its object is there. One after the other
    with hashing, not beside it: both want memory, and a core's two threads share it.
    """
    # Root writes through a read-only link and so into the cache: it gets copies.
    ways = [one for one in types if one != "hardlink" or os.geteuid() != 0]
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)

    def one(number: int, path: Path) -> Path | None:
        temporary = cache / f"{MARK}{os.getpid()}-{number}.tmp"
        name = cache / "files" / "md5" / values[path][:2] / values[path][2:]
        try:
            if name.exists() or not _make(path, temporary, ways) or not steady(path):
                return None
            name.parent.mkdir(parents=True, exist_ok=True)
            temporary.chmod(PROTECTED)
            temporary.replace(name)
        except OSError:
            return None  # DVC then copies it, or says what is wrong
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return name

    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = pool.map(one, range(len(values)), values)
        return {name: value for name, value in zip(names, values.values(), strict=True) if name}


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
    """Write a file straight from the pages that the page cache has of it."""
    size = os.fstat(source).st_size
    os.posix_fallocate(target, 0, size)  # a full disk is known before anything is written
    with mmap.mmap(source, size, prot=mmap.PROT_READ) as pages, memoryview(pages) as view:
        done = 0
        while done < size:
            end = min(done + PIECE, size)
            if end % ALIGNED:  # the end of the file: less than a page cannot go past the page cache
                end = end - end % ALIGNED if end - done >= ALIGNED else end
            if end % ALIGNED:
                _buffered(target)
            try:
                done += os.write(target, view[done:end])
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
