"""Checkpoints published with a model: anyone may go on from them, to the same bits (BLOOM, 101)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from stages.core import canonical
from stages.core.errors import ArtifactError, Resumable
from stages.core.log import Log
from stages.pretrain.stage import PretrainParams, Roberta, pretrain
from tests import training
from tests.stages.test_pretrain import SIZE, StopAt, digests

PARAMS = PretrainParams(
    tokens="x", tokenizer="x", model=Roberta(**(SIZE | {"layers": 1, "dropout": 0.1})), steps=12,
    batch_rows=2, evaluate_every=6, evaluate_rows=4, checkpoint_every=5, learning_rate=3e-3,
    publish_every=4,
)  # fmt: skip
STEPS = ("step-00000004", "step-00000008", "step-00000012")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return training.tokens(tmp_path_factory.mktemp("milestones"))


def run(params: PretrainParams, material, out: Path, base: Path | None = None, log=None) -> Path:
    pretrain(
        params=params, tokens=material[0], tokenizer=material[1],
        base=base or out.parent / "none", model=out, **training.NO_MORE,
        log=log or Log(scratch=out.parent / f"{out.name}-scratch"),
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def published(material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(PARAMS, material, tmp_path_factory.mktemp("published") / "model")


def resumed(at: int, **changes) -> PretrainParams:
    given = {"base": "pretrained/x", "base_step": at, "publish_every": None} | changes
    return PretrainParams(**(PARAMS.model_dump() | given))


def test_every_milestone_opens_and_says_what_it_saw(published: Path):
    from transformers import AutoModelForMaskedLM

    index = json.loads((published / "checkpoints/index.json").read_text())
    assert [row["folder"] for row in index] == list(STEPS)
    assert [row["step"] for row in index] == [4, 8, 12]
    assert index[0]["tokens"] < index[1]["tokens"] < index[2]["tokens"]
    for row in index:
        folder = published / "checkpoints" / row["folder"]
        assert sorted(path.name for path in folder.iterdir()) == [
            "config.json", "model.safetensors", "optimizer.safetensors", "state.json",
        ]  # fmt: skip
        AutoModelForMaskedLM.from_pretrained(folder)
        assert json.loads((folder / "state.json").read_text())["tokens"] == row["tokens"]
    last = published / "checkpoints" / STEPS[-1] / "model.safetensors"
    assert last.read_bytes() == (published / "model.safetensors").read_bytes()


@pytest.mark.parametrize("at", [8])
def test_going_on_from_one_gives_the_bits_of_never_having_stopped(
    published: Path, material, tmp_path: Path, at: int
):
    log = Log(scratch=tmp_path / "s")
    again = run(resumed(at), material, tmp_path / "model", published, log)
    assert (again / "model.safetensors").read_bytes() == (
        published / "model.safetensors"
    ).read_bytes()
    assert [step for step, _ in log.curves["loss_nats"]] == list(range(1, 13))
    assert not (again / "checkpoints").exists()


def test_without_its_optimizer_it_would_not_be_the_same(published: Path, material, tmp_path: Path):
    """Teeth: the same weights with AdamW's moments lost end elsewhere."""
    other = tmp_path / "base"
    shutil.copytree(published, other)
    folder = other / "checkpoints" / STEPS[1]
    state = load_file(folder / "optimizer.safetensors")
    zeros = {n: v if n.endswith("step") else torch.zeros_like(v) for n, v in state.items()}
    save_file(zeros, folder / "optimizer.safetensors", metadata={"format": "pt"})
    head = json.loads((folder / "state.json").read_text())
    head["sha256"]["optimizer.safetensors"] = canonical.file_digest(
        folder / "optimizer.safetensors"
    )
    canonical.write_json(folder / "state.json", head)
    again = run(resumed(8), material, tmp_path / "model", other)
    assert (again / "model.safetensors").read_bytes() != (
        published / "model.safetensors"
    ).read_bytes()


def test_publishing_changes_nothing_else(published: Path, material, tmp_path: Path):
    plain = run(PARAMS.model_copy(update={"publish_every": None}), material, tmp_path / "model")
    there = {path.name for path in published.iterdir()}
    assert there - {path.name for path in plain.iterdir()} == {"checkpoints"}
    shutil.copytree(published, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/checkpoints")
    assert digests(plain) == digests(tmp_path / "copy")


def test_milestones_of_a_stopped_run_are_all_there_and_the_same(
    published: Path, material, tmp_path: Path
):
    with pytest.raises(Resumable):
        run(PARAMS, material, tmp_path / "model", log=StopAt(6, tmp_path / "s"))
    again = run(PARAMS, material, tmp_path / "model", log=Log(scratch=tmp_path / "s"))
    for name in STEPS:
        assert digests(again / "checkpoints" / name) == digests(published / "checkpoints" / name)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("gone", "optimizer.safetensors of the published checkpoint is missing"),
        ("cut", "optimizer.safetensors of the published checkpoint is damaged"),
        ("flipped weights", "model.safetensors of the published checkpoint is damaged"),
        ("half head", "state.json of the published checkpoint is damaged"),
        ("half optimizer", "the optimizer state is not that of this model: no optimizer/"),
    ],
)
def test_a_damaged_one_is_refused(
    published: Path, material, tmp_path: Path, damage: str, said: str
):
    other = tmp_path / "base"
    shutil.copytree(published, other)
    folder = other / "checkpoints" / STEPS[0]
    optimizer, weights = folder / "optimizer.safetensors", folder / "model.safetensors"
    data = bytearray(optimizer.read_bytes())
    if damage == "gone":
        optimizer.unlink()
    elif damage == "cut":
        optimizer.write_bytes(data[:-5])
    elif damage == "flipped weights":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif damage == "half head":
        (folder / "state.json").write_text("{")
    else:
        state = load_file(optimizer)
        state.pop(sorted(state)[0])
        save_file(state, optimizer, metadata={"format": "pt"})
        head = json.loads((folder / "state.json").read_text())
        head["sha256"]["optimizer.safetensors"] = canonical.file_digest(optimizer)
        canonical.write_json(folder / "state.json", head)
    with pytest.raises(ArtifactError, match=said) as caught:
        run(resumed(4), material, tmp_path / "model", other)
    assert len(caught.value.lines()) == 3
    assert not (tmp_path / "model").exists()


def test_a_step_that_was_not_published_names_those_that_were(
    published: Path, material, tmp_path: Path
):
    with pytest.raises(ArtifactError, match="no published checkpoint of step 5") as caught:
        run(resumed(5), material, tmp_path / "model", published)
    assert caught.value.todo == "choose one of the steps 4, 8, 12"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base": "none"}, "base_step needs a base"),
        ({"steps": 4}, "base_step 4 leaves nothing of 4 steps"),
        ({"publish_every": 0}, "publish_every"),
        ({"world_size": 2}, "no stage computes in more than one process yet"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict, said: str):
    with pytest.raises(ValidationError, match=said):
        resumed(4, **changes)
