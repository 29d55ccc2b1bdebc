"""The walk over the entries: plain Python that the flow, the tests and anybody without Prefect use.

Every entry runs as `dvc --wait-for-lock repro -s <stage>@<key>` under a guard of its own; its order
is our duty, since `-s` does not look upstream (spec: only so may DVC processes run in parallel).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows import fullness, ranks
from flows.answers import error_lines, fingerprint_of
from flows.signals import deaf, stopping
from stages.core import dvclock, integrity, journal, machine, workspace
from stages.core.errors import translated
from stages.core.publisher import ensure_publisher
from stages.core.remotes import Before

GUARD = Path(__file__).with_name("guard.py")
GRACE_S = 20.0
"""From SIGTERM to SIGKILL; a trainer writes its checkpoint in it (DEVENO_GRACE_S)."""
BUSY = ("Unable to acquire lock", "is busy, it is being blocked by", "busy, please")
"""What DVC says when another DVC process is in its way; it then may just be tried again."""
BUSY_S = 900.0
TORN = ("RWLock-file", "dvc.lock' is invalid", "dvc.lock' validation failed", "unexpected error")
"""What DVC says of a file that a killed one left half written; the last of claims so lost."""
MENDED = 3
"""How often an entry is tried again after such a file was mended."""
FOREIGN = ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "MLFLOW_RUN_ID")
"""Variables of an outer DVC or MLflow run, which are not this entry's."""

OnEvent = Callable[[str, str, str], None]
"""Called with an entry's name, `started` or its final state, and a message."""


@dataclass(frozen=True)
class Step:
    """One entry to run: what it waits for and what it costs."""

    name: str
    upstream: tuple[str, ...] = ()
    threads: int = 1
    alone: bool = False
    """Nothing runs beside it, here or in another walk of this home (benchmarks)."""
    force: bool = False
    seconds: float = 1.0
    """What it took last time: the longest path goes first."""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Step:
        """Return the step of a row of `deveno steps`."""
        return cls(
            name=str(row["entry"]),
            upstream=tuple(row.get("upstream", ())),
            threads=int(row.get("threads", 1)),
            alone=bool(row.get("alone", False)),
            force=bool(row.get("force", False)),
            seconds=float(row.get("seconds") or 1.0),
        )


@dataclass
class Result:
    """How one entry ended: done, restored, skipped, failed, cancelled or blocked."""

    state: str
    message: str = ""
    wall_s: float = 0.0
    log: Path | None = None
    error: list[str] = field(default_factory=list)
    fingerprint: str | None = None

    @property
    def good(self) -> bool:
        """Whether what stands on this entry may run."""
        return self.state in ("done", "restored", "skipped")


