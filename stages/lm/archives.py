"""Members out of tar and zip archives, by glob, and never outside the target folder."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from stages.core.errors import SourceError
from stages.lm.writing import copy_stream, inside

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error)


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
    try:
        for name, stream in _members(archive):
            path = inside(name, str(archive))
            if stream is None or not any(_matches(str(path), pattern) for pattern in patterns):
                continue
            copy_stream(stream, folder / path, max_bytes=max_bytes)
            names.append(str(path))
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    except FileExistsError as error:
        raise SourceError(
            f"the archive {archive.name} holds a member twice",
            str(error.filename),
            "choose the members that are meant with `unpack`",
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(archive, error) from error  # What bz2 and lzma say of damage.
    if not names:
        raise SourceError(
            f"no member of {archive.name} matches {', '.join(patterns)}",
            str(archive),
            "correct the globs in `unpack`",
        )
    return sorted(names)


def _damaged(archive: Path, error: Exception) -> SourceError:
    return SourceError(
        f"the archive {archive.name} is damaged ({error})", str(archive), "fetch it again"
    )


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
    with tarfile.open(archive, "r|*") as tar:
        for entry in tar:
            if entry.isdir():
                continue
            if not entry.isfile():
                raise _link(archive, entry.name)
            yield entry.name, tar.extractfile(entry)


def _link(archive: Path, name: str) -> SourceError:
    return SourceError(
        f"the member {name!r} of {archive.name} is a link or a device",
        str(archive),
        "unpack it yourself after a look, and use a `files` source",
    )
