"""Nights: the whole flow on a toy, its two worktrees, its history and page, and how it fails."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from flows import environments, history, lease, measuring, night, page, server
from flows.walk import benchmark_lock
from stages.core import environment
from stages.core.errors import MachineError
from tests.pipeline import naps
from tests.pipeline.conftest import ROOT, Clone

MEASURER = "stages/benchmark/measurer.py"
RUN = """
import sys
from flows.nightly import nightly
state = nightly(return_state=True)
print("STATE", state.type.value, state.message)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Clone:
    return naps.make(tmp_path_factory.mktemp("nights") / "home")


@pytest.fixture(scope="module")
def flow(home):
    """Give a function that runs the real flow once, as a schedule would, on one server for all."""
    with lease.available(home.root) as url:
        variables = server.environment(home.root, url)

        def run() -> str:
            shown = home.run("python", "-c", RUN, **variables)
            return next(row for row in shown.stdout.splitlines() if row.startswith("STATE"))[6:]

        run.url = url
        yield run


def overlapping(url: str) -> str:
    """Leave on the server what it makes of a night whose slot is taken; return its id."""

    def post(path: str, body: dict) -> dict:
        data, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        return naps.answered(urllib.request.Request(f"{url}/{path}", data, kind))

    flow = post("flows/", {"name": "nightly"})["id"]
    state = {"type": "CANCELLED", "message": "Deployment concurrency limit reached."}
    return post("flow_runs/", {"flow_id": flow, "state": state})["id"]


def rows(home: Clone) -> list[dict]:
    return history.nights(home.root)[0]


def head(home: Clone) -> str:
    return home.run("git", "rev-parse", "HEAD").stdout.strip()


def commit(home: Clone, before: str, after: str) -> str:
    path = home.root / MEASURER
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    home.run("git", "commit", "-qam", f"{before} becomes {after}")
    return head(home)


@pytest.mark.tools
def test_nights_compare_commits_in_worktrees_of_their_own(home, flow):
    """First A/A, then a slower commit, which is no baseline, a failed one, a skipped one."""
    first = head(home)
    assert flow() == "COMPLETED same"
    assert history.good(home.root) == first
    (row,) = rows(home)
    assert (row["baseline"], row["candidate"], row["state"]) == (first, first, "measured")

    slower = commit(home, "COST_MS = 10.0", "COST_MS = 10.5")
    assert flow() == "COMPLETED slower"
    row = rows(home)[-1]
    assert (row["baseline"], row["candidate"]) == (first, slower)
    assert history.good(home.root) == first
    found = {one["metric"]: one for one in row["metrics"]}
    assert found["tag_cpu_ms"]["verdict"] == "slower"
    assert found["tag_cpu_ms"]["ratio"] == pytest.approx(1.05, abs=0.01)
    assert (found["tag_cpu_ms"]["baseline"], found["tag_cpu_ms"]["candidate"]) == (
        pytest.approx(10.0, rel=0.02), pytest.approx(10.5, rel=0.02)
    )  # fmt: skip
    assert found["size_bytes"]["verdict"] == "same"
    lives = [
        json.loads(line)
        for line in (history.folder(home.root) / f"{row['night']}.jsonl").read_text().splitlines()
    ]
    assert {name: Path(one["cwd"]).name for name, one in lives[0]["opened"].items()} == {
        "baseline": "nightly-baseline", "candidate": "nightly-candidate"
    }  # fmt: skip
    trees = home.root / ".deveno/worktrees"
    assert "COST_MS = 10.0" in (trees / "nightly-baseline" / MEASURER).read_text()
    assert "COST_MS = 10.5" in (trees / "nightly-candidate" / MEASURER).read_text()
    assert not (home.root / "data/naps").exists()

    faster = commit(home, "COST_MS = 10.5", "COST_MS = 9.0")
    assert flow() == "COMPLETED faster"
    assert history.good(home.root) == faster

    commit(home, '{"tagged": 1}', '{"error": "no such words"}')
    assert flow().startswith("FAILED the candidate")
    assert rows(home)[-1]["state"] == "failed"
    assert "no such words" in rows(home)[-1]["reason"]
    assert history.good(home.root) == faster

    refused = overlapping(flow.url)
    with contextlib.closing(benchmark_lock(home.root)):
        assert flow() == "CANCELLED skipped: another benchmark holds the lock"
        assert flow().startswith("CANCELLED")
    lost = {one["night"]: one["reason"] for one in rows(home)[-3:] if one["state"] == "skipped"}
    assert len(lost) == 3
    assert lost[refused] == "cancelled before it began: Deployment concurrency limit reached."
    told = (history.folder(home.root) / "history.jsonl").read_text()
    assert told.count(refused) == 1  # the second night knows of it
    drawn = (history.folder(home.root) / page.PAGE).read_text()
    for told in ("no such words", "holds the lock", "slower", "faster", slower[:9]):
        assert told in drawn
    assert [one["state"] for one in rows(home)] == ["measured"] * 3 + ["failed"] + ["skipped"] * 3


