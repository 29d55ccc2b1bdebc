"""A few kills in the short, and the teeth of what looks on; `make chaos` does a hundred."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import chaos, chaos_project
from benchmarks.chaos_watch import Watcher, gone, read
from stages.core import journal
from tests.pipeline import naps
from tests.pipeline.conftest import Clone

pytestmark = pytest.mark.tools


def executed(clone: Clone, stage: str, key: str) -> subprocess.Popen:
    """Start what DVC calls."""
    return subprocess.Popen(
        [sys.executable, "-m", "stages", "execute", stage, key], cwd=clone.root,
        env=clone.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_after_each_of_two_kills_the_next_run_gives_the_same_bytes(tmp_path, monkeypatch):
    """While publishing, and all but the stage while a checkpoint is written; without Prefect."""
    kills = [
        chaos.Kill(0, "stage", "publishing", int(signal.SIGKILL), 0.9, False),
        chaos.Kill(1, "above", "checkpointing", int(signal.SIGKILL), 0.5, True),
    ]
    monkeypatch.setenv("DEVENO_PREFECT", "off")
    tally = chaos.play(tmp_path, kills, 1)
    assert tally.violations == []
    phases = [row["phase"] for row in tally.rows if row["phase"] != "missed"]
    assert phases == ["publishing", "checkpointing"]
    assert tally.watched["looks"] > 500


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Clone:
    return chaos_project.make(tmp_path_factory.mktemp("sound") / "clone", 2.0)


def two_writers(clone: Clone) -> str:
    """Start a second of one output while the first writes; return what the record of lives says."""
    record = clone.root / "violations.txt"
    both = [executed(clone, "words", "raw")]
    while both[0].poll() is None and not list(clone.root.glob("lives/words.*")):
        time.sleep(0.05)
    both.append(executed(clone, "words", "raw"))
    while not record.exists() and any(one.poll() is None for one in both):
        time.sleep(0.05)
    for one in both:
        one.kill()
        one.wait()
    return record.read_text() if record.exists() else ""


def grown(clone: Clone, known: dict[str, str]) -> list[str]:
    """Return the partial folders that the watcher sees while an output is made."""
    watcher = Watcher(clone.root, {"data/words/raw": "words"})
    watcher.known["data/words/raw"].append(known)
    watcher.start()
    executed(clone, "words", "raw").wait()
    watcher.stop()
    assert read(clone.root / "data/words/raw") == known
    return watcher.partial


def test_a_planted_fault_is_seen_and_what_is_sound_is_not_blamed(sound, tmp_path):
    """A lock that is not taken, and a publication that copies where it should rename."""
    assert two_writers(sound) == ""
    whole = read(sound.root / "data/words/raw")
    assert whole
    assert grown(sound, whole) == []
    unlocked = chaos_project.make(tmp_path / "unlocked", 20.0, "lock")
    assert two_writers(unlocked).startswith("two writers of words: ")
    copying = chaos_project.make(tmp_path / "copying", 0.3, "copy")
    assert grown(copying, whole) != []


def test_an_orphan_is_seen(sound):
    one = executed(sound, "words", "raw")
    try:
        assert gone(sound.root, 0.5) != []
    finally:
        one.wait()
    assert gone(sound.root, 5.0) == []


def finished(clone: Clone) -> dict[tuple[str, str], int]:
    """Return how often each entry and fingerprint was computed to a good end."""
    counts: dict[tuple[str, str], int] = {}
    for folder in (clone.root / ".deveno/journal").glob("*@*"):
        for one in journal.executions(clone.root, *folder.name.split("@")):
            if one.outcome == "ok":
                key = (folder.name, str(one.start["fingerprint"]))
                counts[key] = counts.get(key, 0) + 1
    return counts


def test_four_runs_at_once_share_a_server_and_outlive_it(tmp_path):
    """Two plain `dvc repro` beside them may end in DVC's own lock error, and nothing else may."""
    home = naps.make(tmp_path / "home")
    command = [sys.executable, "-m", "stages", "run"]
    options = {"cwd": home.root, "env": home.environment, "text": True}
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        for _ in range(4)
    ]
    flows = home.root / ".deveno/journal/flows"
    deadline = time.monotonic() + 240
    while len(list(flows.glob("*.jsonl")) if flows.exists() else []) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    plain = [
        subprocess.Popen(
            ["dvc", "repro"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )
        for _ in range(2)
    ]
    servers = [one for one in psutil.process_iter() if is_server(one, home.root)]
    assert len(servers) == 1
    with sqlite3.connect(home.root / ".deveno/prefect/prefect.db") as database:
        assert database.execute("select count(*) from flow_run").fetchone()[0] >= 1
    servers[0].kill()
    texts = [one.communicate(timeout=300)[0] for one in runs]
    assert [one.returncode for one in runs] == [0] * 4, texts
    assert not any("Traceback" in text for text in texts)
    for one in plain:
        text = one.communicate(timeout=300)[0]
        assert one.returncode == 0 or any(phrase in text for phrase in ("lock", "busy")), text
    again = home.deveno("run", DEVENO_PREFECT="off")
    assert "everything is fresh" in again.stdout
    counts = finished(home)
    assert {name for name, _ in counts} == {"nap@a", "nap@b", "nap@c", "benchmark@pos"}
    assert set(counts.values()) == {1}
    restored(home, tmp_path / "second")


def restored(home: Clone, folder: Path) -> None:
    """See a second clone with the shared cache take everything from it."""
    home.run("git", "add", "-A")
    home.run("git", "commit", "-qm", "results")
    home.run("git", "clone", "-q", str(home.root), str(folder))
    (folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {home.root}/.dvc/cache\n")
    second = Clone(folder, home.environment)
    shown = second.deveno("run", DEVENO_PREFECT="off")
    assert shown.stdout.count("restored ") == 4
    assert finished(second) == {}
    for name in ("a", "b", "c"):
        path = f"data/naps/{name}/slept.txt"
        assert (folder / path).read_bytes() == (home.root / path).read_bytes()


def is_server(process: psutil.Process, root: Path) -> bool:
    try:
        words = process.cmdline()
        return "prefect" in words and "--held" not in words and Path(process.cwd()) == root
    except (psutil.Error, OSError):
        return False
