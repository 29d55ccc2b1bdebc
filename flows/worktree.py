"""Worktrees: a deployment and a night compute in their own, never in the user's workspace.

What they compute is a commit (the one at HEAD; a night also the last good one) with the recipe's
parameters; `data/external/` comes as it lies there. Uncommitted changes are not part of it, and the
run's log names them.
"""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from flows.walk import Step
from stages.core import canonical, plan
from stages.core.errors import DevenoError, MachineError

EXTERNAL = "data/external"
"""What users drop in; git does not know it, so it is linked into the worktree."""
KEPT = ("dvc.lock", "metrics", "plots")
"""What git tracks and entries write: the worktree's own stays, else every run restores it anew."""


@contextlib.contextmanager
def opened(
    home: Path, name: str, recipe: str, tell: Callable[[str], None], commit: str = "HEAD"
) -> Iterator[Path]:
    """Give the worktree of that name at a commit, with the shared cache and the recipe in force.

    `tell` is called with what it computes.
    """
    folder = home / ".deveno" / "worktrees" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise MachineError(
                f"another run works in the worktree {name!r}",
                f".deveno/worktrees/{name}",
                "wait for it, or cancel it with `prefect flow-run cancel`",
            ) from None
        tell(described(home) if commit == "HEAD" else titled(home, commit))
        _at(home, folder, commit)
        _share(home, folder)
        if recipe:
            _stages(folder, "use", recipe, "--force")
        yield folder


def steps(
    folder: Path, targets: Sequence[str], force: bool, python: str = sys.executable
) -> list[Step]:
    """Return what is to run there, as the code at that commit plans it."""
    flags = ["--force"] if force else []
    rows = json.loads(_stages(folder, "steps", *targets, *flags, python=python))
    return [Step.from_row(row) for row in rows]


def described(home: Path) -> str:
    """Return which commit a worktree computes, and what of the workspace is not part of it."""
    told = titled(home, "HEAD")
    rows = git(home, "status", "--porcelain", "--untracked-files=no", "--no-renames").splitlines()
    changed = [row.strip().partition(" ")[2].strip() for row in rows]
    changed = [name for name in changed if not name.startswith((*KEPT, "machine.yaml"))]
    if not changed:
        return told
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    return f"{told}; not part of it, for uncommitted: {', '.join(changed[:5])}{more}"


def titled(home: Path, commit: str) -> str:
    """Return a commit's short name and title."""
    return "commit " + git(home, "log", "-1", "--format=%h %s", commit)


def _at(home: Path, folder: Path, commit: str) -> None:
    """Bring the worktree to a commit of the home's; what its entries wrote stays."""
    head = git(home, "rev-parse", "--verify", f"{commit}^{{commit}}")
    if not (folder / ".git").exists():
        shutil.rmtree(folder, ignore_errors=True)
        git(home, "worktree", "prune")
        git(home, "worktree", "add", "--detach", str(folder), head)
        return
    changed = git(folder, "diff", "--name-only", "-z", "HEAD", "--", *KEPT).split("\0")
    own = [folder / name for name in changed if name] + [folder / "dvc.lock"]
    kept = {path: path.read_bytes() for path in own if path.is_file()}
    git(folder, "checkout", "--force", "--detach", head)
    for path, data in kept.items():
        canonical.write_bytes(path, data)


def _share(home: Path, folder: Path) -> None:
    """Point DVC at the home's cache and bring in what lies outside git."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(home / ".dvc" / "config.local", encoding="utf-8")
    if not settings.has_section("cache"):
        settings.add_section("cache")
    settings.set("cache", "dir", str(plan.cache_folder(home).resolve()))
    with (folder / ".dvc" / "config.local").open("w", encoding="utf-8") as stream:
        settings.write(stream)
    _mirror(home / EXTERNAL, folder / EXTERNAL)


def _mirror(source: Path, target: Path) -> None:
    """Make the files below target those below source, by hard links where that is possible."""
    found = {name: path for name, path in _files(source).items() if path.is_file()}
    for name, path in _files(target).items():
        if name not in found:
            path.unlink()
    for name, path in sorted(found.items()):
        goal = target / name
        real = path.resolve()
        if goal.exists() and goal.samefile(real):
            continue
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.unlink(missing_ok=True)
        try:
            os.link(real, goal)
        except OSError:
            shutil.copy2(real, goal)


def _files(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by their relative name; links to folders are followed."""
    return {
        str(Path(place, name).relative_to(folder)): Path(place, name)
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
    }


def git(folder: Path, *arguments: str) -> str:
    """Return what a git command says in a repository; its failure is a MachineError."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise MachineError(f"git does not start: {error}", "PATH", "install git") from None
    if done.returncode:
        raise MachineError(
            f"`git {' '.join(arguments[:2])}` failed: {done.stderr.strip()}",
            ".deveno/worktrees",
            "commit first if the repository has no commit; else `git worktree prune`",
        )
    return done.stdout.strip()


def _stages(folder: Path, *arguments: str, python: str = sys.executable) -> str:
    """Call the worktree's own code and return what it printed."""
    variables = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
    done = subprocess.run(
        [python, "-m", "stages", *arguments],
        cwd=folder, env={**variables, "PYTHONPATH": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        rows = [row for row in done.stderr.splitlines() if row.strip()][-3:]
        told = [row.partition(": ")[2] or row for row in rows]
        raise DevenoError(*[*told, *["-"] * 3][:3])
    return done.stdout
