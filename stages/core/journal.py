"""The journal: one append-only file of JSON lines per execution, the durable record of it.

    .deveno/journal/<stage>@<key>/<UTC time>-<pid>.jsonl    an execution of an entry
    .deveno/journal/flows/<UTC time>-<flow run>.jsonl       what a flow run ran, restored, skipped

The first line is a `start` event, the last an `end` event. The writer holds an flock on its file,
so a file without `end` and without lock is an interrupted execution. MLflow is fed from here
(`stages.core.tracking`), later and again if need be. A torn line (crash, full disk) is skipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stages.core import energy, environment, machine, shapes, snapshots
from stages.core.drain import Drain

Event = dict[str, Any]

SAMPLE_S = 5.0
"""Seconds between two samples of CPU and memory."""
FIRST_SAMPLE_S = 1.0
"""The first two come sooner, so that a stage of a few seconds has one too."""
STAMP = "%Y%m%dT%H%M%S.%fZ"
TAIL_BYTES = 1 << 16
"""How much of a journal's end is read to find its last event."""
MAPPINGS = frozenset({"machine", "durations", "values", "inputs", "params", "packages", "energy"})
"""Fields of events that hold names and values."""
FLOWS = "flows"
"""The folder of flow runs; no entry's folder can be called so, for theirs hold an `@`."""
FINISHED = ("ok", "running")
"""After any other outcome the next execution of the same fingerprint resumes."""

_logger = logging.getLogger("deveno.journal")


def folder(home: Path) -> Path:
    """Return the folder of all journals of a repository."""
    return home / ".deveno" / "journal"


def flow_from_environment() -> dict[str, str] | None:
    """Return the flow run that started this process, as its environment says, or None."""
    run = os.environ.get("DEVENO_FLOW_RUN", "")
    if not run:
        return None
    name = os.environ.get("DEVENO_FLOW_NAME", "pipeline")
    return {"id": run, "name": name, "recipe": os.environ.get("DEVENO_RECIPE", "")}


