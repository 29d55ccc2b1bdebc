"""Acquire from files: what comes, what is written about it, and every way it can go wrong."""

from __future__ import annotations

import bz2
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from stages.acquire import local
from stages.acquire.sources import FilesSource
from stages.acquire.stage import AcquireParams, acquire
from stages.core.canonical import file_digest
from stages.core.errors import ArtifactError, SourceError
from stages.core.log import Log
from stages.lm.records import raw_documents, raw_labelled, raw_manifest, raw_pairs
from tests.stages.acquire_material import WORD, put, refused, take


def test_files_made_of_generated_material_are_marked(tmp_path):
    raw = tmp_path / "raw"
    params = AcquireParams.model_validate(
        {"licence": "CC0-1.0", "source": {"kind": "files"}, "synthetic": True}
    )
    acquire(params, put(tmp_path / "in", {"a.txt": "Unu.\n"}), raw, Log())
    assert json.loads((raw / "manifest.json").read_text())["synthetic"] is True


def test_files_come_as_they_are_and_are_described(tmp_path):
    packed = gzip.compress(b"Saluton!\n", mtime=0)
    raw, log = take(
        tmp_path,
        {
            "a.txt": "Unu.\r\nDu.\n",
            "sub/b.txt.gz": packed,
            "sub/.hidden.txt": "x",
            "README.md": "y",
        },
    )
    manifest = json.loads((raw / "manifest.json").read_text())
    assert [row["path"] for row in manifest["files"]] == ["files/a.txt", "files/sub/b.txt.gz"]
    assert (raw / "files/sub/b.txt.gz").read_bytes() == packed
    assert manifest["files"][0] == {
        "path": "files/a.txt",
        "sha256": file_digest(tmp_path / "in/a.txt"),
        "size_bytes": 10,
        "format": "text",
        "records": 1,
    }
    assert manifest["licence"] == "CC0-1.0"
    assert manifest["licence_reason"] is None
    assert manifest["origin"] == "files below data/none"
    assert manifest["synthetic"] is False
    assert manifest["source"]["kind"] == "files"
    assert [d.text for d in raw_documents(raw)] == ["Unu.\r\nDu.\n", "Saluton!\n"]
    assert log.metrics["documents_read"] == 2
    assert log.metrics["files_kept"] == 2


def test_rules_tell_how_each_file_is_read(tmp_path):
    raw, log = take(
        tmp_path,
        {
            "wiki.crp.txt.bz2": bz2.compress(b"     1. Unu.\n     2. Du.\n"),
            "lines.txt": "Tri.\n\nKvar.\n",
            "old.txt": "caf\xe9\n".encode("latin-1"),
            "book.txt": "Kvin.\nSes.\n",
        },
        rules=[
            {"pattern": "lines*", "documents": "line"},
            {"pattern": "**/old.txt", "encoding": "latin-1"},
        ],
    )
    assert [(d.id, d.text) for d in raw_documents(raw)] == [
        ("book.txt", "Kvin.\nSes.\n"),
        ("lines.txt:1", "Tri."),
        ("lines.txt:3", "Kvar."),
        ("old.txt", "café\n"),
        ("wiki.crp.txt.bz2:1", "Unu."),
        ("wiki.crp.txt.bz2:2", "Du."),
    ]
    assert log.metrics["documents_read"] == 6


def test_labelled_and_parallel_files_come_with_their_partners(tmp_path):
    raw, log = take(
        tmp_path,
        {"t.conllu": f"# sent_id = s1\n{WORD}\n", "x.eng": "dog\ncat\n", "x.epo": "hundo\nkato\n"},
        reading={"format": "auto"},
        rules=[{"pattern": "x.*", "format": "text"}],
        parallel=[{"source": "*.eng", "target": "*.epo"}],
    )
    [sentence] = raw_labelled(raw)
    assert (sentence.id, sentence.tokens, sentence.tags) == ("s1", ["Hundo"], ["NOUN"])
    pairs = [(p.source_text, p.target_text) for p in raw_pairs(raw)]
    assert pairs == [("dog", "hundo"), ("cat", "kato")]
    assert (log.metrics["labelled_read"], log.metrics["pairs_read"]) == (1, 2)
    with pytest.raises(ArtifactError) as caught:
        list(raw_documents(raw))
    assert "holds no documents, only labelled sentences, pairs of texts" in caught.value.what


def test_binary_files_are_kept_and_never_read(tmp_path):
    raw, _ = take(tmp_path, {"model.pt": b"\x80\x02\0"}, reading={"format": "binary"})
    assert raw_manifest(raw)["files"][0]["format"] == "binary"


