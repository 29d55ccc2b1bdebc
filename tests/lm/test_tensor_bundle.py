"""TensorFlow's checkpoint is read and written to the last bit, and damage is told."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from stages.core.errors import ArtifactError
from stages.lm.tensors import bundle, sstable
from stages.lm.tensors.crc32c import LANES, crc32c, masked
from stages.lm.tensors.entries import Spec
from stages.lm.tensors.nodes import Memory

RELEASES = Path(__file__).parents[1] / "stages" / "releases"
INDEX = "model.ckpt.index"
SHARD = "model.ckpt.data-00000-of-00001"


def _slow(data: bytes) -> int:
    """CRC-32C bit by bit, as RFC 3720 writes it."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksums_of_the_standard(data: bytes, wanted: int) -> None:
    assert crc32c(data) == wanted  # RFC 3720, appendix B.4


def test_checksum_by_lanes_is_the_checksum_bit_by_bit() -> None:
    data = np.random.default_rng(0).integers(0, 256, 4 * LANES + 7, dtype=np.uint8).tobytes()
    assert crc32c(data) == _slow(data)
    assert crc32c(data[5:], crc32c(data[:5])) == crc32c(data)


def test_reads_what_tensorflow_wrote_and_writes_the_same_bytes(tmp_path: Path) -> None:
    """An index of our own has TensorFlow's bytes: the same blocks, prefixes and checksums."""
    found = bundle.read(RELEASES / "gpt2" / "model.ckpt")
    bundle.check(found)
    assert found.variables["model/h0/attn/c_attn/w"].entry.spec == Spec("F32", (1, 16, 48))
    with bundle.opened(found) as checkpoint:
        bundle.write(tmp_path / "model.ckpt", checkpoint.nodes())
    for name in (INDEX, SHARD):
        assert (tmp_path / name).read_bytes() == (RELEASES / "gpt2" / name).read_bytes()


def test_tables_of_many_blocks_come_back(tmp_path: Path) -> None:
    """Long tables are cut into blocks; keys share prefixes; values may be empty or large."""
    generator = np.random.default_rng(1)
    entries = {
        f"layer_{number % 7}/weight_{number}".encode(): generator.bytes(number % 900)
        for number in range(1500)
    }
    table = sstable.write(entries)
    assert len(table) > 2 * sstable.BLOCK_BYTES
    assert sstable.read(table) == dict(sorted(entries.items()))
    assert sstable.read(sstable.write({})) == {}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "I64", "U8", "BOOL", "F64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3, 4)])
def test_every_type_and_shape_comes_back(
    tmp_path: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    spec = Spec(dtype, shape)
    bits = np.arange(spec.count).astype(spec.carrier) % 2
    bundle.write(tmp_path / "m", {"a/b": Memory(spec, bits), "a": Memory(spec, bits)})
    found = bundle.read(tmp_path / "m")
    bundle.check(found)
    assert sorted(found.variables) == ["a", "a/b"]
    with bundle.opened(found) as checkpoint:
        node = checkpoint.node("a/b")
        assert node.spec == spec
        assert np.array_equal(node.read(0, spec.count), bits)


def _copy(tmp_path: Path) -> Path:
    for name in (INDEX, SHARD):
        shutil.copy(RELEASES / "gpt2" / name, tmp_path / name)
    return tmp_path / "model.ckpt"


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    prefix = _copy(tmp_path)
    shard = tmp_path / SHARD
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(ArtifactError, match=r"has 49591 bytes and model/wte ends at 49600"):
        bundle.read(prefix)


@pytest.mark.parametrize("name", [INDEX, SHARD])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    prefix = _copy(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        bundle.read(prefix)


def test_a_flipped_bit_of_a_variable_is_named(tmp_path: Path) -> None:
    prefix = _copy(tmp_path)
    _flip(tmp_path / SHARD, 4)
    found = bundle.read(prefix)
    with pytest.raises(ArtifactError, match=r"model/h0/attn/c_attn/b do not have the checksum"):
        bundle.check(found)


def test_every_flipped_bit_of_an_index_is_found(tmp_path: Path) -> None:
    """Every byte but those of the footer's padding is under a checksum, the magic or a handle."""
    prefix = _copy(tmp_path)
    data = (tmp_path / INDEX).read_bytes()
    used = [*range(0, len(data) - sstable.FOOTER_BYTES, 3), len(data) - 1]
    for at in used:
        _flip(tmp_path / INDEX, at)
        with pytest.raises(ArtifactError, match=r"is no index of a TensorFlow checkpoint"):
            bundle.read(prefix)
        (tmp_path / INDEX).write_bytes(data)
    for end in range(0, len(data), 97):
        (tmp_path / INDEX).write_bytes(data[:end])
        with pytest.raises(ArtifactError, match=r"is no index of a TensorFlow checkpoint"):
            bundle.read(prefix)


def _compressed(table: bytes) -> bytes:
    """Return a table whose first block says that it is compressed, with the right checksum."""
    size = table.index(struct.pack("<I", 1)) + 4  # one restart ends the only data block
    block = table[:size] + b"\x01"
    return block + struct.pack("<I", masked(crc32c(block))) + table[size + 5 :]


def test_compression_is_named(tmp_path: Path) -> None:
    table = _compressed(sstable.write({b"a": b"b"}))
    with pytest.raises(sstable.Fault, match=r"is compressed \(type 1\)"):
        sstable.read(table)
    (tmp_path / "m.index").write_bytes(table)
    with pytest.raises(ArtifactError, match="compressed"):
        bundle.read(tmp_path / "m")
