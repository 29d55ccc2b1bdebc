"""MLflow gets everything from the journals, once, whatever dies in between."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from stages.core import journal, publisher, tracking
from stages.core.journal import Journal
from stages.core.publisher import Publisher, publish_forever

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "DEVENO_FLOW_RUN", "DEVENO_TRACKING"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """An empty store, made once: its tables take a second."""
    home = tmp_path_factory.mktemp("store")
    tracking.create(home)
    return home / "mlflow.db"


@pytest.fixture
def home(tmp_path, empty_store) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


def run_entry(
    home: Path,
    key: str = "eo",
    stage: str = "pretrain",
    outcome: str = "ok",
    steps: int = 3,
    **more,
) -> str:
    """Write a finished execution to the journal; return its id."""
    params = more.pop("params", {"steps": steps})
    outputs = more.pop("outputs", [])
    fingerprint = more.pop("fingerprint", f"{stage}{key}{params}")
    opened = Journal.open(
        home, stage, key, fingerprint=fingerprint, version=1, params=params, workspace=home, **more
    )
    for step in range(steps):
        opened.append({"event": "metric", "name": "loss_nats", "value": 5.0 - step, "step": step})
    opened.append({"event": "metric", "name": "accuracy_fraction", "value": 0.5, "step": None})
    opened.close(outcome, outputs=outputs)
    return opened.execution


def publish(home: Path) -> None:
    """Publish all there is, as the process does, in this process."""
    one = Publisher(home)
    while one.step():
        time.sleep(0.01)
    assert not one.pending()


def client(home: Path):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=tracking.uri(home))


def runs(home: Path, wanted: str = "") -> list:
    experiment = client(home).get_experiment_by_name("deveno").experiment_id
    return client(home).search_runs([experiment], wanted, order_by=["attributes.start_time"])


def curve(home: Path, run, name: str = "loss_nats") -> list[tuple[int, float]]:
    points = client(home).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in points)


def wait_for(condition, seconds: float = 40.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing came in time"
        time.sleep(0.1)


def all_published(home: Path) -> bool:
    return (home / "mlflow.db").exists() and not Publisher(home).pending()


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


def test_two_runs_compare_by_their_params_and_curves(home):
    for rate in (1e-3, 2e-3):
        params = {"learning_rate": rate, "model": {"kind": "roberta", "sizes": [64, 64]}}
        run_entry(home, params=params, steps=4)
    publish(home)
    first, second = runs(home)
    differing = {
        name: (value, second.data.params[name])
        for name, value in first.data.params.items()
        if value != second.data.params[name]
    }
    assert differing == {"learning_rate": ("0.001", "0.002")}
    assert first.data.params["model.kind"] == "roberta"
    assert first.data.params["model.sizes"] == "[64, 64]"
    assert curve(home, first) == curve(home, second) == [(s, 5.0 - s) for s in range(4)]
    assert first.data.metrics["accuracy_fraction"] == 0.5
    assert first.data.metrics["cost/cpu_s"] > 0


def test_curves_are_there_while_the_stage_runs(home):
    opened = Journal.open(
        home, "pretrain", "eo", fingerprint="f", version=1, params={}, workspace=home
    )
    one = Publisher(home)
    for step in range(3):
        opened.append({"event": "metric", "name": "loss_nats", "value": 3.0 - step, "step": step})
        assert one.step()
        (run,) = runs(home)
        assert run.info.status == "RUNNING"
        assert len(curve(home, run)) == step + 1
    opened.close("ok")
    assert not one.step()
    assert runs(home)[0].info.status == "FINISHED"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("ok", "FINISHED"), ("user error", "FAILED"), ("crash", "FAILED"), ("resumable", "KILLED")],
)
def test_an_outcome_has_its_status(home, outcome, status):
    run_entry(home, outcome=outcome)
    publish(home)
    (run,) = runs(home)
    assert run.info.status == status
    assert run.data.tags["deveno.outcome"] == outcome


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


def test_an_interrupted_execution_is_closed_and_the_next_says_what_it_resumes(home):
    opened = Journal.open(
        home, "pretrain", "eo", fingerprint="f", version=1, params={}, workspace=home
    )
    os.close(opened._descriptor)  # as a kill does
    opened._descriptor = None
    run_entry(home, fingerprint="f")
    publish(home)
    broken, resumed = runs(home)
    assert broken.data.tags["deveno.outcome"] == "interrupted"
    assert broken.info.status == "FAILED"
    assert resumed.data.tags["deveno.resumes"] == broken.data.tags["deveno.execution"]


def test_a_flow_run_is_one_parent_and_a_restore_is_only_a_tag(home, monkeypatch):
    run_entry(home, key="base", fingerprint="known")
    publish(home)
    flow = Journal.open_flow(home, "run-1", "pipeline", "smoke", home)
    monkeypatch.setenv("DEVENO_FLOW_RUN", "run-1")
    monkeypatch.setenv("DEVENO_RECIPE", "smoke")
    run_entry(home, key="eo")
    run_entry(home, key="pos", stage="finetune")
    flow.append({"event": "restored", "entry": "pretrain@base", "fingerprint": "known"})
    flow.close("ok")
    publish(home)
    (parent,) = runs(home, "tags.`deveno.flow` = 'true'")
    assert parent.info.run_name == "pipeline/smoke"
    assert parent.info.status == "FINISHED"
    children = runs(home, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert [run.info.run_name for run in children] == ["pretrain@eo", "finetune@pos"]
    assert {run.data.tags["deveno.recipe"] for run in children} == {"smoke"}
    (original,) = runs(home, "attributes.run_name = 'pretrain@base'")
    restored = parent.data.tags["deveno.restored.pretrain.base"]
    assert restored == f"known (run {original.info.run_id})"
    assert len(runs(home)) == 4


def test_a_model_is_named_by_path_and_md5_and_gets_its_scores(home):
    model = {"path": "models/finetuned/pos", "md5": "0123.dir", "size_bytes": 10}
    run_entry(home, stage="finetune", key="pos", outputs=[model])
    inputs = {"models/finetuned/pos": "0123.dir"}
    run_entry(home, stage="evaluate", key="pos", params={"model": "finetuned/pos"}, inputs=inputs)
    publish(home)
    run_entry(home, stage="finetune", key="pos", outputs=[model])  # the same bytes again
    publish(home)
    experiment = client(home).get_experiment_by_name("deveno").experiment_id
    (found,) = client(home).search_logged_models([experiment])
    assert found.name == "finetuned-pos"
    assert found.tags["dvc.path"] == "models/finetuned/pos"
    assert found.tags["dvc.md5"] == "0123.dir"
    assert found.status == "READY"
    scores = {metric.key: metric.value for metric in found.metrics}
    assert scores["accuracy_fraction"] == 0.5
    made_by = [r for r in runs(home) if r.outputs and r.outputs.model_outputs]
    assert [run.info.run_name for run in made_by] == ["finetune@pos", "finetune@pos"]


def test_texts_and_tables_lie_beside_the_store(home, tmp_path):
    opened = Journal.open(
        home, "refine", "eo", fingerprint="f", version=1, params={}, workspace=home
    )
    opened.append({"event": "text", "name": "sample", "text": "Ĉu ne?"})
    opened.append({"event": "table", "name": "rules", "rows": [{"rule": "short", "documents": 2}]})
    opened.close("ok")
    publish(home)
    (run,) = runs(home)
    assert run.info.artifact_uri.startswith((home / "mlartifacts").as_uri())
    folder = home / "mlartifacts" / run.info.run_id / "artifacts"
    assert (folder / "texts_sample.txt").read_text(encoding="utf-8") == "Ĉu ne?"
    assert '"documents": 2' in (folder / "tables_rules.json").read_text(encoding="utf-8")


def test_long_and_odd_params_are_cut_and_named_plainly():
    rows = tracking.flat(
        {"text": "a" * 9000, "list": [{"a": 1}, {"a": None}], "über€": True, "e": {}}
    )
    assert len(rows["text"]) == tracking.PARAM_CHARACTERS
    assert rows["text"].endswith("…")
    assert rows["list.1.a"] == "null"
    assert rows["über_"] == "true"
    assert rows["e"] == "{}"


def test_a_deleted_store_is_filled_again(home):
    run_entry(home)
    publish(home)
    (home / "mlflow.db").unlink()
    publish(home)
    assert len(runs(home)) == 1


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
    assert caplog.text.count("pretrain@bad") == publisher.MAX_FAILURES
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
        wait_for(lambda: page(address) is not None)
        assert "<title>MLflow</title>" in (page(address) or "")
        assert publish_forever(home, linger_s=0.1, patience_s=20.0) == 0
        monkeypatch.delenv("MLFLOW_TRACKING_URI")  # read the file, not the server
        (run,) = runs(home)
        assert curve(home, run) == [(step, 5.0 - step) for step in range(5)]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def page(address: str) -> str | None:
    try:
        with urllib.request.urlopen(address + "/", timeout=2) as answer:
            return answer.read().decode("utf-8")
    except OSError:
        return None
