"""A flipped byte anywhere: found, named with whom it concerns, put aside, and made again.

A throw-away project with a chain of three entries under the real DVC. Every flip keeps size and
time, so that neither DVC nor our planner can see it without reading.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import textwrap
from pathlib import Path

import pytest

from flows.walk import Step, Walk
from stages.core import fingerprint, hashes, integrity, plan, taint, yamlfile
from tests.pipeline import naps
from tests.pipeline.conftest import Clone

pytestmark = pytest.mark.tools
WORD = '''
    """A stage that writes two files."""

    from pathlib import Path

    from stages.core.declare import Params, stage
    from stages.core.log import Log


    class WordParams(Params):
        """What to write, after whom."""

        text: str = "unu"
        """The text."""
        after: str = "none"
        """The word before, such as `words/a`."""


    @stage(
        version=1, reads={"before": "data/${item.after}"}, writes={"word": "data/words/${key}"},
        curves=("loss_nats",),
    )
    def word(params: WordParams, before: Path, word: Path, log: Log) -> None:
        """Write."""
        earlier = [path.read_text() for path in sorted(before.glob("*.txt"))]
        word.mkdir()
        (word / "one.txt").write_text(params.text * 50)
        (word / "two.txt").write_text("".join(earlier) + params.text)
        log.metric("loss_nats", 1.5, step=1)
'''
RECIPE = """
    # Three words, each after another.
    nap:
      z: {}
    word:
      a: {}
      b: {after: words/a, text: du}
      c: {after: words/b, text: tri}