class Quiet:
    """Stands where a night says what it does."""

    def __call__(self, text: str) -> None:
        """Take it."""


def repository(folder: Path) -> Path:
    """Make a repository with one commit."""
    folder.mkdir()
    for command in (
        ["init", "-q"],
        ["-c", "user.name=test", "-c", "user.email=t@localhost", "commit", "-q", "--allow-empty",
         "-m", "start"],
    ):  # fmt: skip
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    return folder


def test_however_a_night_ends_its_row_says_why(tmp_path):
    home = repository(tmp_path / "home")
    with pytest.raises(night.Skipped), night.recorded(home, "n1", Quiet()):
        raise night.Skipped("planned 9.0 h ago, more than 6 h")
    with pytest.raises(MachineError), night.recorded(home, "n2", Quiet()):
        raise MachineError("the disk is full", "/", "free some space")
    with pytest.raises(ZeroDivisionError), night.recorded(home, "n3", Quiet()):
        raise ZeroDivisionError("division by zero")
    with pytest.raises(KeyboardInterrupt), night.recorded(home, "n4", Quiet()):
        raise KeyboardInterrupt
    history.append(home, {"night": "n5", "state": "begun"})  # killed: nothing follows
    found, torn = history.settled(home)
    assert torn == 0
    assert [(row["state"], row["reason"].split(" (")[0]) for row in found] == [
        ("skipped", "planned 9.0 h ago, more than 6 h"),
        ("failed", "the disk is full"),
        ("failed", "ZeroDivisionError: division by zero"),
        ("cancelled", "stopped on request"),
        ("failed", history.LOST),
    ]
    assert "free some space" in page.write(home).read_text()


def measured(baseline: str, candidate: str, ratio: float, day: int) -> dict:
    """A row of history."""
    word = "slower" if ratio > 1.02 else "same"
    metric = {
        "artifact": "x", "metric": "tag_cpu_ms", "verdict": word, "ratio": ratio, "primary": True,
        "low": ratio, "high": ratio, "blind": False, "baseline": 1.0, "candidate": ratio,
    }  # fmt: skip
    return {
        "night": f"n{day}", "state": "measured", "verdict": word, "blind": [], "metrics": [metric],
        "baseline": baseline, "candidate": candidate, "time": f"2026-01-{day:02}T03:00:00+00:00",
        "baseline_title": f"commit {baseline}", "candidate_title": f"commit {candidate}",
        "rule": {"margin": 0.02, "alpha": 0.01}, "minutes": 1, "reason": "",
    }  # fmt: skip


