"""Parquet tables: equal bytes for equal rows, bounded shards, named errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.canonical import file_digest
from stages.core.errors import ArtifactError
from stages.lm import tables

ROWS = [
    {"id": f"d{n}", "text": f"Teksto numero {n}. " * (n % 7), "source": "a" if n % 2 else "b"}
    for n in range(5000)
]


def shards(folder: Path, rows=ROWS, **options) -> list[str]:
    with tables.ShardWriter(folder, "train", tables.TEXT_SCHEMA, **options) as writer:
        for row in rows:
            writer.add(row)
    assert writer.rows == len(rows)
    return writer.shards


def test_rows_come_back_in_order(tmp_path):
    assert shards(tmp_path) == ["train-00000.parquet"]
    assert list(tables.iter_rows(tmp_path, "train")) == ROWS
    assert [r["id"] for r in tables.iter_rows(tmp_path, "train", ["id"])] == [r["id"] for r in ROWS]


@pytest.mark.parametrize(
    ("limit", "value", "groups"), [("GROUP_ROWS", 700, 8), ("GROUP_BYTES", 50_000, 7)]
)
def test_bytes_do_not_depend_on_how_rows_were_batched(tmp_path, monkeypatch, limit, value, groups):
    monkeypatch.setattr(tables, limit, value)
    shards(tmp_path / "rows")
    whole = pa.Table.from_pylist(ROWS, schema=tables.TEXT_SCHEMA)
    digests = {file_digest(tmp_path / "rows" / "train-00000.parquet")}
    for size in (1, 333, 5000):
        with tables.ShardWriter(tmp_path / str(size), "train", tables.TEXT_SCHEMA) as writer:
            for start in range(0, len(ROWS), size):
                writer.add_table(whole.slice(start, size))
        digests.add(file_digest(tmp_path / str(size) / "train-00000.parquet"))
    tables.write_table(tmp_path / "one.parquet", whole)
    digests.add(file_digest(tmp_path / "one.parquet"))
    assert len(digests) == 1
    assert pq.ParquetFile(tmp_path / "one.parquet").num_row_groups == groups


def test_bytes_are_the_same_in_fresh_processes(tmp_path):
    code = (
        "import sys, pyarrow as pa; from pathlib import Path; from stages.lm import tables;"
        "tables.write_table(Path(sys.argv[1]), pa.table({'id': ['a', 'b'], 'tags': [['X'], []],"
        " 'n': [1, None], 'x': [0.5, 1.5]}))"
    )
    digests = set()
    for seed in ("0", "1"):
        target = tmp_path / f"{seed}.parquet"
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        subprocess.run([sys.executable, "-c", code, str(target)], check=True, env=environment)
        digests.add(file_digest(target))
    assert len(digests) == 1


def test_payload_cuts_row_groups_and_shards_stay_under_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "GROUP_BYTES", 4000)
    names = shards(tmp_path, shard_bytes=20_000)
    assert names[:2] == ["train-00000.parquet", "train-00001.parquet"]
    footers = 6000  # The footer of many small groups comes on top of the payload.
    assert all((tmp_path / name).stat().st_size <= 20_000 + footers for name in names)
    assert [r["id"] for r in tables.iter_rows(tmp_path, "train", ["id"])] == [r["id"] for r in ROWS]


def test_no_metadata_and_dictionary_only_where_values_repeat(tmp_path):
    table = pa.table(
        {
            "id": ["a", "b"],
            "tags": pa.array([["NOUN"], ["NOUN", "VERB"]]),
            "source": pa.array(["x", "x"]).dictionary_encode(),
            "text": pa.array(["un", "du"], pa.large_string()),
        },
        metadata={"pandas": "{}"},
    )
    tables.write_table(tmp_path / "t.parquet", table)
    found = pq.ParquetFile(tmp_path / "t.parquet")
    assert not found.metadata.metadata
    group = found.metadata.row_group(0)
    coded = {
        group.column(i).path_in_schema
        for i in range(group.num_columns)
        if group.column(i).has_dictionary_page
    }
    assert coded == {"tags.list.element", "source"}
    assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}
    assert tables.read_table(tmp_path / "t.parquet", ["tags"]).to_pydict() == {
        "tags": [["NOUN"], ["NOUN", "VERB"]]
    }


def test_empty_split_has_one_shard_with_its_schema(tmp_path):
    assert shards(tmp_path, rows=[]) == ["train-00000.parquet"]
    assert list(tables.iter_batches(tmp_path, "train")) == []
    assert tables.read_table(tmp_path / "train-00000.parquet").schema.names == [
        "id",
        "text",
        "source",
    ]


def test_missing_split_is_named(tmp_path):
    shards(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        list(tables.iter_batches(tmp_path, "valid"))
    assert caught.value.what == "no shard of the split valid"


def test_missing_file_and_column_are_named(tmp_path):
    shards(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        tables.read_table(tmp_path / "other.parquet")
    assert caught.value.what == "no file other.parquet"
    with pytest.raises(ArtifactError) as caught:
        list(tables.iter_batches(tmp_path, "train", ["id", "language"]))
    assert caught.value.what == "no column language in train-00000.parquet"
    assert caught.value.todo == "name one of its columns: id, text, source"


@pytest.mark.parametrize("damage", ["header", "middle"])
def test_damaged_file_is_named(tmp_path, damage):
    shards(tmp_path)
    path = tmp_path / "train-00000.parquet"
    data = bytearray(path.read_bytes())
    if damage == "header":
        data = data[: len(data) // 2]
    else:
        data[4:2000] = bytes(1996)
    path.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        tables.read_table(path)
    assert caught.value.what.startswith("train-00000.parquet cannot be read as Parquet (")
