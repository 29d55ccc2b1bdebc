"""What must stay when room is made: the cache objects that somebody may still ask for.

These count: the workspace (dvc.lock and `*.dvc` files), HEAD, every tag and branch (of remotes
too), the stash, the heads of git's worktrees, DVC's experiments (`refs/exps`, and the copies under
`.dvc/tmp/exps`), our own worktrees, the bundles below `bundles/`, what running executions read, and
the newest N makings of every entry. Snapshots of uncommitted work (`refs/deveno`) do not count:
they keep how something was made, not its bytes.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.core import journal, lockfiles, plan, yamlfile
from stages.core.errors import DevenoError
from stages.core.records import JOURNAL, Record, Records

COUNTED = ("refs/heads", "refs/tags", "refs/remotes", "refs/exps", "refs/stash")
COPIES = (".dvc/tmp/exps", ".deveno/worktrees", "bundles")
"""Folders whose folders hold a dvc.lock of their own."""
DVC_FILE = "*.dvc"
HASH = re.compile(r"\bmd5: ['\"]?([0-9a-f]{32}(?:\.dir)?)\b")


class Needs:
    """The hashes that stay, and the makings of every entry, newest first."""

    def __init__(self, root: Path, records: Records, keep: int) -> None:
        self.root, self.records = root, records
        self.cache = plan.cache_folder(root)
        self.newest = {entry: newest(records, entry)[:keep] for entry in records.by_entry}
        asked = set(self._asked())
        for kept in self.newest.values():
            for record in kept:
                asked |= set(record.outs.values())
        self.hashes = set(asked)
        """Everything that stays, the files of folders with them."""
        for oid in asked:
            if oid.endswith(".dir"):
                self.hashes |= set((plan.members(self.cache, oid) or {}).values())

    def keeps(self, record: Record) -> bool:
        """Return whether all that a record made stays."""
        return {oid for oid in record.outs.values() if oid} <= self.hashes

    def _asked(self) -> Iterator[str]:
        """Yield the hashes that lock files and `*.dvc` files outside the records' order name."""
        yield from _locked(self.root)
        for commit in commits(self.root):
            yield from _outs(lockfiles.git(self.root, "show", f"{commit}:./dvc.lock"))
            listed = lockfiles.git(self.root, "ls-tree", "-r", "--name-only", "-z", commit)
            for name in listed.split("\0"):
                if name.endswith(".dvc"):
                    yield from _tracked(lockfiles.git(self.root, "show", f"{commit}:./{name}"))
        for place in COPIES:
            for path in sorted((self.root / place).glob("*/dvc.lock")):
                yield from _locked(path.parent)
        for path in journal.folder(self.root).glob("*@*/*.jsonl"):
            if journal.is_alive(path):
                running = journal.load(path)
                yield from (running.start.get("inputs") or {}).values() if running else ()


def newest(records: Records, entry: str) -> list[Record]:
    """Return the makings of an entry, newest first, each output once.

    By the names of their journals, so one that nobody executed here comes last; a clock that
    jumped changes the order and loses nothing that is in force.
    """
    found: dict[tuple[tuple[str, str], ...], tuple[str, Record]] = {}
    for record in records.by_entry[entry]:
        names = [place.name for place in record.places if place.kind == JOURNAL]
        executed = max((name.rpartition("/")[2] for name in names), default="")
        outs = tuple(sorted(record.outs.items()))
        before = found.get(outs, ("", record))
        found[outs] = (max(executed, before[0]), before[1])
    order = sorted(found.values(), key=lambda row: row[0], reverse=True)
    return [record for _, record in order]


def commits(root: Path) -> list[str]:
    """Return the commits whose outputs stay: HEAD, tags, branches, experiments, worktrees."""
    refs = lockfiles.git(root, "for-each-ref", "--format=%(objectname)", *COUNTED).split()
    trees = lockfiles.git(root, "worktree", "list", "--porcelain").splitlines()
    heads = [row.split()[1] for row in trees if row.startswith("HEAD ")]
    head = lockfiles.git(root, "rev-parse", "--verify", "-q", "HEAD").split()
    return sorted({*refs, *heads, *head})


def _locked(folder: Path) -> Iterator[str]:
    """Yield what a folder's dvc.lock and `*.dvc` files name."""
    with contextlib.suppress(OSError):
        yield from _outs((folder / "dvc.lock").read_text(encoding="utf-8", errors="replace"))
    for place in (folder, folder / "data", folder / "models", folder / "reports"):
        pattern = DVC_FILE if place == folder else f"**/{DVC_FILE}"
        for path in place.glob(pattern):
            if path.is_file():
                yield from _tracked(path.read_text(encoding="utf-8", errors="replace"))


def _outs(text: str) -> Iterator[str]:
    if not lockfiles.is_plain(text):  # a conflict that was committed: whatever it names stays
        yield from HASH.findall(text)
    for entry in lockfiles.split(text).values():
        yield from (oid for oid in entry.fields[2].values() if oid)


def _tracked(text: str) -> Iterable[str]:
    try:
        rows = yamlfile.plain(yamlfile.parse(text, ".dvc")).get("outs") or []
    except DevenoError:
        return HASH.findall(text)
    if not isinstance(rows, list):
        return HASH.findall(text)
    return [str(row["md5"]) for row in rows if isinstance(row, dict) and row.get("md5")]