class Journal:
    """Appends the events of one execution to its file; after a failure it warns and goes on."""

    def __init__(self, path: Path, start: Mapping[str, Any]) -> None:
        self.path = path
        self.execution = f"{path.parent.name}/{path.stem}"
        self._warned = False
        self._stop = threading.Event()
        self._counter_uj = energy.counter_uj()
        self._lines = Drain(path, self._warn)
        self.append({"event": "start", "execution": self.execution, "pid": os.getpid(), **start})
        self._lines.flush()  # whoever looks for an execution reads this line

    @classmethod
    def open(
        cls,
        home: Path,
        stage: str,
        key: str,
        *,
        fingerprint: str,
        version: int,
        params: Mapping[str, Any],
        workspace: Path,
        lock: Mapping[str, Any] | None = None,
        reasons: Sequence[str] = (),
        recipe: str | None = None,
        sample_s: float = SAMPLE_S,
    ) -> Journal:
        """Open the journal of an execution that begins now and start sampling CPU and memory.

        `lock` is the entry's resolved lock ({cmd, deps: {path: md5}, params}), `reasons` say in
        words why it runs, `recipe` is the one in force. Uncommitted work is kept as a commit of
        its own (`snapshots`).
        """
        before = executions(home, stage, key)
        same = (one for one in before if one.start.get("fingerprint") == fingerprint)
        previous = next(same, None)
        resumes = previous.id if previous and previous.outcome not in FINISHED else None
        known = dict(lock or {})
        values = dict(known.get("params") or {})
        start = {
            "stage": stage,
            "key": key,
            "fingerprint": fingerprint,
            "version": version,
            "params": dict(params),
            **snapshots.take(workspace),
            "reasons": list(reasons),
            "dvc_exp_name": os.environ.get("DVC_EXP_NAME"),
            "flow": flow_from_environment(),
            "recipe": recipe,
            "workspace": str(workspace),
            "cmd": known.get("cmd"),
            "inputs": dict(known.get("deps") or {}),
            "values": values,
            "packages": dict(values.get("environment.yaml") or {}),
            "machine": machine.facts()
            | {"packages": environment.full_versions(values.get("environment.yaml") or {})},
            "resumes": resumes,
        }
        place = folder(home) / f"{stage}@{key}"
        opened = cls(place / f"{_stamp(place)}-{os.getpid()}.jsonl", start)
        threading.Thread(target=opened._sample, args=(sample_s,), daemon=True).start()
        return opened

    @classmethod
    def open_flow(cls, home: Path, run: str, name: str, recipe: str, workspace: Path) -> Journal:
        """Open the journal of a flow run: `restored`, `skipped` and `failed` events go here."""
        start = {
            "flow": {"id": run, "name": name, "recipe": recipe},
            "workspace": str(workspace),
            **snapshots.take(workspace),
        }
        place = folder(home) / FLOWS
        return cls(place / f"{_stamp(place)}-{run}.jsonl", start)

    def append(self, event: Mapping[str, Any]) -> None:
        """Append one event with the time; any thread may, none waits, a failure is a warning.

        It is in the file some 0.1 s later; the event must not be changed after the call.
        """
        self._lines.put(event)

    def flush(self) -> None:
        """Wait until every event so far is in the file: a kill from here on loses none of them."""
        self._lines.flush()

    def close(
        self,
        outcome: str,
        *,
        durations: Mapping[str, float] | None = None,
        outputs: Sequence[Mapping[str, Any]] = (),
        error: Sequence[str] = (),
    ) -> None:
        """Write the `end` event and release the file; a second call does nothing.

        `outcome` is `ok`, `user error`, `resumable` or `crash` (a flow run adds `cancelled`).
        `durations` holds `import_s` and `stage_s`; the age, CPU time and peak memory of the process
        are added. `outputs` are rows of `path`, `md5`, `size_bytes`; `error` the three lines.
        """
        if self._stop.is_set():
            return
        self._stop.set()
        measured = {
            "process_s": round(machine.process_age_s(), 3),
            "cpu_s": round(machine.cpu_s(), 3),
            "peak_rss_mib": round(machine.peak_rss_mib(), 1),
        }
        used = energy.estimate(machine.cpu_s()).row()
        counter = energy.counter_uj()
        if counter is not None and self._counter_uj is not None and counter >= self._counter_uj:
            used["package_energy_wh"] = round((counter - self._counter_uj) / 3.6e9, 4)
        end = {
            "event": "end",
            "outcome": outcome,
            "durations": {**measured, **(durations or {})},
            "energy": used,
            "outputs": [dict(row) for row in outputs],
            "error": list(error),
        }
        self.append(end)
        self._lines.close()

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            _logger.warning("the journal %s misses events: %s", self.path, error)

    def _sample(self, every_s: float) -> None:
        step = 0
        previous: dict[int, float] = {}
        before = time.monotonic()
        while not self._stop.wait(every_s if step > 1 else min(every_s, FIRST_SAMPLE_S)):
            import psutil  # here, so that no stage waits for it

            cpu: dict[int, float] = {}
            rss = 0
            me = psutil.Process()
            for process in [me, *me.children(recursive=True)]:
                try:
                    with process.oneshot():
                        times = process.cpu_times()
                        cpu[process.pid] = times.user + times.system
                        rss += process.memory_info().rss
                except psutil.Error:
                    continue
            now = time.monotonic()
            used_s = sum(value - previous.get(pid, 0.0) for pid, value in cpu.items())
            previous, elapsed_s, before = cpu, now - before, now
            if step:  # the first sample only sets the mark
                self._observe("system/cpu_percent", 100 * used_s / elapsed_s, step)
                self._observe("system/rss_mib", rss / 2**20, step)
            step += 1

    def _observe(self, name: str, value: float, step: int) -> None:
        self.append({"event": "observe", "name": name, "value": round(value, 2), "step": step})


@dataclass(frozen=True)
class Execution:
    """One execution as its journal tells it; `end` is None while it runs and after a kill."""

    id: str
    path: Path
    start: Event
    end: Event | None
    alive: bool

    @property
    def outcome(self) -> str:
        """`running`, `interrupted`, or what the `end` event says."""
        if self.end is not None:
            return str(self.end.get("outcome", "crash"))
        return "running" if self.alive else "interrupted"

    def events(self) -> list[Event]:
        """Return all whole events."""
        return Tail(self.path).read()


