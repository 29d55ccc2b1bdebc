"""Verbs that look (list, show, plan, logs, doctor) or write what is derived (use, sync)."""

from __future__ import annotations

import json
import time

import pytest

from stages.cli import inspection
from stages.core import journal, plan
from tests.pipeline.bad_material import holds, three_lines


def execute(project, name):
    return project.deveno("execute", *name.split("@"))


def test_list_names_stages_recipes_and_the_state_of_entries(project):
    shown = project.deveno("list").stdout
    assert "  count      Count." in shown
    assert "* counting  Counting, quickly and slowly." in shown
    assert "  slow      A nap that nobody waits for." in shown
    row = next(row for row in shown.splitlines() if row.strip().startswith("nap@after"))
    assert row.split() == ["nap@after", "to", "run", "data/naps/after"]


def test_list_without_params_still_names_the_recipes(project):
    kept = (project.root / "params.yaml").read_bytes()
    (project.root / "params.yaml").unlink()
    try:
        shown = project.deveno("list").stdout
    finally:
        (project.root / "params.yaml").write_bytes(kept)
    assert "counting" in shown
    assert "ENTRIES" not in shown


def test_show_tells_types_bounds_defaults_and_choices(root):
    from stages.cli.description import describe
    from stages.core import registry

    rows = {
        row.split(":")[0].strip(): row for row in describe(registry.get("pretrain")).split("\n")
    }
    assert "learning_rate: number > 0 <= 1, default 0.001  " in rows["learning_rate"]
    assert 'schedule: "cosine" | "linear" | "constant", default "cosine"' in rows["schedule"]
    assert "tokens: text  The encode entry" in rows["tokens"], "what has no default must be given"
    assert "probes: list of text, default []" in rows["probes"]
    shown = describe(registry.get("acquire"))
    assert "      with kind: url\n" in shown
    assert "          path: text  Path below the base address" in shown, "models in lists too"
    assert "licence: text or null, default null" in shown


def test_show_takes_a_stage_an_entry_or_a_unique_key(project):
    assert "steps: integer, default 3  Steps." in project.deveno("show", "count").stdout
    by_name = project.deveno("show", "nap@after").stdout
    assert "  reads   data/naps/quick" in by_name
    assert "  writes  data/naps/after" in by_name
    assert project.deveno("show", "after").stdout == by_name
    ambiguous = project.deveno("show", "quick", check=False)
    assert ambiguous.returncode == 2
    told = three_lines(ambiguous.stderr)
    holds(told, "2 entries are called 'quick'", "count@quick, nap@quick", "write the stage too")


def test_show_tells_the_last_run(project):
    execute(project, "count@quick")
    assert "last run: ok, fingerprint " in project.deveno("show", "count@quick").stdout


def test_plan_gives_time_memory_and_disk_from_past_runs(project):
    before = project.deveno("plan", "nap@quick").stdout
    assert "nothing ran here before, so time and memory are not known" in before
    execute(project, "count@quick")  # by hand: DVC does not know of it
    row, *_, last = project.deveno("plan", "count@quick").stdout.splitlines()[1:]
    assert row.split()[:3] == ["count@quick", "run", "it"]
    size = (project.root / "data/counts/quick/steps.txt").stat().st_size
    assert last.startswith("1 to run: about ")
    assert last.endswith(f"MiB at most, {size / 1e6:.1f} MB of outputs")
    both = project.deveno("plan", "count@quick", "nap@quick").stdout.splitlines()[-1]
    assert both.endswith("(without 1 that never ran here)")


def test_plan_as_json_follows_staleness_down(project):
    rows = {row["entry"]: row for row in json.loads(project.deveno("plan", "--json").stdout)}
    assert list(rows) == ["count@quick", "count@slow", "nap@quick", "nap@after"]
    assert rows["nap@quick"]["reasons"] == ["it never ran here"]
    assert "after nap@quick, whose output is not known yet" in rows["nap@after"]["reasons"]
    assert rows["nap@after"]["fingerprint"] is None


