"""How an execution ends under the real DVC: finished, refused, crashed, killed; and two at once.

A throw-away project with one stage that counts, keeps where it is in its scratch folder, and does
what its parameters ask for.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from stages.core import journal
from tests.pipeline import naps
from tests.pipeline.conftest import Clone
from tests.pipeline.tracked import all_published, curve, is_there, runs, wait_for

pytestmark = pytest.mark.tools
COUNT = '''
    """A stage that counts, and goes on from where it was stopped."""

    import time
    from pathlib import Path

    from stages.core.declare import Params, stage
    from stages.core.errors import ArtifactError, Resumable
    from stages.core.log import Log


    class CountParams(Params):
        """How far, and what happens there."""

        upto: int
        """Twentieths of a second."""
        then: str = "end"
        """`end`, `refuse` or `crash`."""


    @stage(version=1, reads={}, writes={"count": "data/counts/${key}"})
    def count(params: CountParams, count: Path, log: Log) -> None:
        """Count."""
        kept = log.scratch / "at.txt"
        first = int(kept.read_text()) if kept.exists() else 0
        log.observe("first", first)
        for number in range(first, params.upto):
            time.sleep(0.05)
            kept.write_text(str(number + 1))
            log.metric("reached_count", number, step=number)
            if log.stopping:
                raise Resumable("counting was stopped", f"at {number + 1}", "run it again")
        if params.then == "refuse":
            raise ArtifactError("7 is not a number", "the counter", "count otherwise")
        if params.then == "crash":
            raise ZeroDivisionError("planted")
        count.mkdir()
        (count / "count.txt").write_text(str(params.upto))
'''
RECIPE = """
    # Counters.
    nap:
      a: {}
    count:
      short: {upto: 1}
      long: {upto: 4000}
      shared: {upto: 20}
      live: {upto: 4001}
      refused: {upto: 1, then: refuse}
      crashed: {upto: 1, then: crash}
"""


@pytest.fixture(scope="module")
def counters(tmp_path_factory) -> Clone:
    clone = naps.make(tmp_path_factory.mktemp("counters") / "clone")
    (clone.root / "stages/count").mkdir()
    texts = {"__init__.py": '"""Counters."""\n', "stage.py": COUNT}
    for name, text in texts.items():
        (clone.root / "stages/count" / name).write_text(textwrap.dedent(text).lstrip("\n"))
    recipe = clone.root / "stages/recipes/count.yaml"
    recipe.write_text(textwrap.dedent(RECIPE).lstrip("\n"))
    clone.deveno("use", "count", "--force")
    return clone


def outcome(clone: Clone, key: str) -> dict:
    """Return the outcome.json of an entry's last execution."""
    last = journal.last(clone.root, "count", key)
    folder = clone.root / "scratch/count" / last.start["fingerprint"]
    return json.loads((folder / "outcome.json").read_text())


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def running(clone: Clone, key: str) -> tuple[journal.Execution, int]:
    """Wait until an entry's stage is counting; return its execution and where it began."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        last = journal.last(clone.root, "count", key)
        began = [e["value"] for e in last.events() if e.get("name") == "first"] if last else []
        if last and last.alive and began and (place(clone, last) / "at.txt").exists():
            return last, int(began[0])
        time.sleep(0.05)
    raise AssertionError("it never started")


def place(clone: Clone, execution: journal.Execution) -> Path:
    return clone.root / "scratch/count" / execution.start["fingerprint"]


def gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if "execute" not in command_of(pid):
            return True
        time.sleep(0.05)
    return False


def start(clone: Clone, *command: str, **extra: str) -> subprocess.Popen:
    return subprocess.Popen(
        command, cwd=clone.root, env=clone.environment | extra, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "status", "said"),
    [
        ("short", "ok", ""),
        ("refused", "user error", "error: 7 is not a number"),
        ("crashed", "crash", "error: count@crashed crashed: ZeroDivisionError: planted"),
    ],
)
def test_an_outcome_is_left_whatever_happens(counters, key, status, said):
    shown = counters.run("dvc", "repro", f"count@{key}", check=False)
    assert (shown.returncode == 0) == (status == "ok")
    left = outcome(counters, key)
    assert (left["status"], left["stage"], left["key"]) == (status, "count", key)
    told = [row for row in shown.stderr.splitlines() if row.startswith(("error:", "where:", "do:"))]
    assert "Traceback" not in shown.stderr
    assert (told[0] if told else "") == said
    assert (counters.root / f"data/counts/{key}").exists() == (status == "ok")
    logged = counters.deveno("logs", f"count@{key}").stdout
    assert f"outcome: {status}" in logged
    assert ("Traceback" in logged) == (status == "crash")


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_killed_dvc_takes_the_stage_with_it_and_the_next_run_goes_on(counters, shell):
    """Under /bin/sh (cron) a shell stands between DVC and the stage, and survives DVC."""
    dvc = start(counters, "dvc", "repro", "count@long", SHELL=shell)
    execution, _ = running(counters, "long")
    pid = execution.start["pid"]
    time.sleep(0.3)
    dvc.send_signal(signal.SIGKILL)
    dvc.wait()
    assert gone(pid, 5)
    assert outcome(counters, "long")["status"] == "resumable"
    reached = int((place(counters, execution) / "at.txt").read_text())
    again = start(counters, "dvc", "repro", "count@long", SHELL=shell)
    second, began = running(counters, "long")
    assert second.start["resumes"] == execution.id
    assert began == reached > 0
    os.killpg(again.pid, signal.SIGTERM)  # to all at once, and DVC's death tells the stage again
    again.wait()
    assert gone(second.start["pid"], 5)
    assert journal.last(counters.root, "count", "long").outcome == "resumable"
    assert outcome(counters, "long")["status"] == "resumable"
    assert not (counters.root / "data/counts/long").exists()


def test_two_processes_of_one_fingerprint_compute_one_after_the_other(counters):
    command = ("python", "-m", "stages", "execute", "count", "shared")
    both = [start(counters, *command), start(counters, *command)]
    texts = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("is being computed by another process; waiting" in text for text in texts) == 1
    late, early = journal.executions(counters.root, "count", "shared")
    assert late.start["time"] >= early.end["time"]
    assert (counters.root / "data/counts/shared/count.txt").read_text() == "20"


def test_a_curve_grows_in_mlflow_while_the_stage_runs(counters, plain_tracking):
    extra = {"DEVENO_TRACKING": "on", "DEVENO_FLOW_RUN": ""}
    process = start(counters, "python", "-m", "stages", "execute", "count", "live", **extra)

    def points() -> int:
        assert process.poll() is None
        if not is_there(counters.root):
            return 0
        found = runs(counters.root, "attributes.run_name = 'count@live'")
        return len(curve(counters.root, found[0], "reached_count")) if found else 0

    wait_for(lambda: points() >= 2, 90)
    before = points()
    wait_for(lambda: points() > before)
    (run,) = runs(counters.root, "attributes.run_name = 'count@live'")
    assert run.info.status == "RUNNING"
    assert run.data.params == {"upto": "4001", "then": "end"}
    process.terminate()
    assert process.wait(timeout=30) == 75
    wait_for(lambda: all_published(counters.root))
    (run,) = runs(counters.root, "attributes.run_name = 'count@live'")
    assert run.info.status == "KILLED"
    assert run.data.tags["deveno.outcome"] == "resumable"