class Walk:
    """Runs steps in order, in parallel within a budget of cores; can be stopped from anywhere."""

    def __init__(
        self,
        root: Path,
        steps: Sequence[Step],
        *,
        run: str = "",
        name: str = "pipeline",
        recipe: str = "",
        on_event: OnEvent | None = None,
        cores: int | None = None,
        grace_s: float | None = None,
        before: Before | None = None,
        python: str = sys.executable,
    ) -> None:
        """`before` is called with an entry's name just before it runs: it may fetch its result.

        `python` runs DVC and the stages: this interpreter, or that of a commit's environment.
        """
        self.root, self.home = root, workspace.home(root)
        self.steps = {step.name: step for step in steps}
        self.run, self.name, self.recipe = run or str(uuid.uuid4()), name, recipe
        self.cores = cores or machine.cores()
        self.grace_s = grace_s or allowed_grace_s()
        self.results: dict[str, Result] = {}
        self.stopping = threading.Event()
        self._before, self.python = before, python
        self._on_event = on_event or (lambda name, state, message: None)
        self._guards: dict[str, subprocess.Popen[bytes]] = {}
        self._changed = threading.Condition()
        self.begun = self._over = False
        self._journal: journal.Journal | None = None
        self._rank = ranks.longest(self.steps)

    def walk(self, start: Callable[[Step], Any]) -> dict[str, Result]:
        """Run everything; `start(step)` must call `perform(step)` in another thread, soon."""
        running: dict[str, Step] = {}
        self.begun = True
        integrity.damaged_lists(self.root)
        with self._recorded(), contextlib.ExitStack() as locks:
            try:
                while len(self.results) < len(self.steps):
                    self._block()
                    for step in self._ready(running):
                        if step.alone and not self._take(locks):
                            break
                        running[step.name] = step
                        start(step)
                    with self._changed:
                        done = len(self.results) == len(self.steps)
                        if done or (not running and self.stopping.is_set()):
                            break
                        self._changed.wait(timeout=0.5)  # signals are handled in between
                        for name in [name for name in running if name in self.results]:
                            if running.pop(name).alone:
                                locks.close()
            except BaseException:  # a signal that somebody else's handler raised
                with deaf():
                    self.stop()
                    self._wait(running)
                raise
            finally:
                with self._changed:
                    self._over = True
                    for name in self.steps:
                        self.results.setdefault(name, Result("cancelled", "not started"))
                    self._changed.notify_all()
        return self.results

    def walk_alone(self) -> dict[str, Result]:
        """Walk without Prefect: the same order, budget and cancelling, in plain threads."""
        with stopping(self.stop), ThreadPoolExecutor(max_workers=max(1, self.cores)) as pool:
            return self.walk(lambda step: pool.submit(self.perform, step))

    def result(self, name: str) -> Result:
        """Wait for an entry's result, whoever performs it."""
        with self._changed:
            while name not in self.results and not self._over:
                self._changed.wait(timeout=1.0)
            return self.results.get(name, Result("cancelled", "not started"))

    def stop(self) -> None:
        """Ask every running command to end; nothing new starts."""
        self.stopping.set()
        with self._changed:
            for guard in self._guards.values():
                with contextlib.suppress(OSError):
                    guard.terminate()
            self._changed.notify_all()

    def perform(self, step: Step) -> Result:
        """Run one entry in this thread and note how it ended."""
        began = time.monotonic()
        self._tell(step.name, "started", "")
        try:
            if self._before is not None and not step.force:
                self._before(step.name, self.stopping)
            result = self._repeat(step)
        except Exception as error:
            told = translated(error)
            result = Result("failed", f"{type(error).__name__}: {error}")
            result.error = told.lines() if told else []
        result.wall_s = time.monotonic() - began
        if self._journal is not None and result.state in ("restored", "skipped", "failed"):
            row = {"event": result.state, "entry": step.name, "message": result.message}
            self._journal.append({**row, "fingerprint": result.fingerprint})
        self._tell(step.name, result.state, result.message)
        with self._changed:
            self.results[step.name] = result
            self._changed.notify_all()
        return result

    def _repeat(self, step: Step) -> Result:
        """Run an entry, again while another DVC process is in its way."""
        deadline = time.monotonic() + BUSY_S
        pause_s, torn = 0.5, 0
        mended, before_s = False, time.time()
        while True:
            code, text, log = self._command(step)
            if self.stopping.is_set() and code:
                return Result("cancelled", "stopped on request", log=log)
            busy = code and any(phrase in text for phrase in BUSY)
            if code and not busy and torn < MENDED and any(phrase in text for phrase in TORN):
                busy, torn = True, torn + 1
            if not busy or time.monotonic() > deadline:
                if code:  # a full disk tears dvc.lock; what else is to run needs it whole
                    with contextlib.suppress(OSError):
                        dvclock.mend(self.root)
                if f"Running stage '{step.name}'" in text:
                    integrity.heal(self.root, step.name, before_s)
                elif not mended and self._mend(step):
                    mended = True
                    continue
                return self._judged(step, code, text, log)
            if self.stopping.wait(pause_s):
                return Result("cancelled", "stopped on request", log=log)
            pause_s = min(5.0, pause_s * 1.5)
            with contextlib.suppress(OSError):
                dvclock.mend(self.root)  # who is in the way may have been killed

    def _mend(self, step: Step) -> bool:
        """Put damage aside that DVC restored, or stumbled over; return whether there was any."""
        found = integrity.faults(self.root, step.name)
        for line in found:
            self._tell(step.name, "damaged", line)
        return bool(found)

    def _judged(self, step: Step, code: int, text: str, log: Path) -> Result:
        if code:
            told = error_lines(text, self.root)
            return Result("failed", told[0], log=log, error=told)
        if f"Running stage '{step.name}'" in text:
            return Result("done", log=log)
        known = fingerprint_of(self.root, step.name)
        state = "restored" if "is cached" in text else "skipped"
        return Result(state, f"cached by dvc {known}", log=log, fingerprint=known)

    def _command(self, step: Step) -> tuple[int, str, Path]:
        """Run DVC under a guard; return its exit code, what it printed and where that is kept."""
        log = self.home / ".deveno" / "flows" / self.run / f"{step.name}.log"
        dvc = [self.python, "-m", "dvc", "--wait-for-lock", "repro", "-s", step.name]
        command = [*dvc, "-f"] if step.force else dvc
        guarded = [sys.executable, "-I", "-S", str(GUARD), str(self.grace_s), *command]
        # In memory: on a full disk the very lines that say so would not be there.
        with os.fdopen(os.memfd_create("dvc"), "w+b") as stream:
            with self._changed:
                if self.stopping.is_set():
                    return 1, "", log
                guard = subprocess.Popen(
                    guarded, cwd=self.root, env=self.environment(), stdin=subprocess.PIPE,
                    stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
                self._guards[step.name] = guard
            try:
                code = fullness.waited(guard, self.root)
            finally:
                with self._changed:
                    del self._guards[step.name]
                if guard.stdin is not None:
                    guard.stdin.close()
            stream.seek(0)
            printed = stream.read()
        with contextlib.suppress(OSError):
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(printed)
        return code, printed.decode("utf-8", errors="replace"), log

    def environment(self) -> dict[str, str]:
        """Return the environment of DVC's process: this interpreter first, the flow run named."""
        kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        own = str(Path(self.python).parent)
        return {
            **kept,
            "PATH": os.pathsep.join([own, kept.get("PATH", os.defpath)]),
            "DVC_NO_ANALYTICS": "1",
            "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime reports by default
            "DEVENO_FLOW_RUN": self.run,
            "DEVENO_FLOW_NAME": self.name,
            "DEVENO_RECIPE": self.recipe,
        }

    def _ready(self, running: Mapping[str, Step]) -> list[Step]:
        """Return what may start now, the longest path first; what must be alone comes last."""
        if self.stopping.is_set() or any(step.alone for step in running.values()):
            return []
        free = self.cores - sum(min(step.threads, self.cores) for step in running.values())
        waiting = [
            step
            for step in self.steps.values()
            if step.name not in running
            and step.name not in self.results
            and all(self._is_good(name) for name in step.upstream if name in self.steps)
        ]
        chosen: list[Step] = []
        for step in sorted(waiting, key=lambda one: (one.alone, -self._rank[one.name], one.name)):
            cost = min(step.threads, self.cores)
            if step.alone:
                return [step] if not running and not chosen else chosen
            if cost <= free:
                chosen.append(step)
                free -= cost
        return chosen

    def _tell(self, name: str, state: str, message: str) -> None:
        with contextlib.suppress(Exception):  # a closed terminal stops no computation
            self._on_event(name, state, message)

    def _is_good(self, name: str) -> bool:
        return name in self.results and self.results[name].good

    def _block(self) -> None:
        """Note what can never start because something it stands on did not work."""
        for step in self.steps.values():
            bad = [n for n in step.upstream if n in self.results and not self.results[n].good]
            if bad and step.name not in self.results:
                self.results[step.name] = Result("blocked", f"{bad[0]} did not work")
                self._tell(step.name, "blocked", f"{bad[0]} did not work")

    def _take(self, locks: contextlib.ExitStack) -> bool:
        """Take this home's benchmark lock, or return False: then it is asked for again soon."""
        held = benchmark_lock(self.home)
        if held is None:
            return False
        locks.callback(held.close)
        return True

    def _wait(self, running: Mapping[str, Step]) -> None:
        deadline = time.monotonic() + self.grace_s + 5
        with self._changed:
            while any(n not in self.results for n in running) and time.monotonic() < deadline:
                self._changed.wait(timeout=0.2)

    @contextlib.contextmanager
    def _recorded(self) -> Iterator[None]:
        """Keep the journal of this flow run around the walk."""
        opened = journal.Journal.open_flow(self.home, self.run, self.name, self.recipe, self.root)
        self._journal = opened
        outcome = "crash"
        try:
            yield
            states = {result.state for result in self.results.values()}
            outcome = "ok"
            if states & {"failed", "cancelled", "blocked"}:
                outcome = "cancelled" if self.stopping.is_set() else "failed"
        except BaseException:
            outcome = "cancelled" if self.stopping.is_set() else "crash"
            raise
        finally:
            opened.close(outcome)
            ensure_publisher(self.home)


def allowed_grace_s() -> float:
    """Return the seconds from SIGTERM to SIGKILL: DEVENO_GRACE_S, else what suits a trainer."""
    return float(os.environ.get("DEVENO_GRACE_S", GRACE_S))


def benchmark_lock(home: Path) -> Any:
    """Return the open, locked file that a benchmark holds, or None if another holds it."""
    path = home / ".deveno" / "benchmark.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    return stream
