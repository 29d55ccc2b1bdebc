"""A training that was killed is the same training: a short version of benchmarks/resume.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import resume


def test_killed_four_times_and_byte_identical(root: Path, tmp_path: Path):
    """Real processes, SIGKILL and SIGTERM, one of them while a checkpoint is half-written."""
    out = tmp_path / "resume.json"
    done = subprocess.run(
        [
            sys.executable, "-W", "ignore", str(root / "benchmarks/resume.py"), "--kills", "4",
            "--steps", "100", "--entries", "pretrain@masked", "--seed", "test", "--out", str(out),
        ],
        capture_output=True, text=True, check=False, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = json.loads(out.read_text())["trainings"]
    assert row["kills"]["save SIGKILL"] >= 1
    assert sum(row["kills"].values()) == 4
    assert row["outputs_identical"] == row["outputs"] >= 15
    assert row["every_step_once_in_journals"]
    assert row["processes"] == 5


def test_the_proof_has_teeth(tmp_path: Path):
    """One byte of one output, or one step told twice, and the row would not pass."""
    model = tmp_path / "models/pretrained/x"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"a")
    for name in ("metrics/pretrain/x.json", "plots/pretrain/x.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1")
    before = resume.outputs(tmp_path, "pretrain@x")
    assert len(before) == 3
    (model / "model.safetensors").write_bytes(b"b")
    assert resume.outputs(tmp_path, "pretrain@x") != before
