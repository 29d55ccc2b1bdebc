"""Kernels kept between processes: found by content, made again when torn, reported, spread."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.core.log import Log
from stages.lm.kernels import compiled

SOURCE = """
from numba import types
from stages.lm.kernels import compiled
@compiled.kernel(types.int64, compiled.BYTES)
def total(data):
    found = 0
    for byte in data:
        found += byte * FACTOR
    return found
FACTOR = 1
if __name__ == "__main__":
    import numpy as np
    print(total(np.arange(10, dtype=np.uint8)), *compiled.spent()[1:])
"""


def answer(path: Path, kept: Path, source: str = SOURCE) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    environment = {**os.environ, compiled.FOLDER: str(kept), "PYTHONPATH": str(Path.cwd())}
    shown = subprocess.run(
        [sys.executable, path.name],
        cwd=path.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    return shown.stdout.strip()


def test_kept_by_content_and_made_again_when_torn(tmp_path):
    kept = tmp_path / "kept"
    assert answer(tmp_path / "one" / "totals.py", kept) == "45 1 0"
    # Another place and another time of the same source: nothing is compiled.
    other = tmp_path / "two" / "one" / "totals.py"
    assert answer(other, kept) == "45 0 1"
    # Another constant is another folder, so machine code never outlives its source.
    changed = SOURCE.replace("FACTOR = 1", "FACTOR = 2")
    assert answer(other, kept, changed) == "90 1 0"
    assert len(list(kept.iterdir())) == 2
    for file in kept.rglob("*.nb*"):
        file.write_bytes(file.read_bytes()[:40])
    assert answer(other, kept, changed) == "90 1 0"
    assert answer(other, kept, changed) == "90 0 1"


def test_a_place_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "file").write_text("")
    assert answer(tmp_path / "one" / "totals.py", tmp_path / "file" / "kept") == "45 1 0"


def test_arrays_are_kept_and_made_again_when_torn(tmp_path, monkeypatch):
    monkeypatch.setenv(compiled.FOLDER, str(tmp_path))
    made = []

    def make():
        made.append(1)
        return np.arange(5, dtype=np.uint16), np.ones((2, 3), np.int32)

    def got():
        return compiled.kept("some", compiled.__file__, make)

    for wanted in (1, 1):
        first, second = got()
        assert (first.tolist(), second.shape, len(made)) == ([0, 1, 2, 3, 4], (2, 3), wanted)
        assert first.dtype == np.uint16
        assert not first.flags.writeable
    (file,) = tmp_path.rglob("*.npz")
    whole = file.read_bytes()
    # Cut, empty, and one bit of an array's bytes flipped.
    place = whole.index(np.arange(5, dtype=np.uint16).tobytes())
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    for count, torn in enumerate((whole[:100], b"", flipped), start=2):
        file.write_bytes(torn)
        assert got()[0].tolist() == [0, 1, 2, 3, 4]
        assert len(made) == count
    assert file.read_bytes() == whole


def test_sources_follow_imports_within_the_library():
    names = {
        path.name for path in compiled.sources(Path(compiled.__file__).parent / "characters.py")
    }
    assert {"characters.py", "compiled.py", "text.py"} <= names
    assert "log.py" not in names


def test_the_log_is_told():
    log = Log()
    compiled.report(log)
    assert set(log.observed) == {"kernels/ready_cpu_s", "kernels/compiled", "kernels/loaded"}


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_spread_covers_every_document_once_in_order(threads):
    for sizes in ([], [0], [5], [0, 0, 0], [1, 100, 1, 1], [7] * 20, [0, 0, 9]):
        offsets = np.array([0, *sizes], np.int64).cumsum()
        runs = compiled.spread(offsets, threads, lambda first, stop: list(range(first, stop)))
        assert [number for run in runs for number in run] == list(range(len(sizes)))
        assert len(runs) <= max(1, threads)
