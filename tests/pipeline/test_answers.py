"""The look at stamps in front of `deveno run`: what it calls fresh, DVC calls fresh too."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core import fingerprint, freshness, plan, witness
from tests.pipeline import mutations

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> mutations.Project:
    return mutations.make(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def project(toy, monkeypatch) -> mutations.Project:
    toy.restore()
    monkeypatch.chdir(toy.root)
    packages = str(toy.root / "packages/lib/x-packages")
    monkeypatch.setattr(sys, "path", [*sys.path, packages])
    return toy


def test_what_a_glance_calls_fresh_dvc_calls_fresh(project, monkeypatch):
    found = mutations.rounds(project, 32, 3, monkeypatch.setattr)
    assert [one for one in found if one.wrong] == []
    kept = [one for one in found if one.glance]
    assert "aside" in {one.kind for one in kept}  # what counts for nothing changes nothing
    for one in kept:  # nor do DVC's records of earlier runs, and new files beside its objects
        beside = one.kind in ("add", "add_record") and one.target.startswith(".dvc/cache/")
        assert one.kind == "aside" or beside or one.target.startswith(".dvc/cache/runs/"), one
    assert sum(not one.fresh_in_truth for one in found) >= 8  # the mutations do change things


def test_without_ctime_an_edit_with_its_time_put_back_would_pass(project, monkeypatch):
    real = freshness.Stamps._add

    def blind(stamps, path, shown, facts):
        real(stamps, path, shown, facts)
        fields = stamps.rows[-1].split("\0")
        stamps.rows[-1] = "\0".join(fields[:4] + fields[5:])

    monkeypatch.setattr(freshness.Stamps, "_add", blind)
    monkeypatch.setattr(mutations, "KINDS", (mutations.same_size,))
    monkeypatch.setattr(mutations, "targets", lambda root: [root / "data/parts/a.txt"])
    assert [one.wrong for one in mutations.rounds(project, 1, 3, monkeypatch.setattr)] == [True]


def test_a_walk_that_trusts_folders_would_pass_a_nested_change(project, monkeypatch):
    real = freshness.Stamps._folder

    def shallow(stamps, path, shown, skipped):
        if shown.count("/") < 2:
            real(stamps, path, shown, skipped)

    monkeypatch.setattr(freshness.Stamps, "_folder", shallow)
    monkeypatch.setattr(mutations, "KINDS", (mutations.append,))
    monkeypatch.setattr(mutations, "targets", lambda root: [root / "data/own/below/b.txt"])
    assert [one.wrong for one in mutations.rounds(project, 1, 3, monkeypatch.setattr)] == [True]


def test_a_file_written_within_the_clocks_tick_is_compared_by_its_bytes(project, monkeypatch):
    path = project.root / "data/all.txt"
    stamps = freshness.Stamps(str(project.root)).workspace()
    written = path.stat().st_ctime_ns
    assert str(path) in stamps.racy(written)
    assert str(path) not in stamps.racy(written + 10**10)
    assert mutations.record(project, monkeypatch.setattr)
    record = project.root / freshness.RECORD
    body = json.loads(record.read_text())
    # The same tick: the stamps are those of now, the bytes those of another moment.
    body["racy"] = {str(path): freshness.digest(str(path))}
    record.write_text(json.dumps(body))
    assert project.glance()
    body["racy"] = {str(path): "0" * 128}
    record.write_text(json.dumps(body))
    assert not project.glance()


def test_what_dvc_does_not_call_fresh_is_never_recorded(project, monkeypatch):
    mutations.append(project.root / "data/all.txt", random.Random(1))
    assert not mutations.record(project, monkeypatch.setattr)
    assert not project.glance()


def test_an_edit_during_the_verdict_is_never_recorded(project, monkeypatch):
    monkeypatch.setattr(witness.Witness, "_fresh", lambda seen, *given: True)
    seen = witness.Witness(project.root)
    mutations.same_size(project.root / "stages/join/stage.py", random.Random(1))
    assert not seen.record([], "all fresh\n", mutations.NO_PLAN)


def test_each_question_has_its_own_answer(project, monkeypatch):
    assert mutations.record(project, monkeypatch.setattr)
    monkeypatch.setattr(witness.Witness, "_fresh", lambda seen, *given: pytest.fail("asked again"))
    assert not project.glance(("join",))
    assert witness.Witness(project.root).record(["join"], "one\n", mutations.NO_PLAN)
    answers = [freshness.answer(words, str(project.root)) for words in ([], ["join"], ["--force"])]
    assert answers == ["all fresh\n", "one\n", None]
    assert freshness.answer([], "/elsewhere") is None  # other code runs


@pytest.mark.parametrize(
    "path",
    [
        "packages/lib/x-packages/torch-2.13.0.dist-info/METADATA",
        "stages/core/run.py",
        "machine.yaml",
        "requirements.lock",
        ".dvc/config.local",
        "data/own/below/new.txt",
        "sub/dvc.yaml",
    ],
)
def test_what_decides_a_verdict_ends_it(project, monkeypatch, path):
    assert mutations.record(project, monkeypatch.setattr)
    assert project.glance()
    (project.root / path).parent.mkdir(exist_ok=True)
    with (project.root / path).open("a") as stream:
        stream.write("# more\n")
    assert not project.glance()


def test_another_setting_or_machine_ends_it(project, monkeypatch):
    assert mutations.record(project, monkeypatch.setattr)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", "/elsewhere")
        assert not project.glance()
    with monkeypatch.context() as patch:
        patch.setattr(freshness.os, "cpu_count", lambda: 1999)
        assert not project.glance()
    assert project.glance()


def test_a_lost_cache_object_ends_it(project, monkeypatch):
    assert mutations.record(project, monkeypatch.setattr)
    objects = sorted((project.root / ".dvc/cache/files/md5").rglob("*"))
    next(path for path in objects if path.is_file()).unlink()
    assert not project.glance()
    assert project.status(forgetful=False)


def test_an_out_in_a_folder_that_is_not_looked_through_is_watched(project, monkeypatch):
    text = (project.root / "dvc.yaml").read_text()
    (project.root / "dvc.yaml").write_text(
        text + "  hidden:\n    cmd: mkdir -p scratch && echo 1 > scratch/x\n    outs: [scratch/x]\n"
    )
    (project.root / ".dvcignore").write_text("/.deveno\n")
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=project.root, check=True)
    assert mutations.record(project, monkeypatch.setattr)
    assert project.glance()
    Path(project.root, "scratch/x").write_text("2\n")
    assert not project.glance()


def a_lost_object(root: Path) -> None:
    value = fingerprint.locks(root)["encode@eo"]["outs"][0]["md5"]
    (root / ".dvc/cache/files/md5" / value[:2] / value[2:]).unlink()


def an_open_object(root: Path) -> None:
    """One that DVC would read again, for it could have been changed."""
    value = fingerprint.locks(root)["encode@eo"]["outs"][0]["md5"]
    (root / ".dvc/cache/files/md5" / value[:2] / value[2:]).chmod(0o644)


def a_stage_of_ones_own(root: Path) -> None:
    with (root / "dvc.yaml").open("a") as stream:
        stream.write("  own:\n    cmd: echo 1 > own.txt\n    outs: [own.txt]\n")


def a_pipeline_below(root: Path) -> None:
    (root / "docs/dvc.yaml").write_text("stages:\n  own: {cmd: echo 1 > x, outs: [x]}\n")


def a_lost_file(root: Path) -> None:
    mutations.add_record(root / "docs/x", random.Random(1))


def ignored_outputs(root: Path) -> None:
    with (root / ".dvcignore").open("a") as stream:
        stream.write("*.json\n")


def an_edit_with_its_time_put_back(root: Path) -> None:
    path = next(path for path in sorted((root / "data/tokens").rglob("*")) if path.is_file())
    mutations.same_size(path, random.Random(1))


OBJECTIONS = (
    a_lost_object, an_open_object, a_stage_of_ones_own, a_pipeline_below, a_lost_file,
    ignored_outputs, an_edit_with_its_time_put_back,
)  # fmt: skip


@pytest.fixture(scope="module")
def copied(line, tmp_path_factory) -> Path:
    """A copy of the line's clone that may be spoilt."""
    root = tmp_path_factory.mktemp("copied") / "clone"
    shutil.copytree(line.root, root, symlinks=True)
    for out in (root / "data").rglob("*.dvc"):
        assert "d751713988987e9331980363e24189ce.dir" in out.read_text()
    witness.fill_empty(root)  # what the first run that finds all fresh does
    return root


def recorded(root: Path) -> bool:
    """Plan a workspace and try to record that all is fresh, as `deveno run` does."""
    seen = witness.Witness(root)
    return seen.record([], "all fresh\n", plan.make(root))


@pytest.mark.parametrize("spoil", OBJECTIONS)
def test_a_plan_is_recorded_only_where_dvc_agrees(copied, tmp_path, spoil):
    root = tmp_path / "clone"
    shutil.copytree(copied, root, symlinks=True)
    assert recorded(root)  # without asking DVC, and DVC agrees:
    assert mutations.Project(root, copied, tmp_path / "state").status(forgetful=False) == {}
    spoil(root)
    assert not recorded(root)


def test_when_nothing_changed_almost_nothing_is_imported(line):
    line.deveno("run")  # it may make folders that git keeps not, and then records nothing
    told = line.deveno("run").stdout
    code = (
        "import sys; from stages.cli.command import main; main(['run']);"
        "print([n for n in ('pydantic', 'ruamel', 'sqlite3', 'subprocess', 'hashlib', 'argparse')"
        " if n in sys.modules])"
    )
    assert line.run("python", "-c", code).stdout == told + "['argparse']\n"
    assert line.deveno("run", "--compare").stdout == line.deveno("run", "--compare").stdout
