"""What the runner hands to DVC: right hashes, whole objects, and nothing where DVC is another."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stages.core import digests, environment, fingerprint, handover, hashes, placing

ROOT = Path(__file__).resolve().parents[2]
SIZES = (0, 1, 55, 56, 63, 64, 65, 119, 120, 65535, 65536, 65537, 131063, 131073, 200000, 999999)


def plain(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def written(folder: Path, sizes=SIZES) -> list[Path]:
    rng = random.Random(5)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:02d}.bin" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(rng.randbytes(size))
    return paths


def test_files_go_side_by_side_where_that_is_less_work(tmp_path, monkeypatch):
    mib = 1 << 20
    assert digests.split([2048 * mib]) == 1
    assert digests.split([128 * mib] * 16) == 0
    assert digests.split([2048 * mib] + [128 * mib] * 16) == 1  # the long one on its own
    assert digests.split([mib] * 20) == 20  # not worth the start
    assert digests.split([]) == 0
    paths = written(tmp_path)
    assert digests.md5s(paths) == [plain(path) for path in paths]
    monkeypatch.setattr(digests, "split", lambda sizes: 2)
    assert digests.md5s(paths, threads=1) == [plain(path) for path in paths]
    monkeypatch.setattr(sys, "executable", "/bin/false")  # where it cannot be
    assert digests.md5s(paths, threads=1) == [plain(path) for path in paths]


def test_an_edit_with_its_time_put_back_is_hashed_again(tmp_path):
    known = hashes.Hashes(tmp_path)
    path = tmp_path / "a"
    path.write_text("one")
    os.utime(path, ns=(1, 1))
    hashes.time.sleep(0.1)
    before = known.file(path)
    assert known.file(path) == before
    assert known.read == {path}
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert known.file(path) == plain(path) != before


def test_a_hash_of_a_file_that_may_still_change_unseen_is_not_kept(tmp_path):
    known = hashes.Hashes(tmp_path)
    (tmp_path / "a").write_text("one")
    known.keep(tmp_path / "a", "wrong")  # within the clock's tick of the write
    assert known.file(tmp_path / "a") == plain(tmp_path / "a")
    hashes.time.sleep(0.1)
    known.keep(tmp_path / "a", "from elsewhere")
    assert hashes.Hashes(tmp_path).file(tmp_path / "a") == "from elsewhere"


def test_the_versions_are_the_locked_ones():
    locked = environment.locked(ROOT)
    assert {name: locked[name] for name in handover.WRITTEN_FOR} == handover.WRITTEN_FOR


COMMAND = """
    import pathlib, sys
    from stages.core import digests, handover, hashes, placing
    placing.COPIED_BYTES = 1000
    root = pathlib.Path.cwd()
    for name in ("a", "below/b"):
        (root / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "out" / name).write_bytes(name.encode() * 4000)
    if "plant" in sys.argv:
        digests.md5s = lambda paths: ["0" * 31 + str(number) for number in range(len(paths))]
    if "other" in sys.argv:
        handover.WRITTEN_FOR["dvc"] = "3.66.0"
    print(handover.register(root, ["out"], hashes.Hashes(root)))
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A real DVC repository whose stage registers what it makes; returns how to run it."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "state"))
    root = tmp_path / "project"
    root.mkdir()
    (root / "made.py").write_text(textwrap.dedent(COMMAND))

    def dvc(*words: str) -> str:
        variables = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "dvc", *words]
        return subprocess.run(
            command, cwd=root, env=variables, check=True, capture_output=True, text=True
        ).stdout

    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    dvc("init", "-q")
    dvc("config", "core.analytics", "false")

    def run(*words: str, types: str = "copy") -> Path:
        dvc("config", "cache.type", types)
        command = f"{sys.executable} made.py {' '.join(words)}"
        (root / "dvc.yaml").write_text(f"stages: {{s: {{cmd: '{command}', outs: [out]}}}}\n")
        dvc("repro", "-q")
        return root

    run.dvc = dvc
    return run


@pytest.mark.tools
@pytest.mark.parametrize("types", ["copy", "reflink,hardlink,copy"])
def test_dvc_finds_everything_known_and_in_place(project, types):
    root = project(types=types)
    assert "up to date" in project.dvc("status")
    cache = root / ".dvc/cache"
    for name in ("a", "below/b"):
        path = root / "out" / name
        value = plain(path)
        held = cache / "files/md5" / value[:2] / value[2:]
        assert held.read_bytes() == path.read_bytes()
        assert held.stat().st_mode & 0o777 == 0o444
        # A link would let root write into the cache.
        linked = "hardlink" in types and os.geteuid() != 0
        assert (held.stat().st_ino == path.stat().st_ino) == linked
    assert not list(cache.glob("*.tmp"))
    project.dvc("gc", "-q", "-w", "-f")
    shutil.rmtree(root / "out")
    project.dvc("checkout", "-q")
    assert "up to date" in project.dvc("status")


