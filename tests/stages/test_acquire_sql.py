"""Raw material from a query: batches straight into shards, read by refine, nothing else touched."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.acquire.stage import AcquireParams, acquire
from stages.core.errors import DevenoError
from stages.core.log import Log
from stages.lm.records import raw_documents, raw_pairs


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "own"
    place.mkdir()
    for shard in range(2):
        rows = [
            {"key": f"k{n}", "body": f"teksto {n}", "words": n}
            for n in range(3 * shard, 3 * shard + 3)
        ]
        pq.write_table(pa.Table.from_pylist(rows), place / f"posts-0000{shard}.parquet")
    (place / "authors.csv").write_text("key,name\nk1,Ana\nk4,Ĝoĉjo\n", encoding="utf-8")
    (place / "more.jsonl").write_text('{"key": "k5", "extra": "jes"}\n', encoding="utf-8")
    batches = pa.table({"en": ["one", "two"], "eo": ["unu", "du"]})
    for name, new in (("sides.arrow", pa.ipc.new_file), ("stream.arrow", pa.ipc.new_stream)):
        with pa.OSFile(str(place / name), "wb") as sink, new(sink, batches.schema) as writer:
            writer.write_table(batches, max_chunksize=1)
    return place


def got(folder, raw, query, **more):
    params = AcquireParams(
        source={"kind": "sql", "query": query, **more}, licence="CC0-1.0", folder="data/external"
    )
    acquire(params, folder, raw, Log())
    return raw


def test_a_join_becomes_documents(folder, tmp_path):
    query = (
        "SELECT key AS id, body || coalesce(' de ' || name, '') AS text FROM posts "
        "LEFT JOIN authors USING (key) LEFT JOIN more USING (key) WHERE words > 0 ORDER BY key"
    )
    raw = got(folder, tmp_path / "raw", query, batch_rows=2)
    assert [(one.id, one.text) for one in raw_documents(raw)] == [
        ("k1", "teksto 1 de Ana"), ("k2", "teksto 2"), ("k3", "teksto 3"),
        ("k4", "teksto 4 de Ĝoĉjo"), ("k5", "teksto 5"),
    ]  # fmt: skip
    told = json.loads((raw / "manifest.json").read_text())
    assert [row["path"] for row in told["files"]] == ["files/rows-00000.parquet"]
    assert sorted(path.name for path in (raw / "files").iterdir()) == ["rows-00000.parquet"]
    again = got(folder, tmp_path / "again", query, batch_rows=5)
    kept = "files/rows-00000.parquet"
    assert (raw / kept).read_bytes() == (again / kept).read_bytes(), "batches leave no trace"


@pytest.mark.parametrize("name", ["sides", "stream"])
def test_arrow_batches_become_pairs(folder, tmp_path, name):
    reading = {"yields": "pairs", "source_text": "en", "target_text": "eo"}
    raw = got(folder, tmp_path / "raw", f"SELECT * FROM {name}", reading=reading)
    assert [(p.source_text, p.target_text) for p in raw_pairs(raw)] == [
        ("one", "unu"),
        ("two", "du"),
    ]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT nothing FROM posts", 'column "nothing" not found'),
        ("SELECT * FROM absent", "absent does not exist"),
        ("SELECT * FROM posts WHERE words > 99", "gives no row"),
        ("SELECT key, key FROM posts", "two columns 'key'"),
        ("COPY posts TO 'x.csv'", "this is COPY"),
        ("SELECT * FROM read_text('/etc/hostname')", "Cannot access file"),
        ("SELECT * FROM read_csv('../secret.csv')", "Cannot access file"),
    ],
)
def test_queries_that_are_refused(folder, tmp_path, query, told):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = sorted(folder.iterdir())
    with pytest.raises(DevenoError) as caught:
        got(folder, tmp_path / "raw", query)
    assert told in caught.value.what
    assert sorted(folder.iterdir()) == before


def test_two_files_of_one_name_and_a_damaged_one(folder, tmp_path):
    (folder / "posts.csv").write_text("a\n1\n")
    with pytest.raises(DevenoError, match="two kinds of files would be the table 'posts'"):
        got(folder, tmp_path / "raw", "SELECT * FROM authors")
    (folder / "posts.csv").unlink()
    (folder / "torn.arrow").write_bytes(b"ARROW1 no more")
    with pytest.raises(DevenoError, match="torn.arrow is no Arrow file"):
        got(folder, tmp_path / "raw", "SELECT * FROM authors")