def test_expected_adds_what_past_runs_cost():
    def step(action, usage):
        return plan.Step(None, action, usage=usage)

    def usage(wall_s, peak, size):
        return journal.Usage(0, "f", wall_s, 1.0, peak, size)

    steps = {
        "a": step(plan.RUN, usage(10, 300, 2_000_000)),
        "b": step(plan.RUN, usage(5, 700, 1_500_000)),
        "c": step(plan.RUN, None),
        "d": step(plan.SKIP, usage(99, 9999, 10**9)),
    }
    assert inspection.expected(plan.Plan(None, {}, steps)) == (
        "3 to run: about 15 s in sequence, 700 MiB at most, 3.5 MB of outputs"
        " (without 1 that never ran here)"
    )


def test_logs_show_the_last_execution(project):
    execute(project, "count@quick")
    shown = project.deveno("logs", "count@quick").stdout.splitlines()
    assert "started count@quick/" in shown[0]
    assert any("loss_nats = 0.333333 step 2" in row for row in shown)
    assert "counted" in shown
    assert "ended: ok, " in shown[-2]
    assert shown[-1] == "outcome: ok"


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def test_logs_follow_a_run_and_tell_of_its_death(project, started):
    stage = started("execute", "count", "slow")
    wait_for(lambda: journal.last(project.root, "count", "slow"))
    running = project.deveno("logs", "count@slow").stdout
    assert running.splitlines()[-1] == "outcome: running"
    follower = started("logs", "count@slow", "--follow")
    first = next(row for row in follower.stdout if "loss_nats" in row)
    later = next(row for row in follower.stdout if "loss_nats" in row)
    assert first != later, "lines come while it runs"
    assert stage.poll() is None
    stage.kill()
    rest, errors = follower.communicate(timeout=30)
    assert rest.splitlines()[-1] == "outcome: interrupted"
    assert follower.returncode == 0
    assert errors == ""
    after = project.deveno("logs", "count@slow").stdout
    assert after.splitlines()[-1] == "outcome: interrupted"
    assert "loss_nats" in after
    assert not (project.root / "data/counts/slow").exists()
    assert not list((project.root / "data").rglob("*.tmp"))


@pytest.mark.parametrize("planted", ["", "version: 1"])
def test_doctor_finds_generated_files_out_of_step(project, planted):
    path = project.root / "dvc.yaml"
    before = path.read_text(encoding="utf-8")
    try:
        if planted:
            path.write_text(before.replace(planted, "version: 9"), encoding="utf-8")
        shown = project.deveno("doctor", check=False)
    finally:
        path.write_text(before, encoding="utf-8")
    assert shown.returncode == (2 if planted else 0)
    assert ("FAIL  generated files" in shown.stdout) is bool(planted)
    assert "ok    packages: " in shown.stdout
    assert "GB free" in shown.stdout


def test_use_keeps_a_copy_of_changes_and_sync_is_idle_after_it(project):
    path = project.root / "params.yaml"
    before = path.read_text(encoding="utf-8")
    mine = before.replace("steps: 3", "steps: 4")
    assert mine != before
    try:
        path.write_text(mine, encoding="utf-8")
        refused = project.deveno("use", "quick", check=False)
        assert refused.returncode == 2
        holds(three_lines(refused.stderr), "not committed", "params.yaml", "--force")
        assert path.read_text(encoding="utf-8") == mine
        shown = project.deveno("use", "quick", "--force").stdout
        assert "kept your params.yaml as params.1.yaml.kept" in shown
        assert (project.root / "params.1.yaml.kept").read_text(encoding="utf-8") == mine
        path.write_text(mine.replace("steps: 4", "steps: 5"), encoding="utf-8")
        project.deveno("use", "quick", "--force")
        kept = sorted(one.name for one in project.root.glob("*.kept"))
        assert kept == ["params.1.yaml.kept", "params.2.yaml.kept"], "no copy is overwritten"
        project.deveno("use", "counting")  # a recipe as it is holds nothing to lose
        assert path.read_text(encoding="utf-8") == before
        assert project.deveno("sync").stdout == "everything was in step\n"
    finally:
        path.write_text(before, encoding="utf-8")
        for copy in project.root.glob("*.kept"):
            copy.unlink()
