"""Checkpoints stream: what is written is what was read, damage is named, bytes are repeatable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stages.core.errors import ArtifactError
from stages.lm.layouts import conversion
from stages.lm.layouts.plan import KEPT, Plan, Rule, copied
from stages.lm.layouts.steps import Repeat, Same, Split, Transpose
from stages.lm.tensors.checkpoint import Checkpoint, open_safetensors, safetensors_entries
from stages.lm.tensors.entries import Entry, Spec


def model(folder: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    tensors = {
        "wide": torch.randn(700, 611),
        "half": torch.randn(33, 7).half(),
        "brain": torch.randn(5, 3).bfloat16(),
        "count": torch.arange(7),
        "flag": torch.tensor([True, False, True]),
        "one": torch.tensor(3.5, dtype=torch.float64),
        "none": torch.empty(0, 4),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return tensors


PLAN = Plan(
    [
        Rule(["x.t"], ["wide"], [Transpose()]),
        Rule(["x.half.a", KEPT + "half.b"], ["half"], [Split((30, 3))]),
        Rule(["brain.1", "brain.2"], ["brain"], [Repeat(2)]),
        *(copied(f"x.{name}", name) for name in ("count", "flag", "one")),
    ],
    ignored={"no.*": "it is empty"},
)


def converted(source: Path, target: Path, shard_bytes: int = 10**9):
    target.mkdir()
    with open_safetensors(source) as checkpoint:
        return conversion.convert(PLAN, checkpoint, target, "here", shard_bytes)


def test_a_conversion_and_its_inverse_give_equal_bytes_of_every_tensor(tmp_path: Path):
    tensors = model(tmp_path / "a")
    rows = converted(tmp_path / "a", tmp_path / "b")
    found = load_file(tmp_path / "b/model.safetensors")
    assert torch.equal(found["x.t"], tensors["wide"].t())
    assert torch.equal(found["x.half.a"], tensors["half"][:30])
    assert torch.equal(found["brain.2"], tensors["brain"])
    assert set(load_file(tmp_path / "b/kept.safetensors")) == {"half.b"}
    (tmp_path / "c").mkdir()
    with conversion.open_converted(tmp_path / "b") as there:
        back = conversion.convert(PLAN.inverse(), there, tmp_path / "c", "there")
    again = load_file(tmp_path / "c/model.safetensors")
    for name in sorted(set(tensors) - {"none"}):
        assert again[name].dtype == tensors[name].dtype
        assert torch.equal(again[name], tensors[name])
    sums = {name: value for row in rows for name, value in row.sources.items()}
    returned = {name: value for row in back for name, value in row.targets.items()}
    assert {**returned, "none": sums["none"]} == sums
    assert rows[-1].row() == {
        "action": "left out", "sources": {"none": sums["none"]}, "targets": {},
        "reason": "it is empty",
    }  # fmt: skip


def test_checksums_are_those_of_the_elements(tmp_path: Path):
    import xxhash

    tensors = model(tmp_path / "a")
    (first, *_) = converted(tmp_path / "a", tmp_path / "b")
    wide = tensors["wide"].numpy()
    assert first.sources == {"wide": xxhash.xxh3_128(wide.tobytes()).hexdigest()}
    assert first.targets == {"x.t": xxhash.xxh3_128(wide.T.tobytes()).hexdigest()}
    assert conversion.record([first])["actions"] == {"transpose": 1}


def test_shards_and_their_index_hold_every_tensor_once(tmp_path: Path):
    model(tmp_path / "a")
    converted(tmp_path / "a", tmp_path / "b", shard_bytes=500)
    index = json.loads((tmp_path / "b/model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in (tmp_path / "b").glob("model-*.safetensors"))
    assert sorted(set(index["weight_map"].values())) == shards
    assert len(shards) == 3  # the wide one alone, the half one alone, the small ones
    whole = {}
    for shard in shards:
        with safe_open(tmp_path / "b" / shard, "pt") as opened:
            assert opened.metadata() == {"format": "pt"}
            names = opened.keys()
            whole |= {name: opened.get_tensor(name) for name in names}
    assert set(whole) == set(index["weight_map"])
    with open_safetensors(tmp_path / "b") as checkpoint:
        assert set(checkpoint.entries) == set(whole)
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in whole.values())


def test_equal_sources_give_equal_bytes(tmp_path: Path):
    model(tmp_path / "a")
    converted(tmp_path / "a", tmp_path / "b")
    converted(tmp_path / "a", tmp_path / "c")
    for name in ("model.safetensors", "kept.safetensors"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


def test_wider_elements_come_first_so_that_every_tensor_is_aligned(tmp_path: Path):
    model(tmp_path / "a")
    converted(tmp_path / "a", tmp_path / "b")
    for entry in safetensors_entries(tmp_path / "b/model.safetensors").values():
        assert entry.offset % entry.spec.itemsize == 0


def test_a_byte_that_changes_after_it_was_written_is_found(tmp_path: Path, monkeypatch):
    from stages.lm.tensors import writer

    model(tmp_path / "a")
    put = writer._put

    def rot(descriptor, piece, at):
        return put(descriptor, bytes(piece[:-1]) + b"\x7f" if len(piece) == 15 * 2 else piece, at)

    monkeypatch.setattr(writer, "_put", rot)
    with pytest.raises(ArtifactError, match=r"tensor brain\.1 reads back with checksum"):
        converted(tmp_path / "a", tmp_path / "b")


def test_copies_that_differ_are_named_with_the_tensor(tmp_path: Path):
    tensors = model(tmp_path / "a") | {"other": torch.zeros(5, 3).bfloat16()}
    save_file(tensors, tmp_path / "a/model.safetensors")
    plan = Plan([Rule(["same"], ["brain", "other"], [Same(2)])], {".*": "not of this test"})
    with open_safetensors(tmp_path / "a") as checkpoint, pytest.raises(ArtifactError) as caught:
        conversion.convert(plan, checkpoint, tmp_path, "here")
    assert (
        caught.value.what == "tensor same cannot be made: tensors that shall be equal copies differ"
    )


def test_a_file_that_ends_inside_a_tensor_is_named(tmp_path: Path):
    (tmp_path / "short").write_bytes(b"\0" * 10)
    entry = Entry(tmp_path / "short", 4, Spec("F32", (2,)), (1,))
    with Checkpoint({"a": entry}) as checkpoint, pytest.raises(ArtifactError) as caught:
        conversion.convert(Plan([copied("b", "a")]), checkpoint, tmp_path, "here")
    assert "tensor b cannot be made: short ends at 10" in caught.value.what
