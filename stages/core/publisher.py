"""The publisher: one process per home that carries the journals to MLflow.

Stage processes start it and never wait for it. How far each journal got is kept beside them,
per tracking address:

    .deveno/published/<address>/<stage>@<key>/<file name>.json    {run, offset, done}

so a killed publisher, a dead server and a store that was deleted are all made good later, once
(`stages.core.progress`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core import canonical, energy, journal, progress
from stages.core.journal import FLOWS, Event, Tail
from stages.core.progress import Progress
from stages.core.succession import beyond, resumed_at, superseded_after, went_on

if TYPE_CHECKING:
    from stages.core.tracking import Point, Store

POLL_S = 0.5
LINGER_S = 4.0
"""How long the publisher waits for the next writer before it goes."""
PATIENCE_S = 60.0
"""How long it tries a dead server when nobody writes any more; the next start goes on."""
BACKOFF_S = (1.0, 30.0)
MAX_FAILURES = 5
"""After so many refusals by a living server a journal is left to the next publisher."""
CHUNK_BYTES = 1 << 20
LOG_BYTES = 1 << 20

_logger = logging.getLogger("deveno.publisher")


def wanted() -> bool:
    """Return whether publishing is on (DEVENO_TRACKING=off leaves it to the journals alone)."""
    return os.environ.get("DEVENO_TRACKING", "on").lower() not in ("off", "0", "false", "no")


def ensure_publisher(home: Path) -> None:
    """Start this home's publisher unless it runs; detached, and never a reason to fail."""
    if not wanted():
        return
    try:
        state = home / ".deveno"
        state.mkdir(parents=True, exist_ok=True)
        with (state / "publisher.lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        _start(home, state / "publisher.log")
    except OSError as error:
        _logger.warning("the MLflow publisher did not start: %s", error)


def _start(home: Path, log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.unlink()
    own = Path(__file__).resolve().parents[2]
    # An experiment's copy is deleted while its publisher works: the home's code and folder stay.
    code = str(home if (home / "stages/core/publisher.py").exists() else own)
    paths = [code, os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "OMP_NUM_THREADS": "1",
    }
    with log.open("ab") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "stages", "publish", str(home)],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # it outlives the stage and is not killed with its group
        )
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, child.pid, 10)  # stages come first