@pytest.mark.tools
def test_dvc_takes_our_hash_and_does_not_compute_it_again(project):
    """A planted hash reaches dvc.lock's folder listing: so DVC has looked where we wrote."""
    root = project("plant")
    value = fingerprint.locks(root)["s"]["outs"][0]["md5"]
    listed = (root / ".dvc/cache/files/md5" / value[:2] / value[2:]).read_text()
    assert "0" * 31 + "1" in listed


@pytest.mark.tools
def test_beside_another_dvc_it_does_all_itself(project):
    root = project("other")
    value = fingerprint.locks(root)["s"]["outs"][0]["md5"]
    assert "up to date" in project.dvc("status")
    assert value == hashes.combined(
        [(name, plain(root / "out" / name)) for name in ("a", "below/b")], True
    )


@pytest.mark.tools
def test_the_table_is_where_dvc_has_it_and_reads_as_dvc_writes(project, tmp_path):
    from dvc.repo import Repo
    from dvc_data.hashfile.state import _checksum

    root = project()
    table = handover._table(root)
    path = root / "dvc.yaml"
    handover._note(table, {path: "f" * 32})
    with Repo(str(root)) as repo:
        assert table == Path(repo.site_cache_dir, "hashes/local/cache.db")
        _, found = repo.state.get(str(path), repo.fs)
        assert found.value == "f" * 32
        facts = path.stat()
        info = {"ino": facts.st_ino, "mtime": facts.st_mtime, "size": facts.st_size}
        assert handover.checksum(*handover._stamp(path)) == _checksum(info)


def test_a_file_that_changes_while_it_is_read_is_neither_noted_nor_placed(tmp_path, monkeypatch):
    noted = {}
    (path,) = written(tmp_path / "out", (5000,))
    monkeypatch.setattr(placing, "COPIED_BYTES", 1000)
    monkeypatch.setattr(handover, "_table", lambda root: tmp_path)
    monkeypatch.setattr(handover, "_note", lambda table, values: noted.update(values))

    def change(paths):
        values = [plain(one) for one in paths]
        path.write_bytes(b"another")
        return values

    monkeypatch.setattr(digests, "md5s", change)
    handover.register(tmp_path, ["out"], hashes.Hashes(tmp_path))
    assert noted == {}
    assert not [one for one in (tmp_path / ".dvc/cache").rglob("*") if one.is_file()]


def test_a_file_that_changes_while_it_is_copied_is_not_placed(tmp_path, monkeypatch):
    monkeypatch.setattr(placing, "COPIED_BYTES", 1000)
    (path,) = written(tmp_path / "out", (5000,))
    values = {path: plain(path)}
    assert placing.place(tmp_path / "cache", ["copy"], values, lambda path: False) == {}
    assert not [one for one in (tmp_path / "cache").rglob("*") if one.is_file()]


def placed(tmp_path: Path, types: list[str], size: int = 5000) -> tuple[Path, dict[Path, str]]:
    (path,) = written(tmp_path / "out", (size,))
    return path, placing.place(tmp_path / "cache", types, {path: plain(path)})


def test_whoever_is_not_root_gets_a_link_and_root_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(placing, "COPIED_BYTES", 1000)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    path, found = placed(tmp_path / "user", ["reflink", "hardlink", "copy"])
    assert [one.stat().st_ino for one in found] == [path.stat().st_ino]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    path, found = placed(tmp_path / "root", ["hardlink", "copy"])
    (held,) = found
    with path.open("ab") as stream:
        stream.write(b"more")  # and the cache is what it was
    assert plain(held) == found[held]


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, (9 << 20) + 4097])
def test_a_copy_past_the_page_cache_is_whole(tmp_path, monkeypatch, size):
    monkeypatch.setattr(placing, "COPIED_BYTES", 1000)
    path, found = placed(tmp_path, ["copy"], size)
    assert [plain(held) for held in found] == [plain(path)]


def test_a_full_disk_leaves_the_copy_to_dvc_and_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(placing, "COPIED_BYTES", 1000)

    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    _, found = placed(tmp_path, ["copy"])
    assert found == {}
    assert not [one for one in (tmp_path / "cache").rglob("*") if one.is_file()]


def test_what_a_killed_process_left_is_removed(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    with subprocess.Popen([sys.executable, "-c", "pass"]) as dead:
        dead.wait()
    mine, theirs = (cache / f"deveno-{pid}-7.tmp" for pid in (os.getpid(), dead.pid))
    mine.write_text("at work")
    theirs.write_text("left")
    placed(tmp_path, ["copy"])
    assert mine.exists()
    assert not theirs.exists()
