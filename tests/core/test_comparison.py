"""What a comparison tells, and what it refuses to: each difference and each obstacle planted."""

from __future__ import annotations

import json

import pytest

from stages.core import figures, journal
from stages.core.errors import CheckFailed, UnknownEntryError
from stages.core.records import Records
from tests.core.worlds import MODULE, World


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path / "world")


def test_parameters_and_documents_are_compared_through_the_ancestry(world):
    few, many = world.corpus("few", 3), world.corpus("many", 8)
    world.evaluation("x", [1, 2], corpus=few)
    world.evaluation("y", [1, 2], corpus=many)
    told = world.compare("evaluate@x", "evaluate@y")
    assert told["parameters"] == [
        {"entry": "refine@few | refine@many", "name": "minimum", "a": 3, "b": 8}
    ]
    assert told["data"] == [
        {"entry": "refine@few | refine@many", "name": "documents_kept", "a": 3, "b": 8}
    ]
    assert told["code"] == []


def test_code_tells_files_lines_and_functions_of_two_commits(world):
    world.corpus("eo", 3)
    world.git("add", "-A")
    world.git("commit", "-q", "-m", "one")
    first = world.git("rev-parse", "HEAD")
    changed = MODULE.replace("return 2", "return 3") + "\n\ndef new():\n    return 4\n"
    world.file("stages/refine/stage.py", changed)
    deps, outs = ["stages/refine/stage.py"], ["data/corpora/eo", "metrics/refine/eo.json"]
    world.entry("refine@eo", deps, {"minimum": 3}, outs)
    world.git("commit", "-q", "-a", "-m", "two")
    for a, b in ((first, "HEAD"), (f"{first}:refine@eo", "refine@eo"), ("HEAD~1", "workspace")):
        (row,) = world.compare(a, b)["code"]
        assert row["path"] == "stages/refine/stage.py"
        assert row["lines"] == {"added": 5, "removed": 1}
        assert row["functions"] == ["Net.run", "new"]
    assert world.compare("HEAD", ["HEAD~1", "refine@eo"][0])["same"]["outputs"]


def test_an_experiment_is_found_by_its_name(world):
    world.corpus("eo", 3)
    world.git("add", "-A")
    world.git("commit", "-q", "-m", "one")
    base = world.git("rev-parse", "HEAD")
    world.corpus("eo", 5)
    world.git("commit", "-q", "-a", "-m", "experiment")
    world.git("update-ref", f"refs/exps/{base[:2]}/{base[2:]}/brave-name", "HEAD")
    world.git("reset", "-q", "--hard", base)
    told = world.compare("HEAD", "brave-name")
    assert [(row["a"], row["b"]) for row in told["parameters"]] == [(3, 5)]
    assert [(row["a"], row["b"]) for row in told["data"]] == [(3, 5)], "the figures are git's"
    with pytest.raises(UnknownEntryError, match="timid-name"):
        world.compare("HEAD", "timid-name")


def test_scores_on_the_same_items_have_a_paired_interval(world):
    """One always gets one word more of two: on every resample by exactly as much."""
    world.evaluation("x", [2, 2, 1, 2] * 20)
    world.evaluation("y", [1, 1, 0, 1] * 20, seed=1)
    (row,) = world.compare("evaluate@x", "evaluate@y")["scores"]["rows"]
    assert row["difference"] == 0.5
    assert row["interval"] == [0.5, 0.5], "an unpaired interval would have a width"
    assert (row["items"], row["reversed_share"]) == (80, 0.0)
    world.evaluation("z", [2, 1, 2, 2] * 20)
    (row,) = world.compare("evaluate@x", "evaluate@z")["scores"]["rows"]
    low, high = row["interval"]
    assert low < 0 < high


def test_scores_that_do_not_compare_say_why(world):
    world.evaluation("x", [2, 1])
    world.evaluation("other", [2, 1], data="bb")
    (row,) = world.compare("evaluate@x", "evaluate@other")["scores"]["rows"]
    assert row["refused"] == "they were scored on other samples (aa and bb)"
    assert "difference" not in row
    assert figures.incomparable("beam:5|data:a", "beam:1|data:a") == (
        "they were scored in two ways (beam 5 and 1)"
    )
    assert figures.incomparable("data:a|boot:s/100|seed:1", "data:a|boot:s/9|seed:2") == ""
    (world.root / "reports/evaluate/x/units.jsonl").unlink()
    world.evaluation("x", [2, 1])
    (world.root / "reports/evaluate/x/units.jsonl").unlink()
    outs = ["metrics/evaluate/x.json", "reports/evaluate/x"]
    world.entry("evaluate@x", [], {}, outs)
    world.evaluation("y", [1, 1])
    (row,) = world.compare("evaluate@x", "evaluate@y")["scores"]["rows"]
    assert "no interval" in row["note"]


