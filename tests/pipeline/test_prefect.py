"""Flows under a real Prefect server: served, triggered by plain `prefect`, cancelled, read back."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows import server
from flows.server import Service
from flows.walk import benchmark_lock
from stages.core import journal
from stages.core.errors import MachineError
from tests.pipeline import naps
from tests.pipeline.conftest import Clone

LONG_S = 180.0


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Clone:
    """Return a project that no server knows yet."""
    return naps.make(tmp_path_factory.mktemp("flows") / "home")


@pytest.fixture(scope="module")
def idle(tmp_path_factory) -> Clone:
    """Return a project whose servers are never up."""
    return naps.make(tmp_path_factory.mktemp("flows") / "idle")


@pytest.fixture(scope="module")
def served(home):
    """Give the project with its servers up; afterwards nothing of it may live."""
    shown = home.deveno("up")
    assert "pipeline/quick, pipeline/slow, nightly/benchmark" in shown.stdout
    yield home
    home.deveno("down")
    assert naps.processes("", home.root) == []


def address(home: Clone) -> str:
    return server.api_url(home.root)


def ask(home: Clone, path: str, body: dict | None = None):
    """Ask the server's interface, with no client of Prefect's."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{address(home)}/{path}", data, {"Content-Type": "application/json"}
    )
    return naps.answered(request)


def trigger(home: Clone, deployment: str) -> str:
    """Start a run as the manual says, from the root, with only the environment activated."""
    shown = home.run("prefect", "deployment", "run", deployment)
    (run,) = [row.split()[-1] for row in shown.stdout.splitlines() if "UUID:" in row]
    return run


def state(home: Clone, run: str) -> dict:
    return ask(home, f"flow_runs/{run}")["state"]


def finished(home: Clone, run: str) -> dict:
    """Wait for a run's final state."""
    final = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
    wait_for(lambda: state(home, run)["type"] in final)
    return state(home, run)