def test_pack_makes_few_shards_and_excludes(tmp_path):
    files = {f"m{n}.py": f"x = {n}\n" for n in range(30)} | {"tests/t.py": "no"}
    raw, log = take(
        tmp_path, files, patterns=["**/*.py"], exclude=["tests/**/*"], pack=True, max_files=5
    )
    assert [row["path"] for row in raw_manifest(raw)["files"]] == [
        "files/documents-00000.jsonl.zst"
    ]
    assert [d.id for d in raw_documents(raw)] == sorted(files)[:-1]
    assert log.metrics["documents_read"] == 30


def test_pack_follows_the_rules_and_takes_texts_alone(tmp_path):
    rules = [{"pattern": "**/lines.txt", "documents": "line"}]
    raw, _ = take(tmp_path, {"d/lines.txt": "Unu\nDu\n", "a.txt": "Tri\n"}, rules=rules, pack=True)
    assert [(d.id, d.source) for d in raw_documents(raw)] == [
        ("a.txt", "a.txt"),
        ("d/lines.txt:1", "d/lines.txt"),
        ("d/lines.txt:2", "d/lines.txt"),
    ]
    error = refused(tmp_path / "b", {"a.txt": "x"}, pack=True, unpack=["*"])
    assert error.what == "`pack` is set together with `parallel`, `links` or `unpack`"


def test_python_root_is_the_standard_library(tmp_path):
    raw, _ = take(tmp_path, {}, root="python", patterns=["json/*.py"], pack=True)
    texts = {d.id: d.text for d in raw_documents(raw)}
    assert texts["json/decoder.py"] == Path(json.decoder.__file__).read_text()
    manifest = raw_manifest(raw)
    assert manifest["source"]["root"] == "python"
    assert str(Path(json.__file__).parent.parent) not in (raw / "manifest.json").read_text()


@pytest.mark.parametrize(
    "pattern",
    [*local.PYTHON_EXCLUDED, "**/*", "*", "*.py", "a/**", "**", "**/t?sts/*", "a/**/d/*.py",
     "./a/*", "**/[!t]*/*.py", "**/LICEN[CS]E*", "a/b", "**/a/**/*.txt", "a/*/d",
     "**/site-packages/**/*"],
)  # fmt: skip
def test_leaving_out_by_name_is_leaving_out_by_glob(tmp_path, pattern):
    names = ["top.py", "LICENSE", "LICENCE.txt", "a/b", "a/tests/x.py", "a/c/d/e.py", "a/d/f.py",
             "site-packages/torch/x.py", "b/site-packages/y.py", "tests/z.py", "test/q/r.txt",
             "b/LICENSE.md", "a/c/__pycache__/m.pyc", "c/a/n.txt", "site-packages/o",
             "dist-packages/p.py", "a/e/d"]  # fmt: skip
    put(tmp_path, dict.fromkeys(names, "x"))
    found = local.glob(tmp_path, [pattern], "here")
    assert local.matching(names, [pattern], "here") == set(found)
    assert found


def test_what_is_left_out_is_not_walked_through(tmp_path, monkeypatch):
    walked = []
    monkeypatch.setattr(local, "glob", lambda root, patterns, *_: walked.append(patterns) or [
        "a.py", "site-packages/b.py"
    ])  # fmt: skip
    source = FilesSource(root="python", patterns=["*.py"], pack=True)
    assert local.find(source, tmp_path, Log()) == ["a.py"]
    assert walked == [["*.py"]]


def test_root_may_be_absolute_and_its_content_pinned(tmp_path):
    outside = put(tmp_path / "outside", {"a.txt": "Unu.\n"})
    raw, _ = take(tmp_path, {}, root=str(outside))
    digest = raw_manifest(raw)["content_sha256"]
    take(tmp_path / "again", {}, root=str(outside), sha256=digest)
    (outside / "a.txt").write_text("Du.\n")
    error = refused(tmp_path / "third", {}, root=str(outside), sha256=digest)
    assert f"declared is {digest}" in error.what


def test_same_bytes_in_fresh_processes_and_folders(tmp_path):
    code = (
        "import sys; from pathlib import Path; from stages.acquire.stage import *;"
        "p = AcquireParams.model_validate({'licence': 'MIT', 'source': {'kind': 'files',"
        " 'patterns': ['*.txt'], 'pack': True}});"
        "acquire(p, Path(sys.argv[1]), Path(sys.argv[2]), Log())"
    )
    seen = set()
    for seed in ("1", "2"):
        folder = put(tmp_path / seed / "in", {"b.txt": "Du.", "a.txt": "Unu."})
        raw = tmp_path / seed / "raw"
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        subprocess.run(
            [sys.executable, "-c", code, str(folder), str(raw)], check=True, env=environment
        )
        files = sorted(path for path in raw.rglob("*") if path.is_file())
        seen.add(tuple((str(f.relative_to(raw)), file_digest(f)) for f in files))
    assert len(seen) == 1


