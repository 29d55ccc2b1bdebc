"""The restricted unpickler: what real files hold is inert, what malicious ones name is refused."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy
import pytest
import torch

from stages.core.errors import ArtifactError
from stages.port import pickles
from tests.stages import fairseq_material as material


def test_what_real_checkpoints_hold_beside_tensors_is_read_inert(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    tree = {
        "args": material.argparse.Namespace(data=Path("/data"), kind=torch.float16, type=int),
        "extra_state": {"best": numpy.float64(1.5), "count": numpy.int64(7)},
        "model": {"a": torch.ones(3)},
    }
    for zipped in (True, False):
        torch.save(tree, path, _use_new_zipfile_serialization=zipped)
        found = pickles.load(path)
        assert torch.equal(found["model"]["a"], tree["model"]["a"])
        assert isinstance(found["extra_state"]["best"], pickles.Record)
        assert isinstance(found["args"].fields["data"], pickles.Record)


def pickled(module: str, name: str) -> bytes:
    """Return a protocol 4 pickle that calls module.name('touch executed')."""
    text = "touch executed"
    parts = b"".join(
        pickle.SHORT_BINUNICODE + bytes([len(one)]) + one.encode() for one in (module, name)
    )
    argument = pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode()
    return b"\x80\x04" + parts + pickle.STACK_GLOBAL + argument + pickle.TUPLE1 + b"R."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("argparse", "_sys.modules"),
        ("argparse", "_os.system"),
        ("fairseq", "utils.os.system"),
        ("omegaconf", "_utils.os.system"),
        ("enum", "sys.exit"),
        ("builtins", "eval"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "_rebuild_device_tensor_from_numpy"),
        ("codecs", "open"),
        ("numpy", "load"),
        ("collections", "abc.sys.exit"),
    ],
)
def test_names_behind_known_modules_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickled(module, name))
        archive.writestr("model/byteorder", "little")
    with pytest.raises(ArtifactError) as caught:
        pickles.load(path)
    assert f"{module}.{name}" in caught.value.what
    assert [one.name for one in tmp_path.iterdir()] == ["model.pt"]


def test_bytes_are_spelled_in_latin1_alone(tmp_path: Path) -> None:
    builder = pickles.REBUILDERS["_codecs", "encode"]
    assert builder("\xe9", "latin1") == b"\xe9"
    for encoding in ("rot13", "utf-8", "zlib"):
        with pytest.raises(ValueError, match="bytes spelled as"):
            builder("a", encoding)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"a.txt": b"x"}, "no data.pkl in the archive"),
        ({"m/data.pkl": b"\x80\x02}.", "m/byteorder": b"big"}, "big-endian"),
        ({"m/data.pkl": b"\x80\x02", "n/data.pkl": b"x"}, "no data.pkl in the archive"),
        ({"m/data.pkl": b""}, "damaged or no torch.save file"),
    ],
)
def test_zips_that_are_no_checkpoint_are_named(
    tmp_path: Path, members: dict[str, bytes], words: str
) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ArtifactError) as caught:
        pickles.load(path)
    assert words in caught.value.what
    assert "model.pt" in caught.value.where


def test_a_pickle_that_would_unfold_to_anything_is_not_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", b"\x80\x02" + b"N0" * 500_000 + b"}.")
    assert path.stat().st_size < 5_000
    with pytest.raises(ArtifactError, match="data.pkl is compressed"):
        pickles.read(path)
    with zipfile.ZipFile(path, "w") as archive:  # more bytes than any machine has
        archive.writestr("m/data.pkl", b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little"))
    with pytest.raises(ArtifactError, match="damaged or no torch.save file"):
        pickles.read(path)
