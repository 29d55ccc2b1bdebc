"""Executions of one fingerprint are one run: every step once, whatever was killed in between."""

from __future__ import annotations

from pathlib import Path

from stages.core import journal, succession
from stages.core.journal import Journal
from stages.core.log import Log


def execution(
    home: Path, first: int, last: int, resumed: int | None = None, outcome: str | None = None
) -> journal.Execution:
    """Write an execution that does some steps after `resumed`; without outcome it is killed."""
    opened = Journal.open(
        home, "pretrain", "eo", fingerprint="f" * 32, version=1, params={}, workspace=home
    )
    log = Log(sink=opened.append)
    if resumed is not None:
        curve = [("loss_nats", step, 1.0 / step) for step in range(1, resumed + 1)]
        log.resumed(resumed, curve=curve)
    for step in range(first, last + 1):
        log.metric("loss_nats", 1.0 / step, step=step)
    if outcome is None:
        opened._stop.set()
        opened._lines.close()  # the lock goes and no `end` comes
    else:
        opened.close(outcome)
    found = journal.find(home, opened.execution)
    assert found is not None
    return found


def test_superseded_steps_are_seen_once(tmp_path: Path):
    """Killed at 7 with a checkpoint at 5, again at 9 with none since, then to the end."""
    first = execution(tmp_path, 1, 7)
    second = execution(tmp_path, 6, 9, resumed=5)
    third = execution(tmp_path, 6, 12, resumed=5, outcome="ok")
    assert third.start["resumes"] == second.id
    assert [one.id for one in succession.chain(tmp_path, third)] == [
        first.id, second.id, third.id,
    ]  # fmt: skip
    whole = succession.curves(tmp_path, third)["loss_nats"]
    assert whole == [(step, 1.0 / step) for step in range(1, 13)]
    assert succession.superseded_after(tmp_path, first) == 5
    assert succession.superseded_after(tmp_path, third) is None
    told = [event["step"] for event in third.events() if event["event"] == "metric"]
    assert told == list(range(6, 13)), "a journal tells only what its own process did"


def test_without_a_checkpoint_all_of_it_is_superseded(tmp_path: Path):
    first = execution(tmp_path, 1, 3)
    second = execution(tmp_path, 1, 5, outcome="ok")
    assert succession.resumed_at(first) is None
    assert succession.resumed_at(second) == 0
    assert succession.superseded_after(tmp_path, first) == 0
    assert succession.curves(tmp_path, second)["loss_nats"][:3] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_finished_execution_is_not_gone_on_from(tmp_path: Path):
    execution(tmp_path, 1, 3, outcome="ok")
    assert execution(tmp_path, 1, 3, outcome="ok").start["resumes"] is None


def test_one_of_another_fingerprint_in_between_changes_nothing(tmp_path: Path):
    """The scratch folder keeps the checkpoint of the first while another value is tried."""
    first = execution(tmp_path, 1, 3)
    Journal.open(
        tmp_path, "pretrain", "eo", fingerprint="0" * 32, version=1, params={}, workspace=tmp_path
    ).close("ok")
    assert execution(tmp_path, 1, 3, outcome="ok").start["resumes"] == first.id


def test_what_was_done_before_is_remembered_and_not_told_again():
    events: list[dict] = []
    log = Log(sink=events.append)
    log.resumed(2, curve=[("loss_nats", 1, 3.0), ("loss_nats", 2, 2.0)])
    log.metric("loss_nats", 1.0, step=3)
    assert log.curves == {"loss_nats": [(1, 3.0), (2, 2.0), (3, 1.0)]}
    assert log.metrics == {"loss_nats": 1.0}
    assert [(e["event"], e.get("step")) for e in events] == [("resumed", 2), ("metric", 3)]


def test_a_file_called_stop_stops(tmp_path: Path):
    log = Log(scratch=tmp_path)
    assert not log.stopping
    (tmp_path / "stop").touch()
    assert log.stopping
