"""Kills, at random and on purpose, what a run consists of; the next run must make all good.

    python -m benchmarks.chaos [--seed 7] [--kills 100] [--lanes 2]

Two projects side by side ask for other outputs again and again. In each cycle one victim (stage,
dvc, flow, server, guard, the whole group, or all but the stage) gets SIGKILL or SIGTERM at a random
moment, or while a checkpoint is being written or outputs are being published; then `deveno run`
must end with 0 and with the bytes of an undisturbed run. All the while a watcher looks for partial
outputs, and the stages for a second writer. Writes benchmarks/chaos.json.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from benchmarks import chaos_project as project
from benchmarks.chaos_watch import VICTIMS, Watcher, gone, phase, processes
from stages.core import canonical
from tests.pipeline.conftest import Clone

ROOT = Path(__file__).resolve().parent.parent
SLOW_S = 0.25
"""How long the slow file layer holds up half a checkpoint, and each side of an exchange."""
RUN_S = 240.0
"""After so long a run hangs."""
ORPHAN_S = 60.0
"""After so long what a killed flow left behind is an orphan; grace and a poll are far less."""
AIMS = ("anywhen", "publishing", "checkpointing", "anywhen")


@dataclass(frozen=True)
class Kill:
    """One planned kill."""

    number: int
    victim: str
    aim: str
    signal: int
    at: float
    """Where in the run or in the phase, from 0 to 1."""
    waits: bool
    """Whether the next run is started only when all has ended."""


@dataclass
class Tally:
    """What all lanes came to."""

    rows: list[dict[str, object]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    watched: Counter[str] = field(default_factory=Counter)


def planned(seed: int, kills: int) -> list[Kill]:
    """Return the kills in order; every victim meets every aim."""
    rng = random.Random(seed)
    combined = [(victim, aim) for aim in AIMS for victim in VICTIMS]
    found = []
    for number in range(kills):
        victim, aim = combined[number % len(combined)]
        number_of = signal.SIGTERM if rng.random() < 0.35 else signal.SIGKILL
        found.append(Kill(number, victim, aim, int(number_of), rng.random(), rng.random() < 0.5))
    return found


class Lane:
    """One project, killed again and again."""

    def __init__(self, folder: Path, fault: str = "") -> None:
        self.clone: Clone = project.make(folder, SLOW_S, fault)
        self.root = self.clone.root
        self.watcher = Watcher(self.root, project.MAKERS)
        self.expected: dict[int, dict[str, str]] = {}
        self.seed, self.usual_s = 0, 10.0
        self.users = None

    @contextlib.contextmanager
    def server_kept(self) -> Iterator[None]:
        """Be one more user of the shared server, so that it outlives single runs."""
        path = self.root / ".deveno/prefect/users"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            yield

    def learn(self) -> None:
        """Run undisturbed for both seeds and keep the digests of what comes out."""
        for seed in (1, 0):
            project.turn(self.clone, seed)
            began = time.monotonic()
            self.clone.deveno("run")
            self.usual_s = time.monotonic() - began
            self.expected[seed] = self.digests()
            self.watcher.learn()

    def digests(self) -> dict[str, str]:
        """Return the digest of every output file, metric and curve."""
        files = [path for name in project.OUTPUTS for path in (self.root / name).glob("*")]
        files += [self.root / name for name in project.TEXTS]
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file()
        }

    def run(self) -> subprocess.Popen[bytes]:
        """Start `deveno run`."""
        with (self.root.parent / f"{self.root.name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "stages", "run"], cwd=self.root,
                env=self.clone.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def cycle(self, kill: Kill, tally: Tally) -> None:
        """Change what is asked for, kill once, run again and compare."""
        self.seed = 1 - self.seed
        project.turn(self.clone, self.seed)
        began = time.monotonic()
        flow = self.run()
        row: dict[str, object] = {"victim": kill.victim, "signal": kill.signal, "aim": kill.aim}
        row["phase"] = self.strike(kill, flow) or "missed"
        if kill.victim not in ("flow", "group", "above"):
            ended = waited(flow)
            row["exit"] = ended
            if ended is None:
                tally.violations.append(f"{kill}: the run hangs")
            if kill.victim == "server" and ended != 0:
                tally.violations.append(f"{kill}: without its server the run ended with {ended}")
        if kill.waits or row["phase"] == "missed":
            left = gone(self.root, ORPHAN_S)
            tally.violations += [f"{kill}: orphan {one}" for one in left]
        flow.poll()
        again = waited(self.run())
        flow.wait()
        if again != 0:
            tally.violations.append(f"{kill}: the next run ended with {again}")
        elif self.digests() != self.expected[self.seed]:
            tally.violations.append(f"{kill}: other bytes than undisturbed")
        notes = self.root / "violations.txt"
        if notes.exists():
            tally.violations += [f"{kill}: {line}" for line in notes.read_text().splitlines()]
            notes.unlink()
        tally.violations += [f"{kill}: partial {one}" for one in self.watcher.partial]
        self.watcher.partial.clear()
        row["seconds"] = round(time.monotonic() - began, 1)
        tally.rows.append(row)

    def strike(self, kill: Kill, flow: subprocess.Popen[bytes]) -> str:
        """Wait for the moment and kill; return the phase it was, or an empty text."""
        began = time.monotonic()
        moment = began + (kill.at * self.usual_s if kill.aim == "anywhen" else 0.0)
        while flow.poll() is None:
            if time.monotonic() < moment:
                time.sleep(0.02)
                continue
            found = processes(self.root)
            now = phase(self.root, found)
            if kill.aim in (now, "anywhen") and found[kill.victim]:
                if kill.aim != "anywhen":
                    time.sleep(kill.at * SLOW_S)
                    now = phase(self.root, found)
                for process in found[kill.victim]:
                    with contextlib.suppress(psutil.Error):
                        process.send_signal(kill.signal)
                return now
            time.sleep(0.01)
        return ""


def waited(process: subprocess.Popen[bytes]) -> int | None:
    """Return how a run ended, or None for one that hangs; it is then ended."""
    try:
        return process.wait(timeout=RUN_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def play(folder: Path, kills: list[Kill], lanes: int, fault: str = "") -> Tally:
    """Make the lanes and carry out the kills; a missed one is tried again, twice."""
    tally, rest, lock = Tally(), list(kills), threading.Lock()

    def work(lane: Lane) -> None:
        with lane.server_kept():
            lane.learn()
            lane.watcher.start()
            try:
                while True:
                    with lock:
                        if not rest:
                            return
                        kill = rest.pop(0)
                    for part in (0.8, 0.4, 0.1):
                        lane.cycle(replace(kill, at=kill.at * part), tally)
                        if tally.rows[-1]["phase"] != "missed":
                            break
            except Exception as error:
                tally.violations.append(f"{type(error).__name__}: {error}")
                raise
            finally:
                lane.watcher.stop()
                tally.watched += lane.watcher.counts

    made = [Lane(folder / f"lane-{number}", fault) for number in range(lanes)]
    threads = [threading.Thread(target=work, args=(lane,)) for lane in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def summary(tally: Tally) -> dict[str, object]:
    """Return the counts of a tally."""
    done = [row for row in tally.rows if row["phase"] != "missed"]
    by_pair = Counter(f"{row['victim']}, {row['phase']}" for row in done)
    return {
        "kills": len(done),
        "by_victim": dict(sorted(Counter(str(row["victim"]) for row in done).items())),
        "by_phase": dict(sorted(Counter(str(row["phase"]) for row in done).items())),
        "by_signal": dict(sorted(Counter(f"{row['signal']}" for row in done).items())),
        "by_victim_and_phase": dict(sorted(by_pair.items())),
        "violations": tally.violations,
        "watched": dict(sorted(tally.watched.items())),
    }


def main() -> int:
    """Kill, print the table, write benchmarks/chaos.json; 1 if anything was violated."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--lanes", type=int, default=2)
    options = parser.parse_args()
    began = time.monotonic()
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory(prefix="deveno-chaos-") as place:
        kills = planned(options.seed, options.kills)
        tally = play(Path(place), kills, options.lanes)
    result = {
        **summary(tally),
        "seed": options.seed,
        "lanes": options.lanes,
        "commit": head.stdout.strip(),
        "wall_s": round(time.monotonic() - began, 1),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": list(os.getloadavg()),
    }
    canonical.write_json(ROOT / "benchmarks" / "chaos.json", result)
    print(canonical.dumps(result))
    return 1 if tally.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
