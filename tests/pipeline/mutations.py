"""A small real DVC project and seeded ways to change it: what a glance calls fresh, DVC must too.

Used by `tests/pipeline/test_answers.py` and, with more rounds, by `benchmarks/truth.py`.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stages.core import freshness, plan, witness

FILES = {
    "stages/core/canonical.py": "CHUNK = 1\n",
    "stages/core/run.py": "RUN = 1\n",
    "stages/split/stage.py": "SPLIT = 1\n",
    "stages/join/stage.py": "JOIN = 1\n",
    "data/own/a.txt": "alfa\n" * 40,
    "data/own/below/b.txt": "beta\n" * 40,
    "params.yaml": "split:\n  size: 3\njoin:\n  glue: x\nunused: 1\n",
    "environment.yaml": 'torch: "2.13.0"\nruff: "1"\n',
    "machine.yaml": "cores: 2\n",
    "requirements.lock": "torch==2.13.0\n",
    "README.md": "A project.\n",
    ".dvcignore": ".gitignore\n__pycache__\n*.pyc\n/scratch\n/.deveno\n",
    "packages/lib/x-packages/torch-2.13.0.dist-info/METADATA": "Version: 2.13.0\n",
    "dvc.yaml": """
        stages:
          split:
            cmd: mkdir data/parts && cp -r data/own/a.txt data/own/below data/parts/
            deps: [stages/core/canonical.py, stages/split/stage.py, data/own]
            params: [split, {environment.yaml: [torch]}]
            outs: [data/parts]
          join:
            cmd: cat data/parts/a.txt data/parts/below/b.txt > data/all.txt; echo '{"n":1}' > n.json
            deps: [stages/join/stage.py, data/parts]
            params: [join.glue]
            outs: [data/all.txt]
            metrics: [{n.json: {cache: false}}]
    """,
}  # fmt: skip


NO_PLAN = plan.Plan(Path(), {}, {})
"""These stages are none of ours: the tests ask DVC itself in the plan's place."""


@dataclass
class Project:
    """The project, a pristine copy of it, and the state folder that DVC keeps for it."""

    root: Path
    pristine: Path
    state: Path

    def restore(self) -> None:
        """Put every file back (new inodes and times, the bytes of before)."""
        for path in self.root.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.copytree(self.pristine, self.root, symlinks=True, dirs_exist_ok=True)

    def status(self, forgetful: bool) -> dict:
        """Return `dvc status`; forgetful, it knows no hash by a file's time and reads all."""
        from dvc.repo import Repo

        if forgetful:
            shutil.rmtree(self.state, ignore_errors=True)
        with Repo(str(self.root)) as repo:
            return repo.status()

    def glance(self, words: tuple[str, ...] = ()) -> bool:
        """Return whether the record of `record` still holds."""
        return freshness.answer(list(words), str(self.root)) is not None


def make(folder: Path) -> Project:
    """Make the project and run it once."""
    root, pristine = folder / "project", folder / "pristine"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    project = Project(root, pristine, folder / "state")

    def run(*command: str) -> None:
        subprocess.run(command, cwd=root, check=True, capture_output=True)

    dvc = (sys.executable, "-m", "dvc")
    run("git", "init", "-q")
    run(*dvc, "init", "-q")
    run(*dvc, "config", "core.site_cache_dir", str(project.state))
    run(*dvc, "config", "core.analytics", "false")
    run(*dvc, "add", "-q", "data/own")
    run(*dvc, "repro", "-q")
    shutil.copytree(root, pristine, symlinks=True, ignore=lambda _, names: {".git"} & set(names))
    return project


def record(project: Project, patch: Callable[..., None]) -> bool:
    """Write the record as `deveno run` does, asking DVC in this process."""
    time.sleep(2 * freshness.TICK_NS / 1e9)  # stamps alone must tell, not the bytes of new files
    patch(witness.Witness, "_fresh", lambda seen, *given: not project.status(forgetful=True))
    return witness.Witness(project.root).record([], "all fresh\n", NO_PLAN)


def targets(root: Path) -> list[Path]:
    """Return what may be changed: every file that is there, git's and DVC's own folders apart."""
    apart = {".git", "tmp", ".deveno"}
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not apart & set(path.relative_to(root).parts)
    )


def _write(path: Path, data: bytes) -> None:
    if not os.access(path, os.W_OK) or path.stat().st_mode & 0o222 == 0:
        path.chmod(0o644)  # an object of the cache
    path.write_bytes(data)


def same_size(path: Path, rng: random.Random) -> None:
    """Change one byte and put the times back."""
    facts, data = path.stat(), bytearray(path.read_bytes() or b"x")
    data[rng.randrange(len(data))] ^= 1
    mode = facts.st_mode
    _write(path, bytes(data))
    path.chmod(mode)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def append(path: Path, rng: random.Random) -> None:
    """Append a line."""
    _write(path, path.read_bytes() + b"# more\n")


