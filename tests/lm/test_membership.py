"""Is a text in a corpus: planted passages are found at their place, others are not."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from stages.core import canonical
from stages.lm import membership, tables

WORDS = [f"{a}{b}{c}" for a in ("mal", "bon", "el", "pra") for b in ("vid", "far", "est", "ir")
         for c in ("as", "is", "ĉo", "ĝu")]  # fmt: skip


def sentence(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(WORDS, k=count)).capitalize() + "."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of 300 documents in three splits; returns (folder, texts by id)."""
    folder, draw = tmp_path_factory.mktemp("corpus"), random.Random(5)
    texts = {
        f"d{n}": " ".join(sentence(draw, draw.randrange(9, 20)) for _ in range(6))
        for n in range(300)
    }
    names = list(texts)
    for split, own in (("train", names[:260]), ("valid", names[260:280]), ("test", names[280:])):
        with tables.ShardWriter(folder, split, tables.TEXT_SCHEMA) as writer:
            for name in own:
                writer.add({"id": name, "text": texts[name], "source": "made"})
    canonical.write_json(folder / "corpus.json", {"kind": "text", "licences": ["CC0-1.0"]})
    return folder, texts


def test_verbatim_snippets_are_found_at_their_place_and_fresh_ones_are_not(corpus):
    folder, texts = corpus
    draw, names = random.Random(6), list(texts)
    asked = []
    for name in draw.sample(names, 100):
        words = texts[name].split()
        at = draw.randrange(len(words) - 12)
        asked.append((name, " ".join(words[at : at + 12])))
    found = membership.search(folder, [text for _, text in asked])
    for (name, text), answer in zip(asked, found, strict=True):
        assert answer["found"] == "exact"
        assert answer["licences"] == ["CC0-1.0"]
        place = next(row for row in answer["documents"] if row["id"] == name)
        data = texts[name].encode()
        assert (
            data[place["offset_bytes"] : place["offset_bytes"] + place["size_bytes"]]
            == text.encode()
        )
        assert place["source"] == "made"
    fresh = [sentence(draw, 12) for _ in range(100)]
    assert {answer["found"] for answer in membership.search(folder, fresh)} == {"no"}


def test_case_and_marks_between_are_told_apart(corpus):
    folder, texts = corpus
    first = texts["d7"].split(". ")[0]
    rows = membership.search(folder, [first, first.upper(), first.replace(" ", ", "), "", "!?"])
    assert [row["found"] for row in rows] == ["exact", "words", "words", "no", "no"]
    assert rows[1]["documents"][0]["id"] == "d7"
    assert rows[1]["documents"][0]["exact"] is False


def test_texts_cut_within_words_or_without_any_are_found_byte_for_byte(corpus):
    folder, texts = corpus
    cut = texts["d40"][12:43]
    rows = membership.search(folder, [cut, texts["d40"][3:200], ". ", "?"])
    assert [row["found"] for row in rows] == ["exact", "exact", "exact", "no"]
    place = rows[0]["documents"][0]
    data = texts[place["id"]].encode()
    assert data[place["offset_bytes"] :].startswith(cut.strip().encode())
    joined = texts["d0"][-90:] + texts["d1"][:90]  # stands in no document, but between two
    assert membership.search(folder, [joined])[0]["found"] == "part"


def test_a_generation_shows_its_passages(corpus):
    folder, texts = corpus
    one, other = texts["d3"].split()[4:15], texts["d270"].split()[8:17]
    text = f"nova {' '.join(one)} kaj {' '.join(other)} fino"
    row = membership.search(folder, [text])[0]
    assert (row["found"], row["covered_words"], row["words"]) == ("part", 20, 23)
    assert [(p["id"], p["words"], p["split"]) for p in row["passages"]] == [
        ("d3", 11, "train"), ("d270", 9, "valid"),
    ]  # fmt: skip
    short = membership.search(folder, [text], least_words=12)[0]
    assert short["passages"] == []


def test_a_document_with_some_words_changed_is_near(corpus):
    folder, texts = corpus
    words = texts["d11"].split()
    for at in range(6, len(words), 7):
        words[at] = "alia"
    row = membership.search(folder, [" ".join(words)])[0]
    assert row["found"] == "no"  # a fifth of its shingles are left
    words = texts["d11"].split()
    words[len(words) // 2] = "alia"
    row = membership.search(folder, [" ".join(words)], least_words=len(words))[0]
    assert (row["found"], row["near"][0]["id"]) == ("near", "d11")


def test_a_corpus_of_pairs_and_one_of_labelled_sentences(tmp_path):
    with tables.ShardWriter(tmp_path / "p", "train", tables.PARALLEL_SCHEMA) as writer:
        writer.add({"id": "a", "source_text": "Unu du tri.", "target_text": "One two three.",
                    "source": "s"})  # fmt: skip
    canonical.write_json(tmp_path / "p/corpus.json", {"kind": "parallel"})
    row = membership.search(tmp_path / "p", ["two three"])[0]
    assert (row["found"], row["documents"][0]["column"]) == ("exact", "target_text")
    with tables.ShardWriter(tmp_path / "l", "train", tables.LABELLED_SCHEMA) as writer:
        writer.add_table(pa.table({"id": ["b"], "tokens": [["Mi", "vidas"]], "tags": [["P", "V"]],
                                   "lemmas": [["mi", "vidi"]], "feats": [["", ""]],
                                   "source": ["s"]}))  # fmt: skip
    canonical.write_json(tmp_path / "l/corpus.json", {"kind": "labelled"})
    assert membership.search(tmp_path / "l", ["mi VIDAS"])[0]["found"] == "words"
