"""`deveno gc`: what is needed stays, the lineage of what goes stays too, and nothing else happens.

The chain of words of test_integrity, made many times over with other values, under the real DVC.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
import textwrap
import time
from pathlib import Path

import pytest

from stages.core import fingerprint, integrity, lockfiles, plan, room, tracking, yamlfile
from stages.core.records import Records
from tests.pipeline import naps
from tests.pipeline.conftest import Clone
from tests.pipeline.test_integrity import RECIPE, WORD, state

pytestmark = pytest.mark.tools
VALUES = ("tagged", "bundled", "old", "older", "branch", "new", "du")
"""What word@b wrote, in this order; the last is in force."""


def write(clone: Clone, text: str) -> None:
    """Make word@b with another text."""
    params = clone.root / "params.yaml"
    values = yamlfile.plain(yamlfile.read(params))
    values["word"]["b"]["text"] = text
    yamlfile.write(params, values)
    clone.run("dvc", "repro", "-q", "-s", "word@b")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Clone:
    clone = naps.make(tmp_path_factory.mktemp("room") / "clone")
    texts = {
        "stages/word/__init__.py": '"""Words."""\n',
        "stages/word/stage.py": WORD,
        "stages/recipes/words.yaml": RECIPE,
    }
    for name, text in texts.items():
        (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
        (clone.root / name).write_text(textwrap.dedent(text).lstrip("\n"))
    clone.deveno("use", "words", "--force")
    clone.run("dvc", "repro", "-q", "nap@z", "word@a")
    for text in VALUES:
        write(clone, text)
        if text == "tagged":
            clone.run("git", "add", "-A")
            clone.run("git", "commit", "-q", "-m", text)
            clone.run("git", "tag", "v1")
        if text == "bundled":
            (clone.root / "bundles/one").mkdir(parents=True)
            shutil.copy(clone.root / "dvc.lock", clone.root / "bundles/one/dvc.lock")
        if text == "branch":
            clone.run("git", "checkout", "-q", "-b", "side")
            clone.run("git", "commit", "-q", "-a", "-m", text)
            clone.run("git", "checkout", "-q", "main")
    clone.run("dvc", "repro", "-q")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-q", "-m", "in force")
    for path, _ in integrity.objects(plan.cache_folder(clone.root)):
        os.utime(path, (0, 0))  # as of long ago: nothing is young
    return clone


def made(clone: Clone) -> dict[str, str]:
    """Return the hash of what word@b made by the text it wrote, from the run cache."""
    found = {}
    for _, text in lockfiles.run_cache(plan.cache_folder(clone.root)):
        if text.fields[0].endswith("execute word b"):
            value = text.params["params.yaml"]["word.b"]["text"]
            found[value] = text.fields[2]["data/words/b"]
    return found


def is_whole(clone: Clone, oid: str) -> bool:
    cache = plan.cache_folder(clone.root)
    rows = plan.members(cache, oid)
    return rows is not None and all(
        plan.object_path(cache, value).exists() for value in rows.values()
    )


def test_gc_removes_what_it_says_and_nothing_that_is_needed(project):
    known = made(project)
    assert set(known) == set(VALUES)
    before = state(project)
    status = project.run("dvc", "status").stdout
    running = project.root / "scratch/word/0123"
    dead = project.root / "scratch/word/4567"
    for folder in (running, dead):
        folder.mkdir(parents=True)
        (folder / "checkpoint.bin").write_bytes(b"\0" * 5000)
    for folder in ("rebuilds/left", "worktrees/one", "worktrees/two"):
        (project.root / ".deveno" / folder).mkdir(parents=True)
        (project.root / ".deveno" / folder / "big.bin").write_bytes(b"\0" * 7000)
    os.utime(project.root / ".deveno/worktrees/one", (1, 1))
    shared = plan.outs(fingerprint.locks(project.root)["word@a"])["data/words/a"]
    dry = project.deveno("gc", "--keep", "1", "--dry-run").stdout
    assert is_whole(project, known["older"])
    assert dead.exists()
    with (running / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        dry = project.deveno("gc", "--keep", "1", "--dry-run").stdout
        real = project.deveno("gc", "--keep", "1").stdout
        again = project.deveno("gc", "--keep", "1").stdout
    assert real.splitlines()[:-1] == dry.splitlines()[:-1]
    assert real.splitlines()[-1] == dry.splitlines()[-1].replace("would go", "gone")
    assert again.strip() == "0 gone, 0.0 MB"
    whole = {text for text, oid in known.items() if is_whole(project, oid)}
    assert whole == {"tagged", "bundled", "branch", "du"}
    assert is_whole(project, shared)
    assert (running / "checkpoint.bin").exists()
    assert not dead.exists()
    assert not (project.root / ".deveno/rebuilds/left").exists()
    assert not (project.root / ".deveno/worktrees/one").exists()
    assert (project.root / ".deveno/worktrees/two").exists()
    assert "scratch/word/4567" in real
    assert "data/words/b/two.txt of word@b" in real
    assert state(project) == before
    assert project.run("dvc", "status").stdout == status
    assert not integrity.Reading(project.root).damages()


def test_what_went_is_still_known_and_can_be_made_again(project):
    """Runs after gc: the record of a removed making tells its parameters and its inputs."""
    kept = sorted(path.name for path in (project.root / ".deveno/records").glob("word@b-*.lock"))
    assert len(kept) == 3  # old, older, new
    records = Records(project.root)
    removed = [one for one in records.by_entry["word@b"] if one.values.get("text") == "older"]
    assert removed
    assert all(records.maker(path, md5) for one in removed for path, md5 in one.outs.items())
    assert [one.entry for one in records.ancestry(removed[0])] == ["word@a", "word@b"]
    oid = removed[0].outs["data/words/b"]
    told = json.loads(project.deveno("lineage", oid, "--json").stdout)
    assert "older" in json.dumps(told)
    write(project, "older")
    assert plan.outs(fingerprint.locks(project.root)["word@b"])["data/words/b"] == oid
    write(project, "du")


def test_what_a_tag_alone_holds_goes_with_the_tag(project):
    """Teeth: the same call would remove the bytes once the ref that names them is gone."""
    oid = made(project)["branch"]
    place = plan.object_path(plan.cache_folder(project.root), oid)
    named = place.relative_to(project.root).as_posix()
    assert named not in {one.path for one in room.Room(project.root, 1).items()}
    project.run("git", "branch", "-m", "side", "kept")
    assert named not in {one.path for one in room.Room(project.root, 1).items()}
    commit = project.run("git", "rev-parse", "kept").stdout.strip()
    project.run("git", "branch", "-D", "kept")
    assert named in {one.path for one in room.Room(project.root, 1).items()}
    project.run("git", "tag", "v2", commit)
    assert named not in {one.path for one in room.Room(project.root, 1).items()}


def test_keep_counts_makings_of_every_entry(project):
    needs = room.Room(project.root, 100)
    assert [one for one in needs.items() if one.kind in ("cache", "run cache")] == []


def test_a_young_object_that_nothing_records_may_be_one_that_dvc_is_saving(project):
    cache = plan.cache_folder(project.root)
    place = plan.object_path(cache, "00" + "1" * 30)
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"half")
    kinds = {one.path for one in room.Room(project.root, 1).items()}
    assert place.relative_to(project.root).as_posix() not in kinds
    os.utime(place, (time.time() - 2 * room.YOUNG_S,) * 2)
    rows = {one.path: one for one in room.Room(project.root, 1).items()}
    assert rows[place.relative_to(project.root).as_posix()].whose == "nothing records it"
    place.unlink()


def test_a_cache_that_others_may_use_is_left_alone(project, tmp_path):
    project.run("dvc", "config", "--local", "cache.dir", str(tmp_path / "shared"))
    shown = project.deveno("gc", "--dry-run")
    assert "others may use it" in shown.stderr
    assert "  .dvc/cache" not in shown.stdout
    Path(project.root / ".dvc/config.local").unlink()


def test_nothing_is_removed_while_dvc_works(project, monkeypatch):
    monkeypatch.setattr(room, "PATIENCE_S", 0.3)
    with (project.root / ".dvc/tmp/lock").open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(Exception, match="another DVC process"), room.alone(project.root):
            raise AssertionError("not reached")
    with room.alone(project.root):
        pass


def test_keeping_nothing_is_refused(project):
    shown = project.deveno("gc", "--keep", "0", check=False)
    assert shown.returncode == 2
    assert len(shown.stderr.splitlines()) == 3


def test_mlflow_keeps_the_newest_runs_of_every_entry_and_what_is_needed(home, plain_tracking):
    store = tracking.Store(home)
    runs = {}
    for number in range(4):
        for entry in ("word@a", "word@b"):
            start = {
                "execution": f"{entry}/{number}", "stage": "word", "key": entry[-1],
                "fingerprint": f"{entry}{number}", "time": 1000.0 + number,
            }  # fmt: skip
            runs[entry, number] = store.execution(start)
            store.text(runs[entry, number], "texts_a.txt", "teksto" * 100)
            if (entry, number) != ("word@b", 0):  # that one still runs
                store.finish(runs[entry, number], "ok", 1001.0 + number)
    found = tracking.expired(home, 2, {"word@a0"})
    assert {run for run, _, _ in found} == {runs["word@a", 1], runs["word@b", 1]}
    assert {name for _, name, _ in found} == {"word@a", "word@b"}
    assert all(size == 600 for _, _, size in found)
    tracking.erase(home, [run for run, _, _ in found])
    left = {str(run.info.run_id) for run in store.client.search_runs([store.experiment])}
    assert left == set(runs.values()) - {run for run, _, _ in found}
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (6,)
    assert tracking.expired(home, 2, {"word@a0"}) == []


def test_a_store_that_was_never_made_is_not_made_for_gc(tmp_path, plain_tracking):
    assert tracking.expired(tmp_path, 1, set()) == []
    assert not (tmp_path / "mlflow.db").exists()
