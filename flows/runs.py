"""The flow runs that a Prefect server believes in: cancelled by `down`, closed where they are lost.

A run whose process was killed, or whose machine went down, stays Running for ever in Prefect's
eyes and holds the only slot of its deployment: nothing of it would ever start again. Whether a run
lives is seen from its process, not from its state. Asked over plain HTTP, without prefect, so that
`deveno down` is quick.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.server import direct
from stages.core import journal

RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""What Prefect's runners and workers set in the process of a flow run; its children inherit it."""
ENGINE = ("prefect.engine", "prefect.flow_engine")
"""How that process is called; children of it are not the run itself."""
UNFINISHED = ("RUNNING", "PENDING", "CANCELLING")
ANSWER_S = 10.0
LOST = "what ran it is gone: killed, or the machine went down"


def unfinished(url: str) -> list[dict[str, Any]]:
    """Return the runs that have begun, as the server tells them, and not ended."""
    return list(
        _ask(url, "flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": UNFINISHED}}}})
    )


def polled(url: str, deployment: str) -> float:
    """Return when somebody last asked for work of a deployment; -1 where there is none yet."""
    try:
        with direct.open(f"{url}/deployments/name/{deployment}", timeout=ANSWER_S) as answer:
            moment = json.load(answer)["last_polled"]
    except OSError:
        return -1.0
    return datetime.fromisoformat(moment).timestamp() if moment else -1.0


def living(home: Path) -> dict[str, int]:
    """Return the pid of each flow run that has a process, here or in a worker, by its id."""
    import psutil

    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if any(name in process.cmdline() for name in ENGINE):
                run = process.environ().get(RUN_VARIABLE)
                if run:
                    found[run] = process.pid
    for path in (journal.folder(home) / journal.FLOWS).glob("*.jsonl"):  # of `deveno run`
        if journal.is_alive(path):
            started = journal.load(path)
            if started is not None:
                found.setdefault(str(started.start["flow"]["id"]), 0)
    return found


def close_lost(home: Path, url: str) -> list[str]:
    """Tell the server of every run that has no process any more; return their names."""
    alive = living(home)
    lost = [row for row in unfinished(url) if row["id"] not in alive]
    for row in lost:
        _set_state(url, row, "CRASHED", LOST)
    return [str(row["name"]) for row in lost]


def cancel(home: Path, url: str, patience_s: float, grace_s: float) -> list[str]:
    """Cancel what deployments run, as `prefect flow-run cancel` does, and see it ended.

    Who serves them may be gone or deaf by now: what has not ended in time is ended here.
    """
    rows = [row for row in unfinished(url) if row["deployment_id"]]
    for row in rows:
        if row["state"]["type"] != "CANCELLING":
            _set_state(url, row, "CANCELLING", "the servers go down")
    waiting = _wait(url, rows, patience_s)
    processes = living(home)
    end([processes[row["id"]] for row in waiting if row["id"] in processes], grace_s)
    for row in waiting:
        _set_state(url, row, "CANCELLED", "the servers went down")
    return [str(row["name"]) for row in rows]


def _wait(url: str, rows: Sequence[Mapping[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """Return those of the runs that have not ended in time."""
    deadline = time.monotonic() + seconds
    names = {row["id"] for row in rows}
    while names:
        left = [row for row in unfinished(url) if row["id"] in names]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.3)
    return []


def end(pids: Sequence[int], seconds: float) -> None:
    """End processes of flow runs: they stop their entries in order; SIGKILL for who does not."""
    import psutil

    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            process.send_signal(signal.SIGTERM)
            found.append(process)
    for process in psutil.wait_procs(found, timeout=seconds)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _set_state(url: str, row: Mapping[str, Any], kind: str, message: str) -> None:
    state = {"type": kind, "name": kind.capitalize(), "message": message}
    force = kind != "CANCELLING"
    with contextlib.suppress(OSError):  # it ended meanwhile, or is no longer known
        _ask(url, f"flow_runs/{row['id']}/set_state", {"state": state, "force": force})


def _ask(url: str, path: str, body: Mapping[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{url}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with direct.open(request, timeout=ANSWER_S) as answer:
        return json.load(answer)
