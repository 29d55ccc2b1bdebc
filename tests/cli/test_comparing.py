"""Verbs that say why and what differs: explain, compare."""

from __future__ import annotations

import json

from tests.pipeline.bad_material import three_lines


def test_explain_tells_now_and_the_last_time(project):
    project.deveno("execute", "count", "quick")
    shown = project.deveno("explain", "count@quick").stdout
    assert "count@quick is stale, it will run" in shown
    assert "it never ran here" in shown, "plain `execute` records nothing in dvc.lock"
    assert "last time it ran: " in shown
    project.deveno("execute", "count", "quick")
    told = json.loads(project.deveno("explain", "count@quick", "--json").stdout)
    assert told["last"]["outcome"] == "ok"
    assert told["last"]["reasons"]
    assert told["now"]["causes"][0]["way"] == ["count@quick"]


def test_explain_refuses_what_no_entry_is(project):
    failed = project.deveno("explain", "count@quikc", check=False)
    assert failed.returncode == 2
    assert "did you mean count@quick" in three_lines(failed.stderr)[2]


def test_compare_refuses_in_three_lines(project):
    failed = project.deveno("compare", "count@quick", "nothing@here", check=False)
    assert failed.returncode == 2
    three_lines(failed.stderr)
