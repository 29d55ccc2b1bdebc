"""The walk: order, budget, exclusiveness, failure, busy DVC, cancelling; and the guard's teeth."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows import walk as walking
from flows.walk import GUARD, Result, Step, Walk, benchmark_lock
from stages.core import journal


@pytest.fixture(autouse=True)
def _no_tracking(monkeypatch):
    monkeypatch.setenv("DEVENO_TRACKING", "off")


class Played(Walk):
    """A walk whose entries take a moment instead of calling DVC; remembers what ran beside what."""

    def play(self, states: dict[str, str] | None = None) -> Played:
        self.states = states or {}
        self.order: list[str] = []
        self.beside: dict[str, set[str]] = {}
        self.load: list[int] = []
        self.now: set[str] = set()
        self.guarded = threading.Lock()
        with ThreadPoolExecutor(8) as pool:
            self.walk(lambda step: pool.submit(self.perform, step))
        return self

    def _repeat(self, step: Step) -> Result:
        with self.guarded:
            self.order.append(step.name)
            self.now.add(step.name)
            self.load.append(sum(self.steps[name].threads for name in self.now))
            for name in self.now:
                self.beside.setdefault(name, set()).update(self.now)
        time.sleep(0.03)
        with self.guarded:
            self.now.discard(step.name)
        return Result(self.states.get(step.name, "done"))


def states(one: Walk) -> dict[str, str]:
    return {name: result.state for name, result in one.results.items()}


def test_producers_come_first_and_branches_run_side_by_side(tmp_path):
    steps = [Step("a"), Step("b", ("a",)), Step("c", ("a",)), Step("d", ("b", "c"))]
    one = Played(tmp_path, steps, cores=2).play()
    assert one.order[0] == "a"
    assert one.order[-1] == "d"
    assert one.beside["b"] == {"b", "c"}
    assert one.beside["a"] == {"a"}


def test_the_budget_of_cores_is_kept_and_a_greedy_entry_still_runs(tmp_path):
    steps = [Step("a", threads=2), Step("b", threads=2), Step("c"), Step("greedy", threads=64)]
    one = Played(tmp_path, steps, cores=3).play()
    assert set(states(one).values()) == {"done"}
    assert one.beside["greedy"] == {"greedy"}
    assert max(load for load in one.load if load < 64) <= 3


def test_a_benchmark_has_the_machine_to_itself(tmp_path):
    steps = [Step("a"), Step("b"), Step("measure", alone=True), Step("c", ("a",))]
    one = Played(tmp_path, steps, cores=4).play()
    assert one.beside["measure"] == {"measure"}
    assert one.order[-1] == "measure"  # it waits, so that nothing waits for it


def test_a_benchmark_waits_for_one_of_another_walk(tmp_path):
    held = benchmark_lock(tmp_path)
    assert benchmark_lock(tmp_path) is None
    one = Played(tmp_path, [Step("a"), Step("measure", alone=True)], cores=2)
    thread = threading.Thread(target=one.play)
    thread.start()
    time.sleep(0.3)
    assert one.order == ["a"]
    held.close()
    thread.join(timeout=5)
    assert one.order == ["a", "measure"]
    benchmark_lock(tmp_path).close()  # and it is free again


def test_the_longest_path_goes_first(tmp_path):
    steps = [Step("short"), Step("root"), Step("leaf", ("root",), seconds=100)]
    assert Played(tmp_path, steps, cores=1).play().order == ["root", "leaf", "short"]


def test_what_stands_on_a_failure_is_not_started(tmp_path):
    told: list[tuple[str, str]] = []
    steps = [Step("a"), Step("b", ("a",)), Step("c", ("b",)), Step("other")]
    one = Played(tmp_path, steps, on_event=lambda name, state, text: told.append((name, state)))
    one.play({"a": "failed"})
    assert states(one) == {"a": "failed", "b": "blocked", "c": "blocked", "other": "done"}
    assert set(one.order) == {"a", "other"}
    assert ("b", "blocked") in told
    assert one.results["c"].message == "b did not work"


def test_a_restored_entry_is_good_and_is_told_to_the_flow_journal(tmp_path):
    one = Played(tmp_path, [Step("a"), Step("b", ("a",))], run="r-1", recipe="smoke")
    one.play({"a": "restored"})
    assert states(one) == {"a": "restored", "b": "done"}
    (path,) = (tmp_path / ".deveno/journal/flows").glob("*.jsonl")
    events = journal.Tail(path).read()
    assert [event["event"] for event in events] == ["start", "restored", "end"]
    assert events[0]["flow"] == {"id": "r-1", "name": "pipeline", "recipe": "smoke"}
    assert events[-1]["outcome"] == "ok"


def test_a_listener_that_fails_stops_nothing(tmp_path):
    def broken(name: str, state: str, message: str) -> None:
        raise BrokenPipeError

    assert states(Played(tmp_path, [Step("a")], on_event=broken).play()) == {"a": "done"}


def test_a_busy_dvc_is_tried_again_and_another_failure_is_not(tmp_path, monkeypatch):
    outputs = iter([
        (255, "ERROR: Unable to acquire lock. Most likely another DVC process is running"),
        (255, "ERROR: '/x/data' is busy, it is being blocked by: (PID 7): dvc repro"),
        (255, "error: no file\nwhere: data/external\ndo: put it there\nERROR: failed"),
    ])  # fmt: skip
    monkeypatch.setattr(Walk, "_command", lambda self, step: (*next(outputs), tmp_path / "log"))
    one = Walk(tmp_path, [Step("a")])
    one.stopping.wait = lambda seconds: False  # no pause
    result = one.perform(Step("a"))
    assert result.state == "failed"
    assert result.error == [
        "error: no file", "where: data/external", "do: put it there",
    ]  # fmt: skip
    assert next(outputs, None) is None


def test_what_dvc_printed_decides_between_done_restored_and_skipped(tmp_path, monkeypatch):
    lock = 'stages:\n  nap@a:\n    cmd: x\n    deps:\n    - path: p\n      md5: "1"\n'
    (tmp_path / "dvc.lock").write_text(lock, encoding="utf-8")
    one = Walk(tmp_path, [Step("nap@a")])
    known = walking.fingerprint_of(tmp_path, "nap@a")
    assert len(known) == 32
    texts = {
        "Running stage 'nap@a':\n> x": ("done", ""),
        "Stage 'nap@a' is cached - skipping run": ("restored", f"cached by dvc {known}"),
        "Stage 'nap@a' didn't change, skipping": ("skipped", f"cached by dvc {known}"),
    }
    for text, expected in texts.items():
        monkeypatch.setattr(Walk, "_command", lambda self, step, t=text: (0, t, tmp_path))
        result = one.perform(Step("nap@a"))
        assert (result.state, result.message) == expected
    assert walking.fingerprint_of(tmp_path, "nap@b") == "unknown"


def test_an_entry_runs_under_this_interpreter_and_not_in_an_outer_run(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0")
    given = Walk(tmp_path, [], run="r-2", name="nightly", recipe="smoke").environment()
    assert given["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert "DVC_ROOT" not in given
    assert "MLFLOW_RUN_ID" not in given
    assert given["DEVENO_FLOW_RUN"] == "r-2"
    assert given["ORT_DISABLE_TELEMETRY"] == given["DVC_NO_ANALYTICS"] == "1"
    assert given["DEVENO_FLOW_NAME"] == "nightly"


TREE = """
import json, os, signal, subprocess, sys, time
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1], "w").write(json.dumps([os.getpid(), child.pid]))
if sys.argv[2] == "leave":
    sys.exit(7)