def test_the_page_follows_commits_and_tells_nights_by_their_time():
    """A slow commit measured twice counts once; one accepted by hand stays in the trend."""
    nights = [
        measured("aa", "aa", 1.001, 1), measured("aa", "bb", 1.05, 2),
        measured("aa", "cc", 1.05, 4), measured("cc", "dd", 1.04, 5),
        {"night": "n3", "state": "skipped", "reason": "no slot", "time": "2026-01-03T03:00:00"},
    ]  # fmt: skip
    drawn = page.drawn(nights)
    trend = re.findall(r"<title>01-0(\d): ([\d.]+)</title>", drawn)
    assert trend == [("1", "1.0010"), ("2", "1.0500"), ("4", "1.0500"), ("5", "1.0920")]
    assert re.findall(r"<tr><td>2026-01-0(\d)", drawn) == ["5", "4", "3", "2", "1"]
    assert "<b class='slower'>slower</b>: commit dd, against the last good commit cc" in drawn


def test_a_torn_line_costs_no_other(tmp_path):
    history.append(tmp_path, {"night": "a", "state": "skipped"})
    path = history.folder(tmp_path) / "history.jsonl"
    with path.open("a") as stream:
        stream.write('{"night": "b", "sta')
    history.append(tmp_path, {"night": "c", "state": "skipped"})
    found, torn = history.nights(tmp_path)
    assert [row["night"] for row in found] == ["a", "c"]
    assert torn == 1


def test_the_good_commit_is_a_reference_that_anybody_can_move(tmp_path):
    home = repository(tmp_path / "home")
    assert history.good(home) == ""
    head = subprocess.run(
        ["git", "-C", str(home), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    history.keep(home, head)
    assert history.good(home) == head


def test_a_commit_without_a_measurer_is_told_as_such(tmp_path):
    package = tmp_path / "stages/benchmark"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "stages/__init__.py").touch()
    side = measuring.Side("baseline", tmp_path, sys.executable, "0123456789")
    with pytest.raises(MachineError) as caught:
        measuring.listed(side)
    assert caught.value.what == (
        "the baseline 012345678 cannot be measured: this commit has no"
        " stages.benchmark.measurer, so it cannot take part"
    )
    assert "update-ref -d" in caught.value.todo


def test_another_protocol_is_refused(tmp_path):
    place = tmp_path / MEASURER
    place.parent.mkdir(parents=True)
    (place.parent / "__init__.py").touch()
    (tmp_path / "stages/__init__.py").touch()
    text = (ROOT / "tests/pipeline/toy_measurer.py").read_text()
    place.write_text(text.replace("PROTOCOL = 1", "PROTOCOL = 2"))
    with pytest.raises(MachineError, match="speaks protocol 2"):
        measuring.listed(measuring.Side("baseline", tmp_path, sys.executable))


def wheel(folder: Path, version: str) -> None:
    """Write the smallest wheel that pip installs."""
    folder.mkdir(exist_ok=True)
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny.py", f"VERSION = {version!r}\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.tools
def test_an_environment_is_made_from_the_lock_only_where_it_differs(tmp_path, monkeypatch):
    assert environments.differences(ROOT) == {}
    assert environments.interpreter(tmp_path, ROOT, Quiet()) == sys.executable
    wheel(tmp_path / "index", "1.5")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / environment.LOCK).write_text("tiny==1.5\n")
    assert environments.differences(folder) == {"tiny": ("none", "1.5")}
    python = environments.interpreter(tmp_path, folder, Quiet())
    shown = subprocess.run(
        [python, "-c", "import tiny; print(tiny.VERSION)"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": ""}, check=True,
    )  # fmt: skip
    assert shown.stdout == "1.5\n"
    before = Path(python).stat().st_mtime_ns, sorted(Path(python).parents[1].iterdir())
    assert environments.interpreter(tmp_path, folder, Quiet()) == python
    assert (Path(python).stat().st_mtime_ns, sorted(Path(python).parents[1].iterdir())) == before
    (folder / environment.LOCK).write_text("tiny==9.9\n")
    with pytest.raises(MachineError, match="tiny==9.9"):
        environments.interpreter(tmp_path, folder, Quiet())
