"""What will run, may be restored, may be skipped, and why; staleness is passed to descendants.

`dvc repro --dry` and `dvc status` look at one stage at a time and so call every descendant of a
stale stage fresh; this walks the entries in order and carries what is known of each output forward.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core import (
    adoption,
    environment,
    fingerprint,
    journal,
    machine,
    origins,
    references,
    shapes,
    workspace,
    yamlfile,
)
from stages.core.errors import MachineError, ParamsError
from stages.core.fingerprint import Fingerprints
from stages.core.hashes import Hashes, combined
from stages.core.references import Entry, Graph

if TYPE_CHECKING:
    from stages.core.remotes import Remote

SKIP, RESTORE, RUN = "skip", "restore", "run"
KINDS = {
    environment.ENVIRONMENT: "package",
    machine.MACHINE: "machine",
    origins.SOURCES: "source outside",
}
"""What values of other files than params.yaml are called in reasons."""
SPARE = 1.2
"""Free disk asked for, as a multiple of what past runs wrote (output and cache copy)."""


@dataclass
class Step:
    """One entry of a plan: what will happen to it and why."""

    entry: Entry
    action: str
    reasons: list[str] = field(default_factory=list)
    outputs: dict[str, str | None] = field(default_factory=dict)
    fingerprint: str | None = None
    usage: journal.Usage | None = None
    record: Mapping[str, Any] | None = None
    """What it may be restored from: an entry as dvc.lock has it."""
    remote: bool = False
    """Its bytes are not here; a remote has them."""

    @property
    def name(self) -> str:
        """The entry's address."""
        return self.entry.name


@dataclass
class Plan:
    """The steps in order, producers first."""

    root: Path
    graph: Graph
    steps: dict[str, Step]

    def of(self, action: str) -> list[Step]:
        """Return the steps of one action."""
        return [step for step in self.steps.values() if step.action == action]

    @property
    def pending(self) -> list[Step]:
        """Return the steps that are not fresh."""
        return [step for step in self.steps.values() if step.action != SKIP]

    @property
    def tracked(self) -> list[str]:
        """Return the inputs of stale entries that are not there and that `.dvc` files record."""
        reads = [path for step in self.pending for path in step.entry.reads.values()]
        return adoption.missing(self.root, reads)

    def check_disk(self) -> None:
        """Refuse when what past runs wrote does not fit in what is free."""
        needed = sum(step.usage.output_bytes * 2 for step in self.of(RUN) if step.usage)
        free = shutil.disk_usage(self.root).free
        if needed * SPARE > free:
            raise MachineError(
                f"the disk has {free / 1e6:.0f} MB free and the plan needs about "
                f"{needed * SPARE / 1e6:.0f} MB",
                f"{self.root.name}: {len(self.of(RUN))} entries to run",
                "free some space (`dvc gc -w` drops unused outputs), or run fewer entries",
            )


def make(
    root: Path,
    targets: list[str] | None = None,
    force: frozenset[str] = frozenset(),
    remote: Remote | None = None,
) -> Plan:
    """Return the plan of a workspace: all entries, or the targets and what they stand on.

    A remote is asked for results that are not here.
    """
    graph = references.load(root)
    wanted = set(graph)
    if targets:
        wanted = references.ancestors(graph, references.select(graph, targets))
    planner = Planner(root, graph, force, remote)
    return Plan(root, graph, {name: planner.step(graph[name]) for name in graph if name in wanted})


