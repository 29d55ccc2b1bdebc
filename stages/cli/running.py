"""`deveno run`: plan first, start nothing when all is fresh, else run through Prefect."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

from stages.cli.inspection import Add, expected, say, table
from stages.core import (
    adoption,
    dvcfile,
    journal,
    machine,
    origins,
    plan,
    prune,
    published,
    recovery,
    references,
    remotes,
    witness,
    workspace,
)
from stages.core.errors import DevenoError, MachineError

PLAIN_EVERY_S = 15.0
"""How often a long stage's progress is printed where there is no terminal to redraw."""


def add_verbs(add: Add) -> None:
    """Register the verb."""
    run = add("run", run_entries, "run what is stale, in order and in parallel")
    run.add_argument("targets", nargs="*", metavar="TARGET", help="stage@key, a stage or a key")
    run.add_argument("--force", action="store_true", help="run the targets though they are fresh")
    run.add_argument("--compare", action="store_true", help="compare with the committed dvc.lock")
    run.add_argument(
        "--engine", metavar="NAME", help="where batches are worked on: local, ray or ray:HOST:PORT"
    )
    run.add_argument("--workers", metavar="N", help="workers of a ray of this machine")


def run_entries(options: argparse.Namespace) -> int:
    """Run the pipeline in force, or the targets and what they stand on."""
    for variable, value in (("DEVENO_ENGINE", options.engine), ("DEVENO_WORKERS", options.workers)):
        if value is not None:
            os.environ[variable] = value  # the stages read it, in processes of DVC's
            from stages.lm import engines

            engines.named()
    root = workspace.root()
    if not (root / ".dvc").is_dir():
        raise MachineError(
            f"{root.name} is no DVC repository: it has no folder .dvc",
            str(root),
            "run `dvc init` there, or clone the project again",
        )
    for told in recovery.recover(root):
        print(told)
    machine.refresh(root)
    seen = witness.Witness(root)
    stale = [name for name in dvcfile.stale(root) if name in dvcfile.BINDING]
    if stale:
        raise MachineError(
            f"{', '.join(stale)} differ from the code",
            str(root.name),
            "run `deveno sync`, then again",
        )
    graph = references.load(root)
    origins.refresh(root, graph)
    gone = prune.prune(root, graph)
    if gone:
        print(f"removed what no entry makes any more: {', '.join(gone)}")
    forced = references.select(graph, options.targets) if options.force else set()
    remote = remotes.default(root, say)
    made = plan.make(root, options.targets, frozenset(forced), remote)
    if not made.pending:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            print(f"everything is fresh: {len(made.steps)} entries, nothing to run")
            _conclude(root, made, options)
        print(shown.getvalue(), end="", flush=True)
        words = [*options.targets, *(["--compare"] if options.compare else [])]
        seen.record(words, shown.getvalue(), made)
        return 0
    print(expected(made), flush=True)
    made.check_disk()
    adoption.bring_back(root, made.tracked)
    code = _run(root, made, forced, remote)
    if code == 0:
        _conclude(root, made, options)
    return code


def _conclude(root: Path, made: plan.Plan, options: argparse.Namespace) -> None:
    if options.compare:
        _compare(root, list(made.steps))
    _name_reports(root, made)


def _run(
    root: Path, made: plan.Plan, forced: set[str], remote: remotes.Remote | None = None
) -> int:
    from flows.session import run_pipeline

    began = time.time()
    display = Display(root, len(made.pending))
    with display:
        results = run_pipeline(
            root, made, display.event, frozenset(forced), remotes.restorer(root, remote)
        )
    failed = {
        name: result for name, result in results.items() if result.state in ("failed", "cancelled")
    }
    outcomes = {name: _outcome(root, made, name, began) for name in failed}
    for name, result in failed.items():
        told = result.error if len(result.error) == 3 else []
        error = outcomes[name].get("error") or {
            "what": f"{name} {result.state}",
            "where": result.message or "dvc",
            "do": f"read `deveno logs {name}`",
        }
        shown = DevenoError(error["what"], error["where"], error["do"])
        sys.stderr.write("\n".join(told or shown.lines()) + "\n")
    waiting = [name for name, result in results.items() if result.state == "blocked"]
    if waiting:
        sys.stderr.write(f"not started: {', '.join(waiting)}\n")
    if not failed:
        return 0
    statuses = {str(outcome.get("status", "user error")) for outcome in outcomes.values()}
    return 75 if statuses == {"resumable"} else 1 if "crash" in statuses else 2


