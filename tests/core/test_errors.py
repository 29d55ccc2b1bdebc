"""Errors: three lines, an entry's own place, and what the system said in a user's words."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from stages.core.errors import ArtifactError, DevenoError, MachineError, translated

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
