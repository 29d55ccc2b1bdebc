"""Something that lies anywhere, looked at before it is read: could it be a recorded artifact?

The records know the sizes of most artifacts. So the root folder, a disk image or /proc is told from
a copy of an artifact without reading a byte of it; what is neither file nor folder is refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.core import canonical, hashes, kinds
from stages.core.errors import ArtifactError
from stages.core.records import Records

FILES = re.compile(r"\bnfiles: (\d+)")
FILES_MOST = 1_000_000
"""How many files a folder may hold where no record says how many the artifacts have."""
NOTHING = hashlib.md5(b"", usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Limits:
    """What the records know of sizes: of folders, the largest of all, the most files.

    `folders` is None where a folder's size is not recorded: then it may be any.
    """

    folders: frozenset[int] | None
    largest_bytes: int | None
    most_files: int


def limits(records: Records) -> Limits:
    """Return what sizes a copy of a recorded artifact can have."""
    known: set[int] = set()
    folders: set[int] = set()
    unknown, unknown_folder, counted = False, False, True
    most = 0
    for record in records.all:
        text = getattr(record.source, "text", "")
        counts = [int(one) for one in FILES.findall(text)]
        most = max([most, *counts])
        of_outs = {path: record.sizes.get(path) for path in record.outs}
        for path, size in of_outs.items():
            is_folder = record.outs[path].endswith(".dir")
            counted &= not is_folder or bool(counts)
            if size is None:
                unknown, unknown_folder = True, unknown_folder or is_folder
            else:
                known.add(size)
                folders |= {size} if is_folder else set()
    return Limits(
        None if unknown_folder else frozenset(folders),
        None if unknown else max(known, default=0),
        most if counted else max(most, FILES_MOST),
    )


def digest(records: Records, place: Path) -> str | None:
    """Return DVC's hash of a file or folder; None for what no recorded artifact can be by its size.

    Raises ArtifactError for a pipe, a socket, a device, for a folder that holds one or a link that
    leads nowhere or round in a circle, and for what may not be read.
    """
    try:
        return _digest(limits(records), place)
    except OSError as error:
        raise ArtifactError(
            f"it cannot be read whole: {error.strerror}",
            str(error.filename or place),
            "make it readable, or copy the artifact alone and name the copy",
        ) from None


def _digest(known: Limits, place: Path) -> str | None:
    facts = place.stat()
    kinds.refuse(place, facts)
    if not place.is_dir():
        if known.largest_bytes is not None and facts.st_size > known.largest_bytes:
            return None
        return _of_file(place, facts.st_size)
    found: list[tuple[str, Path, int]] = []
    total = 0
    for name, path, size in walk(place):
        found.append((name, path, size))
        total += size
        much = known.largest_bytes is not None and total > known.largest_bytes
        if much or len(found) > known.most_files:
            return None
    if not found or (known.folders is not None and total not in known.folders):
        return None
    rows = sorted((name, _of_file(path, size)) for name, path, size in found)
    return hashes.combined(rows, True)


def _of_file(path: Path, size: int) -> str:
    """Return a file's MD5; one of no size is not read: those of /proc may wait for ever."""
    return canonical.file_digest(path, "md5") if size else NOTHING


def walk(folder: Path, inside: str = "") -> Iterator[tuple[str, Path, int]]:
    """Yield (relative name, path, size) of a folder's files, as DVC counts them."""
    with os.scandir(folder) as found:
        rows = sorted(found, key=lambda row: row.name)
    for row in rows:
        if hashes.is_ignored(row.name):
            continue
        path, name = Path(row.path), f"{inside}{row.name}"
        facts = path.stat()
        kinds.refuse(path, facts, name)
        if not stat.S_ISDIR(facts.st_mode):
            yield name, path, facts.st_size
            continue
        if row.is_symlink():
            kinds.refuse_circle(path)
        yield from walk(path, f"{name}/")
