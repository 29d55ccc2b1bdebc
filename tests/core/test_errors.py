"""Errors: three lines, an entry's own place, and what the system said in a user's words."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from flows import answers, fullness
from stages.core.errors import ArtifactError, DevenoError, MachineError, cramped, translated

ROOT = Path("/clone")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("acquire: licence", "params.yaml: acquire.eo.licence"),
        ("acquire: source.root of /clone/x", "params.yaml: acquire.eo.source.root of x"),
        ("params.yaml: acquire.*.split", "params.yaml: acquire.eo.split"),
        ("params.yaml: acquire.<entry>.words", "params.yaml: acquire.eo.words"),
        ("/clone/data/raw/x/a.txt:3", "acquire@eo: data/raw/x/a.txt:3"),
        ("it is an input of acquire@eo", "it is an input of acquire@eo"),
        ("/elsewhere/a.txt", "acquire@eo: /elsewhere/a.txt"),
    ],
)  # fmt: skip
def test_a_place_names_the_entry_and_paths_from_the_root(where, expected):
    error = ArtifactError("/clone/a is bad", where, "look at /clone/b").of_entry(
        "acquire", "eo", ROOT
    )
    assert type(error) is ArtifactError
    assert error.lines() == ["error: a is bad", f"where: {expected}", "do: look at b"]


class Foreign(Exception):
    """What a library raises that knows no errno."""


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a"), "no space is left on the disk"),
        (OSError(errno.EFBIG, "File too large", "a"), "no space is left on the disk"),
        (Foreign("I/O error: No space left on device (os error 28)"), "no space is left"),
        (Foreign("serializing: I/O error: File too large (os error 27)"), "no space is left"),
        (Foreign("[Errno 28] Error writing bytes"), "no space is left"),
        (sqlite3.OperationalError("database or disk is full"), "no space is left on the disk"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "may not be written"),
        (Foreign("Permission denied (os error 13)"), "may not be written or read"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "may not be written or read"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a"), "where a folder should be"),
        (FileExistsError(errno.EEXIST, "File exists", "a"), "where a folder should be"),
    ],
)
def test_what_the_system_says_is_told(error, what):
    told = translated(error)
    assert isinstance(told, MachineError)
    assert what in told.what
    assert told.where == (getattr(error, "filename", None) or "the workspace")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("os error is no number"),
        Foreign("the word errno 28days"),
        FileNotFoundError(errno.ENOENT, "No such file", "a"),
        DevenoError("(os error 28)", "b", "c"),
        KeyError(28),
    ],
)
def test_our_own_mistakes_are_no_errors_of_the_machine(error):
    assert translated(error) is None


def raised_during(inner: Exception, suppress: bool = False) -> Exception:
    """Return what a library raised while it dealt with another error."""
    error = Foreign("the writer was closed")
    error.__context__, error.__suppress_context__ = inner, suppress
    return error


def test_a_full_disk_is_told_though_a_library_raised_something_else_about_it():
    told = translated(raised_during(OSError(errno.ENOSPC, "No space left on device", "/a/b")))
    assert isinstance(told, MachineError)
    assert told.where == "/a/b"
    caught = FileExistsError(errno.EEXIST, "File exists", "a")
    assert translated(raised_during(caught)) is None  # somebody looked, and went on
    assert translated(raised_during(OSError(errno.ENOSPC, "full"), suppress=True)) is None


def test_what_dvc_prints_of_the_disk_is_told_in_three_lines(tmp_path, monkeypatch):
    text = "Running stage 'a@b':\nERROR: unexpected error - [Errno 28] No space left on device\n"
    told = answers.error_lines(text, tmp_path)
    assert [line.split(":")[0] for line in told] == ["error", "where", "do"]
    assert "no space is left on the disk" in told[0]
    assert answers.error_lines("ERROR: failed\n\nHaving any troubles?\n", tmp_path) == [
        "ERROR: failed"
    ]
    ours = "error: a\nwhere: b\ndo: c\nERROR: failed to run: exited with 255\n"
    assert answers.error_lines(ours, tmp_path) == ["error: a", "where: b", "do: c"]
    assert answers.error_lines("", tmp_path) == ["dvc said nothing"]
    monkeypatch.setattr(fullness, "LITTLE_BYTES", 1 << 60)  # as if no disk had room
    told = answers.error_lines("ERROR: No possible cache link types\n", tmp_path)
    assert len(told) == 3
    assert "No possible cache link types" in told[0]


def test_a_crash_on_a_nearly_full_disk_names_the_disk_and_one_with_room_does_not(tmp_path):
    error = Foreign("Wire format was corrupt\nmore")
    told = cramped(error, tmp_path, 1 << 60)
    assert isinstance(told, MachineError)
    assert told.what.startswith("little space is left on the disk (")
    assert told.what.endswith("and it crashed: Foreign: Wire format was corrupt")
    assert cramped(error, tmp_path, 1) is None
    assert cramped(DevenoError("a", "b", "c"), tmp_path, 1 << 60) is None
