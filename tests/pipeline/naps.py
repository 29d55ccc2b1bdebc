"""A throw-away project with the real machinery and two toy stages: naps that can be cancelled."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from stages.core import yamlfile
from tests.pipeline.conftest import BIN, ROOT, Clone

COPIED = (
    "stages/__init__.py", "stages/__main__.py", "stages/core", "stages/cli", "flows",
    "stages/lm/__init__.py", "stages/lm/verdicts.py",
    "pyproject.toml", "requirements.lock", ".gitignore", ".dvcignore", ".dvc/config",
    ".dvc/.gitignore", "data/none/.keep", "models/none/.keep",
)  # fmt: skip
NAP = '''
    """A stage that sleeps, with a child that sleeps too."""

    import subprocess
    from pathlib import Path

    from stages.core.declare import Params, stage
    from stages.core.log import Log


    class NapParams(Params):
        """How long, and after whom."""

        seconds: str = "0"
        """Seconds to sleep, as the text by which a test finds the process."""
        after: str = "none"
        """The nap before, such as `naps/a`."""


    @stage(version=1, reads={"before": "data/${item.after}"}, writes={"nap": "data/naps/${key}"})
    def nap(params: NapParams, before: Path, nap: Path, log: Log) -> None:
        """Sleep."""
        subprocess.run(["sleep", params.seconds], check=True)
        nap.mkdir()
        (nap / "slept.txt").write_text(params.seconds)
        log.metric("slept_count", 1)
'''
BENCHMARK = '''
    """A stage that measures, and so must be alone."""

    from pathlib import Path

    from stages.core.declare import Params, stage
    from stages.core.log import Log


    class BenchmarkParams(Params):
        """What to measure."""

        nap: str
        """The nap."""


    @stage(
        version=1,
        reads={"nap": "data/naps/${item.nap}"},
        writes={"timing": "reports/benchmark/${key}"},
        machine_bound="it holds times",
    )
    def benchmark(params: BenchmarkParams, nap: Path, timing: Path, log: Log) -> None:
        """Measure."""
        timing.mkdir()
        (timing / "machine.json").write_text("{}")
'''
RECIPES = {
    "quick": """
        # Three naps and a measurement.
        nap:
          a: {seconds: "0.1"}
          b: {after: naps/a}
          c: {after: naps/a}
        benchmark:
          pos: {nap: a}
    """,
    "slow": """
        # A nap that nobody waits for.
        nap:
          a: {seconds: "0.1"}
          long: {after: naps/a, seconds: "987.25"}
          never: {after: naps/long}
    """,
}
LONG = "987.25"


def answered(request: urllib.request.Request) -> Any:
    """Return what a server answers as JSON; a busy one (503) is asked again, as Prefect does."""
    for patience in (1, 3, 9):
        with contextlib.suppress(urllib.error.HTTPError):
            return _json(request)
        time.sleep(patience)
    return _json(request)


def _json(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make(folder: Path, recipe: str = "quick") -> Clone:
    """Make the project with a recipe in force and committed, its ports free ones."""
    folder.mkdir(parents=True)
    for name in COPIED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    texts = {
        "stages/nap/stage.py": NAP,
        "stages/benchmark/stage.py": BENCHMARK,
        "stages/nap/__init__.py": '"""Naps."""\n',
        "stages/benchmark/measurer.py": (ROOT / "tests/pipeline/toy_measurer.py").read_text(),
        "stages/benchmark/__init__.py": '"""Measurements."""\n',
        **{f"stages/recipes/{name}.yaml": text for name, text in RECIPES.items()},
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    port = free_port()
    settings = (ROOT / "prefect.toml").read_text(encoding="utf-8").replace(":4200", f":{port}")
    (folder / "prefect.toml").write_text(settings, encoding="utf-8")
    _write_prefect_yaml(folder)
    user = folder.parent / f"{folder.name}-user"
    user.mkdir()
    environment = {
        "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(user),
        "DEVENO_TRACKING": "off",
        "DEVENO_KERNELS": os.environ["DEVENO_KERNELS"],  # compiled once for all
        "DEVENO_CORES": "2",
        "DEVENO_GRACE_S": "5",
        "DEVENO_MLFLOW_PORT": str(free_port()),
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
        "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@localhost",
        "GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@localhost",
    }  # fmt: skip
    clone = Clone(folder, environment)
    clone.run("git", "init", "-q", "-b", "main")
    (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    clone.deveno("sync")
    clone.deveno("use", recipe, "--force")
    # As where HEAD publishes the metrics of another recipe with a key of that name.
    (folder / "metrics/nap").mkdir(parents=True)
    (folder / "metrics/nap/b.json").write_text("{}\n", encoding="utf-8")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-q", "-m", "start")
    return clone


def _write_prefect_yaml(folder: Path) -> None:
    """Write the work pools' file as it is, with these recipes in place of the real ones."""
    file = yamlfile.plain(yamlfile.read(ROOT / "prefect.yaml"))
    pipeline = next(row for row in file["deployments"] if row["name"] == "smoke")
    night = next(row for row in file["deployments"] if row["name"] == "benchmark")
    own = [{**pipeline, "name": name, "parameters": {"recipe": name}} for name in RECIPES]
    text = json.dumps({**file, "deployments": [*own, night]})  # JSON is YAML
    (folder / "prefect.yaml").write_text(text, encoding="utf-8")


def processes(mark: str, folder: Path) -> list[str]:
    """Return the command lines of living processes that hold a mark, or work in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            place = (entry / "cwd").readlink()
        except OSError:
            continue  # it has ended, or is a zombie
        if command and ((mark and mark in command) or place.is_relative_to(folder)):
            found.append(command)
    return found


def sleepers(folder: Path) -> list[str]:
    """Return the processes that a nap or its DVC consists of."""
    return [
        command
        for command in processes(LONG, folder)
        if LONG in command or "dvc" in command or "execute" in command
    ]


def group(leader: int) -> list[str]:
    """Return the names of the living processes of a process group."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.name())
    return found
