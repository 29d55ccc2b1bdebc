"""The rendered dvc.yaml under the real DVC: one clone, the smoke recipe, the manual's commands."""

from __future__ import annotations

import json
import shutil

import pytest

from stages.core import fingerprint, journal, plan, references
from tests.pipeline.conftest import make_clone

pytestmark = pytest.mark.tools
HASHED = ("benchmark", "report")
"""The stages whose outputs hold times."""


def test_the_line_ran_and_every_fingerprint_equals_that_of_the_lock(line):
    locks = fingerprint.locks(line.root)
    graph = references.load(line.root)
    assert set(locks) == set(graph)
    for name, entry in graph.items():
        before = journal.last(line.root, entry.stage.name, entry.key).start["fingerprint"]
        assert before == fingerprint.digest(fingerprint.from_lock(locks[name])), name


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
    assert "up to date" in line.run("dvc", "status").stdout
    shown = line.deveno("run")
    assert "nothing to run" in shown.stdout
    assert not (line.root / ".deveno/prefect").exists()


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
    planned = line.plan()
    assert {name for name, row in planned.items() if row["action"] == "restore"} == {
        "pretrain@eo", "encode@eo",
    }  # fmt: skip
    line.run("dvc", "repro")
    assert line.executions() == before
    assert (line.root / "models/pretrained/eo/model.safetensors").exists()


def test_code_that_a_stage_does_not_import_re_runs_nothing(line):
    stranger, packing = line.root / "stages/cli/trying.py", line.root / "stages/lm/packing.py"
    texts = {path: path.read_text() for path in (stranger, packing)}
    stranger.write_text(texts[stranger] + "# a comment\n")
    assert {row["action"] for row in line.plan().values()} == {"skip"}
    packing.write_text(texts[packing] + "# a comment\n")
    planned = line.plan()
    assert planned["encode@eo"]["action"] == "run"
    assert any(
        "code stages/lm/packing.py changed" in reason for reason in planned["encode@eo"]["reasons"]
    )
    assert planned["acquire@eo"]["action"] == "skip"
    assert planned["finetune@pos"]["action"] == "run"  # below the pretraining that is below it
    for path, text in texts.items():
        path.write_text(text)


def test_a_package_bump_is_named(line):
    path = line.root / "environment.yaml"
    text = path.read_text()
    path.write_text(text.replace('torch: "2', 'torch: "3'))
    planned = line.plan()
    path.write_text(text)
    assert any(reason.startswith("package torch") for reason in planned["pretrain@eo"]["reasons"])
    assert planned["acquire@eo"]["action"] == "skip"


def test_an_experiment_re_runs_exactly_the_descendants(line):
    before = line.executions()
    graph = references.load(line.root)
    line.run("dvc", "exp", "run", "-S", "pretrain.eo.learning_rate=0.002")
    ran = {name for name, count in line.executions().items() if count > before.get(name, 0)}
    assert ran == references.descendants(graph, {"pretrain@eo"})
    line.run("git", "checkout", "params.yaml")
    planned = line.plan()
    assert {row["action"] for row in planned.values()} == {"skip", "restore"}
    middle = line.executions()
    line.run("dvc", "repro")
    restored = {name for name, count in line.executions().items() if count > middle[name]}
    assert restored <= {"report@smoke"}


def test_an_experiment_in_a_copy_works_and_logs_at_home(line):
    before = line.executions()
    line.run("dvc", "exp", "run", "--temp", "-S", "evaluate.lm.seed=3")
    ran = {name for name, count in line.executions().items() if count > before[name]}
    assert ran == {"evaluate@lm", "report@smoke"}


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
    assert "up to date" in line.run("dvc", "status").stdout
    params.write_text(text)
    before = line.executions()
    line.run("dvc", "repro", "evaluate@lm")
    assert line.executions() == before


def test_deveno_run_in_parallel_makes_the_same_bytes(line, tmp_path):
    other = make_clone(tmp_path / "elsewhere" / "another clone".replace(" ", "-"), "smoke", "12345")
    other.deveno("run")
    ours, theirs = fingerprint.locks(line.root), fingerprint.locks(other.root)
    assert set(ours) == set(theirs)
    for name in ours:
        if name.split("@")[0] not in HASHED:
            assert ours[name]["outs"] == theirs[name]["outs"], name
