"""Benchmarks cover their grid, take turns, see a slow variant, and refuse what is not alike."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stages.benchmark import footprint, quantiles, timing, variants
from stages.benchmark.comparison import compare
from stages.benchmark.stage import BenchmarkParams, benchmark
from stages.core.errors import ArtifactError, CheckFailed, MachineError, ParamsError
from stages.core.log import Log
from stages.export.stage import DynamicInt8, ExportParams, export

COSTS = {"import_ms": 1.0, "load_ms": 2.0, "memory_model_bytes": 3, "memory_peak_bytes": 4}
CELL = timing.Cell(1, 2, 3)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Make a tiny random tagger, its two exports, and one with other labels."""
    import onnx
    import torch
    from transformers import RobertaConfig, RobertaForTokenClassification

    from stages.export import graph, quantization

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
        "intermediate_size": 64, "max_position_embeddings": 66, "type_vocab_size": 1,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "initializer_range": 0.3,
    }  # fmt: skip
    for name, labels in (("pos", 5), ("other", 6)):
        config = RobertaConfig(**sizes, num_labels=labels)
        RobertaForTokenClassification(config).save_pretrained(folder / name)
    none = folder / "none"
    params = ExportParams(model="finetuned/pos")
    export(params, folder / "pos", none, none, folder / "onnx", Log())
    (folder / "int8").mkdir()
    shutil.copyfile(folder / "onnx/config.json", folder / "int8/config.json")
    plain = onnx.load(folder / "onnx/model.onnx")
    graph.save(quantization.quantized(plain, DynamicInt8()), folder / "int8/model.onnx")
    facts = {"source": "finetuned/pos", "quantize": {"kind": "dynamic-int8"}}
    (folder / "int8/export.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def light(monkeypatch):
    """Leave the fresh processes out, which one test measures for real."""
    monkeypatch.setattr(footprint, "measure", lambda *_: dict(COSTS))
    monkeypatch.setenv("DEVENO_CORES", "2")


def run(models, out, second="onnx", third="int8", model="pos", **changes):
    chosen = {"batches": [1, 2], "lengths": [8], "threads_grid": [1, 2], "rounds": 3}
    names = {"second": second, "third": third}
    params = BenchmarkParams(
        model=f"finetuned/{model}",
        **{role: f"exported/{name}" if name else "none" for role, name in names.items()},
        **(chosen | {"warmup": 1, "touch_mib": 1} | changes),
    )
    folders = [models / (name or "none") for name in (model, second, third)]
    log = Log()
    benchmark(params, *folders, out, log)
    return json.loads((out / "latency.json").read_text()), log


def test_every_cell_is_there_with_its_figures(models, tmp_path, light):
    found, log = run(models, tmp_path / "out")
    cells = {(r["variant"], r["threads"], r["batch"], r["length"]) for r in found["rows"]}
    labels = ("torch", "onnx", "onnx-dynamic-int8")
    assert cells == {(v, t, b, n) for v in labels for t in (1, 2) for b in (1, 2) for n in (8,)}
    for row in found["rows"]:
        steps = [row[f"latency_ms_{name}"] for name in ("min", "q25", "p50", "q75", "p95", "max")]
        assert steps[0] > 0
        assert steps == sorted(steps)
        assert row["n"] == 3
        assert row["too_few_for"] == ["p95", "p99"]
        assert math.isclose(
            row["tokens_per_s"], row["length"] * row["sequences_per_s"], rel_tol=1e-6
        )
        assert row["cpu_s"] > 0
        if row["variant"] == "torch":
            assert row["latency_ratio_q25"] == row["latency_ratio_q75"] == 1
        assert row["agreement_fraction"] >= (0.7 if "int8" in row["variant"] else 1)
    sizes = {one["variant"]: one["size_bytes"] for one in found["variants"]}
    assert sizes["onnx-dynamic-int8"] < sizes["onnx"]
    assert set(log.metrics) == {
        "torch_size_bytes", "onnx_size_bytes", "onnx_dynamic_int8_size_bytes",
        "onnx_latency_ratio", "onnx_dynamic_int8_latency_ratio",
    }  # fmt: skip
    machine = json.loads((tmp_path / "out/machine.json").read_text())
    assert machine["grid"] == {"batches": [1, 2], "lengths": [8], "threads": [1, 2]}
    assert machine["skipped"] == []
    assert "torch" in machine["packages"]
    rounds = (tmp_path / "out/rounds.jsonl").read_text().splitlines()
    assert len(rounds) == 4 * 3
    assert set(json.loads(rounds[0])["latency_ms"]) == set(labels)


def test_turns_are_drawn_anew_every_round_from_the_seed():
    drawn = timing.orders("abc", 12, 0, CELL)
    assert drawn == timing.orders("abc", 12, 0, CELL)
    assert drawn != timing.orders("abc", 12, 1, CELL)
    assert drawn != timing.orders("abc", 12, 0, timing.Cell(1, 2, 4))
    assert all(sorted(order) == list("abc") for order in drawn)
    assert {order[0] for order in drawn} == set("abc")


class Sleeper:
    def __init__(self, seconds: float) -> None:
        self.seconds, self.calls = seconds, 0

    def answers(self, input_ids, attention_mask):
        self.calls += 1
        time.sleep(self.seconds)
        return np.zeros((*input_ids.shape, 2), dtype=np.float32)


def test_a_planted_slow_variant_is_seen_as_slow():
    given = timing.arrays(CELL, 50, {}, 0)
    sleepers = {"baseline": Sleeper(0.01), "slow": Sleeper(0.03), "same": Sleeper(0.01)}
    turns = timing.take_turns(CELL, sleepers, given, timing.Protocol(9, 2, 0))
    rows = {row["variant"]: row for row in timing.rows(turns)}
    assert rows["baseline"]["latency_ms_min"] >= 10
    assert rows["baseline"]["latency_ms_p50"] < 20
    assert 1.8 < rows["slow"]["latency_ratio_low"] <= rows["slow"]["latency_ratio_p50"] <= 3.1
    assert 0.6 < rows["same"]["latency_ratio_p50"] < 1.6
    assert rows["slow"]["cpu_ms_p50"] < 10 < rows["slow"]["latency_ms_p50"]
    assert rows["slow"]["sequences_per_s"] <= 2 / 0.03
    assert [one.calls for one in sleepers.values()] == [2 + 2 * 9] * 3


def test_a_variant_that_answers_otherwise_is_seen():
    class Liar(Sleeper):
        def answers(self, input_ids, attention_mask):
            logits = super().answers(input_ids, attention_mask)
            logits[0, :, 1] = 1
            return logits

    given = timing.arrays(CELL, 50, {}, 0)
    both = {"a": Sleeper(0), "b": Liar(0)}
    assert timing.take_turns(CELL, both, given, timing.Protocol(3, 1, 0)).agreement == {
        "a": 1.0,
        "b": 0.5,
    }


def test_quantiles_by_hand():
    ten = [7, 1, 10, 3, 4, 5, 6, 2, 8, 9]
    assert quantiles.quantile(ten, 0.5) == 5.5
    assert quantiles.quantile(ten, 0.25) == 3.25
    assert quantiles.quantile(ten, 0.95) == pytest.approx(9.55)
    assert quantiles.quantile(ten, 0.99) == pytest.approx(9.91)
    assert quantiles.quantile(ten, 1.0) == 10
    assert quantiles.quantile([4.0], 0.99) == 4
    assert quantiles.summary([1, 2, 6], "x")["x_mean"] == 3
    assert [quantiles.beyond(n) for n in (19, 20, 99, 100)] == [
        ["p95", "p99"], ["p99"], ["p99"], [],
    ]  # fmt: skip


def test_the_interval_of_the_median_by_hand():
    # n = 6: the extremes miss with 2/64; one further in misses with 14/64, too often for 95 %.
    assert quantiles.median_interval(range(1, 7)) == (1, 6, 1 - 2 / 64)
    # n = 5: even the extremes cover only 1 - 2/32.
    assert quantiles.median_interval(range(1, 6)) == (1, 5, 1 - 2 / 32)
    # n = 30: the textbook's 10th and 21st.
    low, high, coverage = quantiles.median_interval(range(1, 31))
    assert (low, high) == (10, 21)
    assert coverage == pytest.approx(0.9572, abs=1e-4)


def test_ids_are_ordinary_seeded_and_without_padding():
    special = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    ids, mask = timing.arrays(timing.Cell(1, 4, 32), 40, special, 0)
    assert ids[:, 1:-1].min() >= 3
    assert ids.max() < 40
    assert mask.all()
    assert set(ids[:, 0]) == {0}
    assert set(ids[:, -1]) == {2}
    assert (ids == timing.arrays(timing.Cell(2, 4, 32), 40, special, 0)[0]).all()
    assert (ids != timing.arrays(timing.Cell(1, 4, 32), 40, special, 1)[0]).any()


def test_thread_counts_beyond_the_cores_are_skipped_and_named(models, tmp_path, light, monkeypatch):
    import torch

    monkeypatch.setenv("DEVENO_CORES", "1")
    before = torch.get_num_threads()
    found, log = run(models, tmp_path / "out", third="", batches=[1], lengths=[8])
    assert {row["threads"] for row in found["rows"]} == {1}
    machine = json.loads((tmp_path / "out/machine.json").read_text())
    assert machine["skipped"] == [{"threads": 2, "reason": "only 1 usable cores"}]
    assert "threads 2 skipped: only 1 usable cores" in log.texts["warnings"]
    assert torch.get_num_threads() == before
    with pytest.raises(MachineError, match=r"no thread count of \[2, 4\] fits the 1 usable"):
        run(models, tmp_path / "no", threads_grid=[4, 2])
    assert not (tmp_path / "no").exists()


def test_a_fresh_process_tells_its_memory_and_load_time(models):
    folders = {"finetuned/pos": models / "pos", "exported/int8": models / "int8"}
    fresh = footprint.measure(variants.candidates(folders.items())[1], 2, 16, 1)
    here = footprint.report(models / "pos", "torch", 2, 16, 1)
    assert 20e6 < fresh["memory_peak_bytes"] < 0.7 * here["memory_peak_bytes"]
    assert 0 < fresh["memory_model_bytes"] < fresh["memory_peak_bytes"]
    assert min(here["load_ms"], fresh["load_ms"], fresh["import_ms"]) > 0


def test_memory_is_zero_where_the_kernel_does_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(footprint, "STATUS", tmp_path / "none")
    assert footprint._status("VmHWM") == 0


def test_a_cell_that_takes_too_long_stops_and_says_so(models, tmp_path, light):
    given = timing.arrays(CELL, 50, {}, 0)
    slow = {"a": Sleeper(0.01), "b": Sleeper(0.01)}
    turns = timing.take_turns(CELL, slow, given, timing.Protocol(50, 50, 0, 0.001))
    assert [row["n"] for row in timing.rows(turns)] == [3, 3]
    assert [one.calls for one in slow.values()] == [1 + 2 * 3] * 2
    assert len(turns.rounds()) == 3
    _, log = run(models, tmp_path / "out", "", "", batches=[1], lengths=[8], rounds=4,
                 cell_limit_s=1e-6, threads_grid=[1])  # fmt: skip
    assert "threads 1, batch 1, length 8: stopped early" in log.texts["warnings"]
    assert log.texts["summary"].endswith("nothing to compare")


def test_a_process_that_cannot_open_the_model_is_told(models, tmp_path, monkeypatch):
    candidate = variants.candidates([("finetuned/pos", models / "pos")])[0]
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'out of memory' >&2\nexit 9\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with pytest.raises(MachineError, match="ended with status 9: out of memory"):
        footprint.measure(candidate, 1, 8, 1)


def test_what_is_not_one_model_is_refused(models, tmp_path, light):
    (models / "empty").mkdir(exist_ok=True)
    with pytest.raises(ArtifactError, match="holds no model.onnx or model.safetensors"):
        run(models, tmp_path / "out", second="empty")
    with pytest.raises(ArtifactError, match="is an export, not a model in torch"):
        run(models, tmp_path / "out", model="onnx")
    with pytest.raises(ArtifactError, match="5 and 6 labels"):
        run(models, tmp_path / "out", second="other")
    with pytest.raises(ParamsError, match="sequences of 65 tokens do not fit a model of 64"):
        run(models, tmp_path / "out", lengths=[8, 65])
    assert not (tmp_path / "out").exists()


def changed(models: Path, to: Path, name: str, **values: object) -> Path:
    shutil.copytree(models / "onnx", to)
    path = to / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return to


def test_unlike_configurations_are_told_apart(models, tmp_path):
    def check(second: Path) -> None:
        variants.candidates([("finetuned/pos", models / "pos"), ("exported/x", second)])

    with pytest.raises(ArtifactError, match="exported/x was exported from finetuned/foreign"):
        check(changed(models, tmp_path / "a", "export.json", source="finetuned/foreign"))
    with pytest.raises(ArtifactError, match="vocabularies of 300 and 299 tokens"):
        check(changed(models, tmp_path / "b", "config.json", vocab_size=299))
    with pytest.raises(ArtifactError, match="is a RobertaForMaskedLM, not a tagger"):
        check(changed(models, tmp_path / "c", "config.json", architectures=["RobertaForMaskedLM"]))
    broken = changed(models, tmp_path / "d", "config.json")
    (broken / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match="config.json is no JSON"):
        check(broken)
    (broken / "config.json").unlink()
    with pytest.raises(ArtifactError, match="holds no config.json"):
        check(broken)
    names = ("pos", "pos", "onnx", "onnx")
    again = variants.candidates([("finetuned/pos", models / name) for name in names])
    assert [one.label for one in again] == ["torch", "torch-2", "onnx", "onnx-4"]


@pytest.fixture
def artifact(tmp_path):
    """Write a benchmark's folder with chosen figures."""

    def write(name: str, latency: float = 2.0, ratio: float = 0.5, **parts: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        row = {
            "variant": "onnx", "threads": 1, "batch": 1, "length": 16, "n": 30,
            "latency_ms_q25": latency - 0.1, "latency_ms_p50": latency,
            "latency_ms_q75": latency + 0.1, "latency_ratio_p50": ratio,
        }  # fmt: skip
        declared = {"cpu": "X", "cores": 2, "flags": "avx avx2", "system": "Linux x86_64"}
        machine = {
            "declared": declared | dict(parts.pop("declared", {})),
            "facts": {"cores_usable": 2},
            "grid": {"batches": [1], "lengths": [16], "threads": [1]},
            "packages": {"torch": "1"},
        } | parts
        (folder / "latency.json").write_text(json.dumps({"rows": [row]}))
        (folder / "machine.json").write_text(json.dumps(machine))
        return folder

    return write


def test_like_machines_are_compared(artifact):
    found = compare(artifact("a"), artifact("b", latency=3.0, ratio=0.6, packages={"torch": "2"}))
    assert found["packages_changed"] == {"torch": ["1", "2"]}
    (row,) = found["rows"]
    assert (row["latency_ratio"], row["relative_ratio"], row["apart"]) == (1.5, 1.2, True)
    assert not compare(artifact("c"), artifact("d", latency=2.15))["rows"][0]["apart"]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"declared": {"cpu": "Y"}}, "cpu: 'X' and 'Y'"),
        ({"declared": {"cores": 4}}, "cores: 2 and 4"),
        ({"declared": {"flags": "avx"}}, "flags: 'avx avx2' and 'avx'"),
        ({"facts": {"cores_usable": 1}}, "usable cores: 2 and 1"),
        ({"grid": {"batches": [1], "lengths": [32], "threads": [1]}}, "grid: "),
    ],
)
def test_unlike_machines_are_refused(artifact, parts, told):
    with pytest.raises(CheckFailed, match=f"not comparable: {told}") as refusal:
        compare(artifact("a"), artifact("b", **parts))
    assert len(refusal.value.lines()) == 3


def test_a_folder_that_is_no_benchmark_is_refused(artifact, tmp_path):
    with pytest.raises(ArtifactError, match="machine.json of a benchmark is missing"):
        compare(artifact("a"), tmp_path)
    broken = artifact("b")
    (broken / "latency.json").write_text("{")
    with pytest.raises(ArtifactError, match="latency.json of a benchmark is no JSON"):
        compare(artifact("c"), broken)
