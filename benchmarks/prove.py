"""Prove the line: run each claim in fresh clones and write benchmarks/line.json.

    python benchmarks/prove.py [--lines 1,2,...] [--keep FOLDER]

Each line records its claim, the command, the figure, the verdict and the commit it was run on. A
line that fails stays in the file. Lines not asked for keep their last result.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULT = ROOT / "benchmarks" / "line.json"
TESTED = ".deveno/tested.xml"
DATA = Path(os.environ.get("DEVENO_TEST_DATA", ROOT.parent / "shared"))


@dataclass
class Done:
    """A finished command: exit code, wall and CPU seconds, what it said."""

    code: int
    wall_s: float
    cpu_s: float
    text: str


def command(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run a command in a folder; CPU seconds are those of all its finished children."""
    before, started = _cpu_s(), time.monotonic()
    inherited = {name: value for name, value in os.environ.items() if name != "DEVENO_TRACKING"}
    shown = subprocess.run(
        arguments, cwd=folder, env=inherited | environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    cpu = _cpu_s() - before
    print(f"$ {' '.join(arguments)}\n{shown.stdout[-1500:]}\n-> {shown.returncode}", flush=True)
    return Done(shown.returncode, time.monotonic() - started, cpu, shown.stdout)


def _cpu_s() -> float:
    """Return the CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Prover:
    """Runs the lines; the first clone is shared by those that only look."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    def clone(self, name: str) -> Path:
        """Return a fresh clone of the committed state (an existing one is taken as it is)."""
        target = self.folder / name
        if not target.exists():
            command(self.folder, "git", "clone", "-q", str(ROOT), str(target))
        return target

    def made(self, name: str, **environment: str) -> tuple[Path, Done]:
        """Return a clone after `make setup` and `make run`, with the latter's cost."""
        clone = self.clone(name)
        note = clone / ".deveno" / "proved.json"
        if note.exists():
            return clone, Done(**json.loads(note.read_text(encoding="utf-8")))
        command(clone, "make", "setup")
        done = command(clone, "make", "run", **environment)
        if done.code == 0:
            note.write_text(json.dumps(done.__dict__), encoding="utf-8")
        return clone, done

    def tested(self) -> Done:
        """Return `make test` in the first clone, run once for all lines that look at its tests."""
        clone, _ = self.made("first")
        note = clone / ".deveno" / "tested.json"
        if note.exists():
            return Done(**json.loads(note.read_text(encoding="utf-8")))
        done = command(
            clone, "make", "test", DEVENO_TEST_DATA=str(DATA),
            PYTEST_ADDOPTS=f"--junit-xml={clone / TESTED}",
        )  # fmt: skip
        note.write_text(json.dumps(done.__dict__), encoding="utf-8")
        return done

    def line_1(self) -> tuple[str, str, bool]:
        """A fresh clone: `make run` and `make test` pass, and a second time do nothing needless."""
        clone, first = self.made("first")
        again = command(clone, "make", "run")
        fresh = command(clone, ".venv/bin/dvc", "repro", PATH=_path(clone))
        tests = self.tested()
        passed = (
            first.code == again.code == fresh.code == tests.code == 0
            and "report: " in first.text
            and again.wall_s < 15
            and "up to date" in fresh.text
        )
        figure = (
            f"run {first.wall_s:.0f} s wall, {first.cpu_s:.0f} CPU s; again {again.wall_s:.1f} s; "
            f"dvc repro: {'up to date' if 'up to date' in fresh.text else 'not up to date'}; "
            f"test {tests.wall_s:.0f} s, {tests.cpu_s:.0f} CPU s, {_last(tests.text)}"
        )
        return "make run; make run; dvc repro; make test", figure, passed

    def line_2(self) -> tuple[str, str, bool]:
        """Two clones, other paths, other hash seeds, no shared cache: the same bytes."""
        from stages.core import fingerprint, published

        first, _ = self.made("first")
        second, done = self.made("a-second/and-deeper", PYTHONHASHSEED="4711")
        verdicts = published.compare(
            second, list(fingerprint.locks(second)), fingerprint.locks(first)
        )
        counts = {word: list(verdicts.values()).count(word) for word in set(verdicts.values())}
        different = [name for name, word in verdicts.items() if word == published.DIFFERENT]
        passed = done.code == 0 and not different and counts.get(published.IDENTICAL, 0) > 10
        ends = "Against the committed dvc.lock" in done.text
        figure = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
        figure += f"; different: {different or 'none'}; make run compares with HEAD: {ends}"
        return "make run in two clones; compare dvc.lock", figure, passed and ends

    def line_3(self) -> tuple[str, str, bool]:
        """With 60 labelled sentences the pretrained tagger beats random weights by 10 points."""
        clone, _ = self.made("first")
        words = ("benchmarks/pretraining_pays.py",)
        done = command(clone, ".venv/bin/python", *words)
        path = clone / "benchmarks" / "pretraining_pays.json"
        shutil.copy(path, ROOT / "benchmarks" / path.name)
        gains = [
            row["difference_points"]
            for row in json.loads(path.read_text(encoding="utf-8"))["seeds"]
        ]
        figure = f"points gained per seed: {', '.join(f'{gain:.1f}' for gain in gains)}"
        return f"python {words[0]}", figure, done.code == 0 and len(gains) >= 3 and min(gains) >= 10

    def line_4(self) -> tuple[str, str, bool]:
        """Real input: 22 MB of Esperanto through every stage, duplicates, UD treebanks."""
        first, _ = self.made("first")
        clone = self.clone("real")
        done = command(
            clone, str(first / ".venv/bin/python"), "benchmarks/real_input.py", str(DATA),
            PATH=_path(first),
        )  # fmt: skip
        path = clone / "benchmarks" / "real_input.json"
        if not path.exists():
            return "python benchmarks/real_input.py", f"failed: {_last(done.text)}", False
        shutil.copy(path, ROOT / "benchmarks" / path.name)
        found = json.loads(path.read_text(encoding="utf-8"))
        return "python benchmarks/real_input.py", found["figure"], done.code == 0 and found["pass"]

    def line_5(self) -> tuple[str, str, bool]:
        """Staleness: exactly the descendants, nothing for a stray comment, restores, no orphans."""
        return self._tests("tests/pipeline/test_dvc.py")

    def line_6(self) -> tuple[str, str, bool]:
        """Overhead per entry beyond its stage function: at most 2.5 s in the median."""
        first, _ = self.made("first")
        clone = self.clone("overhead")
        python = str(first / ".venv/bin/python")
        done = command(clone, python, "benchmarks/overhead.py", PATH=_path(first))
        path = clone / "benchmarks" / "overhead.json"
        shutil.copy(path, ROOT / "benchmarks" / path.name)
        found = json.loads(path.read_text(encoding="utf-8"))
        figure = (
            f"median {found['overhead_s_median']:.2f} s over {found['entries']} entries, of which "
            f"DVC {found['dvc_s_median']:.2f} s and the runner {found['runner_s_median']:.2f} s"
        )
        passed = done.code == 0 and found["overhead_s_median"] <= 2.5
        return "python benchmarks/overhead.py", figure, passed

    def line_7(self) -> tuple[str, str, bool]:
        """Bad input: at least 30 named cases, three lines, exit 2, nothing half-written."""
        claim, figure, passed = self._tests("tests/pipeline/test_bad_inputs.py")
        count = int(next((word for word in figure.split() if word.isdigit()), "0"))
        return claim, figure, passed and count >= 30

    def line_8(self) -> tuple[str, str, bool]:
        """`make check` is clean in under a minute when warm."""
        clone, _ = self.made("first")
        command(clone, "make", "check")
        done = command(clone, "make", "check")
        figure = f"warm {done.wall_s:.0f} s wall, {done.cpu_s:.0f} CPU s, {_last(done.text)}"
        return "make check", figure, done.code == 0 and done.wall_s < 60

    def line_9(self) -> tuple[str, str, bool]:
        """The first hour of the design, in a login shell with the environment activated."""
        return self._tests("tests/pipeline/test_first_hour.py")

    def _tests(self, path: str) -> tuple[str, str, bool]:
        """Return what the run of all tests says of one file."""
        self.tested()
        clone, _ = self.made("first")
        module = path.removesuffix(".py").replace("/", ".")
        cases = [
            case
            for case in ElementTree.parse(clone / TESTED).iter("testcase")
            if case.get("classname", "").startswith(module)
        ]
        bad = [case for case in cases if {one.tag for one in case} & {"failure", "error"}]
        skipped = [case for case in cases if case.find("skipped") is not None]
        seconds = sum(float(case.get("time", 0)) for case in cases)
        figure = (
            f"{len(cases) - len(bad) - len(skipped)} passed, {len(bad)} failed, "
            f"{len(skipped)} skipped in {seconds:.0f} s"
        )
        return f"make test: {path}", figure, bool(cases) and not bad and not skipped


def _path(clone: Path) -> str:
    return f"{clone / '.venv/bin'}:{os.environ['PATH']}"


def _last(text: str) -> str:
    rows = [row.strip("= ") for row in text.splitlines() if row.strip()]
    return next(
        (row for row in reversed(rows) if "passed" in row or "failed" in row),
        rows[-1] if rows else "",
    )


def lines(prover: Prover) -> dict[int, Callable[[], tuple[str, str, bool]]]:
    """Return the lines by number."""
    return {number: getattr(prover, f"line_{number}") for number in range(1, 10)}


def main() -> int:
    """Run the lines asked for and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", default="1,2,3,4,5,6,7,8,9")
    parser.add_argument("--keep", type=Path, help="keep the clones here and use them again")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="deveno-prove-"))
    folder.mkdir(parents=True, exist_ok=True)
    prover = Prover(folder.resolve())
    passed_all = True
    for number in map(int, options.lines.split(",")):
        function = lines(prover)[number]
        load, started, spent = os.getloadavg()[0], time.monotonic(), _cpu_s()
        try:
            told, figure, passed = function()
        except Exception as error:
            told, figure, passed = f"line {number}", f"{type(error).__name__}: {error}", False
        passed_all &= passed
        row = {
            "line": number, "claim": str(function.__doc__).strip(), "command": told,
            "figure": figure, "pass": passed, "commit": prover.commit,
            "wall_s": round(time.monotonic() - started, 1), "cpu_s": round(_cpu_s() - spent, 1),
            "load_average_before": round(load, 2),
        }  # fmt: skip
        record(row)
    return 0 if passed_all else 1


def record(row: dict[str, Any]) -> None:
    """Put one line into the result; others may be proved by a process beside this one."""
    from stages.core import canonical

    rows = {}
    if RESULT.exists():
        rows = {one["line"]: one for one in json.loads(RESULT.read_text(encoding="utf-8"))["lines"]}
    rows[row["line"]] = row
    ordered = [rows[number] for number in sorted(rows)]
    canonical.write_json(RESULT, {"lines": ordered, "cores": os.cpu_count()})


if __name__ == "__main__":
    raise SystemExit(main())