def publish_forever(home: Path, linger_s: float = LINGER_S, patience_s: float = PATIENCE_S) -> int:
    """Publish until all journals are published and nobody has written for `linger_s`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if not wanted():
        return 0
    home = home.resolve()
    state = home / ".deveno"
    state.mkdir(parents=True, exist_ok=True)
    with (state / "publisher.lock").open("w") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
            published = _serve(Publisher(home), linger_s, patience_s)
            # A writer that saw our lock just before its release relies on us: look once more.
            fcntl.flock(stream, fcntl.LOCK_UN)
            if not published:
                return 1
            if not Publisher(home).pending():
                return 0


def _serve(publisher: Publisher, linger_s: float, patience_s: float) -> bool:
    """Publish until idle; return False when the server stayed dead."""
    idle_since = failing_since = time.monotonic()
    pause = 0.0
    while True:
        alive = False
        try:
            alive = publisher.step()
            pause, failing_since = 0.0, time.monotonic()
        except Exception as error:  # whatever a tracking server does, it is a warning here
            pause = min(BACKOFF_S[1], max(BACKOFF_S[0], pause * 2))
            _logger.warning("not published, next try in %.0f s: %s", pause, _first_line(error))
            publisher.store = None
            alive = publisher.writers()
        now = time.monotonic()
        if alive:
            idle_since = now
        if pause and not alive and now - failing_since > patience_s:
            return False
        if not pause and now - idle_since > linger_s:
            return True
        time.sleep(pause or POLL_S)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


class Publisher:
    """Reads what is new in every journal and gives it to the store."""

    def __init__(self, home: Path) -> None:
        from stages.core import tracking

        self.home = home
        self.store: Store | None = None
        address = tracking.uri(home)
        self.folder = home / ".deveno" / "published" / canonical.digest(address)[:16]
        if address.startswith("sqlite:///") and not Path(address[len("sqlite:///") :]).exists():
            shutil.rmtree(self.folder, ignore_errors=True)  # a deleted store is filled again
        self.known: dict[Path, Progress] = {}

    def pending(self) -> list[Path]:
        """Return the journals that are not wholly published, oldest first."""
        return sorted((path for path in self._journals()), key=lambda path: path.name)

    def writers(self) -> bool:
        """Return whether any unpublished journal is being written."""
        return any(journal.is_alive(path) for path in self.pending())

    def step(self) -> bool:
        """Publish what is new; return whether somebody still writes or waits for another try."""
        alive = False
        pending = self.pending()
        if self.store is None and (pending or self.folder.exists()):
            from stages.core.tracking import Store

            self.store = Store(self.home)
            if progress.of_another(self.folder, self.store.identity):
                self.known.clear()  # somebody made a new one in its place: it gets everything
                pending = self.pending()
        for path in pending:
            execution = journal.load(path)
            if execution is None or self.store is None:
                continue  # created and not begun; a crash there leaves nothing to tell
            at = self.known[path]
            alive = alive or execution.alive or at.failures > 0
            if time.monotonic() < at.not_before:
                continue
            try:
                self._publish(at, execution, self.store)
                at.failures = 0
            except Exception as error:
                self.store.check()
                alive = True
                at.failures += 1  # the server lives, so it is this journal that it cannot take
                at.not_before = time.monotonic() + min(BACKOFF_S[1], 2.0**at.failures / 4)
                _logger.warning("%s is not published: %s", execution.id, _first_line(error))
        return alive

    def _journals(self) -> Iterator[Path]:
        for path in journal.folder(self.home).glob("*/*.jsonl"):
            if path not in self.known:
                place = self.folder / path.parent.name / f"{path.stem}.json"
                self.known[path] = progress.load(place)
            if not self.known[path].done and self.known[path].failures < MAX_FAILURES:
                yield path

    def _publish(self, at: Progress, execution: journal.Execution, store: Store) -> None:
        """Publish one journal from where it was left."""
        flow = execution.path.parent.name == FLOWS
        if at.run is None:
            start = execution.start
            at.run = store.parent(start["flow"], start["time"]) if flow else store.execution(start)
            at.save()
        tail = Tail(execution.path, at.offset)
        ended = False
        while events := tail.read(CHUNK_BYTES):
            send = self._flow_events if flow else self._events
            ended = send(at.run, events, execution, store)
            at.offset, at.done = tail.offset, ended
            at.save()
        if not execution.alive and not ended:
            store.finish(at.run, "interrupted", execution.path.stat().st_mtime)
            at.done = True
            at.save()

    def _events(
        self, run: str, events: list[Event], execution: journal.Execution, store: Store
    ) -> bool:
        again = superseded_after(self.home, execution) if not execution.alive else None
        counted = [event for event in events if not beyond(event, again)]
        store.points(run, points(counted, steps=last_steps(execution, counted)))
        for event in events:
            if (step := went_on(event)) is not None:
                self._supersede(run, execution, step, store)
            elif event["event"] in ("text", "table"):
                _keep(store, run, event)
            elif event["event"] == "end":
                self._end(run, event, execution, store)
                return True
        return False

    def _end(self, run: str, end: Event, execution: journal.Execution, store: Store) -> None:
        from stages.core.tracking import Point

        start, time_ms = execution.start, int(end["time"] * 1000)
        outcome = str(end.get("outcome", "crash"))  # `execution` may be older than its end
        spent = costs(end)
        store.points(run, [Point(f"cost/{name}", spent[name], time_ms) for name in spent])
        for row in end.get("outputs", []):
            if str(row["path"]).startswith("models/") and row.get("md5"):
                store.link(run, store.model(row["path"], row["md5"], run, start))
        if outcome == "ok":
            self._score(run, execution, store)
            from stages.core.tracked_models import record_of

            told = record_of(journal.Execution(
                execution.id, execution.path, execution.start, end, execution.alive
            ))  # fmt: skip
            if told is not None:
                _keep_text(store, run, "record.json", canonical.dumps(told))
            if (step := resumed_at(execution)) == 0:
                self._supersede(run, execution, step, store)
        if end.get("error"):
            store.tag(run, {"deveno.error": "\n".join(end["error"])})
        if end.get("energy"):
            store.tag(run, {"deveno.energy_formula": end["energy"].get("energy_formula")})
        store.finish(run, outcome, end["time"])

    def _supersede(self, run: str, execution: journal.Execution, step: int, store: Store) -> None:
        """Say on both runs where one went on: what was sent of later steps was done again."""
        before = journal.find(self.home, str(execution.start.get("resumes")))
        if before is not None:
            store.tag(store.execution(before.start), {"deveno.superseded_after_step": step})
        store.tag(run, {"deveno.resumed_at_step": step})

    def _score(self, run: str, execution: journal.Execution, store: Store) -> None:
        """Attach what an entry measured of a model (its parameter `model`) to that model."""
        start = execution.start
        path = f"models/{(start.get('params') or {}).get('model')}"
        md5 = (start.get("inputs") or {}).get(path)
        if not md5:
            return
        model = store.model(path, md5, None)
        scores = {one.name: one for one in points(execution.events(), ("metric",))}
        store.points(run, list(scores.values()), model)

    def _flow_events(
        self, run: str, events: list[Event], execution: journal.Execution, store: Store
    ) -> bool:
        for event in events:
            if event["event"] == "restored":
                name = str(event["entry"]).replace("@", ".")
                original = store.run_of_fingerprint(str(event.get("fingerprint")))
                told = f"{event.get('fingerprint')} (run {original or 'unknown'})"
                store.tag(run, {f"deveno.restored.{name}": told})
            elif event["event"] == "end":
                store.finish(run, str(event["outcome"]), event["time"])
                return True
        return False


def points(
    events: list[Event],
    kinds: tuple[str, ...] = ("metric", "observe"),
    steps: Mapping[tuple[str, float], int] | None = None,
) -> list[Point]:
    """Return the numbers among events; `steps` says where those without a step belong, else 0."""
    from stages.core.tracking import Point

    found = []
    for event in events:
        if event["event"] in kinds and isinstance(event.get("value"), int | float):
            step = event.get("step")
            if step is None:
                step = (steps or {}).get((str(event["name"]), event["time"]), 0)
            time_ms = int(event["time"] * 1000)
            found.append(Point(str(event["name"]), float(event["value"]), time_ms, int(step)))
    return found


def last_steps(
    execution: journal.Execution, events: list[Event]
) -> Mapping[tuple[str, float], int]:
    """Return the step of each value without one, by name and time: its curve's last before it.

    A final value at step 0 would bend the curve back to its beginning.
    """
    if all(event.get("step") is not None for event in events if "value" in event):
        return {}
    latest: dict[str, int] = {}
    found = {}
    for event in execution.events():
        if "value" not in event:
            continue
        name = str(event["name"])
        if event.get("step") is None:
            found[name, event["time"]] = latest.get(name, 0)
        else:
            latest[name] = int(event["step"])
    return found


def costs(end: Event) -> dict[str, float]:
    """Return what an execution used, by names with units; energy is an estimate and says so."""
    spent = dict(end.get("durations", {}))
    if "cpu_s" in spent:
        spent |= end.get("energy") or energy.estimate(float(spent["cpu_s"])).row()
        spent.pop("grid_g_per_kwh", None)  # a constant, no cost
    return {name: float(value) for name, value in spent.items() if isinstance(value, int | float)}


def _keep(store: Store, run: str, event: Mapping[str, Any]) -> None:
    """Keep a text or a table."""
    if event["event"] == "text":
        _keep_text(store, run, f"texts_{event['name']}.txt", str(event["text"]))
    else:
        rows = json.dumps(event["rows"], ensure_ascii=False, indent=1)
        _keep_text(store, run, f"tables_{event['name']}.json", rows)


def _keep_text(store: Store, run: str, name: str, text: str) -> None:
    """Keep a small file; an artifact store that refuses is no reason to hold the numbers."""
    try:
        store.text(run, name, text)
    except Exception as error:
        store.check()  # a dead server is another matter: then all of it is sent again
        _logger.warning("%s of run %s is not kept: %s", name, run, _first_line(error))