class Planner:
    """Decides entry by entry, producers first."""

    def __init__(
        self, root: Path, graph: Graph, force: frozenset[str], remote: Remote | None = None
    ) -> None:
        self.root, self.graph, self.force, self.remote = root, graph, force, remote
        self.hashes = Hashes(root)
        self.prints = Fingerprints(root, self.hashes)
        self.locks = fingerprint.locks(root)
        self.home = workspace.home(root)
        self.cache = cache_folder(root)
        self.outputs: dict[str, str | None] = {}
        self.unknown: dict[str, str] = {}

    def step(self, entry: Entry) -> Step:
        """Return what will happen to one entry; remembers what its outputs will be."""
        upstream = [self.unknown[path] for path in self._read(entry) if path in self.unknown]
        known = self.outputs | self._folders(entry) | self._tracked(entry)
        now = self.prints.lock(entry, known)
        recorded = self.locks.get(entry.name)
        frozen = bool(recorded and self.prints.bodies[entry.stage.name].get("frozen"))
        if frozen:  # DVC then looks at the outputs only
            upstream = []
        reasons = [] if frozen else changes(self._masked(now, recorded, entry), recorded)
        reasons += [
            f"after {name}, whose output is not known yet" for name in sorted(set(upstream))
        ]
        if entry.name in self.force:
            reasons.append("asked for by name")
        complete = all(value is not None for value in now["deps"].values()) and not upstream
        made = outs(recorded) if recorded else {}
        if not reasons:
            reasons = [f"{path} is {state}" for path, state in self._damaged(made).items()]
            if not reasons:
                why = "it is frozen in dvc.yaml" if frozen else "nothing changed"
                return self._settle(entry, Step(entry, SKIP, [why]), made, now)
        if complete and entry.name not in self.force:
            found, remote = self._restorable(now, entry)
            if found is not None:
                step = Step(entry, RESTORE, reasons, record=found, remote=remote)
                return self._settle(entry, step, outs(found), now)
        step = Step(entry, RUN, reasons, fingerprint=fingerprint.digest(now) if complete else None)
        step.usage = next(iter(journal.history(self.home, entry.stage.name, entry.key, 1)), None)
        for path in entry.writes.values():
            self.unknown[path] = entry.name
        return step

    def _folders(self, entry: Entry) -> dict[str, str]:
        """Return the hashes that parent folders an entry reads will have after restoring."""
        found = {}
        for folder in entry.reads.values():
            start = folder + "/"
            restored = {p: value for p, value in self.outputs.items() if p.startswith(start)}
            if not restored:
                continue
            inside = tuple(path + "/" for path in restored)
            rows = [
                (name, value)
                for name, value in self.hashes.rows(folder)
                if not (start + name).startswith(inside)
            ]
            for path, value in restored.items():
                rows += self._listed(path.removeprefix(start), value)
            found[folder] = combined(sorted(rows), True)
        return found

    def _tracked(self, entry: Entry) -> dict[str, str | None]:
        """Return the hashes of inputs that are not there and that a `.dvc` file brings back."""
        gone = adoption.missing(self.root, list(entry.reads.values()))
        return {path: adoption.recorded_md5(self.root, path) for path in gone}

    def _listed(self, name: str, value: str | None) -> list[tuple[str, str]]:
        """Return the files of an output as the cache lists them, under its name."""
        if value is None or not value.endswith(".dir"):
            return [(name, value)] if value else []
        rows = members(self.cache, value)
        if rows is None and self.remote is not None:
            rows = {row["relpath"]: row["md5"] for row in self.remote.listing(value)}
        return [(f"{name}/{file}", str(md5)) for file, md5 in (rows or {}).items()]

    def _masked(
        self, now: fingerprint.Lock, recorded: Mapping[str, Any] | None, entry: Entry
    ) -> fingerprint.Lock:
        """Return a lock in which an input that is not known yet counts as unchanged."""
        then = fingerprint.from_lock(recorded)["deps"] if recorded else {}
        unknown = {
            path
            for path in entry.reads.values()
            if any(made == path or made.startswith(path + "/") for made in self.unknown)
        }
        deps = {p: then.get(p) if p in unknown else value for p, value in now["deps"].items()}
        return {**now, "deps": deps}

    def _read(self, entry: Entry) -> list[str]:
        """Return the paths an entry reads, those below a parent folder included."""
        paths = list(entry.reads.values())
        if entry.stage.sections:
            paths += [out for up in entry.upstream for out in self.graph[up].writes.values()]
        return paths

    def _settle(self, entry: Entry, step: Step, made: Mapping[str, str | None], now: Any) -> Step:
        step.fingerprint = fingerprint.digest(now)
        step.outputs = {path: made.get(path) for path in entry.writes.values()}
        if step.action == RESTORE:
            self.outputs |= step.outputs
        return step

    def _damaged(self, made: Mapping[str, str | None]) -> dict[str, str]:
        found = {}
        for path, value in made.items():
            now = self.hashes.of(path)
            if now != value:
                found[path] = "not there" if now is None else "not what the stage made"
        return found

    def _restorable(
        self, now: fingerprint.Lock, entry: Entry
    ) -> tuple[Mapping[str, Any] | None, bool]:
        """Return the record that gives the outputs for this lock, and whether only a remote has."""
        recorded = self.locks.get(entry.name)
        candidates = []
        if recorded and not changes(now, recorded):
            candidates.append(recorded)
        body = self.prints.bodies[entry.stage.name]
        _, deps, _ = fingerprint.resolved(entry, body)
        key = run_key(now, deps, out_paths(entry, body))
        stored = run_cache(self.cache, key)
        if stored:
            candidates.append(stored)
        for candidate in candidates:
            if all(self._cached(path, value) for path, value in outs(candidate).items()):
                return candidate, False
        if self.remote is None:
            return None, False
        return self.remote.find(fingerprint.digest(now), key, candidates), True

    def _cached(self, path: str, value: str | None) -> bool:
        if value is None:
            return False
        if self.hashes.of(path) == value:
            return True
        if not value.endswith(".dir"):
            return object_path(self.cache, value).exists()
        rows = members(self.cache, value)
        return rows is not None and all(
            object_path(self.cache, md5).exists() for md5 in rows.values()
        )