time.sleep(60)
"""


def tree(folder: Path, kind: str, grace_s: float = 5.0) -> tuple[subprocess.Popen, list[int]]:
    """Start a guarded command with a child; return the guard and both pids."""
    note = folder / "pids.json"
    command = [sys.executable, "-I", "-S", str(GUARD), str(grace_s)]
    guard = subprocess.Popen(
        [*command, sys.executable, "-c", TREE, str(note), kind], stdin=subprocess.PIPE
    )
    deadline = time.monotonic() + 10
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return guard, json.loads(note.read_text())


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(pid)
    return found


def test_a_guard_that_is_told_to_stop_ends_the_whole_tree(tmp_path):
    guard, pids = tree(tmp_path, "polite")
    assert alive(pids) == pids
    guard.terminate()
    assert guard.wait(timeout=5) == 128 + signal.SIGTERM
    assert alive(pids) == []


def test_a_deaf_command_is_killed_after_the_grace_period(tmp_path):
    guard, pids = tree(tmp_path, "deaf", grace_s=0.4)
    began = time.monotonic()
    guard.terminate()
    assert guard.wait(timeout=5) == 128 + signal.SIGKILL
    assert 0.3 < time.monotonic() - began < 3
    assert alive(pids) == []


def test_a_second_signal_ends_the_grace_period(tmp_path):
    guard, pids = tree(tmp_path, "deaf", grace_s=60)
    guard.terminate()
    time.sleep(0.3)
    assert alive(pids[:1]) == pids[:1]  # the child of the deaf one is not deaf
    guard.terminate()
    assert guard.wait(timeout=10) == 128 + signal.SIGKILL
    assert alive(pids) == []


def test_a_starter_that_dies_takes_the_tree_with_it(tmp_path):
    guard, pids = tree(tmp_path, "polite")
    guard.stdin.close()  # what a SIGKILL of the starter does
    guard.wait(timeout=5)
    assert alive(pids) == []


def test_what_a_finished_command_left_behind_is_ended_and_its_code_passed_on(tmp_path):
    guard, pids = tree(tmp_path, "leave")
    assert guard.wait(timeout=5) == 7
    assert alive(pids) == []
