"""`deveno run`: one progress line per long stage, this run's own errors, and nothing when fresh."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import pytest

from flows.walk import Result
from stages.cli import running
from stages.core import canonical, journal, plan, workspace
from stages.core.errors import DevenoError
from tests.pipeline.bad_material import holds, three_lines


class Terminal(io.StringIO):
    def isatty(self):
        return True


def watched(tmp_path, monkeypatch, stream, every_s, patience_s=10.0):
    """Show two stages that run at once, one of them with progress; return what was printed."""
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(running, "PLAIN_EVERY_S", every_s)
    opened = journal.Journal.open(
        tmp_path, "pretrain", "eo", fingerprint="f", version=1, params={}, workspace=tmp_path
    )
    display = running.Display(tmp_path, 3)
    display.event("pretrain@eo", "started")
    display.event("refine@pos", "started")
    opened.append({"event": "progress", "done": 250, "total": 900, "unit": "steps"})
    with display:
        for _ in range(int(patience_s / 0.05)):
            if "250/900" in stream.getvalue():
                break
            display.stop.wait(0.05)
        display.event("pretrain@eo", "done")
        display.event("refine@pos", "failed", "no document is left")
    opened.close("ok")
    return stream.getvalue()


def test_without_a_terminal_progress_is_plain_lines(tmp_path, monkeypatch):
    shown = watched(tmp_path, monkeypatch, io.StringIO(), 0.0)
    assert "\x1b" not in shown
    assert "\r" not in shown
    rows = [row.split(" ", 1)[1] for row in shown.splitlines()]
    assert rows[:2] == ["start pretrain@eo", "start refine@pos"]
    assert set(rows[2:-2]) == {"pretrain@eo [##........] 250/900 steps"}
    assert rows[-2].startswith("done pretrain@eo in ")
    assert rows[-2].endswith(" s  [1/3]")
    assert rows[-1].endswith(" s: no document is left  [2/3]")


def test_without_a_terminal_progress_is_rare(tmp_path, monkeypatch):
    assert running.PLAIN_EVERY_S >= 10
    shown = watched(tmp_path, monkeypatch, io.StringIO(), running.PLAIN_EVERY_S, patience_s=1.5)
    assert "250/900" not in shown


def test_on_a_terminal_one_bar_is_drawn_in_place(tmp_path, monkeypatch):
    shown = watched(tmp_path, monkeypatch, Terminal(), 15.0)
    assert "\r\x1b[Kpretrain@eo [##........] 250/900 steps" in shown
    bars = [row for row in shown.split("\n") if row.endswith("steps")]
    assert not bars, "the bar never scrolls: the next line begins by clearing it"
    assert shown.split("\n")[-2].startswith("\r\x1b[K") or "\r\x1b[K0" in shown


def test_a_bar_never_wraps(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "39")
    shown = watched(tmp_path, monkeypatch, Terminal(), 15.0)
    assert "\r\x1b[Kpretrain@eo [##........] 250/900 steps" in shown
    monkeypatch.setenv("COLUMNS", "30")
    shown = watched(tmp_path, monkeypatch, Terminal(), 15.0, patience_s=1.5)
    assert "\r\x1b[Kpretrain@eo [##........] 250/" in shown
    assert "250/900" not in shown


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (0, 10, "[..........] 0/10"),
        (5, 10, "[#####.....] 5/10"),
        (12, 10, "[##########] 12/10"),
        (7, None, "7"),
    ],
)
def test_a_bar_of_ten_places(done, total, text):
    assert running.bar(done, total) == text


LINES = ["error: wrong", "where: params.yaml: count.quick", "do: mend it"]


@pytest.fixture
def ended(tmp_path, monkeypatch, capsys):
    """Let a run of count@quick end as told; return (exit code, what stderr got)."""
    entry = SimpleNamespace(stage=SimpleNamespace(name="count"), key="quick")
    step = plan.Step(entry, plan.RUN)
    step.entry.name = "count@quick"
    made = plan.Plan(tmp_path, {"count@quick": entry}, {"count@quick": step})

    def run(result, during=lambda: None):
        def pipeline(root, made, on_event, force, remote):
            during()
            return {"count@quick": result}

        monkeypatch.setattr("flows.session.run_pipeline", pipeline)
        code = running._run(tmp_path, made, set())
        return code, capsys.readouterr().err

    return run


def leave(root, status, what):
    """Leave what an execution of count@quick leaves."""
    opened = journal.Journal.open(
        root, "count", "quick", fingerprint="f", version=1, params={}, workspace=root
    )
    error = {"what": what, "where": "over there", "do": "do this"}
    path = workspace.scratch(root, "count", "f") / "outcome.json"
    canonical.write_json(path, {"status": status, "error": error})
    opened.close(status)


def test_the_three_lines_of_the_entry_are_shown_alone(ended):
    code, err = ended(Result("failed", LINES[0], error=LINES))
    assert (code, err) == (2, "\n".join(LINES) + "\n")


@pytest.mark.parametrize(
    ("status", "expected"), [("user error", 2), ("resumable", 75), ("crash", 1)]
)
def test_the_exit_code_is_that_of_the_outcome(ended, tmp_path, status, expected):
    code, err = ended(Result("failed", "x"), lambda: leave(tmp_path, status, "it went wrong"))
    assert code == expected
    holds(three_lines(err), "it went wrong", "over there", "do this")


def test_an_outcome_of_an_earlier_run_is_not_told_again(ended, tmp_path):
    leave(tmp_path, "crash", "long ago")
    code, err = ended(Result("failed", "dvc said no"))
    assert code == 2
    holds(three_lines(err), "count@quick failed", "dvc said no", "deveno logs count@quick")


def test_a_run_with_nothing_to_do_starts_no_server_and_no_dvc(project, monkeypatch):
    """Every entry of an empty params.yaml is fresh; a `dvc` or server would be seen as a file."""
    path = project.root / "params.yaml"
    before = path.read_bytes()
    path.write_text("count: {}\nnap: {}\nbenchmark: {}\n", encoding="utf-8")
    try:
        shown = project.deveno("run")
    finally:
        path.write_bytes(before)
    assert shown.stdout == "everything is fresh: 0 entries, nothing to run\n"
    assert not (project.root / ".deveno/servers").exists()
    assert not (project.root / ".deveno/flows").exists()


def test_run_refuses_when_the_disk_is_too_small(project):
    huge = {"path": "data/naps/quick", "size_bytes": 10**16}
    rows = [
        {"event": "start", "execution": "nap@quick/x", "fingerprint": "f", "time": 1},
        {"event": "end", "outcome": "ok", "durations": {}, "outputs": [huge]},
    ]
    folder = project.root / ".deveno/journal/nap@quick"
    folder.mkdir(parents=True)
    path = folder / "20990101T000000.000000Z-1.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        for verb in ("plan", "run"):
            shown = project.deveno(verb, "nap@quick", check=False)
            assert shown.returncode == 2
            told = three_lines(shown.stderr)
            holds(told, "and the plan needs about 24000000000 MB", "1 entries", "free some space")
    finally:
        path.unlink()
    assert not (project.root / "data/naps/quick").exists()


def test_down_when_nothing_is_up(project):
    assert project.deveno("down").stdout == "nothing was up\n"


def test_an_error_can_be_made_again_as_another_process_would():
    import copy

    error = copy.copy(DevenoError("a", "b", "c"))  # by __reduce_ex__, as between processes
    assert error.lines() == ["error: a", "where: b", "do: c"]
