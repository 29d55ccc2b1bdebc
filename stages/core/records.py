"""Every recorded way an entry was made, from wherever it was written down, and how they join.

The sources: dvc.lock of the workspace and of every commit, DVC's run cache, the journals, what
`gc` kept, and MLflow. The same making found in several places is one record. Records are joined by
content: an input's path and md5 lead to the record that has it as output.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core import dvclock, journal, lockfiles, plan, tracked_models, workspace
from stages.core.fingerprint import Lock, digest
from stages.core.hashes import combined

if TYPE_CHECKING:
    from stages.core.resolution import Found

COMMAND = re.compile(r"python -m stages (?:execute|run) (\S+) (\S+)")
WORKSPACE, COMMIT, RUN_CACHE, JOURNAL, REMOVED, BUNDLE, MLFLOW = (
    "workspace",
    "commit",
    "run-cache",
    "journal",
    "removed",
    "bundle",
    "mlflow",
)
REMOVED_RECORDS = "records"
"""Folder of .deveno in which `gc` leaves `<name>.lock` files: dvc.lock of what it removed."""


@dataclass(frozen=True)
class Place:
    """Where a record is written: a kind and its name there (commit, execution, run id)."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name[:12]}".strip() if self.kind == COMMIT else self.kind


@dataclass(eq=False)
class Record:
    """One way an entry was made: what went in, what came out, and where that is written."""

    entry: str
    source: lockfiles.Text | Lock
    command: str
    deps: Mapping[str, str]
    outs: Mapping[str, str]
    sizes: Mapping[str, int] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)

    @property
    def stage(self) -> str:
        """The stage's name; of a user's own stage its whole name."""
        return self.entry.split("@")[0]

    @property
    def key(self) -> str:
        """The entry's key; empty for a user's own stage."""
        return self.entry.partition("@")[2]

    @functools.cached_property
    def params(self) -> dict[str, Any]:
        """The recorded values per file: `params.yaml`, `environment.yaml`, `machine.yaml`."""
        if isinstance(self.source, lockfiles.Text):
            return self.source.params
        return dict(self.source.get("params") or {})

    @property
    def lock(self) -> Lock:
        """The comparable part, in the form of `fingerprint.from_lock`."""
        return {"cmd": self.command, "deps": dict(self.deps), "params": self.params}

    @functools.cached_property
    def fingerprint(self) -> str:
        """The hash of the resolved lock."""
        return digest(self.lock)

    @property
    def values(self) -> dict[str, Any]:
        """The entry's own section of params.yaml as recorded."""
        return dict(self.params.get("params.yaml", {}).get(f"{self.stage}.{self.key}") or {})

    @property
    def code(self) -> dict[str, str]:
        """Dependencies that are single files of code, by path."""
        return {path: md5 for path, md5 in self.deps.items() if is_code(path)}

    @property
    def inputs(self) -> dict[str, str]:
        """Dependencies that are material: artifacts, folders, sources; by path."""
        return {
            path: md5
            for path, md5 in self.deps.items()
            if not is_code(path) and path not in ("data/none", "models/none")
        }

    @property
    def commits(self) -> list[str]:
        """The commits whose dvc.lock holds this record, newest first."""
        return [one.name for one in self.places if one.kind == COMMIT]


def is_code(path: str) -> bool:
    """Return whether a dependency is a file of our code or an asset beside it."""
    return path.startswith(("stages/", "flows/")) and bool(Path(path).suffix)


