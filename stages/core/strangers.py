"""What params.yaml does not name and `explain` is asked for: a removed entry, a user's own stage.

A removed entry is told from the records: when it was last made, which commit recorded it last and
which removed it. About a user's own stage DVC decides; what it would call changed is computed here
from dvc.yaml and dvc.lock, as `dvc status` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core import (
    dvcfile,
    fingerprint,
    journal,
    lockfiles,
    plan,
    references,
    registry,
    shapes,
    workspace,
    yamlfile,
)
from stages.core.errors import DevenoError
from stages.core.hashes import Hashes

COMMITS = 200
"""How many commits that touched a file are looked through."""


@dataclass(frozen=True)
class Own:
    """A user's own stage; `reasons` say why DVC would run it, none means that it would not."""

    name: str
    reasons: list[str]


@dataclass(frozen=True)
class Removed:
    """An entry that was made once and that params.yaml names no more.

    `recorded` and `removed` are commits as `<hash> <date> <subject>`; `removed` is None where it
    was removed in the workspace only, or where no commit ever held it.
    """

    name: str
    execution: str | None
    outcome: str | None
    time: float | None
    outs: dict[str, str]
    present: list[str] = field(default_factory=list)
    recorded: str | None = None
    removed: str | None = None
    committed: bool = False


def own(root: Path, name: str) -> Own | None:
    """Return what DVC would say of a user's own stage (`name`, or `name@key`), or None."""
    body = shapes.stages(yamlfile.read(root / dvcfile.DVCFILE)).get(name.partition("@")[0])
    if body is None:
        return None
    inner = dict(body.get("do", body))
    locks = fingerprint.locks(root)
    several = ("foreach" in body or "matrix" in body) and "@" not in name
    if shapes.is_ours(inner) or (not several and "@" in name and name not in locks):
        return None
    if several:
        made = [one for one in locks if one.startswith(f"{name}@")]
        found = [f"{one}: {why}" for one in made for why in _why(root, inner, locks[one])]
        return Own(name, found or ([] if made else ["it never ran here"]))
    return Own(name, _why(root, inner, locks.get(name)))


def _why(root: Path, body: Mapping[str, Any], recorded: Mapping[str, Any] | None) -> list[str]:
    """Return why DVC would run a stage, of what is not written with `${...}`."""
    if recorded is None:
        return ["it never ran here"]
    found: list[str] = []
    if body.get("frozen"):
        pass  # DVC then looks at the outputs only
    elif body.get("always_changed") or not (body.get("deps") or body.get("outs")):
        found = ["it has no deps and no outs, or says `always_changed`: DVC always runs it"]
    else:
        then = fingerprint.from_lock(recorded)
        found = plan.changes(_now(root, body, then), recorded)
    known = Hashes(root)
    for path, value in plan.outs(recorded).items():
        now = known.of(path)
        if value and now != value:
            found.append(f"output {path} is {'not there' if now is None else 'changed'}")
    return found


def _now(root: Path, body: Mapping[str, Any], then: fingerprint.Lock) -> fingerprint.Lock:
    """Return the lock of a stage as it is now; what nothing here can read counts as unchanged."""
    command, known = shapes.command(body.get("cmd")), Hashes(root)
    deps = {path: known.of(path) for path in then["deps"] if "://" not in path}
    remote = {path: value for path, value in then["deps"].items() if "://" in path}
    for row in body.get("deps") or []:
        path = next(iter(row), None) if isinstance(row, Mapping) else row
        if isinstance(path, str) and "$" not in path and "://" not in path:
            deps.setdefault(path, known.of(path))
    return {
        "cmd": then["cmd"] if "${" in str(command) else command,
        "deps": {**deps, **remote},
        "params": {file: _values(root, file, names) for file, names in then["params"].items()},
    }


def _values(root: Path, file: str, then: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a file holds now under recorded names."""
    if not file.endswith((".yaml", ".yml", ".json")) or not (root / file).is_file():
        return dict(then)
    data = yamlfile.plain(yamlfile.read(root / file))
    found = {name: fingerprint.lookup(data, name) for name in then}
    return {name: value for name, value in found.items() if value is not None}


def removed(root: Path, name: str) -> Removed | None:
    """Return what is known of an entry that params.yaml names no more; a key must be unique."""
    from stages.core.records import Records

    records = Records(root)
    home = workspace.home(root)
    runs = {path.name for path in journal.folder(home).glob("*@*")}
    known = {*(one for one in records.by_entry if "@" in one), *runs}
    named = [one for one in known if name in (one, one.partition("@")[2])]
    if len(named) != 1 or named[0].partition("@")[0] not in registry.names():
        return None
    entry = named[0]
    runs_of = list(journal.executions(home, *entry.split("@")))
    newest = next((one for one in runs_of if one.outcome == "ok"), next(iter(runs_of), None))
    record = records.current(entry)
    outs = dict(record.outs) if record else {}
    known_hashes = Hashes(root)
    recorded, _ = _last(root, "dvc.lock", lambda text: entry in lockfiles.split(text))
    held, gone = _last(root, references.PARAMS, lambda text: _names(text, entry))
    return Removed(
        entry,
        newest.id if newest else None,
        newest.outcome if newest else None,
        float(newest.start.get("time", 0.0)) if newest else None,
        outs,
        [path for path, md5 in outs.items() if known_hashes.of(path) == md5],
        recorded,
        gone,
        held is not None,
    )


def _names(text: str, entry: str) -> bool:
    """Return whether a params.yaml names an entry."""
    stage, _, key = entry.partition("@")
    if not re.search(rf"\b{re.escape(key)}\b", text):
        return False
    try:
        section = yamlfile.parse(text, references.PARAMS).get(stage)
    except DevenoError:
        return False
    return isinstance(section, Mapping) and key in section


def _last(root: Path, file: str, holds: Any) -> tuple[str | None, str | None]:
    """Return the newest commit of HEAD's line whose file holds something, and the one after it."""
    after = None
    for commit, told in _touching(root, file):
        if holds(lockfiles.git(root, "show", f"{commit}:./{file}")):
            return told, after
        after = told
    return None, None


def _touching(root: Path, file: str) -> Iterator[tuple[str, str]]:
    form = "--format=%H%x09%h %as %s"
    rows = lockfiles.git(root, "log", f"-n{COMMITS}", form, "--", file).splitlines()
    yield from ((row.split("\t", 1)[0], row.split("\t", 1)[1]) for row in rows)
