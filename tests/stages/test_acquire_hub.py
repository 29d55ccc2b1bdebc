"""Acquire data sets in hub layout from a local folder, and refuse revisions that move."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from stages.acquire import hub
from stages.acquire.stage import AcquireParams, acquire
from stages.core.canonical import file_digest
from stages.core.errors import ArtifactError, Resumable, SourceError
from stages.core.log import Log
from stages.lm.records import raw_documents, raw_labelled, raw_manifest, raw_pairs
from tests.stages.extract_material import Stopping


@pytest.fixture
def repository(tmp_path) -> Path:
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    rows = [{"text": f"Teksto {n}.", "meta": n} for n in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "data/train-00000-of-00001.parquet")
    pq.write_table(
        pa.Table.from_pylist([{"text": f"Provo {n}.", "meta": n} for n in range(3)]),
        folder / "data/test-00000-of-00001.parquet",
    )
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    return folder


def take(folder: Path, raw: Path, **source) -> Log:
    log = Log(scratch=raw.parent / "scratch")
    params = AcquireParams.model_validate(
        {"licence": "CC0-1.0", "folder": "data/external", "source": {"kind": "hub", **source}}
    )
    acquire(params, folder, raw, log)
    return log


def test_splits_are_streamed_into_json_lines(tmp_path, repository):
    log = take(repository, tmp_path / "raw", splits=["train", "test"])
    manifest = raw_manifest(tmp_path / "raw")
    assert [(row["path"], row["records"]) for row in manifest["files"]] == [
        ("files/test-00000.jsonl.zst", 3),
        ("files/train-00000.jsonl.zst", 40),
    ]
    assert manifest["origin"] == "files below data/external"
    assert log.metrics["documents_read"] == 43
    texts = [d.text for d in raw_documents(tmp_path / "raw")]
    assert texts[:4] == ["Provo 0.", "Provo 1.", "Provo 2.", "Teksto 0."]


def test_columns_rows_and_bytes(tmp_path, repository):
    for name in ("one", "two"):
        take(repository, tmp_path / name / "raw", columns=["text"], max_rows=5)
    shards = [tmp_path / name / "raw/files/train-00000.jsonl.zst" for name in ("one", "two")]
    assert file_digest(shards[0]) == file_digest(shards[1])
    assert len(list(raw_documents(tmp_path / "one/raw"))) == 5


def test_labelled_and_parallel_rows(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    row = {
        "tokens": ["Bona", "tago"],
        "tags": ["ADJ", "NOUN"],
        "translation": {"eo": "Bona tago", "en": "Good day"},
    }
    (folder / "train.jsonl").write_text(json.dumps(row) + "\n")
    take(folder, tmp_path / "a/raw", reading={"format": "jsonl", "yields": "labelled"})
    [sentence] = raw_labelled(tmp_path / "a/raw")
    assert (sentence.tokens, sentence.tags) == (row["tokens"], row["tags"])
    reading = {
        "format": "jsonl",
        "yields": "pairs",
        "source_text": "translation.eo",
        "target_text": "translation.en",
    }
    take(folder, tmp_path / "b/raw", reading=reading)
    [pair] = raw_pairs(tmp_path / "b/raw")
    assert (pair.source_text, pair.target_text) == ("Bona tago", "Good day")


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "abcdef"])
def test_moving_revision_is_refused_before_the_network(tmp_path, revision):
    with pytest.raises(SourceError) as caught:
        take(tmp_path, tmp_path / "raw", repo="owner/name", revision=revision)
    assert caught.value.what == f"the revision {revision!r} is not a commit of 40 hex digits"


def test_unknown_split_and_column(tmp_path, repository):
    with pytest.raises(SourceError) as caught:
        take(repository, tmp_path / "a/raw", splits=["dev"])
    assert caught.value.what.startswith("the split 'dev' of the data set cannot be read: ")
    with pytest.raises(SourceError) as caught:
        take(repository, tmp_path / "b/raw", columns=["body"])
    assert caught.value.what == "no column body"
    assert caught.value.todo == "name some of its columns: text, meta"


def test_empty_split(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "train.txt").write_text("")
    with pytest.raises(SourceError) as caught:
        take(folder, tmp_path / "raw")
    assert caught.value.what == "the split 'train' is empty"


def test_rows_without_the_text_field(tmp_path, repository):
    with pytest.raises(ArtifactError) as caught:
        take(repository, tmp_path / "raw", reading={"format": "jsonl", "text": "body"})
    assert caught.value.what == "no field 'body'; the record has meta, text"


CARDS = {
    "---\nlicense: cc0-1.0\n---\n": "CC0-1.0",
    "---\nlicense: [mit, cc-by-sa-4.0]\n---\ntext": "MIT AND CC-BY-SA-4.0",
    "---\nlicense: openrail\n---\n": "LicenseRef-openrail",
    "---\nlicense: unknown\n---\n": None,
    "no head": None,
}


@pytest.mark.parametrize("card", CARDS)
def test_the_licence_of_the_card_is_told(tmp_path, repository, card):
    (repository / "README.md").write_text(card)
    log = take(repository, tmp_path / "raw", max_rows=1)
    told = raw_manifest(tmp_path / "raw")
    assert (told["licence"], told["card_licence"]) == ("CC0-1.0", CARDS[card])
    assert ("card_licence" in log.texts) == (CARDS[card] != "CC0-1.0")
    params = {"licence_reason": "the card says it", "source": {"kind": "hub", "max_rows": 1}}
    acquire(AcquireParams.model_validate(params), repository, tmp_path / "own", Log())
    assert raw_manifest(tmp_path / "own")["licence"] == CARDS[card]


@pytest.mark.parametrize("layout", ["parquet", "jsonl", "csv"])
def test_stopped_within_a_split_it_goes_on_there(tmp_path, layout, monkeypatch):
    monkeypatch.setattr(hub, "PART_ROWS", 7)
    folder = tmp_path / "repository"
    folder.mkdir()
    table = pa.table({"text": [f"Teksto {n}." for n in range(40)]})
    for shard in (0, 1):
        name = f"train-0000{shard}-of-00002.{layout}"
        if layout == "parquet":
            pq.write_table(table, folder / name, row_group_size=9)
        elif layout == "csv":
            csv.write_csv(table, folder / name)
        else:
            lines = [json.dumps(row) + "\n" for row in table.to_pylist()]
            (folder / name).write_text("".join(lines))
    take(folder, tmp_path / "whole/raw", max_rows=70)
    params = {"licence": "CC0-1.0", "source": {"kind": "hub", "max_rows": 70}}
    opened, starts = [], 0
    monkeypatch.setattr(hub, "_opened", _counted(hub._opened, opened))
    for starts in range(1, 40):
        log = Stopping(10 * starts, tmp_path / "scratch")
        try:
            acquire(AcquireParams.model_validate(params), folder, tmp_path / f"raw-{starts}", log)
            break
        except Resumable:
            continue
    kept = "files/train-00000.jsonl.zst"
    again = tmp_path / f"raw-{starts}" / kept
    assert again.read_bytes() == (tmp_path / "whole/raw" / kept).read_bytes()
    assert 3 < starts < 12
    assert len(opened) == starts, "a start opens the split once, where the last part ended"


def _counted(function, calls):
    def counted(*args):
        calls.append(args)
        return function(*args)

    return counted
