"""The planner: what it says of each change and how far it carries it; and which orphans go."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from stages.core import fingerprint, journal, machine, plan, prune, references, yamlfile
from stages.core.errors import MachineError
from stages.core.fingerprint import Fingerprints
from stages.core.hashes import Hashes
from tests.core import toys

PARAMS = """
source:
  a: {text: saluton}
  other: {text: adiau}
copy:
  b: {base: raw/a, times: 2}
  c: {base: copied/b}
gather:
  all: {}
"""


def record(root: Path) -> None:
    """Do what DVC does after running everything: write dvc.lock and keep outputs in the cache."""
    graph = references.load(root)
    stages = {}
    for name, entry in graph.items():
        for path in entry.writes.values():
            (root / path).mkdir(parents=True, exist_ok=True)
            (root / path / "made.txt").write_text(f"{name} {entry.item}")
        lock = Fingerprints(root).complete(entry)
        known = Hashes(root)
        outs = [{"path": path, "md5": known.of(path)} for path in entry.writes.values()]
        stages[name] = {
            "cmd": lock["cmd"],
            "deps": [{"path": path, "md5": md5} for path, md5 in lock["deps"].items()],
            "params": lock["params"],
            "outs": outs,
        }
        for row in outs:
            rows = known.rows(row["path"])
            listed = [{"md5": md5, "relpath": name} for name, md5 in rows]
            texts = {md5: (root / row["path"] / name).read_text() for name, md5 in rows}
            for md5, text in {**texts, row["md5"]: json.dumps(listed)}.items():
                kept = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(text)
    yamlfile.write(root / "dvc.lock", {"schema": "2.0", "stages": stages})


@pytest.fixture
def done(tmp_path, monkeypatch) -> Path:
    toys.install(monkeypatch)
    root = toys.workspace_at(tmp_path / "clone", PARAMS)
    text = (root / "dvc.yaml").read_text()
    old = "params: ['source.${key}']"
    new = "params: ['source.${key}', {environment.yaml: [pydantic]}]"
    (root / "dvc.yaml").write_text(text.replace(old, new))
    record(root)
    return root


def actions(root: Path, **options) -> dict[str, str]:
    return {name: step.action for name, step in plan.make(root, **options).steps.items()}


def reasons(root: Path) -> dict[str, list[str]]:
    return {name: step.reasons for name, step in plan.make(root).steps.items()}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


ALL = {"source@a", "source@other", "copy@b", "copy@c", "gather@all"}


def test_what_is_recorded_is_skipped(done):
    assert actions(done) == dict.fromkeys(ALL, plan.SKIP)


@pytest.mark.parametrize(
    ("file", "old", "new", "named", "reason", "stale"),
    [
        ("params.yaml", "saluton", "ho", "source@a",
         "param source.a.text: saluton -> ho", {"source@a", "copy@b", "copy@c", "gather@all"}),
        ("params.yaml", "times: 2", "times: 3", "copy@b",
         "param copy.b.times: 2 -> 3", {"copy@b", "copy@c", "gather@all"}),
        ("stages/copy.py", "# code", "# other", "copy@b", "code stages/copy.py changed", ALL),
        ("environment.yaml", '"0"', '"1"', "source@other", "package pydantic: 0 -> 1", ALL),
        ("data/raw/other/made.txt", "source", "x", "source@other",
         "data/raw/other is not what the stage made", set()),
        ("dvc.yaml", "execute copy ${key}", "execute copy ${key} -v", "copy@c",
         "the command changed", {"copy@b", "copy@c", "gather@all"}),
    ],
)  # fmt: skip
def test_each_change_is_named_and_carried_to_what_stands_on_it(
    done, file, old, new, named, reason, stale
):
    edit(done / file, old, new)
    assert reason in reasons(done)[named]
    assert {name for name, action in actions(done).items() if action == plan.RUN} == stale


def test_a_descendant_says_whose_output_it_waits_for(done):
    edit(done / "params.yaml", "times: 2", "times: 3")
    waits = "after copy@b, whose output is not known yet"
    assert reasons(done)["copy@c"] == [waits]
    edit(done / "params.yaml", "base: copied/b", "base: copied/b, times: 5")
    assert reasons(done)["copy@c"] == ["param copy.c.times: absent -> 5", waits]


def test_a_deleted_output_may_be_restored_only_if_the_cache_has_it(done):
    shutil.rmtree(done / "data/copied/b")
    assert actions(done) == dict.fromkeys(ALL, plan.SKIP) | {"copy@b": plan.RESTORE}
    shutil.rmtree(done / ".dvc/cache/files")
    assert actions(done)["copy@b"] == plan.RUN
    assert reasons(done)["copy@b"] == ["data/copied/b is not there"]


@pytest.mark.parametrize("fault", ["file", "list", "half"])
def test_an_output_of_which_the_cache_lacks_a_file_or_the_list_must_run(done, fault):
    oid = next(md5 for md5 in plan.outs(fingerprint.locks(done)["copy@b"]).values())
    shutil.rmtree(done / "data/copied/b")
    rows = plan.members(done / ".dvc/cache", oid)
    where = plan.object_path(done / ".dvc/cache", rows["made.txt"] if fault == "file" else oid)
    where.write_text("[{") if fault == "half" else where.unlink()
    assert actions(done)["copy@b"] == plan.RUN


def test_targets_bring_what_they_stand_on_and_force_is_a_reason(done):
    assert set(actions(done, targets=["copy@b"])) == {"source@a", "copy@b"}
    forced = actions(done, force=frozenset({"copy@b"}))
    assert {name for name, action in forced.items() if action == plan.RUN} == {
        "copy@b", "copy@c", "gather@all",
    }  # fmt: skip


def test_a_frozen_stage_is_left_alone_unless_its_output_is_gone(done):
    edit(done / "params.yaml", "saluton", "ho")
    old = "  copy:\n    foreach: ${copy}\n    do:\n"
    edit(done / "dvc.yaml", old, old + "      frozen: true\n")
    assert actions(done) == dict.fromkeys(ALL, plan.SKIP) | {"source@a": plan.RUN}
    assert reasons(done)["copy@b"] == ["it is frozen in dvc.yaml"]
    shutil.rmtree(done / "data/copied/b")
    assert actions(done)["copy@b"] == plan.RESTORE


def test_figures_of_another_machine_are_stale_and_planning_writes_nothing(done, monkeypatch):
    edit(done / "dvc.yaml", "['gather.${key}', copy]",
         "['gather.${key}', copy, {machine.yaml: [cpu]}]")  # fmt: skip
    machine.refresh(done)
    text = (done / "machine.yaml").read_text()
    record(done)
    assert actions(done) == dict.fromkeys(ALL, plan.SKIP)
    cpu = machine.facts()["cpu_model"]
    monkeypatch.setattr(machine, "_cpu", lambda: ("Other CPU", ["avx2"]))
    assert reasons(done)["gather@all"] == [f"machine cpu: {cpu} -> Other CPU"]
    assert actions(done)["copy@b"] == plan.SKIP
    assert (done / "machine.yaml").read_text() == text


def test_a_short_disk_is_refused_before_anything_runs(done, monkeypatch):
    opened = journal.Journal.open(
        done, "copy", "b", fingerprint="f", version=1, params={}, workspace=done
    )
    row = {"path": "data/copied/b", "md5": "x", "size_bytes": 10**9}
    opened.close("ok", outputs=[row])
    edit(done / "params.yaml", "times: 2", "times: 3")
    disk = namedtuple("disk", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(0, 0, 3 * 10**9))
    plan.make(done).check_disk()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk(0, 0, 2 * 10**9))
    with pytest.raises(MachineError, match="2000 MB free and the plan needs about 2400 MB"):
        plan.make(done).check_disk()


def test_an_orphan_goes_if_the_cache_has_it_and_no_living_entry_makes_the_same(done):
    edit(done / "params.yaml", "  other: {text: adiau}\n", "")
    graph = references.load(done)
    assert prune.orphans(done, graph) == ["source@other"]
    assert prune.prune(done, graph) == ["source@other"]
    assert not (done / "data/raw/other").exists()
    assert set(fingerprint.locks(done)) == ALL - {"source@other"}
    assert list(fingerprint.locks(done)) == sorted(ALL - {"source@other"})
    assert prune.prune(done, graph) == []


def test_an_orphan_that_could_not_be_restored_is_kept(done):
    edit(done / "params.yaml", "  other: {text: adiau}\n", "")
    shutil.rmtree(done / ".dvc/cache/files")
    assert prune.prune(done, references.load(done)) == []
    assert (done / "data/raw/other/made.txt").exists()
    assert "source@other" in fingerprint.locks(done)
