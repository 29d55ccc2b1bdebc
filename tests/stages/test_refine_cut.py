"""How documents are cut into shards, parts, batches and threads changes no byte of a corpus."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stages.core.log import Log
from stages.lm import tables
from stages.refine import intake, rows, shingled
from stages.tokenizer.stage import TokenizerParams, tokenizer
from tests.stages.refine_material import Refined, raw_folder

WORDS = "la suno brilas kaj ĉiu bela hundo vidas malgrandan katon en granda urbo de nia lando"
CHOICES = {
    "kind": "text",
    "filters": {
        "languages": ["eo"], "scores": True, "rule_sets": ["gopher-repetition", "c4"],
        "thresholds": {"c4/few_sentences": 1}, "private_types": ["email", "phone", "ip"],
        "max_repeated_line_fraction": 0.9,
    },
    "duplicates": {"max_line_copies": 3, "substrings": {"action": "cut", "length": 40}},
    "measure": {"topics": 3, "perplexity_order": 2},
    "split": {"train": 0.8, "valid": 0.1, "test": 0.1},
}  # fmt: skip


def documents():
    """Return documents, near copies and whole copies among them, with ids and sources."""
    draw = np.random.Generator(np.random.PCG64(5))
    texts = []
    for number in range(90):
        lines = [" ".join(draw.choice(WORDS.split(), 14)) + "." for _ in range(8)]
        texts.append("\n".join(lines))
        if number % 7 == 3:
            texts.append(texts[int(draw.integers(len(texts)))].replace("suno", "luno", 1))
        if number % 11 == 5:
            texts.append(texts[int(draw.integers(len(texts)))])
        if number % 13 == 1:
            texts.append(f"Skribu al a{number}@example.org, 555-0199, el 8.8.8.8. {lines[0]}")
    return [{"id": f"d{n}", "text": text, "source": f"s{n % 3}"} for n, text in enumerate(texts)]


def raw(folder: Path, shards: int) -> Path:
    """Write the documents as so many shards."""
    given = documents()
    size = -(-len(given) // shards)
    files = {
        f"part-{n:02d}.jsonl": "".join(
            json.dumps(row) + "\n" for row in given[n * size : (n + 1) * size]
        )
        for n in range(shards)
    }
    return raw_folder(folder, files)


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A corpus from one shard in one part by one thread."""
    folder = tmp_path_factory.mktemp("whole")
    made = Refined(raw(folder / "raw", 1), folder / "corpus", **CHOICES)
    reasons = set(made.reasons().values())
    assert {"exact_duplicate", "near_duplicate"} <= reasons
    assert "[email]" in "".join(made.texts().values())
    return folder / "corpus"


def test_shards_parts_batches_and_threads_change_no_byte(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(intake, "BATCH_RECORDS", 7)
    monkeypatch.setattr(rows, "PACKED", 5)
    monkeypatch.setattr(shingled, "SIGN_DOCUMENTS", 11)
    monkeypatch.setattr(shingled, "SIGN_BYTES", 3000)
    Refined(raw(tmp_path / "raw", 6), tmp_path / "corpus", threads=3, **CHOICES)
    one, other = contents(whole), contents(tmp_path / "corpus")
    assert sorted(one) == sorted(other)
    assert [name for name in one if one[name] != other[name]] == []


def test_another_order_of_documents_is_another_corpus(tmp_path, whole):
    """Teeth of the test above: what is compared does tell corpora apart."""
    folder = raw(tmp_path / "raw", 2)
    told = json.loads((folder / "manifest.json").read_text())
    told["files"].reverse()
    (folder / "manifest.json").write_text(json.dumps(told))
    Refined(folder, tmp_path / "corpus", **CHOICES)
    one, other = contents(whole), contents(tmp_path / "corpus")
    assert "duplicates.parquet" in [name for name in one if one[name] != other[name]]


def test_threads_change_no_byte_of_a_tokenizer(tmp_path, whole, monkeypatch):
    found = []
    for threads, group in ((1, tables.GROUP_ROWS), (3, 5)):
        monkeypatch.setattr(tables, "GROUP_ROWS", group)
        params = TokenizerParams(corpus="x", vocab_size=300, threads=threads)
        tokenizer(params, whole, whole, tmp_path / str(threads), Log())
        found.append(contents(tmp_path / str(threads)))
    assert found[0] == found[1]
