"""What MLflow's own store remembers, read from its sqlite file: without mlflow, in milliseconds.

Importing mlflow takes four seconds, and a lineage wants two. Only the file at the home is read,
never written; a store elsewhere (MLFLOW_TRACKING_URI) is not asked.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from stages.core import lockfiles, tracking
from stages.core.fingerprint import digest

if TYPE_CHECKING:
    from stages.core.journal import Execution
    from stages.core.records import Record, Records
    from stages.core.resolution import Found

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
RECORD = "record.json"
"""The file of a run that holds what its journal says of it (`stages.core.publisher`)."""


@contextlib.contextmanager
def _opened(home: Path) -> Iterator[sqlite3.Connection | None]:
    address = tracking.uri(home)
    path = Path(address.removeprefix("sqlite:///"))
    if not address.startswith("sqlite:///") or not path.is_file():
        yield None
        return
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as store:
        yield store


def runs(home: Path) -> dict[str, str]:
    """Return run ids by the execution, and by the fingerprint, that their tags name."""
    found: dict[str, str] = {}
    with contextlib.suppress(sqlite3.Error), _opened(home) as store:
        if store is None:
            return found
        rows = store.execute(
            "SELECT tags.value, tags.run_uuid FROM tags JOIN runs USING (run_uuid) WHERE tags.key"
            " IN ('deveno.execution', 'deveno.fingerprint') AND runs.lifecycle_stage = 'active'"
            " ORDER BY runs.start_time"
        )
        found = {str(value): str(run) for value, run in rows}
    return found


@dataclass(frozen=True)
class Kept:
    """A finished run of an entry as the store has it."""

    run: str
    address: str
    entry: str
    fingerprint: str
    commit: str

    @property
    def key(self) -> str:
        """The entry's key."""
        return self.entry.partition("@")[2]


def by_hash(records: Records, wanted: str) -> list[Found]:
    """Return the artifacts whose md5, fingerprint or run id begins so in the store.

    Content is whose it is: whoever tracked it, the bytes are the same.
    """
    kept = _kept(records.home)
    tagged = [one for one in kept if any(x.startswith(wanted) for x in (one.run, one.fingerprint))]
    found: dict[str, Found] = {}
    for one in tagged or [one for one in kept if _mentions(records, one, wanted)]:
        record = _taken(records, one, kept)
        rows = _outputs(record) if record is not None else []
        for row in rows[:1] if tagged else rows:
            if tagged or row.md5.startswith(wanted):
                found.setdefault(row.md5, row)
    return list(found.values())


def by_name(records: Records, wanted: str) -> list[Found]:
    """Return what the store knows under an output's path, an entry, a key or a model's name.

    One artifact per entry, the newest run's. A name says nothing of whose it is, so only runs of
    this repository count: of our experiment, at a commit that is known here, whose record is of
    the entry and fingerprint that the run is tagged with.
    """
    kept = _ours(records, _kept(records.home))
    models = _model_runs(records.home, wanted)
    parts = [part for part in wanted.split("/") if part]
    found: dict[str, Found] = {}
    for one in kept:
        meant = wanted in (one.entry, one.key) or one.run in models
        inside = len(parts) > 1 and any(
            part == one.key or part.startswith(f"{one.key}.") for part in parts
        )
        if one.entry in found or not (meant or inside):
            continue
        record = _taken(records, one, kept)
        rows = _outputs(record) if record is not None else []
        if not meant:
            rows = [
                replace(row, member=wanted[len(row.path) + 1 :])
                for row in rows
                if wanted == row.path or wanted.startswith(f"{row.path}/")
            ]
        if rows:
            found[one.entry] = rows[0]
    return list(found.values())


def recall(records: Records) -> int:
    """Take all runs of this repository into the records that no journal tells; return how many."""
    kept = [
        one
        for one in _ours(records, _kept(records.home))
        if one.fingerprint not in records.executions and _known(records, one) is None
    ]
    return sum(_taken(records, one, kept) is not None for one in kept)


def _kept(home: Path) -> list[Kept]:
    """Return the runs of our experiment that tell an entry, newest first."""
    found = []
    with contextlib.suppress(sqlite3.Error), _opened(home) as store:
        if store is None:
            return []
        rows = store.execute(
            "SELECT runs.run_uuid, runs.artifact_uri, stage.value, key.value, print.value,"
            " made.value FROM runs JOIN experiments USING (experiment_id)"
            " JOIN tags AS stage ON stage.run_uuid = runs.run_uuid AND stage.key = 'deveno.stage'"
            " JOIN tags AS key ON key.run_uuid = runs.run_uuid AND key.key = 'deveno.key'"
            " LEFT JOIN tags AS print ON print.run_uuid = runs.run_uuid"
            " AND print.key = 'deveno.fingerprint'"
            " LEFT JOIN tags AS made ON made.run_uuid = runs.run_uuid"
            " AND made.key = 'deveno.commit'"
            " WHERE experiments.name = ? AND runs.lifecycle_stage = 'active'"
            " ORDER BY runs.start_time DESC, runs.rowid DESC",
            (tracking.EXPERIMENT,),
        )
        found = [
            Kept(str(run), str(address), f"{stage}@{key}", str(value or ""), str(commit or ""))
            for run, address, stage, key, value, commit in rows
        ]
    return found


