"""Where two artifacts part: the first tensor, number, step, row, line and byte, and how far."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import zstandard
from safetensors.numpy import save_file

from stages.core.divergence import TOLERANCE, Difference
from stages.lm.divergence import compare


def pair(tmp_path: Path, name: str, recorded: bytes, made: bytes) -> list[Difference]:
    """Compare two folders of one file each."""
    for side, data in (("recorded", recorded), ("made", made)):
        shutil.rmtree(tmp_path / side, ignore_errors=True)
        (tmp_path / side).mkdir()
        (tmp_path / side / name).write_bytes(data)
    return compare(tmp_path / "recorded", tmp_path / "made")


def weights(tmp_path: Path, **changed: np.ndarray) -> list[Difference]:
    """Compare a file of two tensors with the same file, some of them replaced."""
    ones = {"first": np.ones((2, 3), np.float32), "second": np.full(4, 2.0, np.float32)}
    for side, tensors in (("recorded", ones), ("made", ones | changed)):
        (tmp_path / side).mkdir(exist_ok=True)
        save_file(tensors, tmp_path / side / "model.safetensors")
    return compare(tmp_path / "recorded", tmp_path / "made")


def test_equal_bytes_differ_nowhere(tmp_path):
    assert weights(tmp_path) == []


def test_a_tensor_within_the_tolerance_is_named_with_its_place_and_distance(tmp_path):
    near = np.full(4, 2.0, np.float32)
    near[2] += 2e-4
    (found,) = weights(tmp_path, second=near)
    assert (found.file, found.kind, found.where) == ("model.safetensors", "tensor", "second")
    assert found.within
    assert found.absolute == pytest.approx(2e-4, rel=1e-2)
    assert found.relative == pytest.approx(1e-4, rel=1e-2)
    assert "at [2]" in found.made


def test_a_tensor_beyond_the_tolerance_another_shape_and_nan_are_different(tmp_path):
    far = np.ones((2, 3), np.float32) * (1 + 3 * TOLERANCE)
    (found,) = weights(tmp_path, first=far)
    assert found.where == "first"
    assert not found.within
    (shape,) = weights(tmp_path, first=np.ones((3, 2), np.float32))
    assert not shape.within
    (broken,) = weights(tmp_path, second=np.array([2, 2, np.nan, 2], np.float32))
    assert not broken.within
    assert broken.row()["relative"] is None  # infinity is not JSON


def test_whole_numbers_have_no_tolerance(tmp_path):
    (tmp_path / "recorded").mkdir()
    (tmp_path / "made").mkdir()
    save_file({"ids": np.array([100000, 5])}, tmp_path / "recorded/model.safetensors")
    save_file({"ids": np.array([100001, 5])}, tmp_path / "made/model.safetensors")
    (found,) = compare(tmp_path / "recorded", tmp_path / "made")
    assert found.where == "ids"
    assert not found.within


def test_bfloat16_is_read(tmp_path):
    def file(value: int) -> bytes:
        header = json.dumps({"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
        return len(header).to_bytes(8, "little") + header + value.to_bytes(2, "little")

    (found,) = pair(tmp_path, "m.safetensors", file(0x3F80), file(0x4000))  # 1.0 and 2.0
    assert found.absolute == 1.0


def test_a_number_in_json_is_named_by_its_path(tmp_path):
    one = {"scores": [{"name": "f1", "value": 0.5, "count": 7}]}
    near = {"scores": [{"name": "f1", "value": 0.50001, "count": 7}]}
    far = {"scores": [{"name": "f1", "value": 0.6, "count": 8}]}
    (found,) = pair(tmp_path, "s.json", json.dumps(one).encode(), json.dumps(near).encode())
    assert found.where == "scores[0].value"
    assert found.within
    both = pair(tmp_path, "s.json", json.dumps(one).encode(), json.dumps(far).encode())
    assert [row.where for row in both] == ["scores[0].value", "scores[0].count"]
    assert not any(row.within for row in both)


def test_other_writing_of_the_same_content_is_within(tmp_path):
    (found,) = pair(tmp_path, "s.json", b'{"a": 1}', b'{"a":1}')
    assert found.kind == "encoding"
    assert found.within
    packed = [zstandard.ZstdCompressor(level=level).compress(b"abc\n" * 999) for level in (1, 19)]
    assert packed[0] != packed[1]
    (found,) = pair(tmp_path, "t.jsonl.zst", packed[0], packed[1])
    assert found.kind == "encoding"


def test_a_curve_parts_at_a_step(tmp_path):
    recorded = "step,loss,lr\n10,3.0,0.1\n20,2.5,0.1\n30,2.0,0.1\n"
    made = "step,loss,lr\n10,3.0,0.1\n20,2.6,0.1\n30,2.9,0.1\n"
    (found,) = pair(tmp_path, "c.csv", recorded.encode(), made.encode())
    assert found.where == "loss from step 20"
    assert (found.recorded, found.made) == ("2.5", "2.6")
    assert found.absolute == pytest.approx(0.9)  # the largest, at step 30
    assert not found.within
    cut = recorded.removesuffix("30,2.0,0.1\n")
    short = pair(tmp_path, "c.csv", recorded.encode(), cut.encode())
    assert [row.where for row in short] == ["loss from step 30", "lr from step 30"]
    assert not short[0].within


def test_the_first_differing_row_of_a_table(tmp_path):
    for side, text in (("recorded", "b"), ("made", "c")):
        (tmp_path / side).mkdir()
        table = pa.table({"id": [1, 2, 3], "text": ["a", text, "z"]})
        parquet.write_table(table, tmp_path / side / "t.parquet")
    (found,) = compare(tmp_path / "recorded", tmp_path / "made")
    assert (found.kind, found.where) == ("row", "1, column text")
    assert (found.recorded, found.made) == ("b", "c")


def test_the_first_differing_line_and_byte(tmp_path):
    (line,) = pair(tmp_path, "merges.txt", b"a\nb\nc\n", b"a\nx\nc\n")
    assert (line.kind, line.where, line.recorded, line.made) == ("line", "2", "b", "x")
    (byte,) = pair(tmp_path, "train.bin", b"0123456", b"0123x56")
    assert (byte.kind, byte.where) == ("byte", "4")
    (cut,) = pair(tmp_path, "train.bin", b"0123456", b"0123")
    assert cut.where == "4"


def test_lines_of_json_tell_the_first_beyond_the_tolerance(tmp_path):
    recorded = '{"p": 0.5}\n{"p": 0.25}\n'
    (found,) = pair(tmp_path, "s.jsonl", recorded.encode(), b'{"p": 0.50001}\n{"p": 0.26}\n')
    assert found.where == "line 2.p"
    (near,) = pair(tmp_path, "s.jsonl", recorded.encode(), b'{"p": 0.50001}\n{"p": 0.25}\n')
    assert near.where == "line 1.p"
    assert near.within


def test_a_file_that_is_not_what_its_suffix_says_is_compared_by_bytes(tmp_path):
    (found,) = pair(tmp_path, "model.safetensors", b"not one", b"neither")
    assert found.kind == "byte"


def test_missing_and_extra_files_are_different(tmp_path):
    for side, name in (("recorded", "a"), ("made", "b")):
        (tmp_path / side).mkdir()
        (tmp_path / side / name).write_text("x")
    missing, extra = compare(tmp_path / "recorded", tmp_path / "made")
    assert (missing.file, missing.kind) == ("a", "missing")
    assert (extra.file, extra.kind) == ("b", "extra")
    assert not missing.within
    assert not extra.within


def test_a_changed_weight_of_an_onnx_graph_is_named(tmp_path):
    from onnx import TensorProto, helper, save

    def model(value: float, operator: str = "Add") -> bytes:
        node = helper.make_node(operator, ["x", "w"], ["y"])
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
        weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [value])
        graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
        path = tmp_path / "m.onnx"
        save(helper.make_model(graph), path)
        return path.read_bytes()

    (found,) = pair(tmp_path, "model.onnx", model(1.0), model(1.0 + 1e-4))
    assert (found.kind, found.where) == ("tensor", "w")
    assert found.within
    found = pair(tmp_path, "model.onnx", model(1.0), model(1.0, "Mul"))[0]
    assert found.where == "node 0"
    assert not found.within
