"""The rendered dvc.yaml under the real DVC: one clone, the smoke recipe, the manual's commands."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.core import (
    dvcfile,
    fingerprint,
    journal,
    plan,
    references,
    yamlfile,
)
from tests.pipeline.conftest import make_clone
from tests.pipeline.tracked import all_published, curve, runs, wait_for

pytestmark = [pytest.mark.tools, pytest.mark.usefixtures("plain_tracking")]
TIMED = ("benchmark", "report")
"""The stages whose outputs hold times."""
NOTICE = """
import os, sys
with open(os.environ["NOTICED"], "a") as stream:
    stream.write(" ".join(sys.orig_argv) + chr(10))
"""
"""A sitecustomize by which every Python process says that it began."""


def test_the_line_ran_and_every_fingerprint_equals_that_of_the_lock(line):
    locks = fingerprint.locks(line.root)
    graph = references.load(line.root)
    assert set(locks) == set(graph)
    for name, entry in graph.items():
        before = journal.last(line.root, entry.stage.name, entry.key).start["fingerprint"]
        assert before == fingerprint.digest(fingerprint.from_lock(locks[name])), name
        now = fingerprint.Fingerprints(line.root).of(entry)
        assert now == before, name


def test_no_stage_changed_what_another_made(line):
    """What each consumer found is what the producer left, for every pair of entries."""
    locks = fingerprint.locks(line.root)
    made = {path: md5 for lock in locks.values() for path, md5 in plan.outs(lock).items()}
    found = [
        (path, md5)
        for lock in locks.values()
        for path, md5 in fingerprint.from_lock(lock)["deps"].items()
        if path in made
    ]
    assert len(found) >= 20
    assert [path for path, md5 in found if made[path] != md5] == []


def test_every_stage_wrote_exactly_what_it_declares(line):
    declared = [path for lock in fingerprint.locks(line.root).values() for path in plan.outs(lock)]
    tracked = set(line.run("git", "ls-files").stdout.splitlines())
    stray = []
    for folder in ("data", "models", "reports", "metrics", "plots"):
        for path in (line.root / folder).rglob("*"):
            name = path.relative_to(line.root).as_posix()
            inside = any(name == out or name.startswith(out + "/") for out in declared)
            if path.is_file() and not inside and name not in tracked:
                stray.append(name)
    assert stray == []
    assert all((line.root / out).exists() for out in declared)


def test_nothing_is_left_to_do(line):
    assert {row["action"] for row in line.plan().values()} == {"skip"}
    assert "up to date" in line.run("dvc", "repro").stdout
    assert "up to date" in line.run("dvc", "status", "dvc.yaml").stdout


def test_with_nothing_to_run_no_other_process_starts(line, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NOTICE)
    noted = tmp_path / "noted.txt"
    extra = {"PYTHONPATH": str(tmp_path), "NOTICED": str(noted), "DEVENO_TRACKING": "on"}
    before = line.executions()
    shown = line.deveno("run", **extra)
    assert "nothing to run" in shown.stdout
    (only,) = noted.read_text().splitlines()  # itself: no server, no dvc, no publisher
    assert only.endswith("-m stages run")
    assert not (line.root / ".deveno/prefect").exists()
    assert line.executions() == before
    noted.unlink()
    shutil.rmtree(line.root / "data/corpora/pairs")
    line.run("dvc", "repro", "-s", "refine@pairs", **extra)  # and it would have been noticed
    assert "dvc repro -s refine@pairs" in noted.read_text()


def test_a_plan_takes_under_a_second_of_cpu(line):
    code = (
        "import time; from pathlib import Path; from stages.core import plan;"
        "plan.make(Path.cwd());"
        "print(time.process_time())"
    )
    best = min(float(line.run("python", "-c", code).stdout) for _ in range(2))
    assert best < 1.0


def test_our_graph_is_dvcs(line):
    code = (
        "import json; from dvc.repo import Repo; g=Repo('.').index.graph;"
        "print(json.dumps(sorted([a.name, b.name] for a, b in g.edges)))"
    )
    theirs = {tuple(edge) for edge in json.loads(line.run("python", "-c", code).stdout)}
    graph = references.load(line.root)
    assert theirs == {(name, up) for name, entry in graph.items() for up in entry.upstream}


def test_dag_metrics_and_plots_are_shown(line):
    assert "pretrain@eo" in line.run("dvc", "dag", "--dot").stdout
    shown = json.loads(line.run("dvc", "metrics", "show", "--json").stdout)
    assert any("accuracy" in json.dumps(files) for files in shown.values())
    line.run("dvc", "plots", "show", "-o", "dvc_plots")
    assert "plots/pretrain/eo.csv" in (line.root / "dvc_plots/index.html").read_text()


def test_a_deleted_output_comes_back_without_computing(line):
    before = line.executions()
    shutil.rmtree(line.root / "models/pretrained/eo")
    shutil.rmtree(line.root / "data/tokens/eo")
    shutil.rmtree(line.root / "reports/evaluate/lm")
    gone = {"pretrain@eo", "encode@eo", "evaluate@lm"}
    actions = {name: row["action"] for name, row in line.plan().items()}
    assert actions == {name: "restore" if name in gone else "skip" for name in actions}
    line.run("dvc", "repro")
    assert line.executions() == before
    assert (line.root / "models/pretrained/eo/model.safetensors").exists()


@contextlib.contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """Change a file for a while."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        path.write_text(text)


