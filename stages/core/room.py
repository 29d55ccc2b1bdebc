"""Making room: what may go, how large it is, and its removal; what it was stays on record.

Nothing here decides what is needed (`stages.core.needs` does). A removed making leaves its lock
entry in `.deveno/records/<entry>-<fingerprint>.lock`, where `lineage` and `rebuild` find it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stages.core import canonical, hashes, integrity, journal, lockfiles, plan, prune
from stages.core.errors import MachineError
from stages.core.needs import Needs
from stages.core.records import REMOVED_RECORDS, Record, Records

DEFAULT_KEEP = 3
"""Makings of every entry that stay, when nobody says how many."""
PATIENCE_S = 30.0
"""How long we wait for another DVC process."""
YOUNG_S = 3600.0
"""An object that nothing records may be one that DVC is just saving, as long as it is so young."""


@dataclass(frozen=True)
class Item:
    """One thing that may go: of what kind, where, how large, whose."""

    kind: str
    path: str
    size_bytes: int
    whose: str = ""
    remove: Callable[[], None] = field(default=lambda: None, compare=False)


class Room:
    """What may go in one repository."""

    def __init__(self, home: Path, keep: int) -> None:
        self.home, self.keep = home, keep
        self.state = home / ".deveno"
        self.cache = plan.cache_folder(home)
        self.records = Records(home)
        self.records.settle()
        self.needs = Needs(home, self.records, keep)
        self.owners = self._owners()

    @property
    def shared(self) -> bool:
        """Whether the cache lies outside the repository, where others may use it too."""
        return not self.cache.is_relative_to(self.home)

    def items(self) -> list[Item]:
        """Return everything that may go, in the order of its removal."""
        cached = [] if self.shared else [*self._run_cache(), *self._objects()]
        return [
            *cached,
            *self._scratch(),
            *self._worktrees(),
            *self._folders("rebuilds", "rebuild"),
            *self._folders("environments", "environment"),
            *self._flow_logs(),
            *self._damaged(),
        ]

    def _owners(self) -> dict[str, str]:
        """Return whose output each cache object is, in words."""
        found: dict[str, str] = {}
        for record in self.records.all:
            for path, oid in record.outs.items():
                found.setdefault(oid, f"{path} of {record.entry}")
                if oid.endswith(".dir"):
                    for name, value in (plan.members(self.cache, oid) or {}).items():
                        found.setdefault(value, f"{path}/{name} of {record.entry}")
        return found

    def _run_cache(self) -> Iterator[Item]:
        """Yield the run cache's records of what does not stay; their lock entries are kept."""
        for path in integrity.records(self.cache):
            text = lockfiles.Text(path.read_text(encoding="utf-8", errors="replace"))
            outs = {oid for oid in text.fields[2].values() if oid}
            if outs <= self.needs.hashes:
                continue
            name = _entry(text)

            def remove(path: Path = path, name: str = name, text: lockfiles.Text = text) -> None:
                keep_record(self.home, name, text)
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    path.parent.rmdir()  # an empty one is no record, and DVC looks into it

            yield self._item("run cache", path, name, remove)

    def _objects(self) -> Iterator[Item]:
        """Yield the cache objects that nothing needs."""
        now = time.time()
        for path, oid in integrity.objects(self.cache):
            if oid in self.needs.hashes:
                continue
            whose = self.owners.get(oid, "")
            if not whose and now - path.stat().st_mtime < YOUNG_S:
                continue
            yield self._item("cache", path, whose or "nothing records it")

    def _scratch(self) -> Iterator[Item]:
        """Yield scratch folders but of running executions and of each entry's newest N."""
        kept = set()
        for folder in journal.folder(self.home).glob("*@*"):
            stage, _, key = folder.name.partition("@")
            newest = list(journal.executions(self.home, stage, key))
            alive = [one for one in newest if one.alive]
            kept |= {str(one.start.get("fingerprint")) for one in [*newest[: self.keep], *alive]}
        for folder in sorted((self.home / "scratch").glob("*/*")):
            if folder.name not in kept and folder.is_dir() and not held(folder / "lock"):
                yield self._item("scratch", folder, folder.parent.name)

    def _worktrees(self) -> Iterator[Item]:
        """Yield the worktrees of deployments but the N last used and those in use."""
        folders = [path for path in (self.state / "worktrees").glob("*") if path.is_dir()]
        for folder in _oldest(folders, self.keep):
            lock = folder.with_suffix(".lock")
            if held(lock):
                continue

            def remove(folder: Path = folder, lock: Path = lock) -> None:
                self._git("worktree", "remove", "--force", str(folder))
                _erase(folder)
                lock.unlink(missing_ok=True)
                self._git("worktree", "prune")

            yield self._item("worktree", folder, folder.name, remove)

    def _folders(self, name: str, kind: str) -> Iterator[Item]:
        """Yield what rebuilds and nights left over; what somebody works in stays."""
        folders = [path for path in (self.state / name).glob("*") if path.is_dir()]
        wanted = [path for path in folders if (path / "kept").exists() or kind == "environment"]
        for folder in [*_oldest(wanted, self.keep), *sorted(set(folders) - set(wanted))]:
            if not held(folder / "lock") and not held(folder.with_suffix(".lock")):
                yield self._item(kind, folder, folder.name)

    def _flow_logs(self) -> Iterator[Item]:
        """Yield what DVC printed under flow runs but the N last and those that run."""
        alive = set()
        for path in (journal.folder(self.home) / journal.FLOWS).glob("*.jsonl"):
            running = journal.load(path) if journal.is_alive(path) else None
            if running is not None:
                alive.add(str(running.start["flow"]["id"]))
        folders = [path for path in (self.state / "flows").glob("*") if path.is_dir()]
        for folder in _oldest(folders, self.keep):
            if folder.name not in alive:
                yield self._item("flow log", folder, folder.name)

    def _damaged(self) -> Iterator[Item]:
        for path in sorted((self.state / "damaged").glob("*")):
            yield self._item("damaged", path, "put aside by doctor")

    def _item(
        self, kind: str, path: Path, whose: str, remove: Callable[[], None] | None = None
    ) -> Item:
        named = path.relative_to(self.home).as_posix()
        return Item(kind, named, hashes.size_bytes(path), whose, remove or (lambda: _erase(path)))

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", "-C", str(self.home), *arguments], capture_output=True, check=False)


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Keep every DVC process and every other gc out while something is removed."""
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.ExitStack() as locks:
        while True:
            with contextlib.ExitStack() as attempt:
                if attempt.enter_context(prune.dvc_idle(home)):
                    locks.enter_context(attempt.pop_all())
                    break
            if time.monotonic() > deadline:
                raise MachineError(
                    "another DVC process holds the repository",
                    ".dvc/tmp/lock",
                    "wait for it, then run `deveno gc` again",
                )
            time.sleep(0.2)
        yield


def keep_record(home: Path, name: str, text: lockfiles.Text) -> None:
    """Write down how something was made whose bytes go, in the form of a dvc.lock."""
    told = Record(name, text, *text.fields[:3])
    path = home / ".deveno" / REMOVED_RECORDS / f"{name}-{told.fingerprint[:16]}.lock"
    rows = "".join(f"    {row}\n" for row in text.text.rstrip("\n").splitlines())
    canonical.write_text(path, f"schema: '2.0'\nstages:\n  {_quoted(name)}:\n{rows}")


def held(path: Path) -> bool:
    """Return whether somebody holds the lock of a file."""
    try:
        with path.open("r") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _entry(text: lockfiles.Text) -> str:
    from stages.core.records import COMMAND

    found = COMMAND.fullmatch(text.fields[0])
    return f"{found[1]}@{found[2]}" if found else text.fields[0][:40]


def _quoted(name: str) -> str:
    return name if name.replace("@", "").replace("-", "").isalnum() else json.dumps(name)


def _oldest(folders: list[Path], keep: int) -> list[Path]:
    """Return all but the newest folders; the name decides between equal times."""
    order = sorted(folders, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
    return sorted(order[keep:])


def _erase(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
