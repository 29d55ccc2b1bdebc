"""Arrow files and streams, Parquet, and Tatoeba's exports as records."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.acquire import extraction
from stages.acquire.readers import arrow, batches
from tests.stages.extract_material import extract, interrupted

ARROW = {"format": "arrow"}
ROWS = {
    "text": ["unu", None, "du", "  ", "x" * 900, "tri"],
    "url": ["a", "b", None, "d", "e", "f"],
    "meta": [{"k": 1}, None, {"k": 2}, None, None, None],
    "licence": ["MIT", None, None, None, None, "ISC"],
    "number": [1, 2, 3, 4, 5, 6],
}
COLUMNS = {"url": "url", "meta": "meta", "licence": "licence", "number": "number"}


def packed(table: pa.Table, kind: str, chunk: int = 2) -> bytes:
    sink = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, sink, row_group_size=chunk)
        return sink.getvalue()
    new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["file", "stream", "parquet"])
def test_columns_and_rows(tmp_path, kind):
    data = packed(pa.table(ROWS), kind)
    taken = extract(tmp_path, {"a.arrow": data}, ARROW | {"columns": COLUMNS}, max_record_bytes=500)
    assert taken.texts == ["unu", "du", "tri"]
    assert [row["licence"] for row in taken.rows] == ["MIT", "CC0-1.0", "ISC"]
    assert [(row["meta"], row["number"]) for row in taken.rows] == [
        ('{"k":1}', "1"), ('{"k":2}', "3"), (None, "6"),
    ]  # fmt: skip
    assert taken.lost == [
        ("a.arrow:2", "no_text"),
        ("a.arrow:4", "empty"),
        ("a.arrow:5", "too_long"),
    ]


def test_kinds_of_text_and_bytes_that_are_none(tmp_path):
    raw = pa.array([b"bona", b"mal\xffa", b"fino"], pa.binary())
    for name, column in (
        ("large", raw.view(pa.binary()).cast(pa.large_binary())),
        ("plain", pa.Array.from_buffers(pa.string(), 3, raw.buffers())),
    ):
        data = packed(pa.table({"text": column}), "stream", 9)
        taken = extract(tmp_path / name, {"a": data}, ARROW)
        assert (taken.texts, taken.lost) == (["bona", "fino"], [("a:2", "undecodable")])
    words = pa.array(["unu", "du", "unu"]).dictionary_encode()
    taken = extract(tmp_path / "d", {"a": packed(pa.table({"text": words}), "file")}, ARROW)
    assert taken.texts == ["unu", "du", "unu"]


def test_pairs_and_a_column_that_is_not_there(tmp_path):
    data = packed(pa.table({"en": ["one", "two"], "eo": ["unu", ""]}), "stream")
    reader = ARROW | {"yields": "pairs", "source_text": "en", "target_text": "eo"}
    taken = extract(tmp_path, {"a": data}, reader)
    assert [(row["source_text"], row["target_text"]) for row in taken.rows] == [("one", "unu")]
    more = {"b": packed(pa.table({"en": ["x"]}), "file")}
    taken = extract(tmp_path, more, reader, to="b")
    assert taken.lost[-1] == ("b:1", "no_column")


@pytest.mark.parametrize(
    ("kind", "cut", "kept", "reason"),
    [
        ("file", -40, 3, "truncated"), ("stream", -120, 2, "damaged"),
        ("parquet", -9, 0, "damaged"),
        ("garbage", 0, 0, "damaged"),
    ],
)  # fmt: skip
def test_what_breaks_is_told(tmp_path, kind, cut, kept, reason):
    table = pa.table({"text": ["unu", "du", "tri"]})
    data = b"no table at all" if kind == "garbage" else packed(table, kind, 1)[:cut]
    taken = extract(tmp_path, {"a": data, "b": packed(table, "file")}, ARROW)
    assert len([row for row in taken.rows if row["source"] == "a"]) == kept
    assert taken.lost == [(f"a:{kept + 1}", reason)]


@pytest.mark.parametrize("kind", ["file", "stream", "parquet"])
def test_stopped_within_a_table_it_goes_on(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(arrow, "SLICE_ROWS", 3)
    monkeypatch.setattr(extraction, "PART_RECORDS", 7)
    texts = [f"teksto {n}" if n % 9 else "" for n in range(60)]
    data = packed(pa.table({"text": texts}), kind, 11)
    whole = extract(tmp_path, {"a": data}, ARROW)
    again, starts = interrupted(tmp_path, {}, ARROW)
    assert starts > 3
    assert again.bytes == whole.bytes
    assert len(whole.rows) == 53


SENTENCES = (
    "1\tepo\tSaluton!\n2\teng\tHello!\n3\tepo\tAdiaŭ.\n4\tfra\tSalut !\nrompita\n5\teng\t \n"
)


def test_tatoeba_sentences_by_language(tmp_path):
    taken = extract(
        tmp_path, {"sentences.csv": SENTENCES}, {"format": "tatoeba", "language": "epo"}
    )
    assert [(row["text"], row["sentence"]) for row in taken.rows] == [
        ("Saluton!", "1"),
        ("Adiaŭ.", "3"),
    ]
    reasons = [reason for _, reason in taken.lost]
    assert reasons == ["other_language", "other_language", "no_sentence", "other_language"]


def test_tatoeba_links_join_sentences(tmp_path, monkeypatch):
    files = {"links.csv": "1\t2\n2\t1\n1\t4\n3\t9\nx\n", "sentences.csv": SENTENCES}
    reader = {
        "format": "tatoeba", "yields": "pairs", "sentences": ["sentences.csv"],
        "language": "epo", "target": "eng",
    }  # fmt: skip
    taken = extract(tmp_path, files, reader, patterns=["links.csv"])
    [row] = taken.rows
    assert (row["source_text"], row["target_text"]) == ("Saluton!", "Hello!")
    assert (row["source_sentence"], row["target_sentence"]) == ("1", "2")
    assert [reason for _, reason in taken.lost] == [
        "other_language", "no_sentence", "no_sentence", "no_link",
    ]  # fmt: skip
    [told] = taken.manifest["inputs"]
    assert [one["path"] for one in told["beside"]] == ["sentences.csv"]
    monkeypatch.setattr(batches, "BATCH_ITEMS", 1)
    monkeypatch.setattr(extraction, "PART_RECORDS", 1)
    again, _ = interrupted(tmp_path, {}, reader, patterns=["links.csv"])
    assert again.bytes == taken.bytes


def test_tatoeba_downloaded_pairs(tmp_path):
    data = "1\tSaluton!\t2\tHello!\n1\tSaluton!\t2\n3\tBone.\t4\t\n"
    taken = extract(tmp_path, {"pairs.tsv": data}, {"format": "tatoeba", "yields": "pairs"})
    assert [(row["source_text"], row["target_text"]) for row in taken.rows] == [
        ("Saluton!", "Hello!")
    ]
    assert [reason for _, reason in taken.lost] == ["no_pair", "empty"]