def test_a_comment_where_a_stage_does_not_import_re_runs_nothing(line):
    docstring = '"""'
    with edited(line.root / "stages/cli/trying.py", docstring, f"# a comment\n{docstring}"):
        assert {row["action"] for row in line.plan().values()} == {"skip"}
        assert "up to date" in line.run("dvc", "status", "dvc.yaml").stdout
    graph = references.load(line.root)
    with edited(line.root / "stages/lm/packing.py", docstring, f"# a comment\n{docstring}"):
        planned = line.plan()
    reason = "code stages/lm/packing.py changed"
    changed = {name for name, row in planned.items() if reason in row["reasons"]}
    closures = {name: body["deps"] for name, body in dvcfile.instances(line.root).items()}
    assert changed == {
        name for name in graph if "stages/lm/packing.py" in closures[name.split("@")[0]]
    }
    assert {"encode@eo", "pretrain@eo"} <= changed
    stale = {name for name, row in planned.items() if row["action"] == "run"}
    assert stale == references.descendants(graph, changed)
    assert planned["acquire@eo"]["action"] == "skip"


def test_a_package_bump_is_named(line):
    with edited(line.root / "environment.yaml", 'torch: "2', 'torch: "3'):
        planned = line.plan()
    assert any(reason.startswith("package torch") for reason in planned["pretrain@eo"]["reasons"])
    assert planned["acquire@eo"]["action"] == "skip"


def test_an_experiment_re_runs_exactly_the_descendants(line):
    before = line.executions()
    graph = references.load(line.root)
    line.run("dvc", "exp", "run", "-S", "pretrain.eo.learning_rate=0.002")
    ran = {name for name, count in line.executions().items() if count > before.get(name, 0)}
    assert ran == references.descendants(graph, {"pretrain@eo"})
    written = yamlfile.plain(yamlfile.read(line.root / "params.yaml"))
    assert written["pretrain"]["eo"]["learning_rate"] == 0.002
    line.run("python", "-c", (
        "from pathlib import Path; from stages.core import recipes, yamlfile;"
        "read = yamlfile.plain(yamlfile.read(Path('params.yaml')));"
        "assert recipes.complete(read, 'params.yaml') == read"
    ))  # fmt: skip
    line.run("git", "checkout", "params.yaml")
    planned = line.plan()
    assert {row["action"] for row in planned.values()} == {"skip", "restore"}
    middle = line.executions()
    line.run("dvc", "repro")
    restored = {name for name, count in line.executions().items() if count > middle[name]}
    assert restored <= {"report@smoke"}


