"""Rows of a query as raw material: Arrow batches go from the engine into the shards, once.

No table is written in between and no row becomes a Python object; memory holds one batch. The
engine runs on one thread, which keeps the order of rows the same.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from stages.acquire.sources import SqlSource
from stages.core.errors import Resumable, SourceError
from stages.core.log import Log
from stages.lm import queries
from stages.lm.tables import ShardWriter
from stages.lm.writing import told_plainly

READERS = {
    ".parquet": "read_parquet({}, union_by_name=true)",
    ".csv": "read_csv({})",
    ".tsv": "read_csv({})",
    ".json": "read_json({})",
    ".jsonl": "read_json({}, format='newline_delimited')",
    ".ndjson": "read_json({}, format='newline_delimited')",
}
ARROW = (".arrow", ".feather", ".ipc")
_SHARD = re.compile(r"-\d+(-of-\d+)?$")


def stream(source: SqlSource, folder: Path, target: Path, log: Log) -> int:
    """Write what the query gives to `rows-00000.parquet`, ...; return the number of rows."""
    place, target = folder.resolve(), target.resolve()
    with contextlib.chdir(place), duckdb.connect(":memory:") as base:
        statement = queries.one_select(base, source.query)
        base.execute("SET threads = 1")
        queries.close(base, [place])
        known = _tables(base, place)
        queries.lock(base)
        try:
            reader = base.sql(statement).to_arrow_reader(source.batch_rows)
            return _written(reader, target, log)
        except duckdb.Error as error:
            told = queries.refused(error, source.query, known)
            raise SourceError(
                told.what,
                "acquire: source.query",
                f"tables of {folder}: {', '.join(known) or 'none'}",
            ) from error


def _written(reader: Any, target: Path, log: Log) -> int:
    names = reader.schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(
            f"the query names two columns {twice[0]!r}",
            "acquire: source.query",
            "give one of them another name with AS",
        )
    with told_plainly(target), ShardWriter(target, "rows", _kept(reader.schema)) as shards:
        rows = 0
        for batch in reader:
            if log.stopping:
                raise Resumable(
                    f"stopped on request after {rows} rows", str(target), "run the same entry again"
                )
            shards.add_table(batch)
            rows += batch.num_rows
            log.progress(rows, None, "rows")
    if not rows:
        raise SourceError(
            "the query gives no row", "acquire: source.query", "loosen its conditions"
        )
    return rows


def _kept(schema: pa.Schema) -> pa.Schema:
    """Return the schema of the shards; a column whose values are all null is one of texts."""
    return pa.schema(
        [
            pa.field(field.name, pa.string() if pa.types.is_null(field.type) else field.type)
            for field in schema
        ]
    )


def _tables(base: Any, place: Path) -> list[str]:
    """Make a table of every file that the engine reads; returns their names."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(one for one in place.rglob("*") if one.is_file()):
        if path.suffix in READERS or path.suffix in ARROW:
            groups.setdefault((_SHARD.sub("", path.stem), path.suffix), []).append(path)
    made: list[str] = []
    for (name, suffix), paths in groups.items():
        if name in made:
            raise SourceError(
                f"two kinds of files would be the table {name!r}",
                str(paths[0]),
                "rename one of them, or put it into another folder",
            )
        if suffix in ARROW:
            base.register(name, _batches(paths))
        else:
            listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
            quoted, read = name.replace('"', '""'), READERS[suffix].format(f"[{listed}]")
            try:
                base.execute(f'CREATE VIEW "{quoted}" AS SELECT * FROM {read}')
            except duckdb.Error as error:
                raise SourceError(
                    f"{paths[0].name} cannot be read: {str(error).splitlines()[0]}",
                    str(paths[0]),
                    "mend the file, or take it out of the folder",
                ) from error
        made.append(name)
    return made


def _batches(paths: list[Path]) -> Any:
    """Return the batches of Arrow files (either form), memory-mapped, as one reader."""
    opened = [_opened(path) for path in paths]
    schema = opened[0].schema

    def every() -> Iterator[pa.RecordBatch]:
        for path, one in zip(paths, opened, strict=True):
            file = isinstance(one, pa.RecordBatchFileReader)
            try:
                for batch in map(one.get_batch, range(one.num_record_batches)) if file else one:
                    batch.validate(full=True)  # The engine would read beyond a bad offset.
                    yield batch
            except (pa.ArrowException, OSError) as error:
                raise SourceError(
                    f"{path.name} is damaged ({str(error).splitlines()[0]})",
                    str(path),
                    "make the file again, or take it out of the folder",
                ) from error

    return pa.RecordBatchReader.from_batches(schema, every())


def _opened(path: Path) -> Any:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path)))
    except pa.ArrowInvalid:
        pass
    try:
        return pa.ipc.open_stream(pa.memory_map(str(path)))
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{path.name} is no Arrow file ({str(error).splitlines()[0]})",
            str(path),
            "mend the file, or take it out of the folder",
        ) from error