def truncate(path: Path, rng: random.Random) -> None:
    """Cut the second half off."""
    _write(path, path.read_bytes()[: path.stat().st_size // 2])


def delete(path: Path, rng: random.Random) -> None:
    """Remove the file."""
    path.unlink()


def delete_folder(path: Path, rng: random.Random) -> None:
    """Remove the file's folder, if it is not the root."""
    shutil.rmtree(path.parent) if (path.parent / "dvc.yaml").exists() is False else path.unlink()


def add(path: Path, rng: random.Random) -> None:
    """Add a file beside it."""
    (path.parent / f"new-{rng.randrange(10**6)}.txt").write_text("new\n", encoding="utf-8")


def add_record(path: Path, rng: random.Random) -> None:
    """Add a .dvc file of something that is not there."""
    text = (
        "outs:\n- md5: d41d8cd98f00b204e9800998ecf8427e\n  size: 0\n  hash: md5\n  path: lost.bin\n"
    )
    (path.parent / "lost.bin.dvc").write_text(text, encoding="utf-8")


def rename(path: Path, rng: random.Random) -> None:
    """Give it another name."""
    path.rename(path.with_name(f"other-{path.name}"))


def touch(path: Path, rng: random.Random) -> None:
    """Change its times only."""
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


def chmod(path: Path, rng: random.Random) -> None:
    """Change its mode only."""
    path.chmod(path.stat().st_mode ^ 0o100)


def replace_same(path: Path, rng: random.Random) -> None:
    """Replace it by a copy with the same times."""
    other = path.with_name(".copy")
    shutil.copy2(path, other)
    other.replace(path)


def replace_other(path: Path, rng: random.Random) -> None:
    """Replace it by another file of the same size and times."""
    facts, other = path.stat(), path.with_name(".copy")
    other.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    other.chmod(facts.st_mode)
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.replace(path)


def link_same(path: Path, rng: random.Random) -> None:
    """Put a link to its bytes in its place."""
    away = path.parents[0] / ".moved"
    path.rename(away)
    path.symlink_to(away.name)


def link_other(path: Path, rng: random.Random) -> None:
    """Put a link to other bytes in its place."""
    away = path.parents[0] / ".moved"
    path.rename(away)
    same_size(away, rng)
    path.symlink_to(away.name)


def exchange(path: Path, rng: random.Random) -> None:
    """Let two files change places."""
    other = path.with_name(".held")
    beside = [one for one in sorted(path.parent.iterdir()) if one.is_file() and one != path]
    if not beside:
        return append(path, rng)
    second = rng.choice(beside)
    path.rename(other)
    second.rename(path)
    other.rename(second)
    return None


def aside(path: Path, rng: random.Random) -> None:
    """Write where nothing counts."""
    root = next(folder for folder in path.parents if (folder / "dvc.yaml").exists())
    for place in ("scratch", ".deveno", ".git", "stages/core/__pycache__"):
        (root / place).mkdir(exist_ok=True)
        (root / place / "note.txt").write_text("nothing\n", encoding="utf-8")


KINDS: tuple[Callable[[Path, random.Random], None], ...] = (
    same_size, append, truncate, delete, delete_folder, add, add_record, rename, touch, chmod,
    replace_same, replace_other, link_same, link_other, exchange, aside,
)  # fmt: skip


@dataclass
class Outcome:
    """One mutation: what was done, what the glance said, what DVC says with and without memory."""

    kind: str
    target: str
    glance: bool
    fresh: bool
    fresh_in_truth: bool

    @property
    def wrong(self) -> bool:
        """Called fresh, and it is not."""
        return self.glance and not (self.fresh and self.fresh_in_truth)


def rounds(project: Project, count: int, seed: int, patch: Callable[..., None]) -> list[Outcome]:
    """Mutate the project `count` times, each time from the beginning; every kind comes up."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        project.restore()
        assert record(project, patch), "the pristine project is fresh, so it can be recorded"
        assert project.glance()
        kind = KINDS[number % len(KINDS)]
        path = rng.choice(targets(project.root))
        kind(path, rng)
        glance = project.glance()
        found.append(
            Outcome(
                kind.__name__,
                str(path.relative_to(project.root)),
                glance,
                _calls_fresh(project, False),
                _calls_fresh(project, True),
            )
        )
    return found


def _calls_fresh(project: Project, forgetful: bool) -> bool:
    try:
        return not project.status(forgetful)
    except Exception:  # a dvc.yaml that is none any more
        return False