def test_stage_module_imports_fast():
    code = (
        "import sys, stages.acquire.stage;"
        "heavy = {'torch','transformers','pyarrow','numpy','requests','datasets','zstandard'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


# Licence.


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_source_without_licence_is_refused(reason):
    with pytest.raises(SourceError) as caught:
        AcquireParams.model_validate({"licence_reason": reason, "source": {"kind": "files"}})
    assert caught.value.what == "the files source states no licence"


@pytest.mark.parametrize("licence", ["unknown", "", "free for research", "NONE"])
def test_licence_that_says_nothing_is_refused(licence):
    with pytest.raises(SourceError) as caught:
        AcquireParams.model_validate({"licence": licence, "source": {"kind": "files"}})
    assert caught.value.what == f"the licence {licence!r} is no SPDX expression"


def test_reason_stands_for_a_licence(tmp_path):
    put(tmp_path / "in", {"a.txt": "Unu."})
    params = AcquireParams.model_validate(
        {"licence_reason": "written by ourselves", "origin": "us", "source": {"kind": "files"}}
    )
    acquire(params, tmp_path / "in", tmp_path / "raw", Log())
    manifest = raw_manifest(tmp_path / "raw")
    assert manifest["licence"] is None
    assert manifest["licence_reason"] == "written by ourselves"
    assert manifest["origin"] == "us"


# The embedded generator, through the stage.


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    log = Log()
    params = AcquireParams.model_validate({"source": {"kind": "generator", "size_mb": 0.1}})
    acquire(params, folder, folder / "raw", log)
    return folder / "raw"


def test_generated_material_is_marked_and_described(generated):
    manifest = raw_manifest(generated)
    assert manifest["synthetic"] is True
    assert manifest["licence"] == "CC0-1.0"
    assert {row["format"] for row in manifest["files"]} == {"jsonl", "conllu", "tsv"}
    for row in [*manifest["files"], *manifest["truth"]]:
        assert row["sha256"] == file_digest(generated / row["path"])
        assert row["size_bytes"] == (generated / row["path"]).stat().st_size
    on_disk = {p.relative_to(generated).as_posix() for p in generated.rglob("*") if p.is_file()}
    named = {row["path"] for row in [*manifest["files"], *manifest["truth"]]}
    assert on_disk == named | {"manifest.json"}


def test_generated_material_reads_as_texts_sentences_and_pairs(generated):
    documents = list(raw_documents(generated))
    assert 100_000 <= sum(len(d.text.encode()) for d in documents) < 120_000
    assert len({d.id for d in documents}) == len(documents)
    sentences = list(raw_labelled(generated))
    assert all(len(s.tokens) == len(s.tags) == len(s.lemmas) == len(s.feats) for s in sentences)
    assert {s.document for s in sentences} <= {d.id for d in documents}
    pairs = list(raw_pairs(generated))
    assert len(pairs) > 200
    assert all(p.source_text and p.target_text for p in pairs)


# Real material, as the recipe `esperanto_files` takes it.


def test_real_texts_through_the_stage(tmp_path, shared_data):
    log = Log()
    source = {
        "kind": "files",
        "root": str(shared_data),
        "patterns": [
            "eo_*/**",
            "dedup/eo_second_transcriptions/**",
            "wikipedia_sentences/eowiki.*",
        ],
        "rules": [{"pattern": "eo_raw_commonvoice/*", "documents": "line"}],
        "pack": True,
    }
    given = {"licence_reason": "a test", "source": source}
    acquire(AcquireParams.model_validate(given), tmp_path, tmp_path / "raw", log)
    counts: dict[str, int] = {}
    for document in raw_documents(tmp_path / "raw"):
        counts[document.source] = counts.get(document.source, 0) + 1
    assert len(counts) == 35 + 31 + 39 + 4 + 8 + 1
    assert counts["eo_raw_commonvoice/sentence-collector.txt.gz"] == 46_910
    assert counts["wikipedia_sentences/eowiki.crp.txt.bz2"] == 20_000
    assert counts["eo_classics/voko-cikado/marta.txt.gz"] == 1
    assert log.metrics["documents_read"] == sum(counts.values())
