"""Acquire refuses bad input by name and place: files, archives, disks."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard

from stages.core.canonical import file_digest
from stages.core.errors import MachineError, SourceError
from stages.lm import writing
from stages.lm.records import raw_documents, raw_manifest
from stages.lm.tables import write_table
from tests.stages.acquire_material import WORD, refused, take


def test_patterns_without_a_match(tmp_path):
    error = refused(tmp_path, {"a.txt": "x"}, patterns=["*.bz2", "*.gz"])
    assert error.what == "no file matches *.bz2, *.gz"
    error = refused(tmp_path, {"a.txt": "x"}, patterns=[])
    assert error.what == "no file matches an empty list of patterns"


def test_one_pattern_or_rule_without_a_match_is_reported(tmp_path):
    raw, log = take(
        tmp_path, {"a.txt": "x"}, patterns=["*.txt", "*.gz"], rules=[{"pattern": "*.log"}]
    )
    assert log.texts == {
        "idle_patterns": "no file matches *.gz",
        "idle_rules": "no file matches the rules *.log",
    }
    assert len(raw_manifest(raw)["files"]) == 1


def test_trailing_double_star_means_all_below(tmp_path):
    files = {"a/x.txt": "1", "a/b/y.txt": "2", "t/z.txt": "3"}
    raw, _ = take(tmp_path, files, patterns=["a/**"], exclude=["**/b/**"])
    assert [row["path"] for row in raw_manifest(raw)["files"]] == ["files/a/x.txt"]


def test_missing_root(tmp_path):
    error = refused(tmp_path, {}, root=str(tmp_path / "nowhere"))
    assert error.what == f"no folder {tmp_path / 'nowhere'}"


def test_relative_root(tmp_path):
    error = refused(tmp_path, {}, root="data/external")
    named = "['locale', 'python', 'site-packages']"
    assert error.what == f"the root 'data/external' is neither absolute nor one of {named}"


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


def test_two_stars_stand_alone(tmp_path):
    error = refused(tmp_path, {"a.txt": "x"}, patterns=["**.txt"])
    assert error.what == "`**` stands beside other characters in the pattern '**.txt'"
    assert error.todo == "write it as a part of its own (`**/*.txt`)"


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
        ("a.txt", gzip.compress(b"x", mtime=0), "a.txt holds gzip data, not text"),
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
