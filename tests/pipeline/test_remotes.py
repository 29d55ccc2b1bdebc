"""Two clones and a remote, with the real DVC: the second gets the bytes and computes nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stages.core import fingerprint
from tests.pipeline import naps, stores
from tests.pipeline.conftest import Clone

pytestmark = pytest.mark.tools
OUTPUTS = ("data/naps/a", "data/naps/b", "data/naps/c", "reports/benchmark/pos")


@pytest.fixture(scope="module")
def address():
    with stores.buckets() as found:
        yield found


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Clone:
    """A project that plain `dvc repro` ran, its dvc.lock not committed."""
    clone = naps.make(tmp_path_factory.mktemp("remotes") / "a")
    clone.run("dvc", "repro")
    return clone


def cloned(origin: Clone, folder: Path, store: stores.Store) -> Clone:
    """Clone what is committed and name the remote."""
    subprocess.run(["git", "clone", "-q", str(origin.root), str(folder)], check=True)
    store.configure(folder, reading=True)
    return Clone(folder, origin.environment)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for out in (*OUTPUTS, "metrics")
        for path in (root / out).rglob("*")
        if path.is_file() and path.name != ".gitignore"
    }


def computed(clone: Clone) -> list[str]:
    return sorted(path.name for path in (clone.root / ".deveno/journal").glob("*@*"))


@pytest.mark.parametrize("kind", stores.KINDS)
def test_a_second_clone_pulls_the_same_bytes_and_computes_nothing(origin, tmp_path, kind, address):
    with stores.opened(kind, tmp_path, address) as store:
        store.configure(origin.root)
        assert "4 records to store; it has 4 results" in origin.deveno("push").stdout
        second = cloned(origin, tmp_path / "b", store)
        if kind == "folder":
            told = second.deveno("pull", "nap@b").stdout
            assert "2 entries put in place" in told
            assert set(fingerprint.locks(second.root)) == {"nap@a", "nap@b"}
            assert not (second.root / "data/naps/c").exists()
        told = second.deveno("pull").stdout
        assert ("2 entries put in place, 2 were fresh" if kind == "folder" else
                "4 entries put in place, 0 were fresh") in told  # fmt: skip
        assert contents(second.root) == contents(origin.root)
        assert fingerprint.locks(second.root) == fingerprint.locks(origin.root)
        assert "up to date" in second.run("dvc", "status").stdout
        assert computed(second) == []
        secrets = subprocess.run(
            ["git", "grep", "--untracked", "-l", stores.SECRET], cwd=second.root,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert secrets.stdout == ""


def test_a_run_asks_the_remote_first_and_computes_only_what_was_damaged(origin, tmp_path):
    """Over HTTP, which DVC's own run cache cannot travel by."""
    with stores.opened("web", tmp_path, "") as store:
        store.configure(origin.root)
        origin.deveno("push")
        second = cloned(origin, tmp_path / "b", store)
        value = fingerprint.locks(origin.root)["nap@a"]["outs"][1]  # the others' bytes too
        assert value["path"] == "metrics/nap/a.json"
        damaged = store.folder / f"files/md5/{value['md5'][:2]}/{value['md5'][2:]}"
        damaged.chmod(0o644)
        damaged.write_bytes(damaged.read_bytes().replace(b"1", b"2"))
        (second.root / "metrics/nap/b.json").unlink()
        plan = second.plan()
        assert {(row["action"], row["remote"]) for row in plan.values()} == {("restore", True)}
        ran = second.deveno("run")
        assert "4 to restore (4 from the remote)" in ran.stdout
        assert "holds other bytes for metrics/nap/a.json" in ran.stderr
        assert "nap@a is computed instead" in ran.stderr
        assert second.executions() == {"nap@a": 1}
        assert contents(second.root) == contents(origin.root)
        assert "up to date" in second.run("dvc", "status").stdout


def test_plain_dvc_reads_what_was_pushed(origin, tmp_path):
    with stores.opened("folder", tmp_path, "") as store:
        store.configure(origin.root)
        origin.deveno("push")
        second = cloned(origin, tmp_path / "b", store)
        shutil.copy(origin.root / "dvc.lock", second.root / "dvc.lock")
        second.run("dvc", "pull", "--run-cache")
        shutil.copytree(origin.root / "metrics", second.root / "metrics", dirs_exist_ok=True)
        assert "up to date" in second.run("dvc", "status").stdout
        (second.root / "dvc.lock").unlink()
        shutil.rmtree(second.root / "data/naps")
        second.run("dvc", "repro", "--pull", "nap@b")
        assert computed(second) == []


def test_a_dead_remote_costs_a_warning(origin, tmp_path):
    store = stores.Store(f"http://127.0.0.1:{naps.free_port()}")
    second = cloned(origin, tmp_path / "b", store)
    planned = second.deveno("plan")
    assert planned.stderr.count("warning: the remote 'store' is not asked any more: ") == 1
    assert "4 to run" in planned.stdout
