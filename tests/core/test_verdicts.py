"""Verdicts: what holds times is tempered but not excused, the first that parts, bytes verified."""

from __future__ import annotations

import json

import pytest

from stages.core import hashes, machine, registry, replica, verdicts
from stages.core.divergence import Difference
from stages.core.errors import ArtifactError, MachineError
from stages.core.holdings import Holdings, actual
from stages.core.records import Record
from stages.core.verdicts import Made, Output


def record(entry: str, deps: dict[str, str] | None = None, **outs: str) -> Record:
    """Return a record; outs are given as names under data/."""
    made = {f"data/{name}": md5 for name, md5 in outs.items()} or {"data/x": "1"}
    lock = {"cmd": entry, "deps": deps or {}, "params": {}}
    return Record(entry, lock, entry, lock["deps"], made)


def time_of(kind: str) -> Output:
    difference = Difference("latency.json", kind, "p50_ms", "3.0", "4.0", 1.0, 0.25)
    return Output("data/x", "1", "2", (difference,))


def test_a_time_that_differs_is_bound_to_the_machine_and_says_why():
    made = verdicts.judged(record("benchmark@pos"), [time_of("number")], ())
    assert made.verdict == verdicts.MACHINE_BOUND
    assert made.reason.startswith(registry.get("benchmark").machine_bound)


def test_what_holds_times_and_could_not_be_compared_says_so():
    made = verdicts.judged(record("benchmark@pos"), [Output("data/x", "1", "2", note="gone")], ())
    assert made.verdict == verdicts.MACHINE_BOUND
    assert "not compared, for the recorded bytes are gone: data/x" in made.reason
    assert "as recorded" not in made.reason


@pytest.mark.parametrize("kind", ["missing", "extra"])
def test_a_name_or_file_that_differs_is_not_excused_by_times(kind):
    made = verdicts.judged(record("benchmark@pos"), [time_of(kind)], ())
    assert made.verdict == verdicts.DIFFERENT
    assert "p50_ms" in made.reason


def test_an_output_that_was_not_made_is_not_excused_either():
    made = verdicts.judged(record("benchmark@pos"), [Output("data/x", "1", None)], ())
    assert made.verdict == verdicts.DIFFERENT
    assert "data/x was not made" in made.reason


def test_the_same_time_in_a_stage_that_holds_none_is_different():
    made = verdicts.judged(record("pretrain@eo"), [time_of("number")], ())
    assert made.verdict == verdicts.DIFFERENT


def test_only_what_parts_by_itself_is_first():
    up, down = record("refine@a"), record("encode@a", {"data/x": "1"})
    rows = {
        verdicts.key(up): Made(up, verdicts.WITHIN),
        verdicts.key(down): Made(down, verdicts.DIFFERENT, after=("refine@a",)),
    }
    found = verdicts.first([up, down], rows)
    assert found is not None
    assert found.record is up
    rows[verdicts.key(up)] = Made(up, verdicts.MACHINE_BOUND)  # explains nothing below it
    found = verdicts.first([up, down], rows)
    assert found is not None
    assert found.record is down


def test_every_stage_that_is_bound_says_why():
    bound = {name: stage.machine_bound for name, stage in registry.stages().items()}
    assert {name for name, reason in bound.items() if reason} == {"benchmark", "report"}
    assert all("machine" in reason for reason in bound.values() if reason)


def test_another_cpu_and_what_it_lacks_are_told(monkeypatch):
    facts = machine.facts()
    then = facts | {"cpu_model": "Abacus 1", "cpu_flags": [*facts["cpu_flags"], "amx_int8"]}
    monkeypatch.setattr(machine, "facts", lambda: facts | {"cpu_flags": ["avx2"]})

    class Journals:
        def execution(self, record):
            return type("Execution", (), {"start": {"machine": then}})

    told = verdicts.machines([record("refine@a"), record("refine@b")], Journals())
    assert told[0] == f"another CPU: Abacus 1 then, {facts['cpu_model']} now (refine@a, refine@b)"
    assert "amx_int8" in told[1]


@pytest.fixture
def held(tmp_path):
    """A workspace with a folder that the cache holds too."""
    folder = tmp_path / "data/x"
    folder.mkdir(parents=True)
    rows = []
    for name, text in (("a.txt", "one"), ("sub/b.txt", "two")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        md5 = actual(folder / name)
        rows.append((name, md5))
        place = tmp_path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    md5 = hashes.combined(rows, True)
    listing = tmp_path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text(json.dumps([{"md5": value, "relpath": name} for name, value in rows]))
    return tmp_path, md5


def test_recorded_bytes_come_from_the_workspace_then_the_cache_and_are_verified(held, tmp_path):
    root, md5 = held
    assert Holdings(root).copy("data/x", md5, tmp_path / "one") == "workspace"
    (root / "data/x/a.txt").write_text("damaged")
    assert Holdings(root).copy("data/x", md5, tmp_path / "two") == "cache"
    assert (tmp_path / "two/sub/b.txt").read_text() == "two"
    assert (tmp_path / "two/a.txt").stat().st_ino != (root / "data/x/a.txt").stat().st_ino
    for path in (root / ".dvc/cache/files").rglob("*"):
        if path.is_file() and path.read_text() == "one":
            path.write_text("own")
    assert Holdings(root).copy("data/x", md5, tmp_path / "three") is None
    assert not (tmp_path / "three").exists()


def test_an_empty_folder_needs_no_cache(tmp_path):
    empty = hashes.combined([], True)
    assert Holdings(tmp_path).copy("data/external", empty, tmp_path / "goal") == "cache"
    assert list((tmp_path / "goal").iterdir()) == []


def test_git_that_fails_or_is_not_there_is_told_in_three_lines(tmp_path, monkeypatch):
    with pytest.raises(ArtifactError, match="`git read-tree` failed"):
        replica.git(tmp_path, "read-tree", "HEAD")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="git does not start"):
        replica.git(tmp_path, "status")
