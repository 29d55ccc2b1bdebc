"""Members out of tar and zip archives, by glob, and never outside the target folder."""

from __future__ import annotations

import errno
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from stages.core.canonical import CHUNK_BYTES
from stages.core.errors import SourceError
from stages.lm.streams import unpacked
from stages.lm.writing import copy_stream, inside

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, struct.error, UnicodeError)
_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
FREE_BYTES = 1 << 30
"""So much may come out of any archive before its ratio is looked at."""
RATIO = 300
"""Bytes that may come out of one byte: plain text packs 3 to 20 times, bombs a thousand."""


def is_archive(name: str) -> bool:
    """Tell an archive by its name."""
    return name.lower().endswith((*_TARS, ".zip"))


def archive_stem(name: str) -> str:
    """Return an archive's name without its suffix."""
    for suffix in sorted((*_TARS, ".zip"), key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def unpack(archive: Path, folder: Path, patterns: Sequence[str], max_bytes: int) -> list[str]:
    """Write the members that a glob matches below `folder`; return their names, sorted.

    Links, devices and paths that lead outside are refused, whether or not a glob matches them.
    """
    names = []
    room = max(FREE_BYTES, RATIO * archive.stat().st_size)

    def tick(count: int) -> None:
        nonlocal room
        room -= count
        if room < 0:
            raise SourceError(
                f"more than {RATIO} times its size comes out of the archive {archive.name}",
                str(archive),
                "unpack it yourself if that is meant, and use a `files` source",
            )

    try:
        for name, stream in _members(archive):
            path = inside(name, str(archive))
            if stream is None or not any(_matches(str(path), pattern) for pattern in patterns):
                continue
            copy_stream(stream, folder / path, max_bytes=max_bytes, tick=tick)
            names.append(str(path))
    except (NotImplementedError, RuntimeError) as error:  # zip: an unknown method, a password
        raise _damaged(archive, error, "cannot be unpacked", "unpack it yourself") from error
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except FileExistsError as error:
        raise SourceError(
            f"the archive {archive.name} holds a member twice",
            str(error.filename),
            "choose the members that are meant with `unpack`",
        ) from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        # What bz2 and lzma say of damage, and what going to a place before the start is.
        raise _damaged(archive, error) from error
    if not names:
        raise SourceError(
            f"no member of {archive.name} matches {', '.join(patterns)}",
            str(archive),
            "correct the globs in `unpack`",
        )
    return sorted(names)


def _damaged(
    archive: Path, error: Exception, how: str = "is damaged", todo: str = "fetch it again"
) -> SourceError:
    return SourceError(f"the archive {archive.name} {how} ({error})", str(archive), todo)


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(Path(path).name, pattern)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield names and streams of plain files in stored order; folders come without a stream."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as bundle:
            for member in bundle.infolist():
                if member.is_dir():
                    continue
                if (member.external_attr >> 28) == 0xA:
                    raise _link(archive, member.filename)
                with bundle.open(member) as stream:
                    yield member.filename, stream
        return
    with archive.open("rb") as raw:
        head = raw.read(6)
        raw.seek(0)
        kind = next((kind for magic, kind in _PACKED if head.startswith(magic)), None)
        with unpacked(raw, kind) as stream:
            watched = _Watched(stream)
            with tarfile.open(fileobj=watched, mode="r|") as tar:  # type: ignore[call-overload]
                yield from _entries(archive, tar)
                end = tar.offset
            while watched.read(CHUNK_BYTES):
                pass
    # What looks for a next member takes a cut behind any member for the end.
    if watched.size <= end:
        raise EOFError("it ends without its end mark")
    if watched.filled > end:
        raise tarfile.ReadError(f"there is more behind its end, at byte {end}")


def _entries(archive: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes] | None]]:
    for entry in tar:
        if entry.isdir():
            continue
        if not entry.isfile():
            raise _link(archive, entry.name)
        yield entry.name, tar.extractfile(entry)


class _Watched:
    """A stream that knows how much was read of it, and where the last byte lay that is not 0."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.size = self.filled = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if bare := len(data.rstrip(b"\0")):
            self.filled = self.size + bare
        self.size += len(data)
        return data


def _link(archive: Path, name: str) -> SourceError:
    return SourceError(
        f"the member {name!r} of {archive.name} is a link or a device",
        str(archive),
        "unpack it yourself after a look, and use a `files` source",
    )
