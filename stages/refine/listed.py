"""Lists that an entry of `acquire` brought in: checked against its manifest, read line by line."""

from __future__ import annotations

from pathlib import Path

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.lm.records import raw_manifest

COMMENT = "#"


def path_of(folder: Path, name: str) -> tuple[Path, str]:
    """Return where a file of a raw folder is, and its digest; raises where it is another file."""
    rows = {row["path"].removeprefix("files/"): row for row in raw_manifest(folder)["files"]}
    if name not in rows:
        raise ArtifactError(
            f"the lists hold no {name}, only {', '.join(sorted(rows)) or 'nothing'}",
            str(folder),
            "name a file of the entry in refine: permitted, or acquire it",
        )
    path = folder / rows[name]["path"]
    said = str(rows[name].get("sha256", ""))
    found = canonical.file_digest(path) if path.is_file() else "no file"
    if found != said:
        raise ArtifactError(
            f"{name} has the SHA-256 {found[:16]}, its manifest says {said[:16] or 'none'}",
            str(path),
            "make the entry of acquire again",
        )
    return path, found


def lines(folder: Path, name: str) -> list[tuple[int, str]]:
    """Return the lines of a list with their numbers, without comments and blank ones."""
    path, _ = path_of(folder, name)
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{name} is not UTF-8 (byte {error.start})", str(path), "save it as UTF-8"
        ) from None
    found = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    return [row for row in found if row[1] and not row[1].startswith(COMMENT)]


def empty(folder: Path, name: str) -> ArtifactError:
    """Return the error of a list without an entry."""
    return ArtifactError(
        f"the list {name} has no entry", str(folder), "fill it, or take it out of refine: permitted"
    )