def changes(now: fingerprint.Lock, recorded: Mapping[str, Any] | None) -> list[str]:
    """Return in words what differs between an entry's lock now and the recorded one."""
    if recorded is None:
        return ["it never ran here"]
    then = fingerprint.from_lock(recorded)
    found = [] if now["cmd"] == then["cmd"] else ["the command changed"]
    for path in sorted(set(now["deps"]) | set(then["deps"])):
        if now["deps"].get(path) != then["deps"].get(path):
            found.append(_dependency(path, now["deps"], then["deps"]))
    for file in sorted(set(now["params"]) | set(then["params"])):
        found += _values(file, now["params"].get(file, {}), then["params"].get(file, {}))
    return found


def _dependency(path: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> str:
    kind = "code" if path.startswith("stages/") and Path(path).suffix else "input"
    if path not in then:
        return f"{kind} {path} is new"
    if now.get(path) is None:
        return f"{kind} {path} is gone"
    return f"{kind} {path} changed"


def _values(file: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    kind = KINDS.get(file, "param")
    flat_now, flat_then = flatten(now), flatten(then)
    return [
        f"{kind} {name}: {flat_then.get(name, 'absent')} -> {flat_now.get(name, 'absent')}"
        for name in sorted(set(flat_now) | set(flat_then))
        if flat_now.get(name) != flat_then.get(name)
    ]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one level with dotted names."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= flatten(item, f"{prefix}.{name}" if prefix else str(name))
    return found


def outs(recorded: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the outputs of a recorded entry by path."""
    return {row["path"]: row.get("md5") for row in recorded.get("outs") or []}


def out_paths(entry: Entry, body: Mapping[str, Any]) -> list[str]:
    """Return all paths DVC counts as outputs of an entry, sorted as dvc.lock has them."""
    slots = {"key": entry.key, "item": entry.params.model_dump(mode="json")}
    paths = []
    for kind in ("outs", "metrics", "plots"):
        for row in body.get(kind, []):
            path = row if isinstance(row, str) else next(iter(row))
            paths.append(references.resolve(path, slots))
    return sorted(paths)


def cache_folder(root: Path) -> Path:
    """Return DVC's cache: `cache.dir` of its configuration, else .dvc/cache."""
    import configparser

    for name in ("config.local", "config"):
        parser = configparser.RawConfigParser()
        try:
            parser.read(root / ".dvc" / name, encoding="utf-8")
            value = parser.get("cache", "dir", fallback=None)
            if value:
                return (root / ".dvc" / value).resolve()
        except (configparser.Error, ValueError) as error:
            reason = str(error).split("\n")[0]
            raise ParamsError(
                f"DVC's configuration cannot be read: {reason}",
                f".dvc/{name}",
                f"mend it, or `git checkout .dvc/{name}`",
            ) from None
    return root / ".dvc" / "cache"


def object_path(cache: Path, value: str) -> Path:
    """Return where a cache keeps the object of a hash."""
    return cache / "files" / "md5" / value[:2] / value[2:]


def members(cache: Path, value: str) -> dict[str, str] | None:
    """Return the files and hashes of a cached folder; None if its list is gone or damaged."""
    try:
        rows = json.loads(object_path(cache, value).read_bytes())
        return {str(row["relpath"]): str(row["md5"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_key(now: fingerprint.Lock, deps: list[str], paths: list[str]) -> str:
    """Return DVC's run cache's key of a lock (dvc.stage.cache._get_stage_hash).

    `deps` may name a path twice, as DVC's own list does where two optional inputs say `none`.
    """
    rows = [{"path": path, "hash": "md5", "md5": now["deps"][path]} for path in sorted(deps)]
    key_of = {"cmd": now["cmd"], "deps": rows, "params": now["params"], "outs": paths}
    if not now["params"]:
        del key_of["params"]
    return hashlib.sha256(json.dumps(key_of, sort_keys=True).encode()).hexdigest()


def run_cache(cache: Path, key: str) -> dict[str, Any] | None:
    """Return what DVC's run cache holds for a key, the newest if there are several."""
    folder = cache / "runs" / key[:2] / key
    if not folder.is_dir():
        return None
    newest = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    try:
        found = yamlfile.plain(yamlfile.read(newest[0])) if newest else None
        if found is not None:
            shapes.lock_entry(found, "DVC's run cache")
        return found
    except ParamsError:  # damaged: DVC too then takes it for absent
        return None
