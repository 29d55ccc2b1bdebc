"""Digests of raw material that lies outside the repository: `sources.yaml`, kept true by `deveno`.

DVC sees what lies in the repository. A folder elsewhere, the standard library of the interpreter
and files behind an address it does not: their digests stand in this tracked file, by kind of source
and entry, and are DVC parameters of the stage. `run`, `plan` and the stage itself look again; a
source that is gone or out of reach keeps its last digest, for nothing can be made from it anew.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from stages.core import references, registry, workspace, yamlfile
from stages.core.hashes import Hashes
from stages.core.references import Entry, Graph

SOURCES = "sources.yaml"
INSIDE = "none"
"""The digest of material that DVC sees, or that the stage makes itself; it is not written down."""
UNKNOWN = "unknown"
"""The digest of a source that was never in reach."""
HEADING = "Digests of raw material outside the repository; `deveno` keeps it true."

Groups = dict[str, dict[str, str]]
"""Digests by group and key."""


def recorded(root: Path) -> Groups:
    """Return what the file holds; {} where it is not there."""
    path = root / SOURCES
    found = yamlfile.plain(yamlfile.read(path)) if path.exists() else {}
    return {
        name: {key: str(value) for key, value in rows.items()}
        for name, rows in found.items()
        if isinstance(rows, dict)
    }


def group(root: Path, graph: Graph, name: str) -> dict[str, str]:
    """Return the digests of a group's entries as they are now."""
    return _looked(root, graph, name)[name]


def current(root: Path, graph: Graph) -> Groups:
    """Return the digests of all entries as they are now."""
    return _looked(root, graph, None)


def refresh(root: Path, graph: Graph) -> list[str]:
    """Bring the file in step; return the names of changed files."""
    state = workspace.state(root)
    state.mkdir(parents=True, exist_ok=True)
    with (state / "sources.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # entries may start together
        now = current(root, graph)
        if now == recorded(root) and (root / SOURCES).exists():
            return []
        yamlfile.write(root / SOURCES, now, HEADING)
        return [SOURCES]


def _looked(root: Path, graph: Graph, only: str | None) -> Groups:
    known = recorded(root)
    hashes = Hashes(root)
    found: Groups = {
        name: {}
        for stage in registry.stages().values()
        if stage.origin is not None
        for name in sorted(stage.origin.groups)
    }
    for entry in sorted(graph.values(), key=lambda one: one.key):
        if entry.stage.origin is None:
            continue
        name = _group_of(entry)
        if only in (None, name):
            value = entry.stage.origin.digest(entry.params, lambda path: hashes.of(str(path)))
            value = value or known.get(name, {}).get(entry.key) or UNKNOWN
            if value != INSIDE:
                found[name][entry.key] = value
    return found


def _group_of(entry: Entry) -> str:
    assert entry.stage.origin is not None
    slots = {"key": entry.key, "item": entry.params.model_dump(mode="json")}
    return references.resolve(entry.stage.origin.group, slots)
