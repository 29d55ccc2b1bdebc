"""Uncommitted work, kept as a git commit, and the commit whose code made a record.

A run of uncommitted code could not be made again from its commit. So what differs from HEAD is
written as a commit of its own under `refs/deveno/<tree>` in the home's repository: no branch, index
or file of the user is touched, the same work gives the same commit, and git keeps it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core import lockfiles, workspace

if TYPE_CHECKING:
    from stages.core.records import Record, Records

REFS = "refs/deveno/snapshots"
MADE = ("dvc.lock", "metrics/", "plots/", "machine.yaml", "reports/")
"""What runs write and git tracks: no work of the user, and not part of a snapshot."""
LARGEST_BYTES = 8 << 20
"""An untracked file above this is named, not kept: git is no store for material."""
SEARCHED = 300
"""How many commits that touched the code are looked at for the one that made a record."""
AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "deveno"), ("EMAIL", "deveno@localhost"))
}


def take(folder: Path) -> dict[str, Any]:
    """Return {commit, snapshot, changed} of a workspace; never a reason to fail.

    `changed` names the files that differ from the commit, `snapshot` the commit that holds them
    (None where nothing differs); all None or empty where there is no git.
    """
    nothing: dict[str, Any] = {"commit": None, "snapshot": None, "changed": []}
    try:
        head = _git(folder, {}, "rev-parse", "--verify", "HEAD").strip()
    except (OSError, subprocess.SubprocessError):
        return nothing
    try:
        changed = _changed(folder)
        snapshot = _commit(folder, head, changed) if changed else None
    except (OSError, subprocess.SubprocessError):
        return nothing | {"commit": head}
    return {"commit": head, "snapshot": snapshot, "changed": changed}


def _changed(folder: Path) -> list[str]:
    """Return the files that differ from HEAD, from the repository's top, but what runs write."""
    prefix = _git(folder, {}, "rev-parse", "--show-prefix").strip()
    top = _top(folder)
    rows = _git(
        folder, {}, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all"
    ).split("\0")
    found = []
    for row in rows:
        mark, name = row[:2], row[3:]
        if not name or name.removeprefix(prefix).startswith(MADE):
            continue
        place = top / name
        if mark == "??" and place.is_file() and place.stat().st_size > LARGEST_BYTES:
            continue
        found.append(name)
    return sorted(found)


def _top(folder: Path) -> Path:
    return Path(_git(folder, {}, "rev-parse", "--show-toplevel").strip())


def _commit(folder: Path, head: str, changed: list[str]) -> str:
    """Write the changed files as a commit upon HEAD into the home's repository; return its id."""
    home = workspace.home(folder)
    with tempfile.TemporaryDirectory(prefix="deveno-index-") as place:
        where = {
            "GIT_DIR": _git(home, {}, "rev-parse", "--absolute-git-dir").strip(),
            "GIT_WORK_TREE": str(_top(folder)),
            "GIT_INDEX_FILE": str(Path(place) / "index"),
        }
        _git(folder, where, "read-tree", head)
        paths = "\0".join(changed).encode("utf-8", errors="surrogateescape") + b"\0"
        options = ("--add", "--remove", "-z", "--stdin")
        _git(_top(folder), where, "update-index", *options, given=paths)
        tree = _git(folder, where, "write-tree").strip()
        dated = _git(folder, {}, "show", "-s", "--format=%ct %ci", head).strip()
        moment = f"{dated.split()[0]} {dated.split()[-1]}"  # of its parent: same work, same commit
        dates = {"GIT_AUTHOR_DATE": moment, "GIT_COMMITTER_DATE": moment}
        text = f"Uncommitted work: {len(changed)} file(s)\n"
        made = _git(
            folder, {**where, **AUTHOR, **dates}, "commit-tree", tree, "-p", head, "-m", text
        ).strip()
        _git(folder, where, "update-ref", f"{REFS}/{made[:24]}", made)
    return made


def difference(root: Path, snapshot: str) -> str:
    """Return what a snapshot adds to its commit, as a patch."""
    return lockfiles.git(root, "diff", "--binary", f"{snapshot}^", snapshot)


def commit_of(root: Path, record: Record, records: Records) -> str | None:
    """Return a commit or snapshot whose code is what made a record, or None.

    Tried in order: what the journal says, the commits whose dvc.lock holds the record, HEAD, then
    the commits that touched its code, newest first.
    """
    wanted = record.code
    tried: set[str] = set()
    execution = records.execution(record)
    start = execution.start if execution else {}
    first = [start.get("snapshot"), start.get("commit"), *record.commits[:20]]
    head = lockfiles.git(root, "rev-parse", "--verify", "HEAD").strip()
    for commit in [*first, head, *_touching(root, list(wanted))]:
        if commit and commit not in tried:
            tried.add(commit)
            if holds(root, commit, wanted):
                return str(commit)
    return None


def _touching(root: Path, paths: list[str]) -> list[str]:
    listed = lockfiles.git(
        root, "log", "--all", f"--max-count={SEARCHED}", "--format=%H", "--", *paths
    )
    return listed.split()


_md5_of: dict[str, str] = {}
"""MD5 by git's own id of a file, which names its content."""


def holds(root: Path, commit: str, wanted: Mapping[str, str]) -> bool:
    """Return whether the files of a commit have the given MD5s."""
    prefix, blobs = _tree(root, commit)
    if any(prefix + path not in blobs for path in wanted):
        return False
    _read_blobs(root, [blobs[prefix + path] for path in wanted])
    return all(_md5_of.get(blobs[prefix + path]) == md5 for path, md5 in wanted.items())


@functools.cache
def _tree(root: Path, commit: str) -> tuple[str, dict[str, str]]:
    """Return where the workspace is in its repository, and git's id of each file of a commit."""
    prefix = lockfiles.git(root, "rev-parse", "--show-prefix").strip()
    blobs = {}
    for row in lockfiles.git(root, "ls-tree", "-r", "-z", "--full-tree", commit).split("\0"):
        head, _, name = row.partition("\t")
        if name:
            blobs[name] = head.split()[2]
    return prefix, blobs


def _read_blobs(root: Path, names: list[str]) -> None:
    """Hash the files of git that were not hashed yet."""
    left = [name for name in dict.fromkeys(names) if name not in _md5_of]
    if not left:
        return
    answer = subprocess.run(
        ["git", "-C", str(root), "cat-file", "--batch"],
        input="".join(f"{name}\n" for name in left).encode(), capture_output=True, check=False,
    ).stdout  # fmt: skip
    at = 0
    for name in left:
        end = answer.find(b"\n", at)
        head = answer[at:end].split()
        at = end + 1
        if len(head) == 3:
            size = int(head[2])
            data = answer[at : at + size]
            _md5_of[name] = hashlib.md5(data, usedforsecurity=False).hexdigest()
            at += size + 1


def _git(
    folder: Path, variables: Mapping[str, str], *arguments: str, given: bytes | None = None
) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], env={**kept, **variables}, input=given,
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.decode("utf-8", errors="surrogateescape")
