"""Megatron-LM's token files: what is written comes back, and damage is told."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.core.errors import ArtifactError
from stages.lm import indexed

Documents = list[list[int]]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    documents=st.lists(st.lists(st.integers(0, 299), max_size=9), max_size=9),
    vocab_size=st.sampled_from([300, 65_499, 65_500, 200_000]),
)
def test_documents_come_back(tmp_path: Path, documents: Documents, vocab_size: int) -> None:
    prefix = tmp_path / "text_document"
    indexed.write(prefix, [np.array(one, dtype=np.int64) for one in documents], vocab_size)
    found = indexed.read(prefix)
    assert [one.tolist() for one in found.every()] == documents
    assert found.stream.dtype == ("uint16" if vocab_size < 65_500 else "int32")
    assert len(found) == len(documents)


def test_the_bytes_are_megatrons(tmp_path: Path) -> None:
    """The format by hand, number by number: what MMapIndexedDataset reads."""
    indexed.write(tmp_path / "a", [np.array([1, 2, 3]), np.array([500])], 50_257)
    assert (tmp_path / "a.bin").read_bytes() == struct.pack("<4H", 1, 2, 3, 500)
    assert (tmp_path / "a.idx").read_bytes() == (
        b"MMIDIDX\x00\x00"
        + struct.pack("<Q", 1)
        + struct.pack("<B", 8)
        + struct.pack("<Q", 2)
        + struct.pack("<Q", 3)
        + struct.pack("<2i", 3, 1)
        + struct.pack("<2q", 0, 6)
        + struct.pack("<3q", 0, 1, 2)
    )


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 8])
def test_every_type_of_tokens_and_documents_of_many_sequences(tmp_path: Path, code: int) -> None:
    dtype = np.dtype(indexed.TYPES[code]).newbyteorder("<")
    tokens = np.array([5, 6, 7, 8, 9, 1], dtype=dtype)
    (tmp_path / "a.bin").write_bytes(tokens.tobytes())
    width = dtype.itemsize
    sizes, starts = np.array([2, 0, 3, 1]), np.array([0, 2, 2, 5]) * width
    documents = np.array([0, 2, 2, 4])
    (tmp_path / "a.idx").write_bytes(
        indexed.HEAD.pack(indexed.MAGIC, 1, code, 4, 4)
        + sizes.astype("<i4").tobytes()
        + starts.astype("<i8").tobytes()
        + documents.astype("<i8").tobytes()
    )
    found = indexed.read(tmp_path / "a")
    assert [one.tolist() for one in found.every()] == [[5, 6], [], [7, 8, 9, 1]]
    assert found.sequence(2).tolist() == [7, 8, 9]


def _pair(tmp_path: Path) -> Path:
    indexed.write(tmp_path / "a", [np.arange(5), np.arange(3), np.arange(4)], 300)
    return tmp_path / "a.idx"


HEAD = indexed.HEAD.size
DAMAGE = {
    "magic": (lambda raw: b"X" + raw[1:], "it begins with b'XMIDIDX"),
    "version": (lambda raw: raw[:9] + struct.pack("<Q", 2) + raw[17:], "its version is 2, not 1"),
    "type": (lambda raw: raw[:17] + b"\x06" + raw[18:], "its type of tokens is 6"),
    "short": (lambda raw: raw[:-1], "make 102 bytes, it has 101"),
    "long": (lambda raw: raw + b"\0", "make 102 bytes, it has 103"),
    "head": (lambda raw: raw[:20], "fewer than its head"),
    "many": (lambda raw: raw[:18] + struct.pack("<Q", 1 << 60) + raw[26:], "make"),
    "sizes": (
        lambda raw: raw[:HEAD] + struct.pack("<i", 6) + raw[HEAD + 4 :],
        "sequence 1 begins at byte 10, and those before it end at 12",
    ),
    "negative": (
        lambda raw: raw[:HEAD] + struct.pack("<i", -1) + raw[HEAD + 4 :],
        "sequence 0 has -1 tokens",
    ),
    "last": (
        lambda raw: raw[: HEAD + 8] + struct.pack("<i", 5) + raw[HEAD + 12 :],
        "its sequences make 26 bytes and the data has 24",
    ),
    "pointers": (
        lambda raw: raw[: HEAD + 12] + struct.pack("<3q", 0, 16, 10) + raw[HEAD + 36 :],
        "sequence 1 begins at byte 16, and those before it end at 10",
    ),
    "documents": (
        lambda raw: raw[: HEAD + 36] + struct.pack("<4q", 0, 2, 1, 3),
        "document 2 begins before the one before it",
    ),
    "ends": (
        lambda raw: raw[: HEAD + 36] + struct.pack("<4q", 0, 1, 2, 4),
        "its documents are 0 to 4, not 0 to 3",
    ),
}


@pytest.mark.parametrize("name", sorted(DAMAGE))
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    index = _pair(tmp_path)
    change, told = DAMAGE[name]
    index.write_bytes(change(index.read_bytes()))
    with pytest.raises(ArtifactError) as refusal:
        indexed.read(tmp_path / "a")
    assert told in refusal.value.what
    assert "a.idx cannot be read" in refusal.value.what


def test_truncated_data_and_missing_files_are_named(tmp_path: Path) -> None:
    index = _pair(tmp_path)
    data = tmp_path / "a.bin"
    whole = data.read_bytes()
    data.write_bytes(whole[:-2])
    with pytest.raises(ArtifactError, match="make 24 bytes and the data has 22"):
        indexed.read(tmp_path / "a")
    data.unlink()
    with pytest.raises(ArtifactError, match="a.bin cannot be read: it is missing"):
        indexed.read(tmp_path / "a")
    data.write_bytes(whole)
    index.unlink()
    with pytest.raises(ArtifactError, match="a.idx cannot be read: it is missing"):
        indexed.read(tmp_path / "a")


def test_tokens_outside_the_vocabulary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="a token is outside the vocabulary of 300"):
        indexed.write(tmp_path / "a", [np.array([300])], 300)
