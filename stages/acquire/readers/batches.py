"""What readers give: Arrow batches of records, every loss with its reason, and where to go on.

A reader yields items, one by one: a row or a loss, each with the place behind it. `batched` makes
Arrow batches of them and takes out what no reader may let pass (empty texts, half surrogates).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from stages.core.errors import SourceError

BATCH_BYTES = 8 << 20
"""Payload of a batch, at most one record above it."""
BATCH_ITEMS = 4096
END = -1
DETAIL_CHARACTERS = 200


class Place(NamedTuple):
    """Where reading goes on: a byte (or row group), records before it, records to pass behind it.

    `skip` is not 0 where a container has no place between two records to jump to. An offset of
    `END` says that there is nothing behind: what broke must not be told twice.
    """

    offset: int = 0
    number: int = 0
    skip: int = 0


class Loss(NamedTuple):
    """A record that is not kept: its id, a named reason and what was seen."""

    id: str
    reason: str
    detail: str


class Item(NamedTuple):
    """A row or a loss, and the place behind it."""

    row: dict[str, Any] | Loss
    place: Place


class Batch(NamedTuple):
    """Rows, losses and the place behind them."""

    rows: pa.RecordBatch
    losses: list[Loss]
    place: Place


class Damaged(Exception):
    """The container ends or breaks here: what was read before stands, the rest is lost."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Bounds:
    """What one input may cost, so that a bomb costs no more than a document."""

    record_bytes: int
    ratio: int


@dataclass(frozen=True)
class Input:
    """A file to read: where it is, its name below the root, its bounds, package and licence.

    `refuse` makes a container that breaks an error instead of a loss.
    """

    path: Path
    name: str
    bounds: Bounds
    licence: str
    package: str | None = None
    refuse: bool = False

    def id(self, number: int) -> str:
        """Return the id of the record of a number, from 1 on: unique whatever the records say."""
        return f"{self.name}:{number}"


@dataclass(frozen=True)
class Reader:
    """How a format is read: the kind of records, their columns, and the function that reads."""

    kind: Callable[[Any], str]
    columns: Callable[[Any], list[pa.Field]]
    read: Callable[[Input, Any, Place], Iterator[Item | Batch]]
    beside: Callable[[Input, Any], list[Path]] = lambda _, __: []
    """Files that are read together with an input: their digests are told and held too."""


TEXTS = {
    "documents": [pa.field("text", pa.string())],
    "pairs": [pa.field("source_text", pa.string()), pa.field("target_text", pa.string())],
    "labelled": [
        pa.field("tokens", pa.list_(pa.string())),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("lemmas", pa.list_(pa.string())),
        pa.field("feats", pa.list_(pa.string())),
        pa.field("text", pa.string()),
        pa.field("document", pa.string()),
    ],
}
ALWAYS = [pa.field("source", pa.string()), pa.field("licence", pa.string())]


def schema_of(reader: Reader, settings: Any) -> pa.Schema:
    """Return the columns of what a reader gives: id, texts, source, licence, its own."""
    own = reader.columns(settings)
    return pa.schema([pa.field("id", pa.string()), *TEXTS[reader.kind(settings)], *ALWAYS, *own])


def batched(
    items: Iterator[Item | Batch], schema: pa.Schema, source: Input, kind: str, place: Place
) -> Iterator[Batch]:
    """Yield batches of the items from a place on; batches that a reader makes pass as they are.

    Where the container breaks, what could not be read is one loss more.
    """
    rows: list[dict[str, Any]] = []
    losses: list[Loss] = []
    size = 0
    for item in _whole_items(items, source, place):
        if isinstance(item, Batch):
            yield item
            continue
        place = item.place
        if isinstance(item.row, Loss):
            losses.append(item.row)
        else:
            row = {"source": source.name, "licence": source.licence} | item.row
            reason = _refused(row, kind, source.bounds)
            if reason is None:
                rows.append(row)
                size += _bytes(row)
            else:
                losses.append(Loss(row["id"], *reason))
        if size >= BATCH_BYTES or len(rows) + len(losses) >= BATCH_ITEMS:
            yield Batch(pa.RecordBatch.from_pylist(rows, schema), losses, place)
            rows, losses, size = [], [], 0
    if rows or losses:
        yield Batch(pa.RecordBatch.from_pylist(rows, schema), losses, place)


def _whole_items(
    items: Iterator[Item | Batch], source: Input, place: Place
) -> Iterator[Item | Batch]:
    try:
        for item in items:
            place = item.place
            yield item
    except Damaged as damage:
        if source.refuse:
            raise SourceError(
                f"{source.path.name} is {damage.reason}: {damage.detail}",
                str(source.path),
                "fetch it again, or set `damage: lose` to keep what can be read",
            ) from damage
        number = place.number + 1
        loss = Loss(source.id(number), damage.reason, clipped(damage.detail))
        yield Item(loss, Place(END, number))


def clipped(text: object) -> str:
    """Return what was seen as it may stand in a table: short, on one line, and with bytes."""
    flat = " ".join(str(text)[: 2 * DETAIL_CHARACTERS].split())[:DETAIL_CHARACTERS]
    return flat.encode("utf-8", "backslashreplace").decode("utf-8")


def _refused(row: dict[str, Any], kind: str, bounds: Bounds) -> tuple[str, str] | None:
    names = [field.name for field in TEXTS[kind]]
    for name, value in row.items():
        if value is None or (type(value) is str and value.isascii()):
            continue
        for text in value if isinstance(value, list) else (value,):
            if isinstance(text, str) and (half := _half(text)) is not None:
                return "half_surrogate", f"{name}: {clipped(text[max(0, half - 40) : half + 40])}"
    if kind == "labelled":
        return None
    for name in names:
        text = row[name]
        if not text.strip():
            return "empty", f"{name} has no characters"
        if len(text) > bounds.record_bytes:
            return "too_long", f"{name} has {len(text)} characters, allowed {bounds.record_bytes}"
    return None


def _half(text: str) -> int | None:
    """Return where half of a surrogate pair stands, which has no bytes in UTF-8."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def _bytes(row: dict[str, Any]) -> int:
    return sum(
        len(value) if isinstance(value, str) else 8 * len(value)
        for value in row.values()
        if isinstance(value, str | list)
    )