def test_an_experiment_in_a_copy_works_and_logs_at_home(line):
    """The copy is deleted when it ends; the journal and the run in MLflow are at home."""
    before = line.executions()
    line.run("dvc", "exp", "run", "--temp", "-S", "evaluate.lm.seed=3", DEVENO_TRACKING="on")
    ran = {name for name, count in line.executions().items() if count > before[name]}
    assert ran == {"evaluate@lm", "report@smoke"}
    wait_for(lambda: all_published(line.root), 90)
    (scored,) = [r for r in runs(line.root) if r.data.tags.get("deveno.dvc_experiment")
                 and r.info.run_name == "evaluate@lm"
                 and r.data.params["seed"] == "3"]  # fmt: skip
    assert scored.info.status == "FINISHED"
    assert sorted(line.root.rglob("mlflow.db")) == [line.root / "mlflow.db"]


def test_two_pretraining_runs_compare_in_mlflow(line):
    """After the experiments above, as `mlflow ui` in the root shows them."""
    first, second = runs(line.root, "attributes.run_name = 'pretrain@eo'")
    differing = {
        name: (value, second.data.params.get(name))
        for name, value in first.data.params.items()
        if second.data.params.get(name) != value
    }
    assert set(first.data.params) == set(second.data.params)
    assert list(differing) == ["learning_rate"]
    assert differing["learning_rate"][1] == "0.002"
    curves = [curve(line.root, run, "loss_nats") for run in (first, second)]
    assert [step for step, _ in curves[0]] == [step for step, _ in curves[1]]
    assert len(curves[0]) > 3
    assert curves[0] != curves[1]
    for run in (first, second):
        assert run.info.status == "FINISHED"
        assert run.data.metrics["system/rss_mib"] > 50
        assert "system/cpu_percent" in run.data.metrics


def test_a_removed_entry_leaves_no_orphan(line):
    params = line.root / "params.yaml"
    text = params.read_text()
    line.run("python", "-c", (
        "from stages.core import yamlfile; from pathlib import Path; p=Path('params.yaml');"
        "d=yamlfile.read(p); del d['evaluate']['lm']; yamlfile.write(p, d)"
    ))  # fmt: skip
    line.deveno("run")
    assert not (line.root / "reports/evaluate/lm").exists()
    assert "evaluate@lm" not in fingerprint.locks(line.root)
    assert "up to date" in line.run("dvc", "status", "dvc.yaml").stdout
    params.write_text(text)
    before = line.executions()
    line.run("dvc", "repro", "evaluate@lm")
    assert line.executions() == before
    line.run("dvc", "repro")  # the page that lists it again
    after = line.executions()
    assert {name for name in after if after[name] > before[name]} <= {"report@smoke"}


def comparable(lock: dict, timed: set[str]) -> dict:
    """Return an entry of dvc.lock without the hashes of what holds times."""
    kept = fingerprint.from_lock(lock)
    kept["deps"] = {path: md5 for path, md5 in kept["deps"].items() if path not in timed}
    return {**kept, "outs": {p: md5 for p, md5 in plan.outs(lock).items() if p not in timed}}


def test_deveno_run_in_parallel_makes_the_same_bytes(line, tmp_path):
    """Another folder, another hash seed, in parallel under Prefect: every hash of dvc.lock."""
    other = make_clone(tmp_path / "elsewhere" / "another-clone", "smoke", "12345", line.root)
    other.deveno("run")
    ours, theirs = fingerprint.locks(line.root), fingerprint.locks(other.root)
    assert set(ours) == set(theirs)
    timed = {path for name, lock in ours.items() for path in plan.outs(lock)
             if name.split("@")[0] in TIMED}  # fmt: skip
    timed |= {"reports/benchmark", "metrics/benchmark"}  # the folders that hold them
    for name in ours:
        assert comparable(ours[name], timed) == comparable(theirs[name], timed), name
    assert "up to date" in other.run("dvc", "repro").stdout
    other.deveno("publish", str(other.root), DEVENO_TRACKING="on")
    (flow,) = runs(other.root, "tags.`deveno.flow` = 'true'")
    below = runs(other.root, f"tags.`mlflow.parentRunId` = '{flow.info.run_id}'")
    assert {run.info.run_name for run in below} == set(ours)
    assert {run.info.status for run in [flow, *below]} == {"FINISHED"}
