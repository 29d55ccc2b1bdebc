"""Writing raw material: copies with digests, paths that stay inside, disk trouble told plainly."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from stages.core.canonical import CHUNK_BYTES
from stages.core.errors import MachineError, SourceError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def told_plainly(path: Path) -> Iterator[None]:
    """Turn a full disk or a read-only folder into an error that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise MachineError(
                f"no space is left for {path.name} ({error.strerror})",
                str(path),
                "free some disk space and run again; downloads go on where they stopped",
            ) from error
        if error.errno in _CLOSED:
            raise MachineError(
                f"{error.filename or path.name} may not be read or written ({error.strerror})",
                str(path),
                "change its permissions, or work in a folder of your own",
            ) from error
        raise


def inside(name: str, where: str) -> PurePosixPath:
    """Return a relative path as it may be written below a folder; `..` and roots are refused."""
    path = PurePosixPath(name.replace("\\", "/"))
    unsafe = path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name
    if unsafe or (len(path.parts[0]) == 2 and path.parts[0][1] == ":"):
        raise SourceError(
            f"the path {name!r} leads outside its folder",
            where,
            "use paths below the root, without `..`",
        )
    return path


def copy_stream(
    stream: IO[bytes],
    target: Path,
    *,
    tick: Callable[[int], None] | None = None,
    max_bytes: int | None = None,
) -> None:
    """Copy a stream into a new file; more than `max_bytes` is refused."""
    done = 0
    with told_plainly(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while chunk := stream.read(CHUNK_BYTES):
                done += len(chunk)
                if max_bytes is not None and done > max_bytes:
                    raise SourceError(
                        f"{target.name} is larger than {max_bytes} bytes",
                        str(target),
                        "raise max_bytes if that is meant",
                    )
                out.write(chunk)
                if tick is not None:
                    tick(len(chunk))


def content_digest(rows: list[dict[str, object]]) -> str:
    """Return one SHA-256 over the paths and digests of all files, in the order of their paths."""
    state = hashlib.sha256()
    for row in sorted(rows, key=lambda row: str(row["path"])):
        state.update(f"{row['sha256']}  {row['path']}\n".encode())
    return state.hexdigest()
