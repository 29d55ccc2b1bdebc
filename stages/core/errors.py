"""Errors that a user can act on: what is wrong, where, and what to do.

DevenoError
├── DeclarationError   a stage's declaration and its function disagree (our mistake)
├── ParamsError        a value in params.yaml or a recipe
├── UnknownEntryError  an entry names another entry that is not there
├── ArtifactError      a file or folder is missing, damaged or of the wrong kind
├── SourceError        raw material cannot be had as declared (network, licence, checksum)
├── MachineError       disk, permissions, ports, package versions
├── CheckFailed        a quality gate said no (initial loss, parity, coverage)
└── Resumable          stopped on request after a checkpoint; run again to go on
"""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
from pathlib import Path
from typing import Self

USER_EXIT = 2
"""Exit code of every error that the user can act on."""
RESUMABLE_EXIT = 75
"""Exit code of a stage that was stopped and will go on (sysexits EX_TEMPFAIL)."""


class DevenoError(Exception):
    """An error told in three lines: what (with the value), where, what to do."""

    exit_code = USER_EXIT

    def __init__(self, what: str, where: str, todo: str) -> None:
        super().__init__(what)
        self.what, self.where, self.todo = what, where, todo

    def lines(self) -> list[str]:
        """Return the three lines, each on one line whatever the values held."""
        texts = (("error", self.what), ("where", self.where), ("do", self.todo))
        return [f"{label}: {' '.join(str(text).split())}" for label, text in texts]

    def of_entry(self, stage: str, key: str, root: Path) -> Self:
        """Return the same error as an entry's: its place names the entry and paths from the root.

        A stage knows neither its key nor the workspace; `acquire: licence` becomes
        `params.yaml: acquire.<key>.licence`.
        """
        what, where, todo = (
            str(text).replace(f"{root}/", "") for text in (self.what, self.where, self.todo)
        )
        if where.startswith(f"{stage}: "):
            where = f"params.yaml: {stage}.{key}.{where.removeprefix(f'{stage}: ')}"
        for blank in ("*", "<entry>"):
            where = where.replace(f"{stage}.{blank}", f"{stage}.{key}")
        if f"{stage}.{key}" not in where and f"{stage}@{key}" not in f"{what} {where}":
            where = f"{stage}@{key}: {where}"
        return type(self)(what, where, todo)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __reduce__(self) -> tuple[type[DevenoError], tuple[str, str, str]]:
        return type(self), (self.what, self.where, self.todo)


class DeclarationError(DevenoError):
    """A stage's declaration and its function disagree."""


class ParamsError(DevenoError):
    """A value in params.yaml or in a recipe is missing, unknown or out of range."""


class UnknownEntryError(DevenoError):
    """A reference to an entry or artifact that does not exist."""


class ArtifactError(DevenoError):
    """A file or folder is missing, damaged or of the wrong kind."""


class SourceError(DevenoError):
    """Raw material cannot be had as declared."""


class MachineError(DevenoError):
    """The machine cannot do it: disk, permissions, ports, package versions."""


class CheckFailed(DevenoError):
    """A quality gate said no."""


class Resumable(DevenoError):
    """Stopped on request after a checkpoint."""

    exit_code = RESUMABLE_EXIT


LITTLE_BYTES = 1 << 20
"""Where less is free after a failure, that is what failed, whatever others call it."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_WAY = (errno.ELOOP, errno.ENAMETOOLONG)
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
_NUMBER = re.compile(r"(?:\bos error |[Ee]rrno |\[Errno )(\d+)\b")
"""How libraries that raise their own exceptions (safetensors, tokenizers) tell errno."""
_WORDS = {
    "No space left on device": errno.ENOSPC,
    "disk is full": errno.ENOSPC,  # sqlite
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
    "Read-only file system": errno.EROFS,
    "readonly database": errno.EROFS,  # sqlite
}
"""How others tell it in words alone (sqlite, arrow, protobuf, DVC)."""


def translated(error: BaseException) -> MachineError | None:
    """Return what a user can act on: a full disk, a forbidden place, a file in the way; or None.

    A library's own exception may tell of it in its cause alone, or in what it was raised during.
    """
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        if isinstance(inner, DevenoError):
            return None
        number, reason = _system(inner)
        where = str(getattr(inner, "filename", None) or "the workspace")
        if inner is error or number in (*_FULL, errno.EROFS):  # else it was dealt with
            told = _told(number, reason, where, isinstance(inner, OSError))
            if told is not None:
                return told
        inner = inner.__cause__ or (None if inner.__suppress_context__ else inner.__context__)
    return None


def cramped(error: BaseException, folder: Path, wanted_bytes: int) -> MachineError | None:
    """Return that a crash may come of a disk with less room than was wanted; None if it has that.

    onnxruntime writes half a file without a word and fails where it reads it again.
    """
    places = {folder, Path(tempfile.gettempdir())}
    free, place = min((shutil.disk_usage(place).free, str(place)) for place in places)
    if isinstance(error, DevenoError) or free >= max(wanted_bytes, LITTLE_BYTES):
        return None
    first = str(error).split("\n")[0]
    return MachineError(
        f"little space is left on the disk ({free // 1024} kB) and it crashed: "
        f"{type(error).__name__}: {first}",
        place,
        "free some space and run again; if it comes again, please report it",
    )


def translated_text(text: str) -> MachineError | None:
    """Return what a line that another program printed says of the disk, if it says anything."""
    number, reason = _spelled(text)
    return _told(number, reason, "the workspace", False)


def _told(number: int | None, reason: str, where: str, own: bool) -> MachineError | None:
    if number in _FULL:
        return MachineError(
            f"no space is left on the disk ({reason})", where, "free some space and run again"
        )
    if number in _FORBIDDEN:
        return MachineError(
            f"this may not be written or read: {reason}", where, "change its permissions"
        )
    if number in _NO_WAY and own:
        return MachineError(f"no path leads there: {reason}", where, "name another place")
    if number == errno.EIO and own:
        return MachineError(
            f"the machine could not read or write it: {reason}", where, "look after that disk"
        )
    if number in _IN_THE_WAY and own:
        return MachineError(
            f"a file is where a folder should be, or the reverse: {reason}",
            where,
            "move away what is there, and run again",
        )
    return None


def _system(error: BaseException) -> tuple[int | None, str]:
    """Return the system's error number that an exception tells of, and its words for it."""
    if isinstance(error, OSError) and error.errno:
        return error.errno, str(error.strerror)
    return _spelled(str(error))


def _spelled(text: str) -> tuple[int | None, str]:
    """Return the system's error number that a text tells of, and its first line."""
    first = text.split("\n")[0]
    found = _NUMBER.search(text)
    if found:
        return int(found[1]), first
    number = next((number for words, number in _WORDS.items() if words in text), None)
    return number, first
