"""Spans that stand in the corpus before: planted ones are found, cut, dropped and told."""

from __future__ import annotations

import random

import pytest
from pydantic import ValidationError

from stages.refine import substrings
from stages.refine.contamination import in_characters
from stages.refine.settings import RefineParams
from tests.stages.refine_material import Refined, jsonl, raw_folder

PLAIN = {"near": False, "containment": 0.0, "related": 0.0}
STEMS = [a + b for a in "bcdfgk" for b in ("al", "en", "iv", "or", "un")]


def sentence(draw: random.Random, words: int = 12) -> str:
    return " ".join(f"{draw.choice(STEMS)}{draw.choice(STEMS)}o" for _ in range(words)) + "."


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Ten documents, of which some hold a passage of 30 words; returns (raw folder, passage)."""
    draw = random.Random(9)
    passage = " ".join(sentence(draw, 10) for _ in range(3))
    texts = {f"d{n}": " ".join(sentence(draw) for _ in range(8)) for n in range(10)}
    for name in ("d2", "d5", "d8"):
        parts = texts[name].split(". ")
        texts[name] = f"{'. '.join(parts[:4])}. ĉ{passage} {'. '.join(parts[4:])}"
    texts["d9"] = passage
    folder = tmp_path_factory.mktemp("spans")
    return raw_folder(folder / "raw", {"a.jsonl": jsonl(texts)}), passage, texts


def refined(material, folder, **settings):
    duplicates = {**PLAIN, "substrings": {"length": 20, **settings}}
    return Refined(material[0], folder, duplicates=duplicates)


@pytest.mark.parametrize("unit", ["words", "bytes"])
def test_later_copies_are_cut_and_the_first_stays(material, tmp_path, unit):
    raw, passage, texts = material
    done = refined(material, tmp_path / unit, action="cut", unit=unit,
                   length=20 if unit == "words" else 100)  # fmt: skip
    done.check_accounts()
    kept = done.texts()
    assert kept["d2"] == texts["d2"]
    middle = passage.split(". ")[1]
    assert [name for name, text in kept.items() if middle in text] == ["d2"]
    assert kept["d5"] == texts["d5"].replace(f"ĉ{passage} ", "")
    # Of the copy alone its first word stays: with ĉ before it, it is another word in d2.
    first = passage.split()[0]
    if unit == "words":
        assert kept["d9"] == first
    else:  # of its bytes nothing is new
        assert done.reasons() == {"d9": substrings.RULE}
    assert done.ledger[substrings.RULE]["documents_changed"] == (3 if unit == "words" else 2)
    rows = {row["id"]: row for row in done.table("substrings")}
    assert sorted(rows) == ["d5", "d8", "d9"]
    row = rows["d8"]
    assert row["first_id"] == "d2"
    data = texts["d8"].encode()[row["begin_byte"] : row["end_byte"]]
    assert data in texts["d2"].encode()
    assert data.decode().startswith(row["excerpt"].rstrip("."))
    source = texts[row["first_id"]].encode()[row["first_begin_byte"] :]
    assert source.startswith(data)
    told = done.json("substrings.json")
    assert (told["spans"], told["documents"]) == (3, 3)


def test_whole_sentences_are_cut_where_asked(material, tmp_path):
    _, passage, texts = material
    done = refined(material, tmp_path / "c", action="cut", boundaries="sentence")
    parts = passage.split(". ")
    assert parts[0] in done.texts()["d5"]
    assert parts[1] not in done.texts()["d5"]
    assert done.texts()["d9"].startswith(parts[0])


def test_documents_are_dropped_with_the_reason_and_reports_change_nothing(material, tmp_path):
    texts = material[2]
    done = refined(material, tmp_path / "drop", action="drop", max_fraction=0.5)
    done.check_accounts()
    assert done.reasons() == {"d9": substrings.RULE}
    assert "bytes stand before, some in d" in done.dropped["d9"][1]
    every = refined(material, tmp_path / "all", action="drop")
    assert sorted(every.reasons()) == ["d5", "d8", "d9"]
    report = refined(material, tmp_path / "report", action="report")
    assert report.texts() == texts
    assert len(report.table("substrings")) == 3
    off = refined(material, tmp_path / "off")
    assert off.texts() == texts
    assert not (off.folder / "substrings.parquet").exists()


def test_nothing_goes_with_its_last_copy(tmp_path):
    draw = random.Random(3)
    one, two = sentence(draw, 25), sentence(draw, 25)
    texts = {
        "a": one,
        "b": f"{one} {two}",
        "c": f"{two} {sentence(draw, 10)}",
        "d": f"{two} {sentence(draw, 9)}",
    }
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    done = Refined(
        raw, tmp_path / "c", split={"train": 1.0, "valid": 0.0, "test": 0.0},
        duplicates={**PLAIN, "substrings": {"length": 20, "action": "drop"}},
    )  # fmt: skip
    assert sorted(done.reasons()) == ["b", "d"]  # c's passage stands nowhere else any more
    assert done.dropped["d"][1].endswith("some in c")


def test_cuts_keep_characters_and_words_whole():
    text = "aĉa bĝb cĥc"
    data = text.encode()
    assert in_characters(data, [(2, 9)]) == [(2, 7)]
    assert in_characters(data, [(1, 2)]) == []
    assert in_characters(data, [(0, len(data))]) == [(0, len(text))]
    assert list(substrings.snapped(text, [(1, 9)], "word")) == [(4, 8)]
    assert list(substrings.snapped(text, [(5, 6)], "word")) == []
    assert list(substrings.snapped("A. Bb cc. D", [(1, 10)], "sentence")) == [(2, 9)]
    assert substrings.without("ab  cd  ef", [(4, 6)]) == "ab   ef"


def test_lengths_that_cannot_be_sampled_are_refused():
    with pytest.raises(ValidationError, match="at least 16"):
        RefineParams(raw="x", duplicates={"substrings": {"unit": "bytes", "length": 15}})
