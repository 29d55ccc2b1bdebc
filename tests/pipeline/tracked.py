"""What tests of tracking share: journals to publish, and what the store then says."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from stages.core import tracking
from stages.core.journal import Journal
from stages.core.publisher import Publisher


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


def is_there(home: Path) -> bool:
    """Say whether the publisher has made the store, without a client that would make it too."""
    if not (home / "mlflow.db").exists():
        return False
    try:
        with closing(sqlite3.connect(f"file:{home / 'mlflow.db'}?mode=ro", uri=True)) as store:
            names = store.execute("SELECT name FROM experiments").fetchall()
    except sqlite3.OperationalError:  # no such table yet
        return False
    return ("deveno",) in names


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
