"""A real clone in which the real tools run: the smoke recipe, once for all tests of this folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from stages.core import tracking

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@dataclass
class Clone:
    """A workspace with the tracked files of this one, in a git repository of its own."""

    root: Path
    environment: dict[str, str]

    def run(self, *command: str, check: bool = True, **extra: str) -> subprocess.CompletedProcess:
        """Run a command in the workspace, as a user with the environment activated would."""
        shown = subprocess.run(
            command, cwd=self.root, env=self.environment | extra, capture_output=True, text=True,
            check=False, timeout=900,
        )  # fmt: skip
        if check and shown.returncode != 0:
            raise AssertionError(
                f"{' '.join(command)}: {shown.returncode}\n{shown.stdout}\n{shown.stderr}"
            )
        return shown

    def deveno(
        self, *arguments: str, check: bool = True, **extra: str
    ) -> subprocess.CompletedProcess:
        """Run our own command with the clone's code."""
        return self.run("python", "-m", "stages", *arguments, check=check, **extra)

    def plan(self) -> dict[str, dict]:
        """Return the plan by entry."""
        rows = json.loads(self.deveno("plan", "--json").stdout)
        return {row["entry"]: row for row in rows}

    def executions(self) -> dict[str, int]:
        """Return how often each entry was really computed."""
        return {
            folder.name: len(list(folder.glob("*.jsonl")))
            for folder in (self.root / ".deveno/journal").iterdir()
            if "@" in folder.name
        }


def _environment(folder: Path, hash_seed: str = "0") -> dict[str, str]:
    return {
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder.parent / "home"),
        "PYTHONHASHSEED": hash_seed,
        "DEVENO_TRACKING": "off",
        "DEVENO_KERNELS": os.environ["DEVENO_KERNELS"],  # compiled once for all
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip


def make_clone(folder: Path, recipe: str, hash_seed: str = "0", origin: Path = ROOT) -> Clone:
    """Copy the tracked files of a checkout into a git repository and choose a recipe."""
    folder.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=origin, capture_output=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.decode().split("\0"):
        source = origin / name
        if name and source.is_file() and name not in ("dvc.lock",):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    environment = _environment(folder, hash_seed)
    home = Path(environment["HOME"])
    home.mkdir(exist_ok=True)
    # Experiments are commits: DVC refuses them to somebody whom git does not know.
    (home / ".gitconfig").write_text("[user]\n\tname = test\n\temail = test@localhost\n")
    clone = Clone(folder, environment)
    clone.run("git", "init", "-q", "-b", "main")
    clone.deveno("use", recipe, "--force")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-q", "-m", "start")
    return clone


@pytest.fixture(scope="session")
def line(tmp_path_factory) -> Clone:
    """Return a clone whose smoke recipe was run by plain `dvc repro`, without any server.

    Of several test processes the first that needs it runs it, and the others get copies.
    """
    own = tmp_path_factory.mktemp("line") / "clone"
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return _smoke(own)
    shared = tmp_path_factory.getbasetemp().parent / "smoke"
    with FileLock(f"{shared}.lock"):
        made = shared / "made"
        if not made.exists():
            shutil.rmtree(shared, ignore_errors=True)
            _smoke(shared / "clone")
            made.touch()
    for name in ("clone", "home"):
        shutil.copytree(shared / name, own.parent / name, symlinks=True)
    return Clone(own, _environment(own))


def _smoke(folder: Path) -> Clone:
    clone = make_clone(folder, "smoke")
    clone.run("dvc", "repro")
    return clone


@pytest.fixture
def plain_tracking(monkeypatch):
    """Tracking as a user has it: on, to the file at the root, in no flow run."""
    for name in ("MLFLOW_TRACKING_URI", "DEVENO_FLOW_RUN", "DEVENO_TRACKING"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """An empty store, made once: its tables take a second."""
    home = tmp_path_factory.mktemp("store")
    tracking.create(home)
    return home / "mlflow.db"


@pytest.fixture
def home(tmp_path, empty_store) -> Path:
    """A repository whose store is there and empty."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path
