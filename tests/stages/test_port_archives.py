"""PyTorch files are read without being loaded: every type, view and layout, and every damage."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from stages.core.errors import ArtifactError
from stages.lm.layouts import conversion
from stages.lm.layouts.plan import Plan, copied
from stages.lm.tensors.bridge import tensor_of
from stages.lm.tensors.nodes import whole
from stages.port import archives, pickles

ZIPPED = pytest.mark.parametrize("zipped", [True, False])


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    table = torch.randn(40, 6)
    kinds = [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8]
    return {
        "table": table,
        "tied": table,
        "transposed": table.t(),
        "rows": table[3:9],
        "columns": table[:, 1:3],
        "expanded": table[:1].expand(5, 6),
        "alone transposed": torch.randn(3, 5).t(),
        "one": torch.tensor(2.0),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(4)),
        **{f"kind {kind}": table[:3].clone().to(kind) for kind in kinds},
    }


def read_all(checkpoint) -> dict[str, torch.Tensor]:
    with checkpoint:
        nodes = checkpoint.nodes()
        found = {name: tensor_of(node.spec, whole(node)) for name, node in nodes.items()}
        for node in nodes.values():
            node.checksum()
        return found


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@ZIPPED
def test_every_type_and_view_reads_as_it_was_saved(tmp_path: Path, zipped: bool):
    torch.save(state(), tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    same(read_all(archives.open_archive(tmp_path / "a.pt")), state())


@ZIPPED
def test_a_nested_state_dict_is_found_and_an_absent_one_named(tmp_path: Path, zipped: bool):
    tree = {"model": {"language_model": state()}, "iteration": 3}
    torch.save(tree, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    same(read_all(archives.open_archive(tmp_path / "a.pt", "model", "language_model")), state())
    with pytest.raises(ArtifactError, match="nothing under `module`, but model, iteration"):
        archives.open_archive(tmp_path / "a.pt", "module")
    with pytest.raises(ArtifactError, match="language_model is a dict, not a tensor"):
        archives.open_archive(tmp_path / "a.pt", "model")


def test_shards_of_pytorch_files_are_one_checkpoint(tmp_path: Path):
    names = list(state())
    halves = {"pytorch_model-00001-of-00002.bin": names[:7]}
    halves["pytorch_model-00002-of-00002.bin"] = names[7:]
    for file, part in halves.items():
        torch.save({name: state()[name] for name in part}, tmp_path / file)
    weight_map = {name: file for file, part in halves.items() for name in part}
    (tmp_path / "pytorch_model.bin.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    )
    same(read_all(archives.open_folder(tmp_path)), state())
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(ArtifactError, match=r"shard pytorch_model-00002-of-00002\.bin is missing"):
        archives.open_folder(tmp_path)


def test_a_folder_without_weights_is_named(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="no weights: looked for") as caught:
        archives.open_folder(tmp_path)
    assert "config.json" in caught.value.where


@pytest.mark.parametrize("name", ["table", "shared"])
def test_a_flipped_bit_of_an_archive_is_found(tmp_path: Path, name: str):
    """A whole storage is compared while it is read, one that views share when it is opened."""
    table = torch.arange(6000.0).reshape(100, 60)
    tree = {"table": table} if name == "table" else {"shared": table[:50], "rest": table[50:]}
    path = tmp_path / "a.pt"
    torch.save(tree, path)
    (storage,) = [h.storage for h in list(pickles.read(path).values())[:1]]
    with path.open("r+b") as stream:
        stream.seek(storage.begin + 8000)
        stream.write(b"\x01")
    (tmp_path / "out").mkdir()
    plan = Plan([copied(key, key) for key in tree])
    with pytest.raises(ArtifactError, match=r"damaged|checksum") as caught:
        conversion.convert(plan, archives.open_archive(path), tmp_path / "out", path.name)
    assert "a.pt" in str(caught.value)
    with pytest.raises(ArtifactError, match="checksum of a storage"):
        pickles.load(path)


class Changed:
    """Pickles as a tensor's storage whose place the pickle changes afterwards."""

    def __init__(self, state: object) -> None:
        self.state = state


class Forger(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, torch.storage.UntypedStorage):
            return ("storage", torch.FloatStorage, "0", "cpu", 4)
        return None

    def reducer_override(self, value):
        if isinstance(value, Changed):
            rebuilt = (torch.UntypedStorage(16), 0, (4,), (1,), False, {})
            return torch._utils._rebuild_tensor_v2, rebuilt, value.state
        return NotImplemented


def test_a_pickle_cannot_point_a_tensor_at_another_file(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"k" * 64)
    for state_of_handle in ({"offset": 9}, (None, {"storage": str(secret)})):
        path = tmp_path / "a.pt"
        with zipfile.ZipFile(path, "w") as archive, archive.open("a/data.pkl", "w") as stream:
            Forger(stream, 2).dump({"w": Changed(state_of_handle)})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("a/data/0", b"\0" * 16)
        with pytest.raises(ArtifactError, match="it changes a Handle"):
            pickles.read(path)


def test_a_compressed_archive_and_one_with_a_wrong_place_are_named(tmp_path: Path):
    torch.save(state(), tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(ArtifactError, match="is compressed"):
        pickles.read(tmp_path / "b.pt")
