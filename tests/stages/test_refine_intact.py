"""`refine` with `intact`: a given test set goes through as it is, in its order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages.core.log import Log
from stages.evaluate.material import open_corpus
from stages.refine.settings import RefineParams
from stages.refine.stage import refine
from tests.stages.refine_material import Refined, jsonl, raw_folder

TEST_ONLY = {"train": 0.0, "valid": 0.0, "test": 1.0}
ODD = [
    ("  Two  blanks. ", "Du\u00a0spacoj. "),
    ("Same.", "same."),
    ("Write to me@house.example.", "Skribu."),
    ("cafe\u0301", "Ccx"),
    ("One " * 300, "Unu"),
    ("Two  blanks.", "Du spacoj."),
    ("Write to me@house.example.", "Skribu."),
    ("", "Nenio."),
]


def _raw(folder: Path) -> Path:
    rows = [{"source": one, "reference": other} for one, other in ODD]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    reading = {"yields": "pairs", "source_text": "source", "target_text": "reference"}
    return raw_folder(folder, {"recorded.jsonl": text}, reading=reading)


def test_given_pairs_pass_untouched_and_in_order(tmp_path: Path) -> None:
    done = Refined(
        _raw(tmp_path / "raw"), tmp_path / "corpus", kind="parallel", intact=True, split=TEST_ONLY
    )
    rows = open_corpus(done.folder, "parallel").rows("test")
    assert [(row["source_text"], row["target_text"]) for row in rows] == ODD
    assert done.dropped == {}
    assert done.duplicates == {}
    assert list(done.ledger) == ["read"]
    assert done.manifest["splits"]["test"]["documents"] == len(ODD)


def test_the_same_pairs_do_change_without_it(tmp_path: Path) -> None:
    done = Refined(_raw(tmp_path / "raw"), tmp_path / "corpus", kind="parallel", split=TEST_ONLY)
    assert len(done.dropped) >= 4
    assert "Two blanks." in {row["source_text"] for row in done.rows.values()}


@pytest.mark.parametrize("kind", ["text", "labelled"])
def test_texts_and_labelled_sentences_pass_too(tmp_path: Path, kind: str) -> None:
    texts = {"one": "Du  spacoj.\r\nDu  spacoj.", "two": "Du  spacoj.\r\nDu  spacoj.", "three": "#"}
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    if kind == "labelled":
        rows = [{"id": str(n), "tokens": ["\ufeffDu", " "], "tags": ["_", "X"]} for n in range(2)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        raw = raw_folder(tmp_path / "raw", {"a.jsonl": lines}, reading={"yields": "labelled"})
    done = Refined(raw, tmp_path / "corpus", kind=kind, intact=True, split=TEST_ONLY)
    assert done.dropped == {}
    if kind == "text":
        assert {name: row["text"] for name, row in done.rows.items()} == texts
    else:
        assert [row["tokens"] for row in done.rows.values()] == [["\ufeffDu", " "]] * 2


def test_held_out_text_is_still_kept_out(tmp_path: Path) -> None:
    held = raw_folder(
        tmp_path / "held", {"h.jsonl": jsonl({"h": "Skribu al mi hodiaŭ pri tiu afero."})}
    )
    rows = [
        {"source": "Write to me today.", "reference": "Skribu al mi hodiaŭ pri tiu afero."},
        {"source": "Same.", "reference": "Same."},
    ]
    reading = {"yields": "pairs", "source_text": "source", "target_text": "reference"}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    raw = raw_folder(tmp_path / "raw", {"recorded.jsonl": text}, reading=reading)
    params = RefineParams(
        raw="raw", kind="parallel", intact=True, split=TEST_ONLY, held_out="raw/held"
    )
    none, out = tmp_path / "none", tmp_path / "corpus"
    refine(params, raw, none, none, held, *[none] * 6, out, Log())
    assert [row["source_text"] for row in open_corpus(out, "parallel").rows("test")] == ["Same."]
