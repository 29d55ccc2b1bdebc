"""What MLflow's own store remembers, read from its sqlite file: without mlflow, in milliseconds.

Importing mlflow takes four seconds, and a lineage wants two. Only the file at the home is read,
never written; a store elsewhere (MLFLOW_TRACKING_URI) is not asked.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from stages.core import tracking

if TYPE_CHECKING:
    from stages.core.journal import Execution
    from stages.core.records import Records
    from stages.core.resolution import Found

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


def from_store(records: Records, wanted: str) -> list[Found]:
    """Return the artifacts whose md5, fingerprint, run or model id begins so in the store."""
    found = []
    with contextlib.suppress(sqlite3.Error), _opened(records.home) as store:
        if store is None:
            return []
        for run, address in _matching(store, wanted):
            told = _told(address)
            if told is not None:
                found += _taken(records, run, told, wanted)
    return found


def _matching(store: sqlite3.Connection, wanted: str) -> list[tuple[str, str]]:
    rows = store.execute(
        "SELECT DISTINCT runs.run_uuid, runs.artifact_uri FROM runs"
        " LEFT JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = 'deveno.fingerprint'"
        " LEFT JOIN logged_models ON logged_models.source_run_id = runs.run_uuid"
        " LEFT JOIN logged_model_tags ON logged_model_tags.model_id = logged_models.model_id"
        " AND logged_model_tags.tag_key = 'dvc.md5'"
        " WHERE tags.value LIKE :it OR logged_model_tags.tag_value LIKE :it"
        " OR runs.run_uuid LIKE :it",
        {"it": f"{wanted}%"},
    )
    return [(str(run), str(address)) for run, address in rows]


def _told(address: str) -> dict[str, Any] | None:
    """Return what the publisher kept of an execution beside its run."""
    parts = urlsplit(address)
    path = Path(unquote(parts.path)) / RECORD
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if parts.scheme == "file" else None
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _taken(records: Records, run: str, told: dict[str, Any], wanted: str) -> list[Found]:
    """Take what a run says into the records; return the outputs that were meant."""
    from stages.core.records import MLFLOW, Place
    from stages.core.resolution import Found

    try:
        record = records.add_told(told, Place(MLFLOW, run))
    except (KeyError, TypeError, AttributeError):
        return []
    rows = [Found(record, path, md5) for path, md5 in record.outs.items()]
    return [one for one in rows if one.md5.startswith(wanted)] or rows[:1]


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