"""
CHAIN = ("word@a", "word@b", "word@c")
SOURCE = "data/external/own.txt"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Clone:
    """The chain, made by plain `dvc repro`, beside a file of the user's own."""
    clone = naps.make(tmp_path_factory.mktemp("integrity") / "clone")
    texts = {
        "stages/word/__init__.py": '"""Words."""\n',
        "stages/word/stage.py": WORD,
        "stages/recipes/words.yaml": RECIPE,
        SOURCE: "propra teksto\n",
    }
    for name, text in texts.items():
        (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
        (clone.root / name).write_text(textwrap.dedent(text).lstrip("\n"))
    clone.deveno("use", "words", "--force")
    clone.run("dvc", "add", "-q", "data/external")
    # Entries of another value: what the run cache alone knows of.
    params = (clone.root / "params.yaml").read_text()
    (clone.root / "params.yaml").write_text(params.replace("text: du", "text: alia"))
    clone.run("dvc", "repro", "-q", "word@b")
    (clone.root / "params.yaml").write_text(params)
    clone.run("dvc", "repro", "-q")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-q", "-m", "made")
    return clone


def flip(path: Path) -> None:
    """Change one byte and nothing else that shows, as a disk does: no stamp, the change time's too.

    That one cannot be set, so what is remembered of the file is moved to it.
    """
    facts = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as stream:
        stream.write(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    for home in path.parents:
        store = home / ".deveno" / "hashes.db"
        if store.is_file():
            with contextlib.closing(sqlite3.connect(store)) as opened:
                change = (path.stat().st_ctime_ns, str(path))
                opened.execute("UPDATE stamped SET ctime=? WHERE path=?", change)
                opened.commit()
            break


def object_of(clone: Clone, path: str) -> Path:
    """Return the cache object of an output, or of a file in one."""
    cache = plan.cache_folder(clone.root)
    for recorded in fingerprint.locks(clone.root).values():
        for out, oid in plan.outs(recorded).items():
            if path == out:
                return plan.object_path(cache, oid)
            if path.startswith(out + "/"):
                value = plan.members(cache, oid)[path.removeprefix(out + "/")]
                return plan.object_path(cache, value)
    raise AssertionError(path)


def state(clone: Clone) -> dict[str, str]:
    """Return the real hash of everything that dvc.lock records, remembered by nobody."""
    found = {}
    for recorded in fingerprint.locks(clone.root).values():
        for out in plan.outs(recorded):
            target = clone.root / out
            rows = hashes.files(target) if target.is_dir() else [("", target)]
            values = [(name, integrity.digests([path])[path]) for name, path in rows]
            found[out] = hashes.combined(values, target.is_dir())
    return found


def whole(clone: Clone) -> bool:
    """Return whether the workspace is as recorded and the cache sound."""
    recorded = {
        out: oid
        for lock in fingerprint.locks(clone.root).values()
        for out, oid in plan.outs(lock).items()
    }
    sound = not integrity.Reading(clone.root).damages()
    return state(clone) == recorded and sound


def run(clone: Clone, *names: str) -> dict[str, str]:
    """Run entries as `deveno run` walks them, without its Prefect server; return the states."""
    steps = [Step(name, upstream=names[:at][-1:]) for at, name in enumerate(names)]
    return {name: result.state for name, result in Walk(clone.root, steps).walk_alone().items()}


def doctor(clone: Clone) -> str:
    shown = clone.deveno("doctor", "--deep", check=False)
    assert shown.returncode == 2, shown.stdout + shown.stderr
    assert shown.stderr == ""
    return shown.stdout


def test_a_sound_project_is_called_sound(project):
    shown = project.deveno("doctor", "--deep")
    assert "all as recorded" in shown.stdout
    assert "FAIL" not in shown.stdout


def test_every_damaged_file_is_named_with_all_whom_it_concerns(project):
    """Cache, run cache, list, output, metric, plot, own file: eight flips, eight reports."""
    record = next(
        path
        for path in integrity.records(plan.cache_folder(project.root))
        if "execute word b" in path.read_text() and "alia" in path.read_text()
    )
    made = plan.outs(yamlfile.plain(yamlfile.read(record)))
    earlier = plan.object_path(plan.cache_folder(project.root), made["data/words/b"])
    kept = {path: path.read_bytes() for path in (record, earlier)}
    places = [
        project.root / "data/words/a/two.txt",
        project.root / "metrics/word/b.json",
        project.root / "plots/word/c.csv",
        project.root / SOURCE,
        object_of(project, "data/words/a/one.txt"),
        object_of(project, "data/words/c"),
        record,
        earlier,
    ]
    for path in places:
        flip(path)
    assert all(row["action"] == "skip" for row in project.plan().values())  # nothing shows it
    told = doctor(project)
    for path in places:
        assert str(path.relative_to(project.root)) in told, path
    assert told.count("FAIL  bytes") == len(places)
    rows = told.split("FAIL  bytes")
    damaged = next(row for row in rows if "data/words/a/two.txt" in row)
    assert "made by word@a; read by word@b, word@c" in damaged
    assert "word@b (an earlier run)" not in damaged  # word@b reads it now too
    old = next(row for row in rows if str(earlier.relative_to(project.root)) in row)
    assert "made by word@b (an earlier run)" in old
    steps = project.plan()
    assert [steps[name]["action"] for name in CHAIN] == ["restore", "restore", "restore"]
    assert "data/words/a is not what the stage made" in steps["word@a"]["reasons"]
    assert set(run(project, *CHAIN).values()) == {"restored"}
    remedy = "dvc checkout --force data/external.dvc"
    assert f"do: `{remedy}`" in told
    project.run(*remedy.split())
    for path, data in kept.items():  # what an earlier run made has nobody to make it again
        assert not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(integrity.PROTECTED)
    assert whole(project)


def test_the_cache_gets_back_what_the_workspace_still_has(project):
    places = [object_of(project, "data/words/b/one.txt"), object_of(project, "data/words/b")]
    for path in places:
        flip(path)
    assert doctor(project).count("it is whole again") == 2
    assert whole(project)
    assert all(row["action"] == "skip" for row in project.plan().values())
    assert all(oct(path.stat().st_mode)[-3:] == "444" for path in places)


def test_damage_in_cache_and_workspace_is_computed_again_by_dvc_too(project):
    """As where both are one file (hard links): nothing good is left, so the stage runs."""
    before = state(project)
    flip(object_of(project, "data/words/b/two.txt"))
    flip(project.root / "data/words/b/two.txt")
    doctor(project)
    steps = project.plan()
    assert [steps[name]["action"] for name in CHAIN] == ["skip", "run", "run"]
    shown = project.run("dvc", "repro")
    assert "Running stage 'word@b'" in shown.stdout
    assert "Running stage 'word@c'" not in shown.stdout
    assert state(project) == before
    assert whole(project)


def test_what_dvc_restores_from_a_damaged_cache_is_not_accepted(project):
    """Without any doctor: the walk reads what DVC restored, and lets it be made again."""
    before = state(project)
    outs = ("data/words/a", "data/words/b", "metrics/word/c.json")
    places = {
        object_of(project, "data/words/a"): b"\x00",  # no list of a folder any more
        object_of(project, "data/words/b"): b'[{"md5": "0',  # still one, of another file
        object_of(project, "data/words/b/two.txt"): b"?",
        object_of(project, "metrics/word/c.json"): b"?",
    }
    good = {place: place.read_bytes() for place in places}
    for place, first in places.items():
        place.write_bytes(first + good[place][len(first) :])
    for out in outs:
        target = project.root / out
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    assert project.plan()["word@a"]["action"] == "run"  # and no traceback
    # The metrics of all three are the same bytes: word@a, made again, gave them back to word@c.
    assert run(project, *CHAIN) == {"word@a": "done", "word@b": "done", "word@c": "restored"}
    assert state(project) == before
    assert {place: place.read_bytes() for place in places} == good
    assert whole(project)


def test_dvc_alone_restores_a_damaged_object_as_good(project):
    """The planted fault itself: were this to fail, the test above would prove nothing."""
    place = object_of(project, "data/words/b/one.txt")
    before = state(project)
    flip(place)
    shutil.rmtree(project.root / "data/words/b")
    assert "is cached" in project.run("dvc", "repro", "word@b").stdout
    assert state(project) != before
    doctor(project)
    assert run(project, "word@b")["word@b"] == "done"
    assert whole(project)


def test_a_stage_refuses_an_input_that_changed_without_a_trace(project):
    before = state(project)
    flip(project.root / "data/words/a/two.txt")
    shown = project.run("dvc", "repro", "-s", "-f", "word@b", check=False)
    told = [line for line in shown.stderr.splitlines() if line.startswith(("error:", "do:"))]
    assert "data/words/a/two.txt is damaged" in told[0]
    assert "deveno run word@b" in told[1]
    assert project.plan()["word@a"]["action"] == "restore"
    assert set(run(project, "word@a", "word@b").values()) == {"restored"}
    assert state(project) == before
    assert whole(project)


def test_looking_changes_nothing(project):
    place = project.root / "data/words/a/two.txt"
    flip(place)
    before = place.stat()
    shown = project.deveno("doctor", "--deep", "--look", check=False)
    assert shown.returncode == 2
    assert "data/words/a/two.txt" in shown.stdout
    assert place.stat().st_mtime_ns == before.st_mtime_ns
    doctor(project)
    run(project, "word@a")
    assert whole(project)


def test_linked_outputs_and_cache_are_one_file_and_both_are_made_again(project):
    project.run("dvc", "config", "--local", "cache.type", "hardlink,copy")
    project.run("dvc", "checkout", "--relink", "-q")
    place = project.root / "data/words/b/two.txt"
    assert place.stat().st_nlink == 2
    before = state(project)
    place.chmod(0o644)
    flip(place)
    place.chmod(integrity.PROTECTED)
    told = doctor(project)
    assert told.count("FAIL  bytes") == 2
    assert run(project, "word@b")["word@b"] == "done"
    assert state(project) == before
    assert whole(project)
    (project.root / ".dvc/config.local").unlink()
    assert "up to date" in project.run("dvc", "status").stdout


def test_taint_follows_what_was_made_of_it_through_earlier_runs(project):
    tracer = taint.Tracer(project.root)
    oid = json.loads(object_of(project, "data/words/a").read_bytes())[0]["md5"]
    found = tracer.of(oid)
    assert found.makers == ("word@a",)
    assert found.readers == ("word@b", "word@c")