class Records:
    """All records of a workspace, found once; nothing is written."""

    def __init__(self, root: Path) -> None:
        self.root, self.home = root, workspace.home(root)
        self.cache = plan.cache_folder(root)
        self.all: list[Record] = []
        self.locks: dict[str, dict[str, Record]] = {}  # by commit, or `workspace`
        self.by_out: dict[tuple[str, str], list[Record]] = {}
        self.by_entry: dict[str, list[Record]] = {}
        self.executions: dict[str, list[journal.Execution]] = {}
        """Finished executions by fingerprint, newest first."""
        self._readers: dict[tuple[str, str], list[Record]] = {}
        self._parents: set[str] = set()
        self._known: dict[Any, Record] = {}
        self._doubtful: list[tuple[journal.Execution, Record]] = []
        self._listings: dict[str, list[tuple[str, str]] | None] = {}
        self._read()

    def _read(self) -> None:
        """Read all sources, the most trusted first; the order is the order of preference."""
        self._lockfile(Place(WORKSPACE), dvclock.text(self.root))
        seen: dict[str, str] = {}
        for commit, text in lockfiles.history(self.root):
            if text in seen:  # the same file at another commit: name it there too
                for record in self.locks[seen[text]].values():
                    record.places.append(Place(COMMIT, commit))
                self.locks[commit] = self.locks[seen[text]]
                continue
            seen[text] = commit
            self._lockfile(Place(COMMIT, commit), text)
        for execution in self._executions():
            self._from_journal(execution)
        for name, entry in lockfiles.run_cache(self.cache):
            self._add(_named(entry), entry, Place(RUN_CACHE, name))
        for file in sorted((self.home / ".deveno" / REMOVED_RECORDS).glob("*.lock")):
            for name, entry in lockfiles.split(file.read_text("utf-8", "replace")).items():
                self._add(name, entry, Place(REMOVED, file.stem))

    def _lockfile(self, place: Place, text: str) -> None:
        entries = lockfiles.split(text)
        self.locks[place.name or place.kind] = {
            name: self._add(name, entry, place) for name, entry in entries.items()
        }

    def _add(self, name: str, entry: lockfiles.Text, place: Place) -> Record:
        """Take an entry in, or note another place of one that is known."""
        known = self._known.get((name, entry.text))
        if known is None:
            command, deps, outs, sizes = entry.fields
            block = lockfiles.block(entry.text, "params")
            key = (name, command, tuple(sorted(deps.items())), tuple(sorted(outs.items())), block)
            known = self._known.get(key)
            if known is None:
                known = Record(name, entry, command, deps, outs, sizes)
                self._take(known)
                self._known[key] = known
            self._known[(name, entry.text)] = known
        known.places.append(place)
        return known

    def _take(self, record: Record) -> None:
        self.all.append(record)
        self.by_entry.setdefault(record.entry, []).append(record)
        for path, md5 in record.outs.items():
            self.by_out.setdefault((path, md5), []).append(record)
            self._parents.add(path.rpartition("/")[0])
        for path, md5 in record.deps.items():
            self._readers.setdefault((path, md5), []).append(record)

    def _executions(self) -> Iterator[journal.Execution]:
        """Yield every finished execution of every entry, newest first."""
        folder = journal.folder(self.home)
        for path in sorted(folder.glob("*@*/*.jsonl"), key=lambda path: path.name, reverse=True):
            execution = journal.load(path)
            if execution is not None and execution.outcome == "ok":
                yield execution

    def _from_journal(self, execution: journal.Execution) -> None:
        """Note an execution; one that no lock file tells of any more is a record of its own."""
        start, outs = execution.start, _made(execution)
        name = f"{start.get('stage')}@{start.get('key')}"
        self.executions.setdefault(str(start.get("fingerprint")), []).append(execution)
        known = [
            record
            for path, md5 in outs.items()
            for record in self.by_out.get((path, md5), [])
            if record.entry == name and record.deps == (start.get("inputs") or {})
        ]
        if known:  # the same but for values, perhaps: reading those of all costs seconds
            self._doubtful.append((execution, known[0]))
            return
        self._alone(execution)

    def settle(self) -> None:
        """Tell apart executions and records that differ in nothing but their values."""
        waiting, self._doubtful = self._doubtful, []
        for execution, near in waiting:
            same = [
                record
                for record in self.by_entry[near.entry]
                if record.fingerprint == execution.start.get("fingerprint")
            ]
            if same:
                same[0].places.append(Place(JOURNAL, execution.id))
            else:
                self._alone(execution)

    def _alone(self, execution: journal.Execution) -> None:
        """Take in an execution that no lock file tells of any more, if it wrote its lock down."""
        told = tracked_models.record_of(execution)
        if told is not None:
            self.add_told(told, Place(JOURNAL, execution.id))

    def add_told(self, told: Mapping[str, Any], place: Place) -> Record:
        """Take in what an execution said of itself: {entry, cmd, deps, params, outs, sizes}."""
        lock = {"cmd": told["cmd"], "deps": dict(told["deps"]), "params": dict(told["params"])}
        outs, sizes = dict(told["outs"]), dict(told.get("sizes") or {})
        record = Record(str(told["entry"]), lock, str(lock["cmd"]), lock["deps"], outs, sizes)
        record.places.append(place)
        self._take(record)
        return record

    def add_bundle(self, name: str, text: str) -> dict[str, Record]:
        """Take in the entries of a bundle's dvc.lock; what is known already counts first."""
        place = Place(BUNDLE, f"bundle:{name}")
        self._lockfile(place, text)
        return self.locks[place.name]

    def execution(self, record: Record) -> journal.Execution | None:
        """Return the newest finished execution that made a record here, or None."""
        found = self.executions.get(record.fingerprint, [])
        exact = [one for one in found if _made(one) and _made(one).items() <= record.outs.items()]
        return next(iter(exact or found), None)

    def maker(self, path: str, md5: str) -> Record | None:
        """Return who made an output, preferring what is in force, then the newest; or None."""
        found = self.by_out.get((path, md5))
        return found[0] if found else None

    def current(self, entry: str) -> Record | None:
        """Return the record in force of an entry: the workspace's, else the newest known."""
        return self.locks[WORKSPACE].get(entry) or next(iter(self.by_entry.get(entry, [])), None)

    def makers(self, record: Record) -> dict[str, list[Record]]:
        """Return for each input of a record who made it; an empty list for a source."""
        made = {path: self.maker(path, md5) for path, md5 in record.inputs.items()}
        return {
            path: [one] if one else self._inside(record, path, record.inputs[path])
            for path, one in made.items()
        }

    def ancestry(self, record: Record) -> list[Record]:
        """Return a record and all that it was made from, producers first, itself last."""
        ordered: list[Record] = []
        seen: set[int] = set()

        def visit(one: Record) -> None:
            if id(one) in seen:
                return
            seen.add(id(one))
            for made in self.makers(one).values():
                for up in made:
                    visit(up)
            ordered.append(one)

        visit(record)
        return ordered

    def consumers(self, record: Record) -> list[Record]:
        """Return the records that read an output of this one, the newest of each entry first."""
        found = [r for path, md5 in record.outs.items() for r in self._readers.get((path, md5), [])]
        for path in record.outs:
            for (dep, _), readers in self._of_parents.get(path.rpartition("/")[0], {}).items():
                found += [one for one in readers if self._lists(one, record, dep)]
        return list(dict.fromkeys(found))

    @functools.cached_property
    def _of_parents(self) -> dict[str, dict[tuple[str, str], list[Record]]]:
        """Readers of parent folders, which read whatever lies in them, by folder."""
        found: dict[str, dict[tuple[str, str], list[Record]]] = {}
        for (path, md5), readers in self._readers.items():
            if path in self._parents:
                found.setdefault(path, {})[(path, md5)] = readers
        return found

    def _lists(self, reader: Record, made: Record, folder: str) -> bool:
        """Return whether a reader of a parent folder read a record's output there."""
        if all(lock.get(made.entry) is not made for lock in self._beside(reader)):
            return False
        return made in self._inside(reader, folder, reader.deps[folder])

    def _inside(self, record: Record, folder: str, md5: str) -> list[Record]:
        """Return whose outputs a parent folder held when a reader of many entries ran.

        The lock files that hold the record say which outputs were in force beside it; of several
        lock files the first is taken whose files give the folder's own hash.
        """
        best: list[Record] = []
        for lock in self._beside(record):
            inside = {
                path: (made, value)
                for made in lock.values()
                for path, value in made.outs.items()
                if path.startswith(folder + "/") and made is not record
            }
            found = list(dict.fromkeys(made for made, _ in inside.values()))
            if self._gives(folder, {path: value for path, (_, value) in inside.items()}, md5):
                return found
            best = best or found
        named = record.params.get("params.yaml", {})  # a lock file may hold more than was read
        return [made for made in best if made.key in named.get(made.stage, [made.key])]

    def _beside(self, record: Record) -> list[dict[str, Record]]:
        names = [place.name or place.kind for place in record.places]
        found = [self.locks[name] for name in names if name in self.locks]
        return found or [self.locks[WORKSPACE]]

    def _gives(self, folder: str, outs: Mapping[str, str], md5: str) -> bool:
        """Return whether outputs and the tracked `.keep` give the recorded hash of a folder."""
        rows = [(".keep", "d41d8cd98f00b204e9800998ecf8427e")]
        for path, value in outs.items():
            listing = self.listing(value)
            if listing is None:
                return False
            start = path.removeprefix(folder + "/")
            rows += [(f"{start}/{name}" if name else start, one) for name, one in listing]
        return combined(sorted(rows), True) == md5

    def listing(self, md5: str) -> list[tuple[str, str]] | None:
        """Return the files of an output as the cache lists them, or None where it does not."""
        if not md5.endswith(".dir"):
            return [("", md5)] if md5 else None
        if md5 not in self._listings:
            path = self.cache / "files" / "md5" / md5[:2] / md5[2:]
            try:
                rows = json.loads(path.read_text(encoding="utf-8"))
                found = [(str(row["relpath"]), str(row["md5"])) for row in rows]
            except (OSError, ValueError, KeyError, TypeError):
                found = None
            self._listings[md5] = found
        return self._listings[md5]

    def resolve(self, target: str) -> Found:
        """Return the artifact that a path, hash, entry or `REV:path` means."""
        from stages.core.resolution import resolve

        return resolve(self, target)


def _named(entry: lockfiles.Text) -> str:
    """Return the entry that a record of the run cache is of, which names only its command."""
    command = entry.fields[0]
    match = COMMAND.fullmatch(command)
    return f"{match[1]}@{match[2]}" if match else command


def _made(execution: journal.Execution) -> dict[str, str]:
    rows = (execution.end or {}).get("outputs", [])
    return {str(row["path"]): str(row.get("md5")) for row in rows}