def test_two_stages_do_not_compare_and_a_commit_not_with_an_entry(world):
    world.evaluation("x", [2, 1], corpus=world.corpus("eo", 3))
    world.git("add", "-A")
    world.git("commit", "-q", "-m", "one")
    with pytest.raises(CheckFailed, match="are of two stages"):
        world.compare("evaluate@x", "refine@eo")
    with pytest.raises(CheckFailed, match="HEAD is a whole commit") as refused:
        world.compare("refine@eo", "HEAD")
    assert refused.value.todo == "write HEAD:refine@eo"
    assert len(refused.value.lines()) == 3


def test_curves_tell_where_they_part_and_how_they_end(world):
    for key, last in (("a", "0.5"), ("b", "0.25")):
        rows = f"step,loss_nats\n0,2.0\n5,1.0\n10,{last}\n"
        world.file(f"plots/pretrain/{key}.csv", rows)
        world.trained(key, outs=[f"plots/pretrain/{key}.csv"])
    curve = world.compare("pretrain@a", "pretrain@b")["curves"]
    assert (curve["parted"], curve["a"], curve["b"]) == (
        "10", {"loss_nats": "0.5"}, {"loss_nats": "0.25"},
    )  # fmt: skip
    assert world.compare("pretrain@a", "pretrain@a")["curves"]["parted"] is None


@pytest.mark.parametrize("cpu", ["same", "other"])
def test_figures_of_two_machines_do_not_compare(world, cpu):
    world.file("models/finetuned/pos/model.bin", "weights")
    for key, model in (("a", "same"), ("b", cpu)):
        metrics = world.file(f"metrics/benchmark/{key}.json", {"latency_ms": 3, "ratio": 0.5})
        world.entry(f"benchmark@{key}", ["models/finetuned/pos"],
                    {"rounds": key, "model": "finetuned/pos"}, [metrics],
                    **{"machine.yaml": {"cpu_model": model}})  # fmt: skip
    told = world.compare("benchmark@a", "benchmark@b")["metrics"]
    if cpu == "other":
        assert told == {"refused": "machine's cpu_model: same and other"}
    else:
        assert [row["name"] for row in told["rows"]] == ["ratio"]
        assert "times of two runs do not compare" in told["note"]


@pytest.mark.parametrize("cpu", ["same", "other"])
def test_cost_comes_from_the_journal_of_one_machine(world, cpu, monkeypatch):
    for key, model in (("a", "same"), ("b", cpu)):
        world.evaluation(key, [1, 2] if key == "a" else [2, 2])
        record = next(one for one in Records(world.root).all if one.entry == f"evaluate@{key}")
        monkeypatch.setattr(journal.machine, "facts", lambda model=model: {"cpu_model": model})
        opened = journal.Journal.open(
            world.root, "evaluate", key, fingerprint=record.fingerprint, version=1, params={},
            workspace=world.root,
        )  # fmt: skip
        outs = [{"path": path, "md5": md5} for path, md5 in record.outs.items()]
        opened.close("ok", outputs=outs)
    cost = world.compare("evaluate@a", "evaluate@b")["cost"]
    if cpu == "other":
        assert cost == {"refused": "they ran on two machines (cpu_model same and other)"}
    else:
        assert cost["a"]["cpu_s"] > 0
        assert "energy_wh_estimated" in cost["b"]


def test_what_is_gone_is_said_and_nothing_is_made_up(world):
    world.evaluation("x", [2, 1])
    world.evaluation("y", [2, 1, 1])
    (world.root / "metrics/evaluate/x.json").write_text("{}")
    (world.root / "reports/evaluate/y/scores.json").unlink()
    told = world.compare("evaluate@x", "evaluate@y")
    assert told["metrics"] == {"refused": "the figures of evaluate@x are gone"}
    assert told["scores"] == {"refused": "the scores of evaluate@y are gone"}
    assert json.dumps(told), "everything is JSON"
