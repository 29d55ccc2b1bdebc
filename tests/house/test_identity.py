"""What belongs to an artifact's identity: which packages, and the counts of whoever computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.core import (
    canonical,
    dvcfile,
    environment,
    journal,
    machine,
    recipes,
    references,
    registry,
)
from stages.core.declare import FloatParams
from stages.core.errors import ParamsError
from stages.core.fingerprint import Fingerprints, digest

COMPUTING = {"torch", "onnxruntime", "sentencepiece"}
"""Whoever reaches one of these computes in float; sums of `refine` are integers or plain
floats in one order."""
REACHING = {
    "tokenizers": {
        "tokenizer", "encode",  # by import
        "pretrain", "finetune", "port", "export", "evaluate", "benchmark",
        "label",  # by transformers
    },
    "torch": {"pretrain", "finetune", "port", "export", "evaluate", "benchmark", "label"},
    # port reads a corpus where checkpoints or decoding settings are chosen by pairs, export where
    # a translator is proved on pairs
    "pyarrow": {
        "acquire", "identify", "label", "refine", "tokenizer", "encode", "finetune", "port",
        "export", "evaluate",
    },
    **{name: set() for name in ("ruff", "mlflow", "mypy", "prefect", "dvc", "pytest", "grimp")},
}  # fmt: skip


def packages(root: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, body in dvcfile.instances(root).items():
        rows = [row for row in body["params"] if isinstance(row, dict)]
        found[name] = {p for row in rows for p in row.get(environment.ENVIRONMENT, [])}
    return found


@pytest.mark.parametrize("package", sorted(REACHING))
def test_a_package_concerns_exactly_those_who_reach_it(root: Path, package: str):
    listed = packages(root)
    assert {name for name, found in listed.items() if package in found} == REACHING[package]


@pytest.mark.parametrize("package", sorted(REACHING))
def test_a_bump_changes_the_fingerprints_of_those_and_no_other(
    root: Path, package: str, monkeypatch: pytest.MonkeyPatch
):
    """Through what `plan` computes for every entry of the shipped graph."""
    graph = references.build(
        recipes.complete(recipes.read(root, "esperanto"), "esperanto"), root, "esperanto"
    )
    monkeypatch.setattr(machine, "declared", dict)

    def prints(versions: dict[str, str]) -> dict[str, str]:
        found = Fingerprints(root)
        found._files = {environment.ENVIRONMENT: versions}
        known: dict[str, Any] = {}
        for entry in graph.values():
            known |= dict.fromkeys([*entry.reads.values(), *entry.writes.values()], "0")
        return {name: digest(found.lock(entry, known)) for name, entry in graph.items()}

    versions = environment.recorded(root)
    before = prints(versions)
    after = prints(
        versions | {package: "99.0"} if REACHING[package] else {**versions, package: "9"}
    )
    changed = {name for name in graph if before[name] != after[name]}
    assert changed == {name for name in graph if name.split("@")[0] in REACHING[package]}


def test_generated_versions_name_no_tool_of_ours(root: Path):
    assert not {"ruff", "mlflow", "prefect", "dvc", "mypy"} & set(environment.recorded(root))


def test_whoever_computes_in_float_declares_threads_and_processes(root: Path):
    for name, found in packages(root).items():
        stage = registry.get(name)
        if not found & COMPUTING:
            continue
        assert issubclass(stage.params, FloatParams), name
        assert {"threads", "world_size"} <= set(stage.params.model_fields)


def test_threads_and_processes_are_in_the_key(root: Path):
    sections = recipes.complete(recipes.read(root, "esperanto"), "esperanto")
    floats = {n for n in sections if issubclass(registry.get(n).params, FloatParams)}
    assert floats == {
        "tokenizer",
        "pretrain",
        "finetune",
        "label",
        "port",
        "export",
        "evaluate",
        "benchmark",
    }
    for name in floats:
        for key, item in sections[name].items():
            assert (item["threads"], item["world_size"]) == (1, 1), f"{name}@{key}"
    before = canonical.digest(sections["pretrain"]["eo"])
    sections["pretrain"]["eo"]["threads"] = 2
    assert canonical.digest(sections["pretrain"]["eo"]) != before


def test_more_than_one_process_is_refused_in_three_lines(root: Path):
    stage = registry.get("evaluate")
    item = {"model": "x", "data": "y", "task": {"kind": "translation"}, "world_size": 2}
    with pytest.raises(ParamsError, match="more than one process") as caught:
        references.validated(stage, item, "params.yaml: evaluate.x")
    assert caught.value.where == "params.yaml: evaluate.x.world_size"
    assert len(caught.value.lines()) == 3


def test_full_versions_and_the_build_are_facts_of_the_machine(tmp_path: Path):
    lock = {"params": {environment.ENVIRONMENT: {"torch": "2.13.0", "numpy": "1"}}}
    journal.Journal.open(
        tmp_path, "x", "y", fingerprint="f", version=1, params={}, workspace=tmp_path, lock=lock
    ).close("ok")
    facts = journal.last(tmp_path, "x", "y").start["machine"]
    assert facts["packages"]["torch"].startswith("2.")
    assert set(facts["packages"]) == {"torch", "numpy"}
    assert facts["python_build"]
    assert facts["device"] == machine.device()


def test_the_device_needs_no_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(machine, "DRIVER", tmp_path)
    assert machine.device() == "cpu"
    (tmp_path / "0000:01").mkdir()
    (tmp_path / "0000:01/information").write_text("Model: \t\t NVIDIA X\nIRQ: 1\n")
    assert machine.device() == "cuda: NVIDIA X"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.device() == "cpu"


def test_a_recorded_device_is_found_again_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever is visible to us, and in whatever slot it is now; what is not here is None."""
    monkeypatch.setattr(machine, "DRIVER", tmp_path)
    for slot, model, uuid in (("01", "X", "GPU-aa"), ("02", "Y", "GPU-bb"), ("03", "X", "GPU-??")):
        (tmp_path / slot).mkdir()
        (tmp_path / slot / "information").write_text(f"Model: \t {model}\nGPU UUID: \t {uuid}\n")
    seen = {
        "0,2": "cuda: X, X", "1": "cuda: Y", "GPU-b": "cuda: Y", "0,7,1": "cuda: X", "-1": "cpu",
        "MIG-cc": "cuda: X, Y, X", "none": "cpu",
    }  # fmt: skip
    for visible, device in seen.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert machine.device() == device, visible
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for recorded, visible in {"cpu": "", "cuda: Y": "GPU-bb", "cuda: X, X": "GPU-aa,2"}.items():
        assert (machine.showing(recorded) or {})["CUDA_VISIBLE_DEVICES"] == visible
    with monkeypatch.context() as there:
        there.setenv("CUDA_VISIBLE_DEVICES", "GPU-bb")
        assert machine.device() == "cuda: Y"
    assert machine.showing("") == {}  # nothing was recorded: as it is here
    assert machine.showing("cuda: Z") is machine.showing("cuda: Y, Y") is None


def test_installed_is_compared_with_locked(tmp_path: Path):
    installed = environment.full_versions(["pydantic"])["pydantic"]
    (tmp_path / "requirements.lock").write_text(
        f"pydantic=={installed}\nnumpy==0.1\nnone-such==1\n"
    )
    found = environment.differences(tmp_path, ["pydantic", "numpy", "none-such", "pytest"])
    assert sorted(found) == ["none-such", "numpy", "pytest"]
    assert found["numpy"][0] == "0.1"
    assert found["none-such"] == ("1", "")
    assert found["pytest"][0] == ""
