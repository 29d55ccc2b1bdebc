"""A full or read-only disk under each folder that a run writes to, in a mount namespace of its own.

The mounts are gone with the process, so the retry outside finds the disk as it was. The whole line
under a small disk is `make full-disk` (benchmarks/full_disk.py).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

from flows import fullness
from stages.core import fingerprint, integrity, plan
from tests.pipeline import naps
from tests.pipeline.conftest import ROOT, Clone
from tests.pipeline.test_integrity import RECIPE, WORD, state

pytestmark = pytest.mark.tools
WALKED = """
import json, sys
from pathlib import Path
from flows.walk import Step, Walk
result = Walk(Path.cwd(), [Step("word@a", force=True)]).walk_alone()["word@a"]
print(json.dumps([result.state, result.error]))
"""
FULL = "mkdir -p {0} && mount -t tmpfs -o size={1} tmpfs {0}"
READ_ONLY = "mkdir -p {0} && mount --bind {0} {0} && mount -o remount,ro,bind {0}"
NAMESPACE = ("unshare", "-rm")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Clone:
    allowed = subprocess.run(
        [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path_factory.mktemp("probe"))],
        capture_output=True, check=False,
    )  # fmt: skip
    if allowed.returncode:
        pytest.skip("no mount namespaces here; errors and publication are tested without")
    clone = naps.make(tmp_path_factory.mktemp("disk") / "clone")
    texts = {
        "stages/word/__init__.py": '"""Words."""\n',
        "stages/word/stage.py": WORD,
        "stages/recipes/words.yaml": RECIPE,
    }
    for name, text in texts.items():
        (clone.root / name).parent.mkdir(parents=True, exist_ok=True)
        (clone.root / name).write_text(textwrap.dedent(text).lstrip("\n"))
    clone.deveno("use", "words", "--force")
    clone.run("dvc", "repro", "-q", "word@a")
    return clone


def walked(clone: Clone, mount: str) -> tuple[str, list[str]]:
    """Walk word@a in a namespace where a mount was made; return how it ended."""
    command = f"{mount} && exec {sys.executable} -c '{WALKED}'"
    shown = clone.run(*NAMESPACE, "sh", "-c", command, PYTHONPATH=str(ROOT))
    state, error = json.loads(shown.stdout.splitlines()[-1])
    return str(state), list(error)


def forget(clone: Clone) -> None:
    """Take word@a out of the cache, so that DVC must save it again."""
    cache = plan.cache_folder(clone.root)
    for oid in plan.outs(fingerprint.locks(clone.root)["word@a"]).values():
        for value in [*(plan.members(cache, oid) or {}).values(), oid]:
            plan.object_path(cache, value).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("mount", "told"),
    [
        (FULL.format("scratch", "4k"), "no space is left on the disk"),
        (FULL.format(".dvc/cache/files", "4k"), "no space is left on the disk"),
        (FULL.format("metrics", "1k"), "no space is left on the disk"),
        (READ_ONLY.format("data"), "may not be written"),
        (READ_ONLY.format(".dvc/cache"), "may not be written"),
        (READ_ONLY.format("scratch"), "may not be written"),
    ],
)
def test_it_is_told_in_three_lines_and_the_retry_gives_the_same_bytes(project, mount, told):
    before = state(project)
    forget(project)
    ended, lines = walked(project, mount)
    assert ended == "failed"
    assert [line.split(":")[0] for line in lines] == ["error", "where", "do"], lines
    assert told in lines[0]
    left = [path.name for path in (project.root / "data/words").glob(".*")]
    assert left == []
    project.run("dvc", "repro", "-q", "-s", "word@a")
    assert state(project) == before
    assert not integrity.Reading(project.root).damages()


def test_a_journal_that_cannot_be_written_is_a_warning(project):
    """The record of how it went is worth nothing against the work itself."""
    ended, lines = walked(project, FULL.format(".deveno/journal", "4k"))
    assert (ended, lines) == ("done", [])


@pytest.mark.parametrize(
    ("free", "children", "ended"), [(0, 1, True), (0, 2, False), (1 << 40, 1, False)]
)
def test_dvc_alone_on_a_full_disk_is_ended_a_stage_or_a_disk_with_room_is_not(
    tmp_path, monkeypatch, free, children, ended
):
    """DVC's sqlite cache tries again for ever where the disk is full; a sleeper stands for it."""
    monkeypatch.setattr(fullness, "LOOK_S", 0.1)
    monkeypatch.setattr(fullness, "STUCK_S", 0.3)
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(fullness.shutil, "disk_usage", lambda place: usage)
    seconds = "30" if ended else "1.5"
    command = "sleep 1.5 & sleep 1.5 & wait" if children == 2 else f"exec sleep {seconds}"
    guarded = [sys.executable, "-I", "-S", str(ROOT / "flows/guard.py"), "2", "sh", "-c", command]
    began = time.monotonic()
    guard = subprocess.Popen(guarded, stdin=subprocess.PIPE)
    code = fullness.waited(guard, tmp_path)
    assert (code != 0) is ended
    assert time.monotonic() - began < 20
