"""Ratios, scores and figures of one machine: where they stand side by side and where they do not.

Per rule a planted pair that would be compared wrongly, and a control that must compare.
"""

from __future__ import annotations

import pytest

from stages.cli import command
from stages.core import figures, terms
from tests.core.worlds import World, compared, metric


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path / "world")


def test_ratios_of_exports_belong_to_one_parent(world):
    for key in ("pos", "ner"):
        world.material(f"models/finetuned/{key}", model__bin=key)
    for key, model, ratio in (("a", "pos", 0.3), ("b", "pos", 1.0), ("c", "ner", 0.3)):
        figures = {"size_bytes": 10, "size_ratio_to_fp32": ratio}
        metrics = world.file(f"metrics/export/{key}.json", figures)
        values = {"model": f"finetuned/{model}", "quantize": {"kind": key}, "task": "auto"}
        world.entry(f"export@{key}", [f"models/finetuned/{model}"], values, [metrics])
    assert compared(metric(world.compare("export@a", "export@b"), "size_ratio_to_fp32"))
    told = world.compare("export@a", "export@c")
    refused = metric(told, "size_ratio_to_fp32")["refused"]
    assert refused.startswith("share of: models/finetuned/pos (")
    assert " and models/finetuned/ner (" in refused
    assert metric(told, "size_bytes") == {"name": "size_bytes", "a": 10, "b": 10}
    values = {"model": "finetuned/pos", "task": "features"}
    world.entry("export@c", ["models/finetuned/pos"], values, [metrics])
    told = world.compare("export@a", "export@c")
    assert metric(told, "size_ratio_to_fp32")["refused"] == "task: auto and features"


@pytest.mark.parametrize(
    ("b", "why"),
    [
        ({"rounds": 9, "second": "exported/x"}, ""),
        ({"batches": [1, 8]}, "batches: [1] and [1,8]"),
        ({"lengths": [64]}, "lengths: [16] and [64]"),
        ({"threads_grid": [2]}, "threads_grid: [1] and [2]"),
        ({"model": "finetuned/ner"}, "ratio to: models/finetuned/pos ("),
    ],
)
def test_benchmarks_compare_on_one_grid_to_one_model(world, b, why):
    for key in ("pos", "ner"):
        world.material(f"models/finetuned/{key}", model__bin=key)
    grid = {"model": "finetuned/pos", "batches": [1], "lengths": [16], "threads_grid": [1]}
    for key, more in (("a", {}), ("b", b)):
        figures = {"int8_latency_ratio": 0.5, "int8_size_bytes": 3}
        values = {**grid, **more}
        world.entry(
            f"benchmark@{key}", [f"models/{values['model']}"], values,
            [world.file(f"metrics/benchmark/{key}.json", figures)],
            **{"machine.yaml": {"cpu_model": "one"}},
        )  # fmt: skip
    told = world.compare("benchmark@a", "benchmark@b")
    row = metric(told, "int8_latency_ratio")
    assert compared(row) == (not why)
    assert why in row.get("refused", "")
    assert compared(metric(told, "int8_size_bytes"))


def test_metrics_of_an_evaluation_obey_the_signatures_of_its_scores(world):
    """The numbers in metrics/ are the scores under another name: they cannot say more."""
    world.evaluation("x", [2, 1])
    world.evaluation("same", [1, 1])
    world.evaluation("other", [1, 1], data="bb")
    assert compared(metric(world.compare("evaluate@x", "evaluate@same"), "accuracy_fraction"))
    told = world.compare("evaluate@x", "evaluate@other")["metrics"]
    assert told == {"refused": "they were scored on other samples (aa and bb)"}


@pytest.mark.parametrize("data", ["pos", "ner", "grown"])
def test_metrics_of_evaluations_whose_scores_are_gone_go_by_what_was_read(world, data):
    world.corpora("pos", test="e")
    world.corpora("ner", test="n")
    world.corpora("grown", train="tttt", test="e")
    for key, corpus in (("a", "pos"), ("b", data)):
        values = {"data": corpus, "split": "test", "task": {"kind": "token-classification"}}
        metrics = world.file(f"metrics/evaluate/{key}.json", {"accuracy_fraction": 0.5})
        world.entry(
            f"evaluate@{key}", [f"data/corpora/{corpus}"], {**values, "model": key}, [metrics]
        )
    told = world.compare("evaluate@a", "evaluate@b")
    assert compared(metric(told, "accuracy_fraction")) == (data != "ner")
    assert told["scores"] == {"refused": "the scores of evaluate@a are gone"}


