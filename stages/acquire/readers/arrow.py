"""Arrow files, Arrow streams and Parquet: batches pass on as buffers, no row becomes an object.

Files are memory-mapped, so memory holds some thousand rows. A file whose end is missing is read as
the stream that it begins with.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.acquire.formats import ArrowFormat
from stages.acquire.readers.batches import (
    ALWAYS,
    Batch,
    Damaged,
    Input,
    Item,
    Loss,
    Place,
    Reader,
    clipped,
    schema_of,
)
from stages.core.canonical import line as canonical_line

SLICE_ROWS = 4096
_FILE, _PARQUET = b"ARROW1\0\0", b"PAR1"
_KEPT = {field.name for field in ALWAYS}


def _columns(settings: ArrowFormat) -> list[pa.Field]:
    return [pa.field(name, pa.string()) for name in settings.columns if name not in _KEPT]


def _read(source: Input, settings: ArrowFormat, place: Place) -> Iterator[Item | Batch]:
    number = place.number
    try:
        for unit, skip, rows in _slices(source, place):
            yield _batch(source, settings, rows, Place(unit, number, skip))
            number += rows.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # A name that is no text.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Damaged("damaged", f"behind row {number}: {clipped(error)}") from error


def _slices(source: Input, place: Place) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """Yield (batch or row group, rows of it behind these, rows) from a place on."""
    for unit, batch in _batches(source, place.offset):
        at = place.skip if unit == place.offset else 0
        while at < batch.num_rows:
            rows = batch.slice(at, SLICE_ROWS)
            at += rows.num_rows
            yield unit, at, rows


def _batches(source: Input, first: int) -> Iterator[tuple[int, Any]]:
    with source.path.open("rb") as raw:
        head = raw.read(8)
    if head.startswith(_PARQUET):
        parquet = pq.ParquetFile(source.path, memory_map=True, pre_buffer=False)
        for unit in range(first, parquet.num_row_groups):
            yield unit, parquet.read_row_group(unit, use_threads=False)
        return
    with pa.memory_map(str(source.path)) as mapped:
        if head == _FILE:
            try:
                file = pa.ipc.open_file(mapped)
            except pa.ArrowInvalid:
                mapped.seek(len(_FILE))
            else:
                for unit in range(first, file.num_record_batches):
                    yield unit, file.get_batch(unit)
                return
        stream = pa.ipc.open_stream(mapped)
        for unit, batch in enumerate(stream):
            if unit >= first:
                yield unit, batch
        if head == _FILE:
            raise Damaged("truncated", "an Arrow file without its end")


def _batch(source: Input, settings: ArrowFormat, rows: Any, place: Place) -> Batch:
    """Return the rows that hold what is asked for, and the others as losses with their reason."""
    schema = schema_of(READER, settings)
    names = _wanted(settings)
    table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
    lacking = sorted(set(names.values()) - set(table.schema.names))
    if lacking:
        told = f"no column {', '.join(lacking)}; it has {', '.join(table.schema.names)}"
        raise Damaged("no_column", clipped(told))
    count = table.num_rows
    ids = pa.array([source.id(place.number + n) for n in range(1, count + 1)], pa.string())
    given: dict[str, Any] = {"id": ids}
    for name, column in names.items():
        for chunk in table.column(column).chunks:
            _sound(chunk)
        given[name] = _texts(table.column(column).combine_chunks())
    reasons = _reasons(given, _sides(settings), source.bounds.record_bytes)
    given |= {"source": pa.array([source.name] * count, pa.string())}
    default = pa.array([source.licence] * count, pa.string())
    own = given.get("licence")
    given["licence"] = default if own is None else pc.coalesce(own, default)
    whole = pa.record_batch([given[field.name] for field in schema], schema=schema)
    losses = [Loss(ids[n].as_py(), reason, detail) for n, (reason, detail) in reasons.items()]
    kept = pa.array([n not in reasons for n in range(count)]) if reasons else None
    after = Place(place.offset, place.number + count, place.skip)
    return Batch(whole if kept is None else whole.filter(kept), losses, after)


def _sides(settings: ArrowFormat) -> tuple[str, ...]:
    return ("text",) if settings.yields == "documents" else ("source_text", "target_text")


def _wanted(settings: ArrowFormat) -> dict[str, str]:
    return {name: getattr(settings, name) for name in _sides(settings)} | settings.columns


def _sound(values: Any) -> None:
    """See that offsets lie within their buffers, or what reads them reads beyond: ArrowInvalid.

    Bad UTF-8 is not looked for in columns of texts: that is one row's loss.
    """
    values.validate()
    if pa.types.is_string(values.type):
        values = values.view(pa.binary())
    elif pa.types.is_large_string(values.type):
        values = values.view(pa.large_binary())
    values.validate(full=True)


def _texts(values: Any) -> Any:
    """Return a column as texts; lists and structs as canonical JSON, bad UTF-8 as it is."""
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], pa.string())
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _texts(values.cast(kind.value_type))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return values.cast(pa.binary()).view(pa.string())
    if pa.types.is_nested(kind):
        plain = [None if one is None else canonical_line(one) for one in values.to_pylist()]
        return pa.array(plain, pa.string())
    return values.cast(pa.string())


def _reasons(
    given: dict[str, Any], sides: tuple[str, ...], limit: int
) -> dict[int, tuple[str, str]]:
    """Return why rows are not kept, by their number; columns beside the texts are checked too."""
    found: dict[int, tuple[str, str]] = {}
    for name, values in given.items():
        if name != "id":
            for n in _undecodable(values):
                found.setdefault(n, ("undecodable", f"{name} is not UTF-8"))
                given[name] = _without(given[name], n)
    for name in sides:
        values = given[name]
        blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(values)), 0)
        for n in _where(pc.is_null(values)):
            found.setdefault(n, ("no_text", f"{name} is null"))
        for n in _where(blank):
            found.setdefault(n, ("empty", f"{name} has no characters"))
        for n in _where(pc.greater(pc.binary_length(values), limit)):
            found.setdefault(n, ("too_long", f"{name} has more than {limit} bytes"))
    return found


def _where(mask: Any) -> list[int]:
    """Return the numbers of the true values; null counts as false."""
    return pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()


def _undecodable(values: Any) -> list[int]:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        raw = values.view(pa.binary())
        return [n for n, one in enumerate(raw.to_pylist()) if one is not None and not _utf8(one)]
    return []


def _without(values: Any, n: int) -> Any:
    blank = pa.array([""], pa.string())
    return pa.concat_arrays([values.slice(0, n), blank, values.slice(n + 1)])


def _utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


READER = Reader(kind=lambda settings: settings.yields, columns=_columns, read=_read)
