"""The fingerprint: a hash of an entry's resolved lock (command, dependencies, params, packages).

It can be computed before the stage runs, from the workspace, and afterwards, from `dvc.lock`; a
test compares the two for every entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core import canonical, dvcfile, dvclock, machine, origins, references, shapes, yamlfile
from stages.core.errors import ArtifactError, DeclarationError
from stages.core.hashes import Hashes
from stages.core.references import PARAMS, Entry

LENGTH = 32
"""Hex digits kept: 128 bits, as wide as the MD5 that DVC addresses contents by."""

Lock = dict[str, Any]
"""{cmd, deps: {path: hash}, params: {file: {name: value}}} of one entry."""


def resolved(entry: Entry, body: Mapping[str, Any]) -> tuple[str, list[str], dict[str, list[str]]]:
    """Return an entry's command, dependency paths and parameter names per file, from dvc.yaml."""
    full = {"key": entry.key, "item": entry.params.model_dump(mode="json")}
    paths = [references.resolve(path, full, dvcfile.DVCFILE) for path in body.get("deps", [])]
    names: dict[str, list[str]] = {}
    for row in body.get("params", []):
        if isinstance(row, Mapping):
            for file, listed in row.items():
                found = [references.resolve(name, full, dvcfile.DVCFILE) for name in listed]
                names.setdefault(file, []).extend(found)
        else:
            names.setdefault(PARAMS, []).append(references.resolve(row, full, dvcfile.DVCFILE))
    command = references.resolve(body["cmd"], full, dvcfile.DVCFILE)
    return command, paths, names


class Fingerprints:
    """Computes the locks and fingerprints of a workspace's entries, reading each file once."""

    def __init__(self, root: Path, hashes: Hashes | None = None) -> None:
        self.root = root
        self.hashes = hashes or Hashes(root)
        self.bodies = dvcfile.instances(root)
        self._files: dict[str, Any] = {}
        self._groups: dict[str, dict[str, str]] = {}
        self._graph: references.Graph | None = None

    def lock(self, entry: Entry, known: Mapping[str, str | None] | None = None) -> Lock:
        """Return an entry's lock as it would be now; `known` gives hashes of outputs to come."""
        body = self.bodies.get(entry.stage.name)
        if body is None:
            raise DeclarationError(
                f"dvc.yaml has no stage {entry.stage.name}", dvcfile.DVCFILE, "run `deveno sync`"
            )
        command, paths, names = resolved(entry, body)
        given = known or {}
        deps = {
            path: given[path] if path in given else self.hashes.of(path) for path in sorted(paths)
        }
        return {"cmd": command, "deps": deps, "params": self._values(names)}

    def of(self, entry: Entry) -> str:
        """Return an entry's fingerprint; every dependency must be there."""
        return digest(self.complete(entry))

    def complete(self, entry: Entry) -> Lock:
        """Return an entry's lock, or say which dependency is not there."""
        lock = self.lock(entry)
        for path, value in lock["deps"].items():
            if value is None:
                maker = next(
                    (up for up in entry.upstream if path.endswith("/" + up.split("@")[1])), None
                )
                raise ArtifactError(
                    f"{path} is not there",
                    f"{entry.name} reads it",
                    f"run `deveno run {maker or entry.name}`"
                    if maker
                    else "put it there, or correct params.yaml",
                )
        return lock

    def _values(self, names: Mapping[str, list[str]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for file, wanted in names.items():
            if file == origins.SOURCES:  # looked at now
                found[file] = {name: self._origins(name) for name in wanted}
                continue
            if file not in self._files:
                self._files[file] = self._read(file)
            values = {name: lookup(self._files[file], name) for name in wanted}
            found[file] = {name: value for name, value in values.items() if value is not None}
        return found

    def _origins(self, group: str) -> dict[str, str]:
        """Return the digests of a group's entries as they are now, each looked at once."""
        if self._graph is None:
            self._graph = references.load(self.root)
        if group not in self._groups:
            self._groups[group] = origins.group(self.root, self._graph, group)
        return self._groups[group]

    def _read(self, file: str) -> dict[str, Any]:
        """Return a file of values; of the machine its facts now, as every run writes them first."""
        if file == machine.MACHINE:
            return machine.declared()
        return dict(yamlfile.plain(yamlfile.read(self.root / file)))


def lookup(data: Any, dotted: str) -> Any:
    """Return the value under a dotted name, or None."""
    for part in dotted.split("."):
        if not isinstance(data, Mapping) or part not in data:
            return None
        data = data[part]
    return data


def digest(lock: Lock) -> str:
    """Return the fingerprint of a lock."""
    return canonical.digest(lock)[:LENGTH]


def locks(root: Path) -> dict[str, dict[str, Any]]:
    """Return `dvc.lock`'s entries by name ({} where there is none)."""
    return {str(name): yamlfile.plain(body) for name, body in dvclock.entries(root).items()}


def from_lock(recorded: Mapping[str, Any]) -> Lock:
    """Return the comparable part of an entry as dvc.lock records it."""
    return {
        "cmd": shapes.command(recorded.get("cmd")),
        "deps": {row["path"]: row.get("md5") for row in recorded.get("deps") or []},
        "params": recorded.get("params") or {},
    }
