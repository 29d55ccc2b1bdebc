"""JSON lines: a text by its path and chosen fields as columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from stages.acquire.formats import JsonlFormat
from stages.acquire.readers.batches import ALWAYS, Input, Item, Loss, Place, Reader, clipped
from stages.acquire.readers.containers import Lines
from stages.core.canonical import line as canonical_line

_KEPT = {field.name for field in ALWAYS}
_ABSENT = object()


def _columns(settings: JsonlFormat) -> list[pa.Field]:
    return [pa.field(name, pa.string()) for name in settings.columns if name not in _KEPT]


def _read(source: Input, settings: JsonlFormat, place: Place) -> Iterator[Item]:
    for at, line in Lines(source, settings.encoding, place):
        identity = source.id(at.number)
        if isinstance(line, tuple):
            yield Item(Loss(identity, *line), at)
        elif line.strip():
            yield Item(_row(identity, line, settings), at)


def _row(identity: str, line: str, settings: JsonlFormat) -> dict[str, Any] | Loss:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Loss(identity, "not_json", clipped(error))
    if not isinstance(record, dict):
        return Loss(identity, "not_json", f"{type(record).__name__} instead of an object")
    text = field(record, settings.text)
    if not isinstance(text, str):
        told = f"the fields are {', '.join(record)}" if text is _ABSENT else repr(text)
        return Loss(identity, "no_text", clipped(f"{settings.text!r}: {told}"))
    row: dict[str, Any] = {"id": identity, "text": text}
    for name, path in settings.columns.items():
        value = field(record, path)
        if value is not _ABSENT and value is not None:
            row[name] = value if isinstance(value, str) else _plain(value)
    return row


def _plain(value: Any) -> str:
    """Return a value as one text; JSON of Python's own knows numbers that JSON does not."""
    try:
        return canonical_line(value)
    except ValueError:
        return str(value)


def field(record: dict[str, Any], path: str) -> Any:
    """Return what a dotted path leads to; a name that holds dots itself goes first."""
    if path in record:
        return record[path]
    head, _, rest = path.partition(".")
    inner = record.get(head)
    return field(inner, rest) if rest and isinstance(inner, dict) else _ABSENT


READER = Reader(kind=lambda _: "documents", columns=_columns, read=_read)
