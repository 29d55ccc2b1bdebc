"""Worktrees: a deployment and a night compute in their own, never in the user's workspace.

What they compute is the commit at HEAD with the recipe's parameters; `data/external/` comes as it
lies there. Uncommitted changes are not part of it, and the run's log names them.
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
def opened(home: Path, name: str, recipe: str, tell: Callable[[str], None]) -> Iterator[Path]:
    """Give the worktree of that name at HEAD, with the shared cache and the recipe in force.

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
        tell(described(home))
        _at_head(home, folder)
        _share(home, folder)
        if recipe:
            _stages(folder, "use", recipe, "--force")
        yield folder


def steps(folder: Path, targets: Sequence[str], force: bool) -> list[Step]:
    """Return what is to run there, as the code at that commit plans it."""
    flags = ["--force"] if force else []
    rows = json.loads(_stages(folder, "steps", *targets, *flags))
    return [Step.from_row(row) for row in rows]


def described(home: Path) -> str:
    """Return which commit a worktree computes, and what of the workspace is not part of it."""
    commit = _git(home, "log", "-1", "--format=%h %s")
    rows = _git(home, "status", "--porcelain", "--untracked-files=no", "--no-renames").splitlines()
    changed = [row.strip().partition(" ")[2].strip() for row in rows]
    changed = [name for name in changed if not name.startswith((*KEPT, "machine.yaml"))]
    if not changed:
        return f"commit {commit}"
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    return f"commit {commit}; not part of it, for uncommitted: {', '.join(changed[:5])}{more}"


def _at_head(home: Path, folder: Path) -> None:
    """Bring the worktree to the home's HEAD; what its entries wrote stays."""
    head = _git(home, "rev-parse", "HEAD")
    if not (folder / ".git").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _git(home, "worktree", "prune")
        _git(home, "worktree", "add", "--detach", str(folder), head)
        return
    changed = _git(folder, "diff", "--name-only", "-z", "HEAD", "--", *KEPT).split("\0")
    own = [folder / name for name in changed if name] + [folder / "dvc.lock"]
    kept = {path: path.read_bytes() for path in own if path.is_file()}
    _git(folder, "checkout", "--force", "--detach", head)
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


def _git(folder: Path, *arguments: str) -> str:
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


def _stages(folder: Path, *arguments: str) -> str:
    """Call the worktree's own code and return what it printed."""
    variables = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
    done = subprocess.run(
        [sys.executable, "-m", "stages", *arguments],
        cwd=folder, env={**variables, "PYTHONPATH": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        rows = [row for row in done.stderr.splitlines() if row.strip()][-3:]
        told = [row.partition(": ")[2] or row for row in rows]
        raise DevenoError(*[*told, *["-"] * 3][:3])
    return done.stdout
