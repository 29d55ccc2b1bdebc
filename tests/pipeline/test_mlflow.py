"""What MLflow says of an execution: parameters, curves, status, parents, models and scores."""

from __future__ import annotations

import pytest

from stages.core import tracking
from stages.core.journal import Journal
from stages.core.publisher import Publisher
from tests.pipeline.tracked import client, curve, publish, run_entry, runs

pytestmark = pytest.mark.usefixtures("plain_tracking")


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
        opened.flush()
        assert one.step()
        (run,) = runs(home)
        assert run.info.status == "RUNNING"
        assert len(curve(home, run)) == step + 1
    opened.close("ok")
    assert not one.step()
    assert runs(home)[0].info.status == "FINISHED"


def test_an_execution_that_ends_while_it_is_published_is_finished(home, monkeypatch):
    """The first one of a run: it may well end while MLflow is being imported."""
    opened = Journal.open(
        home, "pretrain", "eo", fingerprint="f", version=1, params={}, workspace=home
    )
    real = tracking.Store.execution

    def slowly(store, start):
        opened.close("ok", outputs=[{"path": "models/pretrained/eo", "md5": "1.dir"}])
        return real(store, start)

    monkeypatch.setattr(tracking.Store, "execution", slowly)
    publish(home)
    (run,) = runs(home)
    assert run.info.status == "FINISHED"
    assert run.data.tags["deveno.outcome"] == "ok"


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


def test_an_interrupted_execution_is_closed_and_the_next_says_what_it_resumes(home):
    opened = Journal.open(
        home, "pretrain", "eo", fingerprint="f", version=1, params={}, workspace=home
    )
    opened._lines.close()  # the lock goes and no `end` comes, as with a kill
    run_entry(home, fingerprint="f")
    publish(home)
    broken, resumed = runs(home)
    assert broken.data.tags["deveno.outcome"] == "interrupted"
    assert broken.info.status == "FAILED"
    assert resumed.data.tags["deveno.resumes"] == broken.data.tags["deveno.execution"]


def test_a_resumed_run_shows_every_step_once(home):
    """The killed child keeps what it sent live, marked; its unsent steps are never sent."""
    opened = Journal.open(
        home, "pretrain", "eo", fingerprint="f", version=1, params={}, workspace=home
    )
    for step in (1, 2, 3):
        opened.append({"event": "metric", "name": "loss_nats", "value": 1.0 / step, "step": step})
    opened.flush()
    Publisher(home).step()  # live
    opened.append({"event": "metric", "name": "loss_nats", "value": 0.25, "step": 4})
    opened._lines.close()  # the lock goes and no `end` comes, as with a kill
    again = Journal.open(
        home, "pretrain", "eo", fingerprint="f", version=1, params={}, workspace=home
    )
    again.append({"event": "resumed", "step": 2, "unit": "steps"})
    for step in (3, 4, 5):
        again.append({"event": "metric", "name": "loss_nats", "value": 1.0 / step, "step": step})
    again.close("ok")
    publish(home)
    broken, resumed = runs(home)
    assert broken.data.tags["deveno.superseded_after_step"] == "2"
    assert resumed.data.tags["deveno.resumed_at_step"] == "2"
    assert resumed.data.tags["deveno.resumes"] == broken.data.tags["deveno.execution"]
    assert [step for step, _ in curve(home, broken)] == [1, 2, 3]
    limit = int(broken.data.tags["deveno.superseded_after_step"])
    joined = [point for point in curve(home, broken) if point[0] <= limit] + curve(home, resumed)
    assert joined == [(step, 1.0 / step) for step in (1, 2, 3, 4, 5)]


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
    lock = {"deps": {"models/finetuned/pos": "0123.dir"}}
    run_entry(home, stage="evaluate", key="pos", params={"model": "finetuned/pos"}, lock=lock)
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
