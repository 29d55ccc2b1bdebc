"""An adopted artifact under the real DVC: tracked, read by entries, there in a second clone."""

from __future__ import annotations

import configparser
import shutil

import pytest

from stages.core import adoption
from tests.pipeline import naps
from tests.pipeline.bad_material import three_lines
from tests.pipeline.conftest import Clone

pytestmark = pytest.mark.tools


def share_cache(source: Clone, target: Clone) -> None:
    settings = configparser.ConfigParser()
    settings["cache"] = {"dir": str(source.root / ".dvc/cache")}
    with (target.root / ".dvc/config.local").open("w") as stream:
        settings.write(stream)


def test_an_adopted_artifact_is_read_by_entries_here_and_in_a_second_clone(tmp_path):
    clone = naps.make(tmp_path / "clone")
    outside = tmp_path / "outside"
    (outside / "files").mkdir(parents=True)
    (outside / "manifest.json").write_text("{}\n")
    (outside / "files/text.txt").write_text("saluton\n")
    shown = clone.deveno("adopt", str(outside), "x", "--licence", "CC0-1.0").stdout
    assert "entries read it as 'adopted/x'" in shown
    status = clone.run("git", "status", "--porcelain", "--untracked-files=all").stdout
    assert status.split("\n") == ["?? data/raw/adopted/x.dvc", ""], "git holds its mark alone"
    text = (clone.root / "params.yaml").read_text()
    named = text.replace("naps/a", "raw/adopted/x", 1)
    assert named != text
    (clone.root / "params.yaml").write_text(named)
    clone.run("dvc", "repro", "nap@b")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-q", "-m", "adopted")
    assert clone.plan()["nap@b"]["action"] == "skip"

    leaf = clone.deveno("lineage", "nap@b").stdout
    assert "adopted, not made here: licence CC0-1.0, origin unknown" in " ".join(
        leaf.replace("\u2502", " ").split()
    )
    alone = clone.deveno("lineage", "data/raw/adopted/x").stdout
    assert "adopted, not made here: licence CC0-1.0" in alone

    again = clone.deveno("rebuild", "nap@b").stdout
    assert "identical" in again
    assert "data/raw/adopted/x was adopted, not made here" in again

    second = Clone(tmp_path / "second", clone.environment)
    clone.run("git", "clone", "-q", str(clone.root), str(second.root))
    share_cache(clone, second)
    assert second.plan()["nap@b"]["action"] == "restore"
    assert '"nap@b"' in second.deveno("steps", "nap@b").stdout
    assert (second.root / "data/raw/adopted/x/files/text.txt").read_text() == "saluton\n"
    second.run("dvc", "repro", "-s", "nap@b")
    assert second.plan()["nap@b"]["action"] == "skip"
    assert not (second.root / ".deveno/journal/nap@b").exists(), "nothing was computed"
    found = adoption.find(second.root, "data/raw/adopted/x")
    assert found is not None
    assert found.licence == "CC0-1.0"

    shutil.rmtree(second.root / "data/raw/adopted/x")
    shutil.rmtree(second.root / "data/naps")
    shutil.rmtree(clone.root / ".dvc/cache")
    failed = second.deveno("steps", "nap@b", check=False)
    assert failed.returncode == 2
    what, _, todo = three_lines(failed.stderr)
    assert "data/raw/adopted/x is not there, nor in DVC's cache" in what
    assert "dvc pull" in todo
