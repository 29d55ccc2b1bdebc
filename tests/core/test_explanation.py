"""Why an entry is stale, which change came first, and why it ran: each kind of reason, planted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.core import explanation, fingerprint, journal, plan, yamlfile
from tests.core import toys
from tests.core.test_plan import edit, record

PARAMS = """
source:
  a: {text: saluton}
copy:
  b: {base: raw/a, times: 2}
  c: {base: copied/b}
gather:
  all: {}
"""


@pytest.fixture
def done(tmp_path, monkeypatch) -> Path:
    toys.install(monkeypatch)
    monkeypatch.setenv("DEVENO_TRACKING", "off")
    root = toys.workspace_at(tmp_path / "clone", PARAMS)
    record(root)
    return root


def now(root: Path, name: str) -> explanation.Now:
    return explanation.now(plan.make(root, [name]), name)


def executed(root: Path, name: str, outcome: str = "ok", **start) -> str:
    """Write the journal of an execution as the runner would; `start` replaces facts of it."""
    stage, key = name.split("@")
    recorded = fingerprint.from_lock(fingerprint.locks(root)[name])
    facts = {
        "fingerprint": fingerprint.digest(recorded),
        "version": 1,
        "params": {"base": "raw/a", "times": 2},
    }
    inputs = start.pop("inputs", recorded["deps"])
    packages = start.pop("packages", {"pydantic": "2.0"})
    lock = {**recorded, "deps": inputs, "params": {"environment.yaml": packages}}
    facts |= {"lock": lock, **start}
    opened = journal.Journal.open(root, stage, key, workspace=root, **facts)
    opened.close(outcome)
    return opened.execution


def test_a_fresh_entry_has_no_cause(done):
    found = now(done, "copy@c")
    assert (found.action, found.causes) == (plan.SKIP, [])


def test_the_first_cause_is_named_with_the_way_down(done):
    edit(done / "params.yaml", "text: saluton", "text: adiau")
    found = now(done, "copy@c")
    assert [cause.way for cause in found.causes] == [["source@a", "copy@b", "copy@c"]]
    assert found.causes[0].reasons == ["param source.a.text: saluton -> adiau"]
    assert found.reasons == ["after copy@b, whose output is not known yet"]


def test_two_causes_come_producers_first_and_own_ones_last(done):
    edit(done / "params.yaml", "text: saluton", "text: adiau")
    edit(done / "params.yaml", "c: {base: copied/b}", "c: {base: copied/b, times: 4}")
    found = now(done, "copy@c")
    assert [cause.entry for cause in found.causes] == ["source@a", "copy@c"]
    assert found.causes[1].reasons == ["param copy.c.times: absent -> 4"]


def test_a_cause_beside_the_way_is_not_named(done):
    edit(done / "params.yaml", "gather:\n  all: {}", "gather:\n  all: {}\n  more: {}")
    edit(done / "params.yaml", "c: {base: copied/b}", "c: {base: copied/b, times: 4}")
    assert now(done, "copy@b").causes == []
    assert [cause.entry for cause in now(done, "gather@all").causes] == ["copy@c", "gather@all"]


def test_an_input_that_a_restored_entry_changes_is_not_a_cause_of_its_own(done):
    """`source@a` comes back from the cache with other bytes: copy@b's input changes after it."""
    shutil.rmtree(done / "data/raw/a")
    found = now(done, "copy@b")
    assert found.action == plan.SKIP, "its input comes back as it was"
    (done / "data/raw/a").mkdir()
    (done / "data/raw/a/made.txt").write_text("damaged")
    assert now(done, "copy@b").action == plan.SKIP, "the damaged input is put right before it"
    shutil.rmtree(done / ".dvc/cache")
    found = now(done, "copy@b")
    assert [cause.entry for cause in found.causes] == ["source@a"]
    assert found.causes[0].reasons == ["data/raw/a is not what the stage made"]


def test_what_never_ran_and_what_was_only_restored_are_told_apart(done):
    found = explanation.last(done, "copy@b")
    assert (found.state, found.execution, found.made_by) == ("restored", None, None)
    (done / "dvc.lock").unlink()
    assert explanation.last(done, "copy@b").state == "never"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"params": {"base": "raw/a", "times": 3}}, "param copy.b.times: 2 -> 3"),
        ({"packages": {"pydantic": "2.1"}}, "package pydantic: 2.0 -> 2.1"),
        ({"version": 2}, "stage version: 1 -> 2"),
        ({"inputs": {"stages/copy.py": "0" * 32}}, "code stages/copy.py changed"),
        ({"inputs": {"data/raw/a": "0" * 32 + ".dir"}}, "input data/raw/a changed"),
        ({"fingerprint": "f" * 32}, "the command or another declared value changed"),
        ({}, "nothing it depends on changed: it was asked for by name"),
    ],
)
def test_why_it_ran_is_computed_from_the_last_two(done, changed, reason):
    executed(done, "copy@b")
    if "inputs" in changed:
        whole = fingerprint.from_lock(fingerprint.locks(done)["copy@b"])["deps"]
        changed = {"inputs": whole | changed["inputs"]}
    executed(done, "copy@b", **changed)
    found = explanation.last(done, "copy@b")
    assert len(found.reasons) == 1
    assert found.reasons[0].startswith(reason)


def test_the_journal_is_believed_where_it_tells_the_reasons(done):
    executed(done, "copy@b", reasons=["asked for by name"])
    found = explanation.last(done, "copy@b")
    assert (found.state, found.reasons) == ("computed", ["asked for by name"])


def test_a_resumed_execution_says_from_which(done):
    first = executed(done, "copy@b", outcome="resumable")
    executed(done, "copy@b")
    found = explanation.last(done, "copy@b")
    assert found.reasons[-1] == f"it went on from {first}, which had not ended"
    assert "ended as 'resumable'" in found.reasons[0]


def test_a_first_execution_says_so(done):
    executed(done, "copy@b")
    found = explanation.last(done, "copy@b")
    assert (found.state, found.reasons) == ("computed", ["it never ran here before"])
    assert found.made_by == found.execution.id


def test_a_restore_after_the_last_execution_names_who_made_it(done):
    """A, then B, then A from the run cache: the newest execution did not make what is here."""
    maker = executed(done, "copy@b")
    executed(done, "copy@b", fingerprint="b" * 32, params={"base": "raw/a", "times": 9})
    found = explanation.last(done, "copy@b")
    assert (found.state, found.made_by) == ("restored", maker)
    flow = journal.Journal.open_flow(done, "run", "pipeline", "toy", done)
    flow.append({"event": "restored", "entry": "copy@b"})
    flow.close("ok")
    assert explanation.last(done, "copy@b").restored_at is not None
    yaml = yamlfile.read(done / "dvc.lock")
    assert "copy@b" in yaml["stages"], "the lock is untouched"


def test_a_failed_last_execution_is_told_and_did_not_make_the_output(done):
    maker = executed(done, "copy@b")
    failed = executed(done, "copy@b", outcome="user error", fingerprint="c" * 32)
    found = explanation.last(done, "copy@b")
    assert found.execution.id == failed
    assert (found.state, found.made_by) == ("computed", maker)
