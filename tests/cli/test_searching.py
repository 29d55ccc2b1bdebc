"""`deveno try corpus`: a text is found in the corpora that were made; refusals name the place."""

from __future__ import annotations

import json

import pytest

from stages.cli import command
from stages.core import canonical, yamlfile
from stages.lm import tables
from tests.pipeline.bad_material import three_lines


@pytest.fixture
def tried(tmp_path, monkeypatch, capsys):
    """Run the verb in a workspace with one corpus made and one not."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    yamlfile.write(
        tmp_path / "params.yaml",
        {"acquire": {"eo": {}}, "refine": {"eo": {"raw": "eo"}, "later": {"raw": "eo"}}},
    )
    folder = tmp_path / "data/corpora/eo"
    with tables.ShardWriter(folder, "train", tables.TEXT_SCHEMA) as writer:
        writer.add({"id": "a", "text": "Nu: la suno brilas hodiaŭ.", "source": "libro"})
    canonical.write_json(folder / "corpus.json", {"kind": "text", "licences": ["CC0-1.0"]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)

    def run(*words):
        code = command.main(["try", *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.mark.parametrize("name", ["corpus", "corpora/eo", "refine@eo"])
def test_a_sentence_is_found_with_its_document_licence_and_place(tried, name):
    code, out, _ = tried(name, "La suno brilas", "suno brilas", "neniam vidita")
    assert code == 0
    assert out.splitlines() == [
        "La suno brilas",
        "  corpora/eo: stands in it, but for letter case or what stands between words",
        "    document a (train, from libro), byte 4",
        "    licence: CC0-1.0",
        "suno brilas",
        "  corpora/eo: stands in it, byte for byte",
        "    document a (train, from libro), byte 7",
        "    licence: CC0-1.0",
        "neniam vidita",
        "  corpora/eo: stands not in it",
    ]


def test_answers_to_a_file(tried, tmp_path):
    code, out, _ = tried("corpus", "suno brilas", "--out", "answers.jsonl")
    assert (code, out) == (0, "wrote 1 answers to answers.jsonl\n")
    row = json.loads((tmp_path / "answers.jsonl").read_text("utf-8"))
    assert row["result"]["corpora/eo"]["found"] == "exact"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("corpora/later", "x"), "refine@later has not been made yet"),
        (("corpora/oe", "x"), "there is no corpus 'oe'"),
        (("corpus", "x", "--decoding", "greedy"), "nothing to decode"),
    ],
)
def test_refusals(tried, words, told):
    code, out, err = tried(*words)
    assert (code, out) == (2, "")
    assert told in err
    three_lines(err)
