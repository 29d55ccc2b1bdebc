"""Whatever dies in between, the store gets everything from the journals, once."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request

import pytest

from stages.core import journal, publisher, tracking
from stages.core.journal import Journal
from stages.core.publisher import Publisher, publish_forever
from tests.pipeline.conftest import ROOT
from tests.pipeline.tracked import all_published, client, curve, publish, run_entry, runs, wait_for

pytestmark = pytest.mark.usefixtures("plain_tracking")
STEPS = 60

WRITER = """
import sys
from pathlib import Path
from stages.core.journal import Journal
from stages.core.publisher import ensure_publisher
home, number = Path(sys.argv[1]), int(sys.argv[2])
opened = Journal.open(home, "pretrain", f"m{number}", fingerprint=f"{number:032d}", version=1,
                      params={"seed": number}, workspace=home)
ensure_publisher(home)
for step in range(60):
    value = number + step / 8
    opened.append({"event": "metric", "name": "loss_nats", "value": value, "step": step})
opened.close("ok")
"""


@pytest.mark.tools
def test_six_processes_on_a_fresh_store_lose_nothing(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number)], cwd=ROOT)
        for number in range(6)
    ]
    assert [writer.wait() for writer in writers] == [0] * 6
    wait_for(lambda: all_published(tmp_path))
    found = runs(tmp_path)
    assert sorted(run.info.run_name for run in found) == [f"pretrain@m{n}" for n in range(6)]
    for run in found:
        number = int(run.data.params["seed"])
        assert curve(tmp_path, run) == [(step, number + step / 8) for step in range(STEPS)]
        assert run.info.status == "FINISHED"
    names = [path.name for path in (tmp_path / ".deveno").glob("mlflow*db*")]
    assert names == []  # the half-made store went by rename


def test_a_crash_between_sending_and_noting_doubles_nothing(home, monkeypatch):
    run_entry(home, steps=50)
    saves = iter([None, KeyboardInterrupt, None, None, None, None])
    real = publisher.Progress.save

    def save(progress) -> None:
        fate = next(saves)
        if fate:
            raise fate
        real(progress)

    with monkeypatch.context() as patch:
        patch.setattr(publisher.Progress, "save", save)
        with pytest.raises(KeyboardInterrupt):
            Publisher(home).step()
    assert Publisher(home).pending()  # sent, and not noted
    publish(home)
    publish(home)
    (run,) = runs(home)
    assert curve(home, run) == [(step, 5.0 - step) for step in range(50)]


@pytest.mark.tools
def test_a_killed_publisher_is_made_good_exactly_once(home):
    opened = Journal.open(
        home, "pretrain", "eo", fingerprint="f", version=1, params={}, workspace=home
    )
    command = [sys.executable, "-m", "stages", "publish", str(home)]
    first = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    for step in range(400):
        opened.append({"event": "metric", "name": "loss_nats", "value": step / 4, "step": step})
    wait_for(lambda: any((home / ".deveno/published").glob("*/*/*.json")))
    first.send_signal(signal.SIGKILL)
    first.wait()
    for step in range(400, 500):
        opened.append({"event": "metric", "name": "loss_nats", "value": step / 4, "step": step})
    opened.close("ok")
    publish(home)
    (run,) = runs(home)
    assert curve(home, run) == [(step, step / 4) for step in range(500)]


def test_a_deleted_store_is_filled_again(home):
    run_entry(home)
    publish(home)
    (home / "mlflow.db").unlink()
    publish(home)
    assert len(runs(home)) == 1


def test_a_store_that_somebody_else_made_anew_gets_everything(home, monkeypatch):
    """As `mlflow ui` makes one where there is none: what is noted as sent is not in that."""
    run_entry(home)
    publish(home)
    real, sent = tracking.Store.execution, []

    def execution(self, start) -> str:
        sent.append(start["execution"])
        return real(self, start)

    monkeypatch.setattr(tracking.Store, "execution", execution)
    publish(home)
    assert sent == []  # it is the same store
    monkeypatch.setattr(tracking.Store, "identity", "1 at another time")
    publish(home)
    publish(home)
    assert len(sent) == 1
    assert not list((home / ".deveno/published").glob("*.gone"))


def test_a_journal_the_store_refuses_does_not_hold_the_others(home, monkeypatch, caplog):
    run_entry(home, key="bad")
    run_entry(home, key="good")
    monkeypatch.setattr(publisher, "BACKOFF_S", (0.0, 0.01))
    real = tracking.Store.points

    def points(self, run, rows, model=None):
        if self.client.get_run(run).info.run_name == "pretrain@bad":
            raise ValueError("cannot take this")
        real(self, run, rows, model)

    monkeypatch.setattr(tracking.Store, "points", points)
    one = Publisher(home)
    while one.step():
        time.sleep(0.01)
    told = [row for row in caplog.records if row.name == "deveno.publisher"]
    assert sum("pretrain@bad" in row.getMessage() for row in told) == publisher.MAX_FAILURES
    assert {run.info.run_name: run.info.status for run in runs(home)} == {
        "pretrain@bad": "RUNNING", "pretrain@good": "FINISHED",
    }  # fmt: skip
    monkeypatch.undo()
    publish(home)
    assert {run.info.status for run in runs(home)} == {"FINISHED"}


def test_tracking_off_leaves_the_journal_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("DEVENO_TRACKING", "off")
    run_entry(tmp_path)
    publisher.ensure_publisher(tmp_path)
    assert publish_forever(tmp_path) == 0
    assert not (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / ".deveno/publisher.log").exists()
    assert journal.last(tmp_path, "pretrain", "eo").outcome == "ok"


def test_one_publisher_per_home(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(publisher, "_start", lambda home, log: started.append(home))
    publisher.ensure_publisher(tmp_path)
    with (tmp_path / ".deveno/publisher.lock").open("w") as stream:
        publisher.fcntl.flock(stream, publisher.fcntl.LOCK_EX)
        publisher.ensure_publisher(tmp_path)
        assert publish_forever(tmp_path) == 0
    assert started == [tmp_path]


def test_a_publisher_that_cannot_start_is_a_warning(tmp_path, caplog):
    (tmp_path / ".deveno").write_text("a file where a folder should be", encoding="utf-8")
    publisher.ensure_publisher(tmp_path)
    assert "did not start" in caplog.text


@pytest.mark.tools
def test_a_dead_server_is_a_warning_and_a_living_one_gets_it_later(home, monkeypatch, caplog):
    """The same server is the plain `mlflow ui` on the database at the root."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    run_entry(home, steps=5)
    assert publish_forever(home, linger_s=0.1, patience_s=0.0) == 1
    assert "not published, next try in" in caplog.text
    with sqlite3.connect(home / "mlflow.db") as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI")
    server = subprocess.Popen(
        command, cwd=home, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: page(address) is not None, 180)
        assert "<title>MLflow</title>" in (page(address) or "")
        assert publish_forever(home, linger_s=0.1, patience_s=20.0) == 0
        monkeypatch.delenv("MLFLOW_TRACKING_URI")  # read the file, not the server
        (run,) = runs(home)
        assert curve(home, run) == [(step, 5.0 - step) for step in range(5)]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        killed_between(home, server)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with sqlite3.connect(home / "mlflow.db", isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert publish_forever(home, linger_s=0.1, patience_s=0.0) == 1
        database.execute("ROLLBACK")
    publish(home)
    publish(home)
    found = {run.info.run_name: run for run in runs(home)}
    assert sorted(found) == ["pretrain@big", "pretrain@eo"]
    assert len(runs(home)) == 2
    assert curve(home, found["pretrain@big"]) == [(step, step / 4) for step in range(300)]
    assert found["pretrain@big"].info.status == "FINISHED"
    store = client(home)
    experiment = found["pretrain@big"].info.experiment_id
    assert len(store.search_logged_models([experiment])) == 1


def killed_between(home, server) -> None:
    """Kill the server with half of a journal published, and write the other half without it."""
    opened = Journal.open(
        home, "pretrain", "big", fingerprint="big", version=1, params={}, workspace=home
    )
    for step in range(200):
        opened.append({"event": "metric", "name": "loss_nats", "value": step / 4, "step": step})
    time.sleep(0.5)  # a journal is written by a thread
    assert Publisher(home).step()
    os.killpg(server.pid, signal.SIGKILL)
    for step in range(200, 300):
        opened.append({"event": "metric", "name": "loss_nats", "value": step / 4, "step": step})
    opened.close("ok", outputs=[{"path": "models/pretrained/big", "md5": "a", "size_bytes": 1}])
    assert publish_forever(home, linger_s=0.1, patience_s=0.0) == 1


def page(address: str) -> str | None:
    try:
        with urllib.request.urlopen(address + "/", timeout=2) as answer:
            return answer.read().decode("utf-8")
    except OSError:
        return None
