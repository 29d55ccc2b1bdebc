"""The runner: what happens around a stage's function when DVC calls `python -m stages execute`.

In order: validate parameters and references, check inputs and package versions, lock the scratch
folder, call the stage in a temporary folder, check that exactly the declared outputs came and no
input changed, publish by rename, write metrics, `outcome.json` and the journal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from stages.core import (
    canonical,
    declare,
    environment,
    handover,
    hashes,
    integrity,
    journal,
    kernels,
    lockfiles,
    machine,
    origins,
    parent,
    plan,
    publication,
    recipes,
    references,
    registry,
    tracking,
    workspace,
)
from stages.core.errors import (
    ArtifactError,
    DevenoError,
    MachineError,
    Resumable,
    UnknownEntryError,
    cramped,
    translated,
)
from stages.core.fingerprint import Fingerprints, Lock, digest
from stages.core.log import STOP, Event, Log
from stages.core.references import Entry, Graph

GRACE_S = 60.0
"""How long a stage that polls `log.stopping` may take to write its checkpoint."""


def execute(stage_name: str, key: str) -> int:
    """Run one entry of the workspace; return the exit code."""
    parent.die_with_dvc()
    try:
        root = workspace.root()
        os.chdir(root)
        declared = registry.get(stage_name)
        if declared.machine_bound and not declared.sections:
            machine.refresh(root)
        graph = references.load(root)
        entry = _entry(graph, stage_name, key)
        if declared.origin is not None:
            origins.refresh(root, graph)
        prints = Fingerprints(root)
        _check_inputs(entry, graph, root)
        environment.check(root, _packages(prints, entry), entry.name)
        lock = prints.complete(entry)
        _check_bytes(entry, root, prints.hashes)
        return Execution(root, graph, entry, lock, prints.hashes).run()
    except (DevenoError, OSError) as error:
        told = error if isinstance(error, DevenoError) else translated(error)
        if told is None:
            raise
        _tell(told)
        return told.exit_code


def _entry(graph: Graph, stage_name: str, key: str) -> Entry:
    name = f"{stage_name}@{key}"
    if name not in graph:
        raise UnknownEntryError(
            f"there is no entry {name!r}", references.PARAMS, registry.near(name, list(graph))
        )
    return graph[name]


def _packages(prints: Fingerprints, entry: Entry) -> list[str]:
    rows = prints.bodies[entry.stage.name].get("params", [])
    return [
        name
        for row in rows
        if isinstance(row, dict)
        for name in row.get(environment.ENVIRONMENT, [])
    ]


def _check_inputs(entry: Entry, graph: Graph, root: Path) -> None:
    """Refuse to start without an input; a reader of parent folders needs all that it lists."""
    wanted = [(argument, path) for argument, path in entry.reads.items()]
    if entry.stage.sections:
        wanted += [(up, path) for up in entry.upstream for path in graph[up].writes.values()]
    for argument, path in wanted:
        if not (root / path).is_dir():
            raise ArtifactError(
                f"{path} is not there",
                f"{entry.name} reads it as {argument!r}",
                f"run `deveno run {entry.name}`, which makes what it needs first",
            )


def _check_bytes(entry: Entry, root: Path, known: hashes.Hashes) -> None:
    """Refuse an input that changed without a trace: what is made of it would pass for good."""
    damaged = integrity.unlike(root, sorted(set(entry.reads.values())), known)
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        raise ArtifactError(
            f"{damaged[0]}{more} is damaged: its bytes changed, its size and time did not",
            f"{entry.name} reads it",
            f"run `deveno run {entry.name}`: it is restored or made again first",
        )


class Execution:
    """One execution of one entry: its folders, its lock, its journal and its outcome."""

    def __init__(
        self, root: Path, graph: Graph, entry: Entry, lock: Lock, known: hashes.Hashes
    ) -> None:
        self.root, self.graph, self.entry, self.lock = root, graph, entry, lock
        self.fingerprint = digest(lock)
        self.hashes = known
        self.scratch = workspace.scratch(root, entry.stage.name, self.fingerprint)
        self.out = self.scratch / "out"
        self.journal: journal.Journal | None = None
        self.log = Log()
        self.stage_s = 0.0
        self.asked = self.closing = False
        self.patience: threading.Timer | None = None

    def run(self) -> int:
        """Run under the scratch lock and leave an outcome whatever happens."""
        with self._locked():
            self.journal = self._opened()
            tracking.ensure_publisher(workspace.home(self.root))  # curves are live
            (self.scratch / STOP).unlink(missing_ok=True)  # it stopped the execution before
            self.log = Log(self.journal.append, self.scratch, self.journal.flush)
            try:
                self._on_stop()
                self._compute()
            except BaseException as error:
                return self._failed(error)
            self._close({"status": "ok"})
            return 0

    def _opened(self) -> journal.Journal:
        stage, lock = self.entry.stage, self.lock
        return journal.Journal.open(
            workspace.home(self.root),
            stage.name,
            self.entry.key,
            fingerprint=self.fingerprint,
            version=stage.version,
            params=self.entry.params.model_dump(mode="json"),
            workspace=self.root,
            lock=lock,
            reasons=self._reasons(),
            recipe=recipes.active(self.root),
        )

    def _reasons(self) -> list[str]:
        """Return in words why this runs: what differs from what dvc.lock says of the last time."""
        path = self.root / "dvc.lock"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        recorded = lockfiles.split(text).get(self.entry.name)
        found = plan.changes(self.lock, recorded.body if recorded else None)
        return found or ["nothing it depends on changed: it was forced, or its outputs were gone"]

    def _sink(self, event: Event) -> None:
        if self.journal is not None:
            self.journal.append(event)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the entry's lock and the scratch folder's: one trainer for one output, ever.

        A second execution waits for the first, of the same fingerprint or of another: a killed
        DVC's orphan may still be writing its last checkpoint, or publishing.
        """
        place = canonical.digest(str(self.root))[:8]
        locks = workspace.state(self.root) / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        self.scratch.mkdir(parents=True, exist_ok=True)
        with (
            (locks / f"{self.entry.name}.{place}").open("w") as first,
            (self.scratch / "lock").open("w") as second,
        ):
            _lock(first, self.entry.name)
            _lock(second, self.entry.name)
            publication.recover(self.scratch)
            yield

    def _compute(self) -> None:
        stage = self.entry.stage
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        kernels.pin(self.entry.threads, portable=not stage.machine_bound)
        paths = {name: self.root / path for name, path in self.entry.reads.items()}
        paths |= {name: self.out / name for name in stage.writes}
        started = time.perf_counter()
        try:
            declare.call(stage, self.entry.params, paths, self.log, self._listed())
        finally:
            self.stage_s = time.perf_counter() - started
        self._check_outputs()
        self._check_unchanged()
        self._settle()
        self._publish()

    def _listed(self) -> dict[str, dict[str, Any]]:
        """Return the entries of the sections that a reader of many entries lists."""
        found: dict[str, dict[str, Any]] = {name: {} for name in self.entry.stage.sections}
        for entry in self.graph.values():
            if entry.stage.name in found:
                found[entry.stage.name][entry.key] = entry.params.model_dump(mode="json")
        return found

    def _check_outputs(self) -> None:
        declared = set(self.entry.stage.writes)
        made = {path.name for path in self.out.iterdir()}
        empty = {name for name in made & declared if not hashes.size_bytes(self.out / name)}
        if made != declared or empty:
            raise ArtifactError(
                f"{self.entry.name} left {sorted(made - empty)} and declares {sorted(declared)}",
                f"stages/{self.entry.stage.name}/stage.py",
                "write exactly the declared outputs, none of them empty",
            )

    def _check_unchanged(self) -> None:
        """Refuse if an input, the code or a value is not what it was: DVC records what is now."""
        now = Fingerprints(self.root).lock(self.entry)
        before = self.lock["deps"]
        places = [(path, value, before.get(path)) for path, value in now["deps"].items()]
        for file, then in self.lock["params"].items():
            places.append((file, now["params"].get(file), then))
        for path, value, then in places:
            if value != then:
                raise ArtifactError(
                    f"{path} changed while {self.entry.name} ran",
                    f"{self.entry.name} depends on it",
                    "put it back to go on from the last checkpoint, or run again with the change",
                )

    def _publish(self) -> None:
        stage, key = self.entry.stage, self.entry.key
        metrics = self.root / "metrics" / stage.name / f"{key}.json"
        texts = {metrics: canonical.dumps(self.log.metrics)}
        if stage.curves:
            plot = self.root / "plots" / stage.name / f"{key}.csv"
            texts[plot] = canonical.curves_csv(self.log.curves, stage.curves)
        folders = {self.out / name: self.root / path for name, path in self.entry.writes.items()}
        publication.publish(folders, texts, self.scratch / "replaced")
        for left in self.scratch.iterdir():
            if left.name not in ("lock", "outcome.json"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def _on_stop(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Let a stage that polls `log.stopping` reach its checkpoint; stop any other at once.

        A second signal changes nothing (a killed DVC sends one more by its death), nor does one
        while the outcome is being written.
        """
        if self.asked or self.closing:
            return
        self.asked = True
        self.log.request_stop()
        error = Resumable(
            f"{self.entry.name} was stopped ({signal.Signals(number).name})",
            f"scratch/{self.entry.stage.name}/{self.fingerprint}",
            "run it again: it goes on from its last checkpoint",
        )
        if not self.log.polled:
            raise error

        def give_up() -> None:
            self._close(outcome_of(error))
            os._exit(error.exit_code)

        self.patience = threading.Timer(GRACE_S, give_up)
        self.patience.daemon = True
        self.patience.start()

    def _settle(self) -> None:
        """From here on no signal and no lost patience breaks off what is written down."""
        self.closing = True
        if self.patience is not None:
            self.patience.cancel()

    def _failed(self, error: BaseException) -> int:
        self._settle()
        told: BaseException = translated(error) or self._cramped(error) or error
        shutil.rmtree(self.out, ignore_errors=True)
        if isinstance(told, DevenoError):
            told = told.of_entry(self.entry.stage.name, self.entry.key, self.root)
        outcome = outcome_of(told)
        if outcome["status"] == "crash":
            trace = "".join(traceback.format_exception(error))
            with contextlib.suppress(OSError):
                canonical.write_text(self.scratch / "traceback.txt", trace)
            self._sink({"event": "text", "name": "traceback", "text": trace})
            told = DevenoError(
                f"{self.entry.name} crashed: {type(error).__name__}: {error}",
                f"scratch/{self.entry.stage.name}/{self.fingerprint}/traceback.txt",
                f"`deveno logs {self.entry.name}` shows it; this is our mistake, please report it",
            )
            outcome["error"] = {"what": told.what, "where": told.where, "do": told.todo}
        self._close(outcome)
        _tell(told)
        return 1 if outcome["status"] == "crash" else getattr(told, "exit_code", 1)

    def _cramped(self, error: BaseException) -> MachineError | None:
        """Return that little space is left, where an execution crashed on a nearly full disk."""
        paths = [self.out, *(self.root / path for path in self.entry.reads.values())]
        with contextlib.suppress(OSError):
            told = cramped(error, self.out, 2 * sum(hashes.size_bytes(path) for path in paths))
            if told is not None:  # it may be our mistake all the same
                trace = "".join(traceback.format_exception(error))
                self._sink({"event": "text", "name": "traceback", "text": trace})
            return told
        return None

    def _close(self, outcome: dict[str, Any]) -> None:
        outcome |= {
            "stage": self.entry.stage.name,
            "key": self.entry.key,
            "fingerprint": self.fingerprint,
        }
        with contextlib.suppress(OSError):
            canonical.write_json(self.scratch / "outcome.json", outcome)
        if self.journal is None:
            return
        rows = []
        if outcome["status"] == "ok":
            paths = list(self.entry.writes.values())
            for path, value in handover.register(self.root, paths, self.hashes).items():
                size = hashes.size_bytes(self.root / path)
                rows.append({"path": path, "md5": value, "size_bytes": size})
        self.journal.close(
            outcome["status"],
            durations={"stage_s": round(self.stage_s, 3)},
            outputs=rows,
            error=list(outcome.get("error", {}).values()),
        )
        tracking.ensure_publisher(workspace.home(self.root))


def outcome_of(error: BaseException) -> dict[str, Any]:
    """Return how an execution ended, for `outcome.json` (exit codes do not cross DVC)."""
    if isinstance(error, Resumable):
        status = "resumable"
    elif isinstance(error, DevenoError):
        status = "user error"
    else:
        return {"status": "crash"}
    return {"status": status, "error": {"what": error.what, "where": error.where, "do": error.todo}}


def _lock(stream: TextIO, name: str) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write(f"{name} is being computed by another process; waiting for it\n")
        fcntl.flock(stream, fcntl.LOCK_EX)


def _tell(error: BaseException) -> None:
    sys.stderr.write(f"{error}\n")
    sys.stderr.flush()
