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