def _model_runs(home: Path, wanted: str) -> set[str]:
    """Return the runs that made the models of a name or an id; none of what is no text."""
    with contextlib.suppress(sqlite3.Error, UnicodeEncodeError), _opened(home) as store:
        if store is not None:
            rows = store.execute(
                "SELECT source_run_id FROM logged_models WHERE lifecycle_stage = 'active'"
                " AND (name = :it OR model_id = :it)",
                {"it": wanted},
            )
            return {str(run) for (run,) in rows}
    return set()


def _ours(records: Records, kept: Sequence[Kept]) -> list[Kept]:
    """Return the runs of this repository: at a commit of it, or without one and at this home."""
    commits = sorted({one.commit for one in kept if COMMIT.fullmatch(one.commit)})
    asked = ["rev-list", "--no-walk=unsorted", "--ignore-missing", *commits]
    known = set(lockfiles.git(records.root, *asked).split()) if commits else set()
    home = records.home.resolve()
    return [
        one
        for one in kept
        if (one.commit in known if one.commit else _place(one.address).is_relative_to(home))
    ]


def _place(address: str) -> Path:
    return Path(unquote(urlsplit(address).path))


def _text(home: Path, one: Kept) -> str:
    """Return what the publisher kept of an execution beside its run, also where home was moved."""
    places = [_place(one.address)] if urlsplit(one.address).scheme == "file" else []
    for place in [*places, home / "mlartifacts" / one.run / "artifacts"]:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (place / RECORD).read_text(encoding="utf-8")
    return ""


def _mentions(records: Records, one: Kept, md5: str) -> bool:
    return f'"{md5}' in _text(records.home, one)


def _told(home: Path, one: Kept) -> dict[str, Any] | None:
    try:
        value = json.loads(_text(home, one))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _known(records: Records, one: Kept) -> Record | None:
    """Return the record that a run was taken into already."""
    return next(
        (
            record
            for record in records.by_entry.get(one.entry, [])
            if any(place.name == one.run for place in record.places)
        ),
        None,
    )


def _taken(records: Records, one: Kept, kept: Sequence[Kept]) -> Record | None:
    """Take what a run says into the records, and what the store alone knows of its ancestry."""
    from stages.core.records import MLFLOW, Place

    known = _known(records, one)
    if known is not None:
        return known
    told = _told(records.home, one)
    try:
        if told is None or told["entry"] != one.entry:
            return None
        lock = {"cmd": told["cmd"], "deps": dict(told["deps"]), "params": dict(told["params"])}
        if digest(lock) != one.fingerprint:
            return None
        record = records.add_told(told, Place(MLFLOW, one.run))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    for path, md5 in record.inputs.items():
        if (path, md5) not in records.by_out:
            maker = next(
                (up for up in kept if up.key in path.split("/") and _mentions(records, up, md5)
                 and ((_told(records.home, up) or {}).get("outs") or {}).get(path) == md5),
                None,
            )  # fmt: skip
            if maker is not None:
                _taken(records, maker, kept)
    return record


def _outputs(record: Record) -> list[Found]:
    """Return the outputs of a record, its artifact before its figures."""
    from stages.core.resolution import Found

    rows = [Found(record, path, md5) for path, md5 in record.outs.items()]
    return sorted(rows, key=lambda row: row.path.startswith(("metrics/", "plots/")))


def record_of(execution: Execution) -> dict[str, Any] | None:
    """Return what an execution that ended well says of how it was made, else None.

    {entry, cmd, deps, params, outs, sizes, commit, snapshot, fingerprint, machine}
    """
    start, end = execution.start, execution.end or {}
    rows = end.get("outputs", [])
    if execution.outcome != "ok" or not rows or "values" not in start:
        return None
    told = {name: start.get(name) for name in ("commit", "snapshot", "fingerprint", "machine")}
    return told | {
        "entry": f"{start.get('stage')}@{start.get('key')}",
        "cmd": start.get("cmd"),
        "deps": start.get("inputs") or {},
        "params": start["values"],
        "outs": {str(row["path"]): str(row.get("md5") or "") for row in rows},
        "sizes": {str(row["path"]): int(row.get("size_bytes") or 0) for row in rows},
    }
