"""Malicious and damaged safetensors are refused in three lines before any library reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stages.core.errors import ArtifactError
from stages.lm import models, weights

GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def file(path: Path, header: object, data: bytes = b"\0" * 8, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def row(begin: int, end: int, shape: list[int], dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


ONE = b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
TWICE = b"{" + ONE + b"," + ONE + b"}"
BAD = {
    "overlap": ({"a": row(0, 8, [2]), "b": row(4, 12, [2])}, b"\0" * 12, "inside the one before"),
    "hole": ({"a": row(0, 8, [2]), "b": row(12, 20, [2])}, b"\0" * 20, "nothing is said of bytes"),
    "polyglot": (GOOD, b"\0" * 8 + b"PK\5\6" + b"\0" * 18, "end at 8 and its data at 30"),
    "twice": (TWICE, b"\0" * 8, "names 'a' twice"),
    "wrong size": ({"a": row(0, 8, [3])}, b"\0" * 8, "has 8 bytes"),
    "negative": ({"a": row(-8, 0, [2])}, b"", "described wrongly"),
    "unknown type": ({"a": row(0, 8, [2], "P99")}, b"\0" * 8, "described wrongly"),
    "true is no number": ({"a": row(0, 4, [True])}, b"\0" * 4, "described wrongly"),
    "no object": ({"a": [1, 2]}, b"\0" * 8, "described wrongly"),
    "a list": (b"[1]", b"", "does not begin with {"),
    "no JSON": (b"{'a': 1}", b"", "no JSON"),
    "no text": (b'{"\xff":1}', b"", "no JSON"),
    "half a character": (json.dumps({"\ud800": row(0, 8, [2])}).encode(), b"\0" * 8, "no JSON"),
    "deep": (b'{"a":' + b"[" * 100_000, b"", "no JSON"),
    "metadata": ({"__metadata__": {"x": 1}, **GOOD}, b"\0" * 8, "__metadata__ is not text"),
    "past the end": ({"a": row(0, 800, [200])}, b"\0" * 8, "end at 800 and its data at 8"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malicious_file_is_refused(tmp_path: Path, name: str):
    header, data, said = BAD[name]
    path = file(tmp_path / "model.safetensors", header, data)
    with pytest.raises(ArtifactError, match=re.escape(said)) as caught:
        weights.check(path)
    assert len(caught.value.lines()) == 3
    assert all("\n" not in line for line in caught.value.lines())


@pytest.mark.parametrize("length", [9, 1 << 20, (1 << 64) - 1])
def test_a_header_longer_than_the_file_is_refused(tmp_path: Path, length: int):
    path = file(tmp_path / "x.safetensors", b"{}", b"", length)
    with pytest.raises(ArtifactError, match=f"its header shall have {length} bytes"):
        weights.check(path)


def test_a_huge_header_is_not_even_read(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as stream:
        stream.write((weights.MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{")
        stream.truncate(weights.MAX_HEADER_BYTES + 100)  # a sparse file: no byte is written
    with pytest.raises(ArtifactError, match="more than 100000000"):
        weights.check(path)


def test_an_empty_and_a_short_file_are_refused(tmp_path: Path):
    for data in (b"", b"\x08\0\0"):
        (tmp_path / "x.safetensors").write_bytes(data)
        with pytest.raises(ArtifactError, match=f"it has {len(data)} bytes"):
            weights.check(tmp_path / "x.safetensors")


def test_what_the_library_writes_is_accepted(tmp_path: Path):
    tensors = {
        "weight": torch.randn(3, 4), "half": torch.zeros(5, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 7), "scalar": torch.tensor(3.0), "mask": torch.ones(3).bool(),
    }  # fmt: skip
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    assert set(weights.check(tmp_path / "x.safetensors")) == set(tensors)


def test_a_model_with_a_name_twice_is_never_opened(tmp_path: Path):
    """The library itself takes the second of two: two readers would see two models."""
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    file(tmp_path / "model.safetensors", TWICE)
    with pytest.raises(
        ArtifactError, match="cannot be opened: model.safetensors: its header names"
    ):
        models.load(tmp_path, "mlm")
