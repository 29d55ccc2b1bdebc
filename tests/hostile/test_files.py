"""Hostile files: read to the last record, or refused in three lines; never a part or a crash."""

from __future__ import annotations

import io
import os
import zipfile
import zlib

import pytest
from pydantic import ValidationError

from stages.core.errors import DevenoError, SourceError, translated
from stages.lm import archives, streams
from stages.lm.records import raw_documents
from tests.hostile import files, line
from tests.hostile.files import FileCase

CASES = files.cases()
SMALL = [one for one in CASES if not one.large]


def outcome(case: FileCase, home):
    """Return the rows of a case, or the error that refuses it."""
    for name, data in case.files.items():
        (home / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "in" / name).write_bytes(data)
    try:
        raw = line.acquired(home / "in", home / "raw", **case.source)
    except (DevenoError, ValidationError) as error:
        return error
    except OSError as error:
        told = translated(error)
        if told is None:
            raise
        return told
    return [(one.id, one.text) for one in raw_documents(raw)]


def check(case: FileCase, home) -> None:
    """See that a case comes out as it says."""
    found = outcome(case, home)
    if case.rows is not None:
        assert found == case.rows
    elif isinstance(found, DevenoError):
        assert case.told in found.what, found
        assert len(found.lines()) == 3
    else:  # what a parameter may be is told before anything is read
        assert isinstance(found, ValidationError), found
        assert case.told in str(found)


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_a_file_is_read_whole_or_refused(case, tmp_path):
    check(case, tmp_path)


def test_there_are_many_of_both_sorts_and_none_twice():
    assert len({one.name for one in CASES}) == len(CASES) > 200
    assert sum(one.rows is not None for one in CASES) > 60
    assert all(one.told for one in CASES if one.rows is None)


def test_a_line_above_the_bound_is_refused_and_one_below_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "LINE_CHARACTERS", 1000)
    for name, size, told in (("below", 990, None), ("above", 1001, "more than 1000 characters")):
        rows = [("a.jsonl:1", "q" * (size - 12))] if told is None else None
        data = files._row("q" * (size - 12)).encode()
        check(FileCase(name, {"a.jsonl": data}, rows, told or ""), tmp_path / name)


@pytest.mark.parametrize("kind", ["fifo", "socket", "nowhere", "folder", "loop"])
def test_what_is_no_file_is_refused_and_may_be_left_out(kind, tmp_path):
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "a.txt").write_text(files.SAYS)
    place = folder / "odd.txt"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "socket":
        os.mknod(place, 0o140600)
    else:
        place.symlink_to({"nowhere": "gone.txt", "folder": "b", "loop": "."}[kind])
    found = outcome(FileCase(kind, {}, told="odd.txt is a"), tmp_path)
    assert isinstance(found, SourceError), found
    assert "odd.txt is a" in found.what
    case = FileCase(kind, {}, source={"exclude": ["odd*"]})
    assert outcome(case, tmp_path) == [("b/a.txt", files.SAYS)]


def test_a_link_to_a_file_is_read_as_the_file(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "told.txt").write_text(files.SAYS)
    (tmp_path / "in" / "a.txt").symlink_to(tmp_path / "told.txt")
    assert outcome(FileCase("link", {}), tmp_path) == [("a.txt", files.SAYS)]


def test_a_bomb_in_an_archive_costs_no_more_than_its_ratio(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FREE_BYTES", 1 << 20)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("a.txt", b"la " * 3_000_000)
    case = FileCase("bomb", {"x.zip": out.getvalue()}, source={"unpack": ["*"]})
    found = outcome(case, tmp_path)
    assert isinstance(found, SourceError)
    assert "more than 300 times its size comes out of the archive x.zip" in found.what
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.txt"))
    assert written <= 301 * len(out.getvalue()) + (1 << 20)


def test_a_damaged_second_stream_is_not_taken_for_rubbish(tmp_path):
    """The libraries' own readers end in silence there: this is why theirs are not used."""
    import bz2

    data = bytearray(bz2.compress(b"unu\n") * 2)
    data[len(data) // 2 + 1] ^= 255
    path = tmp_path / "a.txt.bz2"
    path.write_bytes(data)
    with bz2.open(path) as theirs:
        assert theirs.read() == b"unu\n"
    with pytest.raises(DevenoError, match="is damaged"):
        streams.whole_text(path)


def test_a_frame_that_bursts_is_given_in_pieces():
    """However much a few bytes make, no more than some buffers of it are held."""
    import bz2
    import lzma

    import zstandard

    noise = zlib.compress(os.urandom(1 << 17))
    for kind, pack in (
        ("bzip2", bz2.compress), ("xz", lzma.compress), ("zstd", zstandard.compress),
    ):  # fmt: skip
        packed = pack(noise) + pack(b"\0" * (1 << 24))
        reader = streams._Frames(io.BytesIO(packed), kind)
        most = total = 0
        while reader._pending or reader._go_on():
            most, total = max(most, len(reader._pending)), total + len(reader._pending)
            reader._pending = memoryview(b"")
        assert total == len(noise) + (1 << 24)
        assert most <= 1 << 24 if kind == "zstd" else most <= streams.BUFFER_BYTES
