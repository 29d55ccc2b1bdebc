"""MLflow dies in the middle of a whole run; `make removable` lets it die in five ways."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from benchmarks import removable, removable_project
from stages.core import tracking
from tests.pipeline.tracked import publish

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("plain_tracking")]


def test_a_run_goes_on_without_mlflow_and_all_comes_once(tmp_path, empty_store, monkeypatch):
    """The publisher is killed with a journal half published, and the store becomes junk."""
    calm = removable_project.make(tmp_path / "calm")
    struck = removable.twin(calm, tmp_path / "struck")
    calm.deveno("run")
    assert removable.disturbed(struck, "junk", empty_store) == []
    whole = removable.outputs(calm)
    assert removable.outputs(struck) == whole
    assert {"dvc.lock", "models/learnt/b/weights.json", "metrics/learn/a.json"} <= set(whole)
    counts = Counter(kind for kind, *_ in removable.stored(struck.root).elements())
    assert (counts["run"], counts["flow"], counts["model"], counts["score"]) == (3, 1, 2, 2)
    planted_faults_are_seen(struck.root, empty_store, monkeypatch)


def planted_faults_are_seen(home, empty_store, monkeypatch) -> None:
    """A publisher that looks for no run doubles it, one that sends no point or model loses it."""
    shutil.rmtree(home / ".deveno/published")
    with monkeypatch.context() as patch:
        patch.setattr(tracking.Store, "_run_with", lambda *_: None)
        publish(home)
    doubled = {row.split(": ")[0] for row in removable.faults(home)}
    assert doubled == {"too many"}
    for name in ("points", "model"):
        shutil.rmtree(home / ".deveno/published")
        shutil.copy(empty_store, home / "mlflow.db")
        with monkeypatch.context() as patch:
            patch.setattr(tracking.Store, name, lambda *_, **__: None)
            patch.setattr(tracking.Store, "link", lambda *_: None)
            publish(home)
        lost = removable.faults(home)
        assert {row.split(": ")[0] for row in lost} == {"missing"}, lost
