"""A throw-away project whose stages nap and count, so that every verb is quick to try."""

from __future__ import annotations

import subprocess
import textwrap

import pytest

from tests.pipeline import naps
from tests.pipeline.conftest import BIN, Clone

COUNT = '''
    """A stage that counts aloud."""

    import time
    from pathlib import Path

    from stages.core.declare import Params, stage
    from stages.core.log import Log


    class CountParams(Params):
        """How far, and how fast."""

        steps: int = 3
        """Steps."""
        pause_s: float = 0.0
        """Seconds between two steps."""


    @stage(version=1, reads={}, writes={"count": "data/counts/${key}"}, curves=("loss_nats",))
    def count(params: CountParams, count: Path, log: Log) -> None:
        """Count."""
        for step in range(params.steps):
            log.progress(step + 1, params.steps)
            log.metric("loss_nats", 1 / (step + 1), step=step)
            time.sleep(params.pause_s)
        count.mkdir()
        (count / "steps.txt").write_text(str(params.steps) * 1000)
        log.text("verdict", "counted")
'''
RECIPE = """
    # Counting, quickly and slowly.
    count:
      quick: {}
      slow: {steps: 100000, pause_s: 0.05}
    nap:
      quick: {}
      after: {after: naps/quick}
"""


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Clone:
    """A clone with the counting stage, its recipe in force and committed."""
    clone = naps.make(tmp_path_factory.mktemp("cli") / "project")
    files = {
        "stages/count/__init__.py": '"""Counting."""\n',
        "stages/count/stage.py": COUNT,
        "stages/recipes/counting.yaml": RECIPE,
    }
    for name, text in files.items():
        (clone.root / name).parent.mkdir(exist_ok=True)
        (clone.root / name).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    clone.deveno("use", "counting", "--force")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-q", "-m", "counting")
    return clone


@pytest.fixture
def started(project):
    """Start commands of ours that the test ends, or that are ended after it."""
    living: list[subprocess.Popen] = []

    def start(*words: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [str(BIN / "python"), "-m", "stages", *words], cwd=project.root, text=True,
            env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        living.append(process)
        return process

    yield start
    for process in living:
        process.kill()
        process.communicate()
