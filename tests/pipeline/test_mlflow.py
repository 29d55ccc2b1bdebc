"""What MLflow says of an execution: parameters, curves, status, parents, models and scores."""

from __future__ import annotations

import time

import pytest

from stages.core import publisher, tracking
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


def test_a_final_value_lies_at_the_end_of_its_curve_however_the_journal_is_cut(home, monkeypatch):
    monkeypatch.setattr(publisher, "CHUNK_BYTES", 200)
    opened = Journal.open(
        home, "pretrain", "eo", fingerprint="f", version=1, params={}, workspace=home
    )
    for step in (10, 20):
        row = {"event": "metric", "name": "valid_loss_nats", "value": 30.0 / step, "step": step}
        opened.append(row)
    time.sleep(0.01)  # of two values at one step MLflow calls the later one the latest
    opened.append({"event": "metric", "name": "valid_loss_nats", "value": 1.25, "step": None})
    opened.append({"event": "metric", "name": "train_tokens", "value": 7, "step": None})
    opened.close("ok")
    publish(home)
    (run,) = runs(home)
    assert curve(home, run, "valid_loss_nats") == [(10, 3.0), (20, 1.25), (20, 1.5)]
    assert run.data.metrics["valid_loss_nats"] == 1.25
    assert curve(home, run, "train_tokens") == [(0, 7.0)]


def test_runs_and_models_are_found_by_fingerprint_also_when_a_score_came_first(home):
    model = {"path": "models/finetuned/pos", "md5": "0123.dir", "size_bytes": 10}
    inputs = {"deps": {"models/finetuned/pos": "0123.dir"}}
    run_entry(home, stage="evaluate", key="pos", params={"model": "finetuned/pos"}, lock=inputs)
    publish(home)
    run_entry(home, stage="finetune", key="pos", outputs=[model], fingerprint="abcd")
    run_entry(home, stage="export", key="pos", fingerprint="ef", params={"format": "onnx"},
              outputs=[{"path": "models/exported/pos", "md5": "4567.dir"}])  # fmt: skip
    publish(home)
    experiment = client(home).get_experiment_by_name("deveno")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    quoted = """tags."deveno.fingerprint" = 'abcd'"""  # MLflow's search of models knows no quotes
    assert [run.info.run_name for run in runs(home, quoted)] == ["finetune@pos"]
    wanted = "tags.`deveno.fingerprint` = '{}'"
    assert [run.info.run_name for run in runs(home, wanted.format("abcd"))] == ["finetune@pos"]

    def model_of(fingerprint: str):
        ids = [experiment.experiment_id]
        (found,) = client(home).search_logged_models(ids, wanted.format(fingerprint))
        return found

    late, made = model_of("abcd"), model_of("ef")
    assert (late.name, late.tags["deveno.stage"]) == ("finetuned-pos", "finetune")
    assert {metric.key for metric in late.metrics} == {"loss_nats", "accuracy_fraction"}
    assert made.params == {"format": "onnx"}
    assert made.tags["mlflow.source.name"] == "stages/export/stage.py"
    assert not {"mlflow.source.git.branch", "mlflow.source.git.repoURL"} & set(made.tags)
    # No bytes of it: only the few lines by which MLflow could register it.
    kept = [path for path in (home / "mlartifacts").rglob("*") if path.is_file()]
    assert {path.name for path in kept if "models" in path.parts} <= {"MLmodel"}


def test_a_run_and_an_experiment_look_alike(home, monkeypatch):
    with monkeypatch.context() as flow:
        flow.setenv("DEVENO_FLOW_RUN", "run-1")
        flow.setenv("DEVENO_RECIPE", "smoke")
        run_entry(home, params={"learning_rate": 1e-3}, recipe="smoke")
    with monkeypatch.context() as experiment:
        experiment.setenv("DVC_EXP_NAME", "gummy-pica")
        run_entry(home, params={"learning_rate": 2e-3}, recipe="smoke")
    publish(home)
    (first,) = runs(home, "tags.`deveno.flow_run` = 'run-1' AND tags.`deveno.stage` = 'pretrain'")
    (second,) = runs(home, "tags.`deveno.dvc_experiment` = 'gummy-pica'")
    assert first.info.run_name == second.info.run_name == "pretrain@eo"
    assert set(first.data.params) == set(second.data.params)
    assert set(first.data.metrics) == set(second.data.metrics)
    assert second.data.tags["deveno.recipe"] == "smoke"
    assert set(first.data.tags) ^ set(second.data.tags) == {
        "deveno.flow_run", "mlflow.parentRunId", "deveno.dvc_experiment",
    }  # fmt: skip


def test_what_a_run_used_is_there_and_energy_says_that_it_is_an_estimate(home, monkeypatch):
    monkeypatch.setenv("DEVENO_CORE_WATTS", "36")
    run_entry(home)
    publish(home)
    (run,) = runs(home)
    cost = {name: value for name, value in run.data.metrics.items() if name.startswith("cost/")}
    assert cost["cost/energy_wh_estimated"] == pytest.approx(cost["cost/cpu_s"] / 100, rel=0.1)
    assert run.data.tags["deveno.energy_formula"].startswith("CPU seconds x 36 W")
    old = {"durations": {"cpu_s": 100.0}}  # a journal from before energy was noted
    assert publisher.costs(old) == {"cpu_s": 100.0, "energy_wh_estimated": 1.0}
