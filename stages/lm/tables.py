"""Parquet tables with fixed settings: equal content means equal bytes, at any batch size.

Row groups are cut by row count and payload bytes alone, never by how a caller batched its rows, so
two writers that feed the same rows make the same file. Nothing but the schema and the version of
the Parquet library enters the footer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.core.errors import ArtifactError

ZSTD_LEVEL = 3
GROUP_ROWS = 8192
"""Rows of a row group at most."""
GROUP_BYTES = 16 << 20
"""Payload of a row group, at most one row above it: this bounds a writer's memory."""
SHARD_BYTES = 256 << 20
"""Size of a shard file at most (a single row larger than that gets a shard of its own)."""
PLAIN_COLUMNS = frozenset({"id", "text", "source_text", "target_text", "representative", "detail"})
"""Columns whose values rarely repeat: a dictionary would only cost time."""

TEXT_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("source", pa.string())])
LABELLED_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("tokens", pa.list_(pa.string())),
        ("tags", pa.list_(pa.string())),
        ("lemmas", pa.list_(pa.string())),
        ("feats", pa.list_(pa.string())),
        ("source", pa.string()),
    ]
)
PARALLEL_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source_text", pa.string()),
        ("target_text", pa.string()),
        ("source", pa.string()),
    ]
)


def write_table(path: Path, table: pa.Table) -> None:
    """Write one Parquet file with the house's fixed settings."""
    plain = _plain(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open(path, plain.schema) as writer:
        cutter = _Cutter()
        for group in [*cutter.feed(plain), *cutter.rest()]:
            writer.write_table(group, row_group_size=max(1, group.num_rows))


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> None:
    """Write one Parquet file of rows as they come: the bytes that `write_table` gives them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    given = iter(rows)
    with _open(path, schema) as writer:
        cutter = _Cutter()
        while batch := list(islice(given, GROUP_ROWS)):
            columns = zip(*batch, strict=True)
            arrays = [pa.array(one, field.type) for one, field in zip(columns, schema, strict=True)]
            for group in cutter.feed(pa.Table.from_arrays(arrays, schema=schema)):
                writer.write_table(group, row_group_size=max(1, group.num_rows))
        for group in cutter.rest():
            writer.write_table(group, row_group_size=max(1, group.num_rows))


class ShardWriter:
    """Streams rows into `<folder>/<split>-00000.parquet`, `-00001`, ... with bounded memory.

    Use it as a context manager; at least one shard is written, so that an empty split has its
    schema. After it `shards` (file names), `rows` and `payload_bytes` tell what was written.
    """

    def __init__(
        self, folder: Path, split: str, schema: pa.Schema, *, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self.folder, self.split = folder, split
        self.schema = schema.remove_metadata()
        self.shards: list[str] = []
        self.rows = 0
        self.payload_bytes = 0
        self._limit = shard_bytes
        self._cutter = _Cutter()
        self._buffer: list[Mapping[str, Any]] = []
        self._buffered_bytes = 0
        self._stream: Any = None
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> ShardWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._close_shard()

    def add(self, row: Mapping[str, Any]) -> None:
        """Take one row; columns it lacks become null."""
        self._buffer.append(row)
        self._buffered_bytes += _rough_bytes(row)
        if len(self._buffer) >= 1024 or self._buffered_bytes >= GROUP_BYTES:
            self._drain()

    def add_table(self, table: pa.Table | pa.RecordBatch) -> None:
        """Take many rows at once; the columns must be those of the schema, in any order."""
        self._drain()
        whole = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
        self._feed(whole.select(self.schema.names))

    def close(self) -> None:
        """Write what is buffered and finish the last shard."""
        self._drain()
        for group in self._cutter.rest():
            self._write(group)
        if not self.shards:
            self._write(self.schema.empty_table())
        self._close_shard()

    def _drain(self) -> None:
        if self._buffer:
            rows, self._buffer, self._buffered_bytes = self._buffer, [], 0
            self._feed(pa.Table.from_pylist(rows, schema=self.schema))

    def _feed(self, table: pa.Table) -> None:
        for group in self._cutter.feed(_plain(table).cast(self.schema)):
            self._write(group)

    def _write(self, group: pa.Table) -> None:
        size = int(_row_bytes(group).sum())
        if self._stream is not None and self._stream.tell() + size > self._limit:
            self._close_shard()
        if self._writer is None:
            name = f"{self.split}-{len(self.shards):05d}.parquet"
            self._stream = (self.folder / name).open("wb")
            self._writer = _open(self._stream, self.schema)
            self.shards.append(name)
        self._writer.write_table(group, row_group_size=max(1, group.num_rows))
        self.rows += group.num_rows
        self.payload_bytes += size

    def _close_shard(self) -> None:
        writer, stream = self._writer, self._stream
        self._writer = self._stream = None
        if writer is not None:
            writer.close()
        if stream is not None:
            stream.close()


def shard_paths(folder: Path, split: str) -> list[Path]:
    """Return the split's shards in order; a missing split is an ArtifactError."""
    found = sorted(folder.glob(f"{split}-[0-9]*.parquet"))
    if not found:
        raise ArtifactError(
            f"no shard of the split {split}",
            str(folder),
            "make the folder again, or name one of the splits that its corpus.json lists",
        )
    return found


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet file whole."""
    source = open_parquet(path, columns)
    try:
        return source.read(columns=list(columns) if columns else None, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def iter_batches(
    folder: Path, split: str, columns: Sequence[str] | None = None, *, batch_rows: int = 1024
) -> Iterator[pa.RecordBatch]:
    """Yield the split's rows in order as record batches, one row group in memory at a time."""
    for path in shard_paths(folder, split):
        yield from iter_file(path, columns, batch_rows=batch_rows)


def iter_file(
    path: Path, columns: Sequence[str] | None = None, *, batch_rows: int = 1024
) -> Iterator[pa.RecordBatch]:
    """Yield one Parquet file's rows in order as record batches."""
    source = open_parquet(path, columns)
    try:
        yield from source.iter_batches(
            batch_rows, columns=list(columns) if columns else None, use_threads=False
        )
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def iter_rows(
    folder: Path, split: str, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the split's rows in order as dictionaries."""
    for batch in iter_batches(folder, split, columns):
        yield from batch.to_pylist()


def open_parquet(path: Path, columns: Sequence[str] | None = None) -> pq.ParquetFile:
    """Open a Parquet file and see that it has the columns asked for."""
    if not path.is_file():
        raise ArtifactError(
            f"no file {path.name}", str(path.parent), "name a Parquet file that is there"
        )
    try:
        source = pq.ParquetFile(path, pre_buffer=False)
        lacking = [name for name in columns or [] if name not in source.schema_arrow.names]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # A name that is no text.
        raise _damaged(path, error) from error
    if lacking:
        raise ArtifactError(
            f"no column {', '.join(lacking)} in {path.name}",
            str(path),
            f"name one of its columns: {', '.join(source.schema_arrow.names)}",
        )
    return source


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{path.name} cannot be read as Parquet ({str(error).splitlines()[0]})",
        str(path),
        "fetch or make the file again",
    )


def _open(target: Any, schema: pa.Schema) -> pq.ParquetWriter:
    repeated = [
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in schema
        if field.name not in PLAIN_COLUMNS
        and (pa.types.is_list(field.type) or pa.types.is_string(field.type))
    ]
    return pq.ParquetWriter(
        target,
        schema,
        version="2.6",
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=repeated or False,
        write_statistics=True,
        data_page_version="1.0",
        data_page_size=1 << 20,
        write_batch_size=1024,
        store_schema=False,
        use_compliant_nested_type=True,
        write_page_index=False,
    )


def _plain(table: pa.Table) -> pa.Table:
    """Drop metadata and dictionaries, and use 32-bit offsets, so that one logical type is one."""
    schema = pa.schema([pa.field(field.name, _plain_type(field.type)) for field in table.schema])
    return table.replace_schema_metadata(None).cast(schema)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    return kind


class _Cutter:
    """Cuts a stream of tables into row groups whose limits do not depend on the tables' sizes."""

    def __init__(self) -> None:
        self._held: list[pa.Table] = []
        self._rows = 0
        self._bytes = 0

    def feed(self, table: pa.Table) -> Iterator[pa.Table]:
        ends = np.cumsum(_row_bytes(table))
        start = 0
        while start < table.num_rows:
            before = int(ends[start - 1]) if start else 0
            by_bytes = int(np.searchsorted(ends, before + GROUP_BYTES - self._bytes)) + 1
            stop = min(by_bytes, start + GROUP_ROWS - self._rows, table.num_rows)
            self._held.append(table.slice(start, stop - start))
            self._rows += stop - start
            self._bytes += int(ends[stop - 1]) - before
            start = stop
            if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
                yield from self.rest()

    def rest(self) -> Iterator[pa.Table]:
        held, self._held, self._rows, self._bytes = self._held, [], 0, 0
        if held:
            yield pa.concat_tables(held).combine_chunks()


def _row_bytes(table: pa.Table) -> np.ndarray:
    """Payload of every row in bytes, `[rows]`."""
    total = np.zeros(table.num_rows, dtype=np.int64)
    for column in table.itercolumns():
        parts = [_value_bytes(chunk) for chunk in column.chunks]
        if parts:
            total += np.concatenate(parts)
    return total


def _value_bytes(values: pa.Array) -> np.ndarray:
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        lengths = pc.fill_null(pc.binary_length(values), 0)
        return lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    if pa.types.is_list(kind):
        counts = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        inner = np.concatenate([[0], np.cumsum(_value_bytes(values.flatten()))])
        ends = np.cumsum(counts)
        return (inner[ends] - inner[ends - counts] + 4 * counts).astype(np.int64)
    try:
        width = max(1, kind.bit_width // 8)
    except ValueError:
        width = 8
    return np.full(len(values), width, dtype=np.int64)


def _rough_bytes(row: Mapping[str, Any]) -> int:
    total = 0
    for value in row.values():
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, list | tuple):
            total += 8 * len(value) + sum(len(item) for item in value if isinstance(item, str))
    return total