@dataclass(frozen=True)
class Usage:
    """What one finished execution cost."""

    time: float
    fingerprint: str
    wall_s: float
    cpu_s: float
    peak_rss_mib: float
    output_bytes: int


class Tail:
    """Reads a growing file of JSON lines from an offset, whole lines only."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path, self.offset = path, offset

    def read(self, limit_bytes: int | None = None) -> list[Event]:
        """Return the events since the last call and move `offset` behind the last whole line."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.offset)
                data = stream.read() if limit_bytes is None else stream.read(limit_bytes)
        except OSError:
            return []
        end = data.rfind(b"\n") + 1
        if not end and limit_bytes is not None and len(data) == limit_bytes:
            return self.read(limit_bytes * 4)  # one line longer than the limit
        self.offset += end
        return [event for row in data[:end].splitlines() if (event := _parse(row)) is not None]


def is_alive(path: Path) -> bool:
    """Return whether the writer of a journal still holds its file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)


def executions(home: Path, stage: str, key: str) -> Iterator[Execution]:
    """Yield the executions of an entry, newest first."""
    for path in sorted((folder(home) / f"{stage}@{key}").glob("*.jsonl"), reverse=True):
        execution = load(path)
        if execution is not None:
            yield execution


def last(home: Path, stage: str, key: str) -> Execution | None:
    """Return the newest execution of an entry, or None if it never ran."""
    return next(executions(home, stage, key), None)


def find(home: Path, execution: str) -> Execution | None:
    """Return the execution of that id (`<stage>@<key>/<file name>`), or None."""
    return load(folder(home) / f"{execution}.jsonl")


def load(path: Path) -> Execution | None:
    """Return the execution that a journal file tells of; None before its first whole line."""
    alive = is_alive(path)  # before reading: a writer that ends in between has written its `end`
    try:
        with path.open("rb") as stream:
            start = _parse(stream.readline())
            stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
            rows = stream.read().splitlines()
    except OSError:
        return None
    if start is None or start.get("event") != "start":
        return None
    final = next((event for row in reversed(rows) if (event := _parse(row))), None)
    end = final if final and final.get("event") == "end" else None
    for event in (start, end or {}):  # a damaged line must not break who reads all journals
        for name in MAPPINGS & event.keys():
            event[name] = event[name] if isinstance(event[name], dict) else {}
        shapes.event(event)
    return Execution(f"{path.parent.name}/{path.stem}", path, start, end, alive)


def follow(path: Path, poll_s: float = 0.2) -> Iterator[Event]:
    """Yield the events of a journal as they come, until its `end` or its writer's death."""
    tail = Tail(path)
    while True:
        alive = is_alive(path)
        for event in tail.read():
            yield event
            if event.get("event") == "end":
                return
        if not alive:
            return
        time.sleep(poll_s)


def history(home: Path, stage: str, key: str, limit: int = 20) -> list[Usage]:
    """Return what the last successful executions of an entry cost, newest first."""
    found = []
    for execution in executions(home, stage, key):
        if execution.end is None or execution.outcome != "ok":
            continue
        spent = execution.end.get("durations", {})
        outputs = execution.end.get("outputs", [])
        found.append(
            Usage(
                time=float(execution.start.get("time", 0.0)),
                fingerprint=str(execution.start.get("fingerprint", "")),
                wall_s=float(spent.get("process_s", 0.0)),
                cpu_s=float(spent.get("cpu_s", 0.0)),
                peak_rss_mib=float(spent.get("peak_rss_mib", 0.0)),
                output_bytes=sum(int(row.get("size_bytes", 0)) for row in outputs),
            )
        )
        if len(found) == limit:
            break
    return found


def _parse(row: bytes) -> Event | None:
    try:
        event = json.loads(row)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _stamp(place: Path) -> str:
    """Return the time for a new journal's name, later than all beside it.

    The names are the order of executions; a clock that was set back must not make the newest old.
    """
    now = datetime.now(UTC)
    names = (path.name.partition("-")[0] for path in place.glob("*.jsonl"))
    with contextlib.suppress(ValueError):
        newest = datetime.strptime(max(names, default=""), STAMP).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(microseconds=1))
    return now.strftime(STAMP)
