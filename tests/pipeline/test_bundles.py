"""A bundle of the real line: the same bytes from two processes, proved where nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.pipeline.bad_material import three_lines
from tests.pipeline.conftest import ROOT

pytestmark = pytest.mark.tools


def test_a_model_is_bundled_verified_elsewhere_and_compared(line, tmp_path):
    name = next(step for step in line.plan() if step.startswith("export@"))
    first, second = tmp_path / "first", tmp_path / "deeper/second"
    for seed, folder in (("1", first), ("2", second)):
        line.deveno("bundle", name, "--out", str(folder), PYTHONHASHSEED=seed)
    texts = [(folder / "SHA256SUMS").read_bytes() for folder in (first, second)]
    assert texts[0] == texts[1]
    subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "SHA256SUMS"], cwd=first, check=True)
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    second.rename(lonely / "bundle")

    def verify() -> subprocess.CompletedProcess:
        """Where there is no workspace, no git and no dvc, only the installed package."""
        return subprocess.run(
            [sys.executable, "-m", "stages", "verify", "bundle"], cwd=lonely, text=True,
            env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(lonely)},
            capture_output=True, check=False,
        )  # fmt: skip

    proved = verify()
    assert proved.returncode == 0, proved.stderr
    assert f"made by {name}" in proved.stdout
    told = json.loads((first / "lineage.json").read_text())
    assert told["artifact"]["path"] in proved.stdout
    assert [row["licence"] for row in told["sources"]], "the raw sources are told"
    stages = [row["entry"].split("@")[0] for row in told["entries"]]
    assert stages[0] == "acquire"
    assert stages[-1] == "export"
    for path in first.rglob("*"):
        if path.is_file():
            assert str(line.root).encode() not in path.read_bytes(), path
    config = lonely / "bundle" / told["artifact"]["path"] / "config.json"
    config.write_bytes(config.read_bytes().replace(b"{", b"[", 1))
    broken = verify()
    assert broken.returncode == 2
    assert f"{told['artifact']['path']}/config.json: its bytes are not those" in broken.stdout
    three_lines(broken.stderr)
    examined = line.deveno("doctor", "--deep", str(lonely / "bundle"), check=False)
    assert examined.returncode == 2
    assert f"{told['artifact']['path']}/config.json: its bytes are not those" in examined.stdout
