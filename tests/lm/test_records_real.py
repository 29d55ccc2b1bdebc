"""Real material comes without loss: counts against its manifest and its publishers."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core.errors import ArtifactError
from stages.lm.records import (
    RawFile,
    Reading,
    format_of,
    read_file,
)


@pytest.fixture(scope="module")
def listed(shared_data) -> dict[str, tuple[int, int]]:
    """Bytes and lines of every shared file, from its manifest."""
    rows = [line.split("\t") for line in (shared_data / "MANIFEST.tsv").read_text().splitlines()]
    return {row[0]: (int(row[1]), int(row[3] or 0)) for row in rows[1:]}


def real(shared_data: Path, name: str, **reading) -> list:
    chosen = Reading(**reading)
    return list(read_file(RawFile(shared_data / name, name, format_of(name, chosen), chosen)))


def test_every_real_text_comes_whole(shared_data, listed):
    folders = (
        "eo_classics/",
        "eo_bible/",
        "eo_raw_commonvoice/",
        "multilingual_raw_commonvoice/",
        "mixed_language/",
        "dedup/eo_second_transcriptions/",
        "document_pairs/",
    )
    names = [name for name in listed if name.startswith(folders)]
    assert len(names) == 134
    marked = 0
    for name in names:
        [document] = real(shared_data, name)
        text, (size, lines) = document.text, listed[name]
        assert text.count("\n") + (not text.endswith("\n")) == lines, name
        lost = size - len(text.encode())
        assert lost in (0, 3), name
        marked += lost == 3
        by_line = real(shared_data, name, documents="line")
        assert len(by_line) == sum(1 for line in text.split("\n") if line.strip()), name
    assert marked == 3  # Files that begin with a byte order mark.


def test_every_wikipedia_sentence_comes(shared_data):
    for name in ("eowiki.crp.txt.bz2", "enwiki.crp.txt.bz2"):
        records = real(shared_data, f"wikipedia_sentences/{name}")
        assert [int(r.id.rpartition(":")[2]) for r in records] == list(range(1, 20_001))
        assert not any(r.text[0].isspace() for r in records)
    old = real(shared_data, "wikipedia_sentences/eowiki_old_part1.txt.gz", documents="line")
    assert len(old) == 12_000


@pytest.mark.parametrize(
    ("name", "sentences", "words"),
    [
        ("UD_Esperanto-Prago/eo_prago-ud-test", 131, 3165),
        ("UD_Welsh-CCG/cy_ccg-ud-train", 1255, 26_159),
        ("UD_Welsh-CCG/cy_ccg-ud-dev", 409, 9123),
        ("UD_Welsh-CCG/cy_ccg-ud-test", 953, 17_026),
        ("UD_Maltese-MUDT/mt_mudt-ud-train", 1123, 22_880),
        ("UD_Maltese-MUDT/mt_mudt-ud-dev", 433, 10_209),
        ("UD_Maltese-MUDT/mt_mudt-ud-test", 518, 11_073),
        ("UD_Afrikaans-AfriBooms/af_afribooms-ud-train", 1315, 33_878),
        ("UD_Afrikaans-AfriBooms/af_afribooms-ud-dev", 194, 5317),
        ("UD_Afrikaans-AfriBooms/af_afribooms-ud-test", 425, 10_063),
    ],
)
def test_every_treebank_has_the_published_counts(shared_data, name, sentences, words):
    records = real(shared_data, f"ud/{name}.conllu.gz")
    assert len(records) == sentences
    assert sum(len(r.tokens) for r in records) == words


@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "reading"),
    [
        ("wnut17/wnut17train.conll", 3394, 62_730, {}),
        ("wnut17/emerging.dev.conll", 1009, 15_733, {}),
        ("wnut17/emerging.test.annotated", 1287, 23_394, {"format": "conll"}),
        ("wnut17/submissions/uh_ritual", 1287, 23_394, {"format": "conll", "tag_column": 1}),
        ("wnut17/submissions/arcada", 1287, 23_394, {"format": "conll"}),
        ("seqeval_tests/ground_truth.txt", 40, 961, {"format": "conll"}),
        ("europeana/enp_DE.lft.bio.gz", None, 70_259, {}),
        ("europeana/enp_DE.sbb.bio.gz", None, 47_281 - 3 * 14, {"ragged": "repair"}),
        ("europeana/enp_NL.kb.bio.gz", None, 182_482, {}),
    ],
)
def test_every_entity_file_comes_whole(shared_data, name, sentences, tokens, reading):
    records = real(shared_data, f"ner/{name}", **reading)
    assert sum(len(r.tokens) for r in records) == tokens
    if sentences is None:
        assert max(len(r.tokens) for r in records) <= 250
        assert 10 < tokens / len(records) < 60
    else:
        assert len(records) == sentences


def test_odd_real_file_is_refused_with_its_line(shared_data):
    with pytest.raises(ArtifactError) as caught:
        real(shared_data, "ner/europeana/enp_DE.sbb.bio.gz")
    assert caught.value.what == (
        "line 129 of enp_DE.sbb.bio.gz: 1 column(s) where the file has 2: 'worden'"
    )


def test_every_real_pair_comes(shared_data, listed):
    names = [name for name in listed if name.startswith("tatoeba/") and ".epo." in name]
    assert len(names) == 6
    for name in names:
        stem = name.removesuffix("epo.gz")
        [other] = [n for n in listed if n.startswith(stem) and n != name]
        source = RawFile(shared_data / name, name, "parallel", Reading(), (shared_data / other,))
        assert sum(1 for _ in read_file(source)) == listed[name][1] == listed[other][1]


def test_real_tables_and_json(shared_data):
    records = real(shared_data, "sib200/epo_Latn/train.tsv", header=True, yields="documents")
    assert len(records) == 701
    rows = real(shared_data, "scitldr_a/dev.jsonl.gz", text="title")
    assert len(rows) == 619