def _outcome(root: Path, made: plan.Plan, name: str, began: float) -> dict[str, Any]:
    """Return outcome.json of this run's execution; {} if the entry never came to one.

    Exit codes do not cross DVC, so an execution leaves how it ended in its scratch folder.
    """
    entry = made.graph[name]
    last = journal.last(workspace.home(root), entry.stage.name, entry.key)
    if last is None or float(last.start.get("time", 0)) < began:
        return {}
    fingerprint = str(last.start.get("fingerprint"))
    path = workspace.scratch(root, entry.stage.name, fingerprint) / "outcome.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _compare(root: Path, names: list[str]) -> None:
    verdicts = published.compare(root, names, published.committed(root))
    if all(verdict == published.UNPUBLISHED for verdict in verdicts.values()):
        print("HEAD has no dvc.lock for these entries: nothing to compare with")
        return
    print("\nAgainst the committed dvc.lock, byte for byte:")
    print(table((f"  {name}", verdict) for name, verdict in verdicts.items()))
    counts = {
        word: list(verdicts.values()).count(word) for word in dict.fromkeys(verdicts.values())
    }
    print("  " + ", ".join(f"{count} {word}" for word, count in counts.items()))


def _name_reports(root: Path, made: plan.Plan) -> None:
    for step in made.steps.values():
        if step.entry.stage.name == "report":
            page = Path(step.entry.writes["page"]) / "index.html"
            if (root / page).exists():
                print(f"\nreport: {page}")


class Display:
    """Prints one line per entry as it starts and ends, and a progress line for what is running."""

    def __init__(self, root: Path, total: int) -> None:
        self.root, self.total, self.done = root, total, 0
        self.running: dict[str, float] = {}
        self.tails: dict[str, journal.Tail] = {}
        self.latest: dict[str, str] = {}
        self.lock = threading.Lock()
        self.terminal = sys.stdout.isatty()
        self.started = time.monotonic()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Display:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()

    def event(self, name: str, state: str, message: str = "") -> None:
        """Take note that an entry started or ended."""
        with self.lock:
            if state == "started":
                self.running[name] = time.monotonic()
                self._line(f"start {name}")
                return
            began = self.running.pop(name, None)
            self.tails.pop(name, None)
            self.latest.pop(name, None)
            self.done += 1
            took = f" in {time.monotonic() - began:.1f} s" if began is not None else ""
            note = f": {message}" if message and state != "done" else ""
            self._line(f"{state} {name}{took}{note}  [{self.done}/{self.total}]")

    def _line(self, text: str) -> None:
        clock = int(time.monotonic() - self.started)
        clear = "\r\x1b[K" if self.terminal else ""
        sys.stdout.write(f"{clear}{clock // 60:02d}:{clock % 60:02d} {text}\n")
        sys.stdout.flush()

    def _watch(self) -> None:
        shown = time.monotonic()
        while not self.stop.wait(0.5):
            with self.lock:
                for name in list(self.running):
                    self._read(name)
                if self.terminal:
                    width = shutil.get_terminal_size().columns - 1  # a wrapped line stays
                    text = " | ".join(self.latest.values())[:width]
                    sys.stdout.write(f"\r\x1b[K{text}")
                    sys.stdout.flush()
                elif self.latest and time.monotonic() - shown >= PLAIN_EVERY_S:
                    shown = time.monotonic()
                    self._line(" | ".join(self.latest.values()))

    def _read(self, name: str) -> None:
        """Take the newest progress event of a running entry from its journal."""
        stage, key = name.split("@")
        if name not in self.tails:
            last = journal.last(workspace.home(self.root), stage, key)
            if last is None or not last.alive:
                return
            self.tails[name] = journal.Tail(last.path)
        for event in self.tails[name].read():
            if event.get("event") == "progress":
                total = event.get("total")
                self.latest[name] = f"{name} {bar(event['done'], total)} {event.get('unit', '')}"


def bar(done: float, total: float | None) -> str:
    """Return a progress bar of ten places, or the bare count where the total is not known."""
    if not total:
        return f"{done:g}"
    full = int(10 * min(1.0, done / total))
    return f"[{'#' * full}{'.' * (10 - full)}] {done:g}/{total:g}"
