"""Where things are: the workspace, the repository that owns it, and what runs leave there."""

from __future__ import annotations

from pathlib import Path

from stages.core.errors import MachineError

BORROWED = ("/.dvc/tmp/", "/.deveno/worktrees/")
"""Copies of a workspace lie under these: `dvc exp run --temp` and our own worktrees."""


def root(start: Path | None = None) -> Path:
    """Return the workspace: the nearest folder from here upwards with dvc.yaml and stages/.

    $DVC_ROOT is no guide: in an experiment's copy (`--temp`, `--queue`) DVC points it at the
    repository that the copy was made of, and the stage would compute there.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").exists() and (folder / "stages").is_dir():
            return folder
    raise MachineError(
        f"no Deveno workspace at {here} or above it",
        "a workspace is a folder with dvc.yaml and stages/",
        "change into your clone and run the command again",
    )


def home(workspace: Path) -> Path:
    """Return the repository that owns a workspace, where journals, scratch and mlflow.db live.

    An experiment's copy and a deployment's worktree vanish; what must outlive them is kept at home.
    """
    text = workspace.as_posix() + "/"
    cuts = [text.index(mark) for mark in BORROWED if mark in text]
    return Path(text[: min(cuts)]) if cuts else workspace


def state(workspace: Path) -> Path:
    """Return the folder of everything that is neither input nor output (ignored by git and DVC)."""
    return home(workspace) / ".deveno"


def scratch(workspace: Path, stage: str, fingerprint: str) -> Path:
    """Return the folder of an execution's checkpoints, temporary outputs and outcome."""
    return home(workspace) / "scratch" / stage / fingerprint