def test_the_command_refuses_other_kinds_of_artifact_and_says_what_else(world, monkeypatch, capsys):
    """What compares nothing is an error; what compares in part says so beside the rest."""
    world.evaluation("x", [2, 1], corpus=world.corpora("eo"))
    world.evaluation("y", [2, 1], data="bb", corpus="data/corpora/eo")
    world.file("dvc.yaml", "stages: {}\n")
    world.file("stages/__init__.py", "")
    monkeypatch.chdir(world.root)
    assert command.main(["compare", "evaluate@x", "refine@eo"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [row.split(":")[0] for row in shown.err.splitlines()] == ["error", "where", "do"]
    assert command.main(["compare", "evaluate@x", "evaluate@y"]) == 0
    rows = capsys.readouterr().out.splitlines()
    why = "not compared: they were scored on other samples (aa and bb)"
    assert f"metrics  {why}" in rows
    assert f"  accuracy  {why}" in rows
    assert "0.75" not in "".join(rows), "the scores themselves are not shown"


def test_what_nobody_recorded_is_like_nothing_else(world):
    for key in ("a", "b"):
        figures = {"valid_loss_nats": 1.0, "parameters": 3}
        metrics = world.file(f"metrics/pretrain/{key}.json", figures)
        world.entry(f"pretrain@{key}", [], {"tokens": "eo", "name": key}, [metrics])
    told = world.compare("pretrain@a", "pretrain@b")
    assert "data/tokens/eo, not recorded" in metric(told, "valid_loss_nats")["refused"]
    assert compared(metric(told, "parameters"))


def test_a_stage_of_the_users_own_compares_where_it_read_the_same(world):
    for key in ("eo", "fr"):
        world.corpora(key, train=key)
    for key, corpus in (("a", "eo"), ("b", "eo"), ("c", "fr")):
        metrics = world.file(f"metrics/nap/{key}.json", {"depth": 3, "size_bytes": 4})
        world.entry(f"nap@{key}", [f"data/corpora/{corpus}"], {"name": key}, [metrics])
    assert compared(metric(world.compare("nap@a", "nap@b"), "depth"))
    told = world.compare("nap@a", "nap@c")
    assert not compared(metric(told, "depth"))
    assert compared(metric(told, "size_bytes"))


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        ("token:byte|tokenizer:x|data:d", "token:byte|tokenizer:y|data:d", ""),
        ("token:every|tokenizer:x|data:d", "token:every|tokenizer:y|data:d", "tokenizer x and y"),
        ("token:byte|tokenizer:x|data:d", "token:byte|tokenizer:y|data:e", "other samples"),
        ("token:each|tokenizer:x|data:d", "token:each|tokenizer:y|data:d", "tokenizer x and y"),
        ("token:masked|data:d|seed:1", "token:masked|data:d|seed:2", "seed 1 and 2"),
        ("unit:word|data:d|seed:1", "unit:word|data:d|seed:2", ""),
        ("token:masked|data:d", "token:every|data:d", "token masked and every"),
    ],
)
def test_signatures(a, b, why):
    found = figures.incomparable(a, b)
    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    ("unit", "interval", "said"),
    [
        ("fraction", [0.1, 0.2], "a is better"),
        ("nats", [0.1, 0.2], "b is better"),
        ("bits/byte", [-0.2, -0.1], "a is better"),
        ("points", [-0.2, -0.1], "b is better"),
        ("points", [-0.2, 0.1], "not told apart"),
        ("fraction", [0.0, 0.1], "not told apart"),
    ],
)
def test_a_verdict_needs_an_interval_that_leaves_no_doubt(unit, interval, said):
    assert figures.verdict({"unit": unit, "interval": interval}) == said


def test_part_of_a_folder_is_the_same_only_where_its_listing_is_known():
    whole, other = terms.Term("x", "1", "1"), terms.Term("x", "2", "2")
    assert whole.agrees(terms.Term("x", "1", "1", "p"))
    assert not whole.agrees(other)
    assert not terms.Term("x", "?", "").agrees(terms.Term("x", "?", ""))
    assert terms.Term("x", "1", "1", "p").agrees(terms.Term("x", "2", "2", "p"))
    assert not terms.Term("x", "1", "1", "p").agrees(other)
