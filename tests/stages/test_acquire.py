"""Acquire from files: what comes, what is written about it, and every way it can go wrong."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from stages.acquire import writing
from stages.acquire.stage import AcquireParams, acquire
from stages.core.canonical import file_digest
from stages.core.errors import ArtifactError, MachineError, SourceError
from stages.core.log import Log
from stages.lm.records import raw_documents, raw_labelled, raw_manifest, raw_pairs
from stages.lm.tables import write_table

WORD = "1\tHundo\thundo\tNOUN\t_\tCase=Nom|Number=Sing\t0\troot\t_\t_\n"


def put(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def take(tmp_path: Path, files: dict[str, str | bytes], **source) -> tuple[Path, Log]:
    folder, raw, log = put(tmp_path / "in", files), tmp_path / "raw", Log()
    folder.mkdir(parents=True, exist_ok=True)
    params = AcquireParams.model_validate(
        {"licence": "CC0-1.0", "source": {"kind": "files", **source}}
    )
    acquire(params, folder, raw, log)
    return raw, log


def refused(tmp_path: Path, files: dict[str, str | bytes], **source):
    with pytest.raises((SourceError, ArtifactError)) as caught:
        take(tmp_path, files, **source)
    assert len(caught.value.lines()) == 3
    return caught.value


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


def test_python_root_is_the_standard_library(tmp_path):
    raw, _ = take(tmp_path, {}, root="python", patterns=["json/*.py"], pack=True)
    texts = {d.id: d.text for d in raw_documents(raw)}
    assert texts["json/decoder.py"] == Path(json.decoder.__file__).read_text()
    manifest = raw_manifest(raw)
    assert manifest["source"]["root"] == "python"
    assert str(Path(json.__file__).parent.parent) not in (raw / "manifest.json").read_text()


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


# Named bad inputs.


def test_pattern_without_a_match(tmp_path):
    error = refused(tmp_path, {"a.txt": "x"}, patterns=["*.txt", "*.gz"])
    assert error.what == "the pattern '*.gz' finds no file"


def test_missing_root(tmp_path):
    error = refused(tmp_path, {}, root=str(tmp_path / "nowhere"))
    assert error.what == f"no folder {tmp_path / 'nowhere'}"


def test_relative_root(tmp_path):
    error = refused(tmp_path, {}, root="data/external")
    assert error.what == "the root 'data/external' is neither absolute nor one of ['python']"


def test_everything_excluded(tmp_path):
    error = refused(tmp_path, {"README.txt": "x"})
    assert error.what == "the source is empty: no file is left after `exclude`"


def test_files_without_content(tmp_path):
    error = refused(tmp_path, {"a.txt": "", "b.txt": "\n\n"})
    assert error.what == "the source is empty: its files hold no record"


def test_too_many_files(tmp_path):
    error = refused(tmp_path, {f"{n}.txt": "x" for n in range(4)}, max_files=3)
    assert error.what == "4 files, allowed are 3"
    assert "pack: true" in error.todo


@pytest.mark.parametrize("pattern", ["../*.txt", "/etc/passwd", "a/../../b"])
def test_pattern_outside_the_root(tmp_path, pattern):
    error = refused(tmp_path, {"a.txt": "x"}, patterns=[pattern])
    assert error.what == f"the pattern {pattern!r} leads outside the root"


def test_rule_without_a_match(tmp_path):
    error = refused(tmp_path, {"a.txt": "x"}, rules=[{"pattern": "*.log"}])
    assert error.what == "the rule for '*.log' finds no file"


def test_name_without_a_format(tmp_path):
    error = refused(tmp_path, {"a.dat": "x"})
    assert error.what == "the name a.dat does not tell its format"


def test_only_texts_can_be_packed(tmp_path):
    error = refused(tmp_path, {"a.conllu": WORD}, pack=True)
    assert error.what == "a.conllu holds labelled, and only texts can be packed"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.txt", b"abc\0def", "a.txt is binary: a zero byte at offset 3"),
        ("a.txt", b"%PDF-1.7\n", "a.txt holds a PDF document, not text"),
        ("a.txt", gzip.compress(b"x"), "a.txt holds gzip data, not text"),
        ("a.txt", b"\x01\x02\x03", "a.txt is binary: 3 control characters in its first 3 bytes"),
        ("a.txt", b"bona \xff", "a.txt is not utf-8: byte 0xff at offset 5"),
        (
            "a.conllu",
            WORD.replace("Hundo\thundo", "Hundo"),
            "line 1 of a.conllu: 9 columns in "
            "'1\\tHundo\\tNOUN\\t_\\tCase=Nom|Number=Sing\\t0\\troot\\t_\\t_', "
            "CoNLL-U has 10 between tabs",
        ),
        ("a.conll", "a O\nb\n", "line 2 of a.conll: 1 column(s) where the file has 2: 'b'"),
    ],
)
def test_bad_content_is_named_by_place(tmp_path, name, content, what):
    assert refused(tmp_path, {name: content}).what == what


@pytest.mark.parametrize(
    ("name", "whole", "kind"),
    [
        ("a.txt.gz", gzip.compress(os.urandom(2000).hex().encode()), "gzip"),
        ("a.txt.bz2", bz2.compress(os.urandom(2000).hex().encode()), "bzip2"),
        ("a.txt.zst", zstandard.compress(os.urandom(2000).hex().encode()), "zstd"),
    ],
)
def test_truncated_and_damaged_compression(tmp_path, name, whole, kind):
    error = refused(tmp_path / "cut", {name: whole[:-40]})
    assert error.what.startswith(f"the {kind} stream of {name} ends too early, near compressed")
    error = refused(tmp_path / "bad", {name: b"not compressed at all " * 3})
    assert error.what.startswith(f"the {kind} stream of {name} is damaged (")


def test_bad_json_line(tmp_path):
    error = refused(tmp_path, {"a.jsonl": '{"text": "Unu."}\n{"text": \n'})
    assert error.what.startswith("line 2 of a.jsonl is not JSON (")


def test_parquet_without_the_column(tmp_path):
    write_table(tmp_path / "in/a.parquet", pa.table({"body": ["Unu."]}))
    error = refused(tmp_path, {})
    assert error.what == "no column text in a.parquet"
    assert error.todo == "name one of its columns: body"


def test_unequal_parallel_files(tmp_path):
    error = refused(
        tmp_path,
        {"x.en.txt": "a\nb\nc\nd\n", "x.eo.txt": "a\nb\n"},
        parallel=[{"source": "*.en.txt", "target": "*.eo.txt"}],
    )
    assert error.what == "x.eo.txt has 2 lines and x.en.txt has 4"


def test_parallel_globs_that_do_not_pair(tmp_path):
    error = refused(
        tmp_path, {"x.en.txt": "a"}, parallel=[{"source": "*.en.txt", "target": "*.eo.txt"}]
    )
    assert error.what == "1 file(s) match '*.en.txt' and 0 match '*.eo.txt'"


def test_links_to_a_missing_file(tmp_path):
    error = refused(
        tmp_path,
        {"links.tsv": "1\t2\n"},
        links=[{"links": "links.tsv", "source": "eo.tsv", "target": "en.tsv"}],
    )
    assert error.what == "no file 'eo.tsv' among what came"


# Archives.


def tar(members: dict[str, bytes], link: str | None = None) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as bundle:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, link
            bundle.addfile(info)
    return data.getvalue()


def test_chosen_members_replace_their_archive(tmp_path):
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as out:
        out.writestr("z/one.txt", "Tri.")
    files = {
        "c.tar.gz": tar({"c/a-sentences.txt": b"1\tUnu.\n2\tDu.\n", "c/a-words.txt": b"1\tx\n"}),
        "d.zip": bundle.getvalue(),
    }
    raw, _ = take(tmp_path, files, unpack=["*-sentences.txt", "z/*"])
    assert [(d.id, d.text) for d in raw_documents(raw)] == [
        ("c/c/a-sentences.txt:1", "Unu."),
        ("c/c/a-sentences.txt:2", "Du."),
        ("d/z/one.txt", "Tri."),
    ]
    archives = raw_manifest(raw)["archives"]
    assert archives[0]["path"] == "c.tar.gz"
    assert archives[0]["sha256"] == file_digest(tmp_path / "in/c.tar.gz")
    assert not list(raw.rglob("*.tar.gz"))


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "..\\out.txt"])
def test_member_outside_the_folder(tmp_path, name):
    error = refused(tmp_path, {"c.tar.gz": tar({name: b"x"})}, unpack=["*"])
    assert error.what == f"the path {name!r} leads outside its folder"
    assert not list(tmp_path.rglob("out.txt"))


def test_links_in_archives_are_refused(tmp_path):
    error = refused(tmp_path, {"c.tar.gz": tar({}, link="/etc/passwd")}, unpack=["*"])
    assert error.what == "the member 'link' of c.tar.gz is a link or a device"


def test_archive_without_a_match_and_damaged_archive(tmp_path):
    whole = tar({"a.txt": os.urandom(3000)})
    error = refused(tmp_path / "a", {"c.tar.gz": whole}, unpack=["*.csv"])
    assert error.what == "no member of c.tar.gz matches *.csv"
    error = refused(tmp_path / "b", {"c.tar.gz": whole[:-1000]}, unpack=["*.txt"])
    assert error.what.startswith("the archive c.tar.gz is damaged (")
    error = refused(tmp_path / "c", {"c.zip": b"PK\x03\x04"}, unpack=["*.txt"])
    assert error.what.startswith("the archive c.zip is damaged (")


def test_archive_with_a_member_twice(tmp_path):
    bundle = io.BytesIO()
    with tarfile.open(fileobj=bundle, mode="w") as out:
        for content in (b"a", b"b"):
            info = tarfile.TarInfo("same.txt")
            info.size = 1
            out.addfile(info, io.BytesIO(content))
    error = refused(tmp_path, {"c.tar": bundle.getvalue()}, unpack=["*"])
    assert error.what == "the archive c.tar holds a member twice"


def test_member_larger_than_allowed(tmp_path):
    with pytest.raises(SourceError) as caught:
        writing.copy_stream(io.BytesIO(b"abcdef"), tmp_path / "a", max_bytes=5)
    assert caught.value.what == "a is larger than 5 bytes"


# The machine says no.


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "no space is left for a.txt (No space left on device)"),
        (errno.EDQUOT, "no space is left for a.txt (Disk quota exceeded)"),
        (errno.EROFS, "a.txt may not be read or written (Read-only file system)"),
        (errno.EACCES, "a.txt may not be read or written (Permission denied)"),
    ],
)
def test_full_disk_and_read_only_folder(tmp_path, monkeypatch, number, what):
    real = Path.open

    def refuse(self, mode="r", *rest, **more):
        if mode == "xb":
            raise OSError(number, os.strerror(number))
        return real(self, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MachineError) as caught:
        take(tmp_path, {"a.txt": "Unu."})
    assert caught.value.what == what
    assert caught.value.where == str(tmp_path / "raw/files/a.txt")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_device(tmp_path):
    target = Path("/dev/full")
    with pytest.raises(MachineError) as caught, writing.told_plainly(target):
        target.write_bytes(b"x")
    assert caught.value.what.startswith("no space is left for full (")


def test_other_os_errors_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), writing.told_plainly(tmp_path):
        (tmp_path / "no").read_bytes()


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
