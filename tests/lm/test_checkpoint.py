"""A checkpoint is whole or absent, and belongs to one run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from stages.core.errors import ArtifactError, MachineError
from stages.core.log import Log
from stages.lm import checkpoint
from stages.lm.checkpoint import State


def state(step: int) -> State:
    return State(step, {"a": torch.arange(6.0) * step, "b": torch.tensor(step)}, {"tokens": step})


def test_what_is_saved_comes_back(tmp_path: Path):
    folder = checkpoint.save(tmp_path, "run", state(20))
    assert sorted(path.name for path in folder.iterdir()) == ["state.json", "state.safetensors"]
    found = checkpoint.latest(tmp_path, "run", Log())
    assert found is not None
    assert (found.step, found.facts) == (20, {"tokens": 20})
    assert torch.equal(found.tensors["a"], torch.arange(6.0) * 20)


def test_two_are_kept_and_the_newest_is_taken(tmp_path: Path):
    for step in (9, 10, 100):
        checkpoint.save(tmp_path, "run", state(step))
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000010", "step-00000100"]
    found = checkpoint.latest(tmp_path, "run", Log())
    assert found is not None
    assert found.step == 100


def test_equal_states_are_equal_bytes(tmp_path: Path):
    for name in ("x", "y"):
        checkpoint.save(tmp_path / name, "run", state(3))
    files = [sorted((tmp_path / name).rglob("*.*")) for name in ("x", "y")]
    for left, right in zip(*files, strict=True):
        assert left.is_dir() or left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flipped", "no head", "cut head", "no tensors"])
def test_a_torn_one_is_skipped_with_a_warning(tmp_path: Path, damage: str):
    checkpoint.save(tmp_path, "run", state(10))
    last = checkpoint.save(tmp_path, "run", state(20))
    tensors, head = last / "state.safetensors", last / "state.json"
    data = bytearray(tensors.read_bytes())
    if damage == "cut":
        tensors.write_bytes(data[:-3])
    elif damage == "flipped":
        data[-1] ^= 1
        tensors.write_bytes(data)
    elif damage == "no head":
        head.unlink()
    elif damage == "cut head":
        head.write_text(head.read_text()[:20])
    else:
        tensors.unlink()
    log = Log()
    found = checkpoint.latest(tmp_path, "run", log)
    assert found is not None
    assert found.step == 10
    assert log.texts["checkpoint_warning"] == "skipped the torn checkpoint step-00000020"


def test_nothing_is_found_where_all_are_torn_or_none_is(tmp_path: Path):
    assert checkpoint.latest(tmp_path, "run", Log()) is None
    folder = checkpoint.save(tmp_path, "run", state(10))
    (folder / "state.json").unlink()
    assert checkpoint.latest(tmp_path, "run", Log()) is None


def test_one_of_another_run_is_refused(tmp_path: Path):
    folder = checkpoint.save(tmp_path, "a" * 64, state(10))
    with pytest.raises(ArtifactError, match="belongs to another run") as caught:
        checkpoint.latest(tmp_path, "b" * 64, Log())
    assert caught.value.where == str(folder.parent)
    assert len(caught.value.lines()) == 3


def test_a_half_written_one_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint.save(tmp_path, "run", state(10))

    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", fails)
    with pytest.raises(MachineError, match="No space left") as caught:
        checkpoint.save(tmp_path, "run", state(20))
    assert "free some disk space" in caught.value.todo
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000010"]


def test_no_pickle_and_nothing_that_varies_is_written(tmp_path: Path):
    folder = checkpoint.save(tmp_path, "run", state(10))
    head = json.loads((folder / "state.json").read_text())
    assert sorted(head) == ["digest", "facts", "identity", "step"]
    size = int.from_bytes((folder / "state.safetensors").read_bytes()[:8], "little")
    header = json.loads((folder / "state.safetensors").read_bytes()[8 : 8 + size])
    assert header["__metadata__"] == {"format": "pt"}


def test_the_state_of_an_optimizer_survives_the_trip(tmp_path: Path):
    def trained(steps: int, model, optimizer):
        for number in range(steps):
            (model(torch.ones(2, 3)) * (number + 1)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    trained(3, model, optimizer)
    twin = torch.nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    other = torch.optim.AdamW(twin.parameters(), lr=0.1, fused=True)
    tensors = checkpoint.optimizer_tensors(model, optimizer)
    checkpoint.save(tmp_path, "run", State(3, tensors))
    found = checkpoint.latest(tmp_path, "run", Log())
    assert found is not None
    checkpoint.restore_optimizer(twin, other, found.tensors)
    trained(2, model, optimizer)
    trained(2, twin, other)
    assert torch.equal(model.weight, twin.weight)


@pytest.mark.parametrize("damage", ["cut", "hole"])
def test_one_without_the_optimizer_is_skipped_for_the_previous(tmp_path: Path, damage: str):
    """Whole as a file, and yet nothing to go on from: digest and header are right."""
    whole = State(10, {"model/a": torch.ones(2), "optimizer/a/step": torch.tensor(10.0)})
    lacking = {"cut": {"model/a": torch.ones(2)}, "hole": {"optimizer/a/step": torch.ones(())}}
    checkpoint.save(tmp_path, "run", whole)
    checkpoint.save(tmp_path, "run", State(20, lacking[damage]))
    log = Log()
    found = checkpoint.latest(tmp_path, "run", log, needed=set(whole.tensors))
    assert found is not None
    assert found.step == 10
    assert "step-00000020" in log.texts["checkpoint_warning"]


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path):
    left = tmp_path / "checkpoints/.step-00000005.99999.tmp"
    left.mkdir(parents=True)
    (left / "state.safetensors").write_bytes(b"half")
    assert checkpoint.latest(tmp_path, "run", Log()) is None
    checkpoint.save(tmp_path, "run", state(10))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000010"]


def test_a_full_disk_is_seen_before_a_byte_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    checkpoint.save(tmp_path, "run", state(10))
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    monkeypatch.setattr(checkpoint, "save_file", lambda *_, **__: pytest.fail("it was begun"))
    with pytest.raises(MachineError, match="the disk has 1000 left") as caught:
        checkpoint.save(tmp_path, "run", state(20))
    assert len(caught.value.lines()) == 3
    assert checkpoint.latest(tmp_path, "run", Log()).step == 10
