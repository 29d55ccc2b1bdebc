"""What came: every file with its digest and format, how it is read, and how many records it has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from stages.acquire.local import reading_of
from stages.acquire.sources import LinkRule, ParallelRule, ReadingRule, Tangible
from stages.core.canonical import file_digest
from stages.core.errors import SourceError
from stages.core.log import Log
from stages.lm.records import RawFile, Reading, format_of, raw_files, read_file

Row = dict[str, Any]


def rows(folder: Path, reading: Reading, rules: Sequence[ReadingRule], log: Log) -> list[Row]:
    """Describe every file below `folder/files`, in the order of the names."""
    root = folder / "files"
    choose = reading_of(root, reading, rules, log)
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            name = path.relative_to(root).as_posix()
            found.append(_row(path, name, choose(name)))
    return found


def _row(path: Path, name: str, reading: Reading) -> Row:
    choices = {
        field: value
        for field, value in reading.model_dump(mode="json").items()
        if field in Reading.model_fields and value != Reading.model_fields[field].default
    }
    format = format_of(name, reading)
    encoding = choices.pop("encoding", None)
    choices.pop("format", None)
    row: Row = {
        "path": f"files/{name}",
        "sha256": file_digest(path),
        "size_bytes": path.stat().st_size,
        "format": format,
    }
    if encoding is not None:
        row["encoding"] = encoding
    if choices:
        row["reading"] = choices
    return row


def join(found: list[Row], source: Tangible) -> None:
    """Tie together the rows that are read as one: sides of a translation, links and sentences."""
    by_name = {row["path"].removeprefix("files/"): row for row in found}
    for rule in source.parallel:
        for left, right in _sides(rule, by_name):
            by_name[left] |= {"format": "parallel", "partners": [f"files/{right}"]}
            by_name[right] |= {"format": "parallel", "partner_of": f"files/{left}"}
    for link in source.links:
        _link(link, by_name)


def _sides(rule: ParallelRule, by_name: dict[str, Row]) -> list[tuple[str, str]]:
    left = [name for name in by_name if _matches(name, rule.source)]
    right = [name for name in by_name if _matches(name, rule.target)]
    if not left or len(left) != len(right):
        raise SourceError(
            f"{len(left)} file(s) match {rule.source!r} and {len(right)} match {rule.target!r}",
            "acquire: source.parallel",
            "both globs must find equally many files, in the same order of names",
        )
    return list(zip(left, right, strict=True))


def _matches(name: str, pattern: str) -> bool:
    return PurePath(name).match(pattern.removeprefix("**/"))


def _link(link: LinkRule, by_name: dict[str, Row]) -> None:
    names = (link.links, link.source, link.target)
    lacking = [name for name in names if name not in by_name]
    if lacking:
        raise SourceError(
            f"no file {lacking[0]!r} among what came",
            "acquire: source.links",
            f"name three of: {', '.join(sorted(by_name)[:10])}",
        )
    first, left, right = (by_name[name] for name in names)
    first |= {"format": "tatoeba", "partners": [left["path"], right["path"]]}
    first["reading"] = {**first.get("reading", {}), "yields": "pairs"}
    right["partner_of"] = first["path"]
    # The source side stays readable as texts; the target side is of another language.


def count(folder: Path, found: list[Row], log: Log) -> dict[str, int]:
    """Read every file once, so that damage is told now and by place; return records by kind."""
    totals = {"documents": 0, "labelled": 0, "pairs": 0}
    for done, (row, file) in enumerate(zip(found, raw_files(folder), strict=True)):
        number = _count_file(file)
        if file.kind != "nothing":
            totals[file.kind] += number
            row["records"] = number
        log.progress(done + 1, len(found), "files read")
    if not any(totals.values()) and any(row["format"] != "binary" for row in found):
        raise SourceError(
            "the source is empty: its files hold no record",
            str(folder / "files"),
            "check what the files hold, and how `reading` reads them",
        )
    return totals


def _count_file(file: RawFile) -> int:
    if file.kind == "nothing":
        return 0
    number = 0
    for record in read_file(file):
        text = getattr(record, "text", None)
        number += 1 if text is None or text.strip() else 0
    return number


def identity(source: Any) -> dict[str, Any]:
    """Return what of a source's parameters tells where its material comes from."""
    full: dict[str, Any] = source.model_dump(mode="json")
    for name in ("attempts", "backoff_seconds", "timeout_seconds", "max_bytes", "max_files"):
        full.pop(name, None)
    for name in ("reading", "rules", "parallel", "links"):  # The rows of the files tell these.
        full.pop(name, None)
    return full
