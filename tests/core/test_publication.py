"""Publishing is all or nothing: whatever fails, what was there before is there again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from stages.core import publication


def folder(path: Path, text: str) -> Path:
    path.mkdir(parents=True)
    (path / "a.txt").write_text(text)
    return path


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def place(tmp_path):
    """Two made folders, one target that exists, and a metrics file of an earlier run."""
    made = {
        folder(tmp_path / "out/one", "new 1"): folder(tmp_path / "data/one/x", "old 1"),
        folder(tmp_path / "out/two", "new 2"): tmp_path / "data/two/x",
    }
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/x.json").write_text("old")
    return tmp_path, made, {tmp_path / "metrics/x.json": "new"}


def test_folders_and_texts_are_exchanged(place):
    root, made, texts = place
    publication.publish(made, texts, root / "aside")
    assert tree(root) == {
        "data/one/x/a.txt": "new 1",
        "data/two/x/a.txt": "new 2",
        "metrics/x.json": "new",
    }


@pytest.mark.parametrize("spoiled", ["data/two", "metrics/y"])
def test_a_failure_undoes_everything(place, spoiled):
    root, made, texts = place
    before = tree(root)
    (root / spoiled).write_text("in the way")
    texts[root / "metrics/y/z.json"] = "new"
    with pytest.raises(OSError, match="exists|Not a directory"):
        publication.publish(made, texts, root / "aside")
    left = tree(root)
    assert left.pop(spoiled) == "in the way"
    gone = {name for name in before if name.startswith("out/one")} - set(left)
    assert {name: text for name, text in before.items() if name not in gone} == left
    assert left["data/one/x/a.txt"] == "old 1"
    assert left["metrics/x.json"] == "old"


def test_another_disk_is_reached_by_a_copy(place, monkeypatch):
    root, made, texts = place
    real = Path.stat
    monkeypatch.setattr(
        Path,
        "stat",
        lambda self, **more: (
            Other(real(self, **more)) if "out" in self.parts else real(self, **more)
        ),
    )
    publication.publish(made, texts, root / "aside")
    left = tree(root)
    assert left["data/one/x/a.txt"] == "new 1"
    assert left["data/two/x/a.txt"] == "new 2"
    assert not [name for name in left if name.endswith(".tmp") or "aside" in name]


class Other:
    """The facts of a file, as if it lay on another disk."""

    def __init__(self, facts):
        self.facts = facts

    def __getattr__(self, name):
        return -1 if name == "st_dev" else getattr(self.facts, name)


def test_what_a_killed_execution_put_aside_is_no_hindrance(place):
    root, made, texts = place
    folder(root / "aside/one-x", "of a killed run")
    publication.publish(made, texts, root / "aside")
    assert tree(root)["data/one/x/a.txt"] == "new 1"
    assert not (root / "aside/one-x").exists()


def publish_until(root: Path, made, texts, renames: int) -> int:
    """Publish in a child that is killed before that rename; return the signal it died of."""
    child = os.fork()
    if child == 0:
        left = [renames]

        def counted(real):
            def move(self, target):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(self, target)

            return move

        Path.rename, Path.replace = counted(Path.rename), counted(Path.replace)
        publication.publish(made, texts, root / "scratch/replaced")
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("renames", range(1, 7))
def test_a_kill_between_any_two_renames_is_made_good(place, renames):
    """The first rename is the record's: before it nothing has begun, after it all is finished."""
    root, made, texts = place
    before = tree(root)
    killed = publish_until(root, made, texts, renames)
    assert killed == (signal.SIGKILL if renames < 6 else 0)
    between = {name: text for name, text in tree(root).items() if not name.startswith("scratch")}
    assert publication.recover(root / "scratch") == (1 < renames < 6)
    assert not publication.recover(root / "scratch")
    left = {name: text for name, text in tree(root).items() if not name.endswith(".tmp")}
    if renames == 1:
        assert left == before
        return
    assert left == {
        "data/one/x/a.txt": "new 1",
        "data/two/x/a.txt": "new 2",
        "metrics/x.json": "new",
    }
    assert (between == left) == (renames == 6)  # the kill did break something off


def test_what_a_kill_left_beside_a_target_is_swept_by_the_next(place):
    root, made, texts = place
    assert publish_until(root, made, texts, 1) == signal.SIGKILL
    assert list((root / "metrics").glob(".x.json.*.tmp"))
    publication.publish(made, texts, root / "scratch/replaced")
    assert not list((root / "metrics").glob(".*"))