def wait_for(condition, seconds: float = LONG_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing came in time"
        time.sleep(0.2)


def tasks(home: Clone, run: str) -> dict[str, tuple[str, str]]:
    """Return the state and message of every task run by name."""
    rows = ask(home, "task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    return {row["name"]: (row["state"]["type"], row["state"]["message"] or "") for row in rows}


def nights_missed(home: Clone) -> list[str]:
    """Leave two nights to be run late, as a server does that slept; return the runs."""
    deployment = ask(home, "deployments/name/nightly/benchmark")["id"]
    runs = []
    for hours in (33, 9):
        moment = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
        planned = {"type": "SCHEDULED", "state_details": {"scheduled_time": moment}}
        row = ask(home, f"deployments/{deployment}/create_flow_run", {"state": planned})
        runs.append(row["id"])
    return runs


def logs(home: Clone, run: str) -> list[str]:
    """Return what a run logged, once the server has it."""
    body = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
    wait_for(lambda: any("Finished" in row["message"] for row in ask(home, "logs/filter", body)))
    return [row["message"] for row in ask(home, "logs/filter", body)]


def executed(home: Clone, name: str) -> int:
    return len(list((home.root / ".deveno/journal" / name).glob("*.jsonl")))


@pytest.mark.tools
def test_a_deployment_runs_in_its_own_worktree_and_dvc_is_the_only_cache(served):
    """First computed, then fresh, then restored from DVC's cache, each told by the states."""
    mine = served.root / "params.yaml"
    mine.write_text(mine.read_text() + "# my own change\n")
    before = mine.read_bytes()
    dropped = served.root / "data/external"
    dropped.mkdir(parents=True)
    (dropped / "texto.txt").write_text("Unu.\n")
    first = trigger(served, "pipeline/quick")
    assert finished(served, first)["type"] == "COMPLETED"
    told = tasks(served, first)
    assert set(told) == {"nap@a", "nap@b", "nap@c", "benchmark@pos"}
    assert all(message.startswith("computed in") for _, message in told.values())
    tree = served.root / ".deveno/worktrees/quick"
    assert (tree / "data/naps/b/slept.txt").exists()
    assert not (served.root / "data/naps").exists()
    assert (tree / "data/external/texto.txt").read_text() == "Unu.\n"
    said = logs(served, first)
    assert any(row.endswith("start; not part of it, for uncommitted: params.yaml") for row in said)
    assert mine.read_bytes() == before
    mine.write_bytes(before.replace(b"# my own change\n", b""))
    last = journal.last(served.root, "nap", "b")  # at home, though it ran in the worktree
    assert last.start["flow"] == {"id": first, "name": "pipeline", "recipe": "quick"}
    assert last.start["workspace"] == str(tree)

    (dropped / "texto.txt").unlink()
    second = trigger(served, "pipeline/quick")
    assert finished(served, second)["message"] == "everything is fresh: nothing to run"
    assert not (tree / "data/external/texto.txt").exists()

    (tree / "data/naps/b/slept.txt").unlink()
    count = executed(served, "nap@b")
    third = trigger(served, "pipeline/quick")
    assert finished(served, third)["type"] == "COMPLETED"
    fingerprint = last.start["fingerprint"]
    assert tasks(served, third) == {"nap@b": ("COMPLETED", f"cached by dvc {fingerprint}")}
    assert executed(served, "nap@b") == count
    assert (tree / "data/naps/b/slept.txt").exists()


@pytest.mark.tools
def test_a_cancelled_run_leaves_no_process(served):
    run = started(served)
    served.run("prefect", "flow-run", "cancel", run)
    assert finished(served, run)["type"] == "CANCELLED"
    wait_for(lambda: naps.sleepers(served.root) == [], seconds=60)
    told = tasks(served, run)
    assert told["nap@a"][0] == "COMPLETED"
    assert told["nap@long"][0] != "COMPLETED"
    assert "nap@never" not in told
    assert journal.last(served.root, "nap", "long").outcome == "resumable"
    flows = [journal.load(p) for p in (served.root / ".deveno/journal/flows").glob(f"*-{run}*")]
    assert [one.outcome for one in flows] == ["cancelled"]


@pytest.mark.tools
def test_the_night_measures_again_and_skips_while_another_measures(served):
    held = benchmark_lock(served.root)
    skipped = finished(served, trigger(served, "nightly/benchmark"))
    assert skipped["type"] == "CANCELLED"
    assert skipped["message"] == "skipped: another benchmark holds the lock"
    held.close()
    before = executed(served, "benchmark@pos")  # DVC could restore it; the night does not
    missed = [finished(served, run) for run in nights_missed(served)]
    assert [one["type"] for one in missed] == ["CANCELLED"] * 2
    assert any(one["message"].endswith("h ago, more than 6 h") for one in missed)
    assert executed(served, "benchmark@pos") == before
    run = trigger(served, "nightly/benchmark")
    assert finished(served, run)["type"] == "COMPLETED"
    assert executed(served, "benchmark@pos") == before + 1
    assert set(tasks(served, run)) == {"nap@a", "benchmark@pos"}
    (schedule,) = ask(served, "deployments/name/nightly/benchmark")["schedules"]
    assert schedule["schedule"]["cron"] == "0 3 * * *"
    assert schedule["active"]


@pytest.mark.tools
def test_a_second_up_starts_nothing_and_a_plain_run_uses_the_server(served):
    before = {note.name: note.read_text() for note in notes(served)}
    assert "up after" in served.deveno("up").stdout
    assert {note.name: note.read_text() for note in notes(served)} == before
    moved = served.deveno("up", check=False, PREFECT_API_URL="http://127.0.0.1:4/api")
    assert "of this clone listens on port" in moved.stderr
    assert moved.returncode == 2
    shown = served.deveno("run")
    assert "done nap@b" in shown.stdout or "restored nap@b" in shown.stdout
    rows = ask(served, "flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})
    assert rows[0]["state"]["type"] == "COMPLETED"
    assert rows[0]["parameters"]["recipe"] == "quick"
    assert not (served.root / ".deveno/servers/prefect-run.log").exists()


def started(home: Clone) -> str:
    """Start the run that nobody waits for and see it sleep."""
    run = trigger(home, "pipeline/slow")
    wait_for(lambda: any(naps.LONG in row and "sleep" in row for row in naps.sleepers(home.root)))
    return run


@pytest.mark.tools
def test_a_work_pool_deploys_runs_and_cancels(served):
    """What prefect.yaml says at its top, with nobody serving: deploy, work, cancel."""
    server.stop([Service(served.root, "deployments", ())])
    served.run("prefect", "work-pool", "create", "local", "--type", "process")
    served.run("prefect", "deploy", "--all")
    with (served.root.parent / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            ["prefect", "worker", "start", "--pool", "local"], cwd=served.root,
            env=served.environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        run = started(served)
        assert ask(served, f"flow_runs/{run}")["work_pool_name"] == "local"
        served.run("prefect", "flow-run", "cancel", run)
        assert finished(served, run)["type"] == "CANCELLED"
        wait_for(lambda: naps.sleepers(served.root) == [])
    finally:
        os.killpg(worker.pid, signal.SIGKILL)  # on SIGTERM it may wait for ever
        worker.wait()
    assert (served.root / ".deveno/worktrees/slow/data/naps/a").exists()
    assert "up after" in served.deveno("up").stdout  # and they are served again


@pytest.mark.tools
def test_a_crash_costs_no_deployment_its_slot_and_down_cancels(served):
    """What ran when the servers were killed is told by the next `up`, and may be run again."""
    lost = started(served)
    for name in ("deployments", "prefect"):
        os.killpg(server.running(Service(served.root, name, ())), signal.SIGKILL)
    wait_for(lambda: not server.answers(f"{address(served)}/health"))
    assert "closed       pipeline/slow" in served.deveno("up").stdout
    assert state(served, lost)["type"] == "CRASHED"
    assert naps.sleepers(served.root) == []
    again = started(served)  # at once: the slot is free
    assert served.deveno("down").stdout.startswith("cancelled: pipeline/slow\nstopped: ")
    assert naps.processes("", served.root) == []
    with sqlite3.connect(served.root / ".deveno/prefect/prefect.db") as database:
        rows = dict(database.execute("select id, state_type from flow_run"))
        slots = database.execute("select sum(active_slots) from concurrency_limit_v2").fetchone()
    assert rows[again] == "CANCELLED"
    assert slots == (0,)


def copy_database(source: Clone, target: Clone) -> None:
    """Give a home the tables of another, for a server takes long to make them."""
    folder = target.root / ".deveno/prefect"
    folder.mkdir(parents=True)
    with (
        sqlite3.connect(source.root / ".deveno/prefect/prefect.db") as old,
        sqlite3.connect(folder / "prefect.db") as new,
    ):
        old.backup(new)


def notes(home: Clone) -> list[Path]:
    return sorted((home.root / ".deveno/servers").glob("*.json"))


@pytest.mark.tools
def test_a_run_without_a_server_brings_its_own_and_dies_whole(served, tmp_path):
    """SIGKILL leaves no server and no trainer; a SIGINT afterwards stops in order."""
    home = naps.make(tmp_path / "home", "slow")
    copy_database(served, home)
    for number in (signal.SIGKILL, signal.SIGINT):
        one = subprocess.Popen(
            [sys.executable, "-m", "stages", "run"], cwd=home.root, env=home.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            wait_for(lambda: naps.LONG in " ".join(naps.sleepers(home.root)))
        finally:
            one.send_signal(number)
        text, _ = one.communicate(timeout=90)
        wait_for(lambda: naps.processes("", home.root) == [], seconds=60)
    assert one.returncode == 75  # it may go on
    assert "cancelled nap@long" in text
    assert "Traceback" not in text


@pytest.mark.tools
def test_a_port_in_use_is_three_lines(idle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        shown = idle.deveno("up", check=False, PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
    assert shown.returncode == 2
    told = [row for row in shown.stderr.splitlines() if row]
    assert [row.split(":")[0] for row in told] == ["error", "where", "do"]
    assert f"port {port} is in use" in told[0]


@pytest.mark.tools
def test_a_server_that_does_not_answer_is_three_lines(idle):
    url = f"http://127.0.0.1:{naps.free_port()}/api"
    for verb in ("run", "serve"):
        shown = idle.deveno(verb, check=False, PREFECT_API_URL=url)
        assert shown.returncode == 2
        assert shown.stderr.startswith("error: the Prefect server does not answer\n")
        assert shown.stderr.count("\n") == 3


def test_a_foreign_address_is_not_ours_to_start(tmp_path):
    with pytest.raises(MachineError, match="is not on this machine"):
        server.prefect_service(tmp_path, "https://prefect.example.org/api")


def test_a_broken_settings_file_names_itself(tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert server.api_url(tmp_path) == server.DEFAULT_URL
    (tmp_path / "prefect.toml").write_text("[api\n", encoding="utf-8")
    with pytest.raises(MachineError, match="does not parse"):
        server.api_url(tmp_path)


def test_a_stale_pid_file_does_no_harm_and_no_stranger_is_stopped(tmp_path):
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    service = Service(tmp_path, "mlflow", ("sleep", "60"))
    service.note.parent.mkdir(parents=True)
    try:
        service.note.write_text(json.dumps({"pid": stranger.pid, "created": 1.0, "port": 0}))
        assert server.running(service) is None  # it is alive, and was not begun in 1970
        assert server.stop([service]) == []
        assert stranger.poll() is None
        assert not service.note.exists()
        service.note.write_text(json.dumps({"pid": stranger.pid, "created": 1.0, "port": 0}))
        assert server.start(service, {})
        assert server.running(service) not in (None, stranger.pid)
        assert server.stop([service]) == ["mlflow"]
    finally:
        stranger.kill()
        stranger.wait()


def test_what_a_killed_service_left_in_its_group_is_ended(tmp_path):
    code = "import subprocess,time; subprocess.Popen(['sleep', '60']); print(flush=True)"
    service = Service(tmp_path, "deployments", (sys.executable, "-c", f"{code}; time.sleep(60)"))
    assert server.start(service, {})
    pid = server.running(service)
    wait_for(lambda: service.log.read_text() == "\n", seconds=10)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert server.running(service) is None
    assert naps.group(pid) == ["sleep"]  # its child lives on
    assert server.stop([service]) == ["deployments"]
    assert naps.group(pid) == []


def test_a_service_that_dies_at_once_says_why(tmp_path):
    command = (sys.executable, "-c", "raise SystemExit('no such database')")
    service = Service(tmp_path, "mlflow", command, url="http://127.0.0.1:9/")
    assert server.start(service, {})
    with pytest.raises(MachineError) as raised:
        server.wait(service, seconds=10)
    assert "stopped while it started" in raised.value.what
    assert raised.value.where == "no such database"


def test_a_deaf_service_is_stopped_for_good(tmp_path):
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    service = Service(tmp_path, "mlflow", (sys.executable, "-c", code), url="http://127.0.0.1:9/")
    assert server.start(service, {})
    assert not server.start(service, {})  # it runs already
    with pytest.raises(MachineError, match="did not answer within"):
        server.wait(service, seconds=0.3)
    pid = server.running(service)
    assert server.stop([service], seconds=0.2) == ["mlflow"]
    assert not Path(f"/proc/{pid}").exists()


def test_a_night_that_comes_too_late_is_skipped():
    from flows.nightly import too_late

    now = datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert too_late(now - timedelta(hours=9), now, 6) == "planned 9.0 h ago, more than 6 h"
    assert too_late(now - timedelta(hours=5), now, 6) == ""
    assert too_late(None, now, 6) == ""
