"""Two sides measured side by side: pairs of fresh processes, driven slice by slice over pipes.

A life is one pair of processes, pinned to one core (another in the next life), and has several
stretches; a stretch is what the statistics count as one observation. CPU time is taken *neck and
neck*: both sides get the same calls at the same moment, and the kernel deals the core out between
them every few milliseconds, so that what else the machine does falls on both alike. (Measured on a
machine with five busy neighbours: median ratios of a stretch scatter by 0.7 % so, and by 3 % with
slices in turn.) Wall time needs the core alone: slices in turn, A B B A or B A A B by the seed.
Every number is kept.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import MachineError
from stages.lm import verdicts

PROTOCOL = 1
MODULE = "stages.benchmark.measurer"
LIVES, MOST_LIVES = 3, 9
"""Pairs of processes per artifact; more, up to the second, while the primary metric is blind."""
STRETCHES = 5
TOGETHER = {"tag": 12, "forward": 6}
"""Slices of each probe in a stretch that both sides run at once."""
IN_TURN = {"tag": 3}
"""Turns of four slices in a stretch, for wall time."""
SLICE_MS = 25.0
"""CPU time of a slice: long against the clock's steps, short against what drifts."""
BASELINE, CANDIDATE = SIDES = "baseline", "candidate"
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "ORT_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "",
}


@dataclass(frozen=True)
class Side:
    """A commit's code in a folder, and the interpreter that runs it."""

    name: str
    folder: Path
    python: str
    commit: str = ""


class Worker:
    """A process of one side that answers requests line by line."""

    def __init__(self, side: Side, core: int | None = None) -> None:
        self.side = side
        kept = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
        self._process = subprocess.Popen(
            [side.python, "-m", MODULE], cwd=side.folder, text=True, encoding="utf-8",
            env={**kept, **ONE_THREAD, "PYTHONPATH": str(side.folder)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        if core is not None:
            with contextlib.suppress(OSError, AttributeError):
                os.sched_setaffinity(self._process.pid, {core})

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return the answer to a request."""
        self.send(**request)
        return self.receive()

    def send(self, **request: Any) -> None:
        """Send a request; whether anybody reads it shows when the answer is asked for."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Return the next answer; a process that ends or refuses is an error naming its side."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failed(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise self._failed(str(answer["error"]))
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _last_words(self) -> str:
        self._process.kill()
        told = self._process.communicate()[1].strip().splitlines()
        return told[-1] if told else f"it ended with status {self._process.returncode}"

    def _failed(self, reason: str) -> MachineError:
        who = f"{self.side.name} {self.side.commit[:9]}".strip()
        todo = "read it in that commit's worktree; the next night tries again"
        if "No module named" in reason and "stages" in reason:
            reason = f"this commit has no {MODULE}, so it cannot take part"
            todo = "`git update-ref -d refs/deveno/nightly/good` lets the next night begin anew"
        return MachineError(f"the {who} cannot be measured: {reason}", str(self.side.folder), todo)


@contextlib.contextmanager
def working(side: Side, core: int | None = None) -> Iterator[Worker]:
    """Give a process of a side; it is gone afterwards."""
    worker = Worker(side, core)
    try:
        yield worker
    finally:
        worker.close()


def listed(side: Side) -> dict[str, Any]:
    """Return what a side can measure; another protocol is refused."""
    with working(side) as worker:
        found = worker.ask(do="list")
    if found.get("protocol") != PROTOCOL:
        raise MachineError(
            f"the {side.name} {side.commit[:9]} speaks protocol {found.get('protocol')} of"
            f" measuring, and this code {PROTOCOL}",
            str(side.folder),
            "`git update-ref -d refs/deveno/nightly/good` lets the next night begin anew",
        )
    return found


def words(side: Side, folder: str, seed: int) -> list[str]:
    """Return the words of which both sides' sentences are made: the baseline's tokenizer's."""
    with working(side) as worker:
        worker.ask(do="open", folder=folder, seed=seed)
        return list(worker.ask(do="words", seed=seed)["words"])


def life(
    baseline: Side, candidate: Side, folder: str, given: Sequence[str], seed: int, number: int
) -> dict[str, Any]:
    """Measure one pair of processes; return every slice.

    The row holds the `order` of starting, the `core`, the `opened` facts of both sides, calls per
    slice, and in each stretch for `together` per probe rows [baseline_cpu_ns, candidate_cpu_ns],
    for `in_turn` per probe turns of four [side, cpu_ns, wall_ns].
    """
    drawn = random.Random(f"{seed} {folder} {number}")
    core = _core(number)
    sides = [baseline, candidate]
    drawn.shuffle(sides)
    with contextlib.ExitStack() as stack:
        workers = {side.name: stack.enter_context(working(side, core)) for side in sides}

        def begin(worker: Worker) -> dict[str, Any]:
            opened = worker.ask(do="open", folder=folder, seed=seed)
            return opened | worker.ask(do="take", words=list(given), seed=seed)

        with ThreadPoolExecutor(2) as pool:
            opened = dict(zip(workers, pool.map(begin, workers.values()), strict=True))
        calls = {probe: _calls(workers[BASELINE], probe) for probe in TOGETHER}
        stretches = [_stretch(workers, calls, drawn) for _ in range(STRETCHES)]
    return {
        "life": number, "core": core, "order": [side.name for side in sides], "opened": opened,
        "calls": calls, "load_average": os.getloadavg()[0], "stretches": stretches,
    }  # fmt: skip


def _core(number: int) -> int | None:
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    return cores[number % len(cores)]


def _stretch(
    workers: Mapping[str, Worker], calls: Mapping[str, int], drawn: random.Random
) -> dict[str, Any]:
    together = {
        probe: [_together(workers, probe, calls[probe], drawn) for _ in range(count)]
        for probe, count in TOGETHER.items()
    }
    in_turn = {
        probe: [_turn(workers, probe, calls[probe], drawn) for _ in range(count)]
        for probe, count in IN_TURN.items()
    }
    return {"together": together, "in_turn": in_turn}


def _calls(worker: Worker, probe: str) -> int:
    """Return how many calls fill a slice."""
    once = worker.ask(do="slice", probe=probe, calls=2)["cpu"] / 2e6
    return max(1, math.ceil(SLICE_MS / max(once, 1e-3)))


def _together(
    workers: Mapping[str, Worker], probe: str, calls: int, drawn: random.Random
) -> list[int]:
    """Return the CPU time of baseline and candidate for calls that they make at once."""
    for name in drawn.sample(sorted(workers), 2):
        workers[name].send(do="slice", probe=probe, calls=calls)
    spent = {name: worker.receive()["cpu"] for name, worker in workers.items()}
    return [spent[BASELINE], spent[CANDIDATE]]


def _turn(
    workers: Mapping[str, Worker], probe: str, calls: int, drawn: random.Random
) -> list[list[Any]]:
    first, second = drawn.sample(sorted(workers), 2)
    made: list[list[Any]] = []
    for name in (first, second, second, first):
        answer = workers[name].ask(do="slice", probe=probe, calls=calls)
        made.append([name, answer["cpu"], answer["wall"]])
    return made


def log_ratios(lives: Sequence[Mapping[str, Any]], metric: Mapping[str, Any]) -> list[float]:
    """Return the log-ratios candidate/baseline of a metric, one per stretch (of size: the one)."""
    if metric["of"] == "open":
        facts = [[row["opened"][name][metric["column"]] for row in lives] for name in SIDES]
        ours, theirs = facts[1][-1], facts[0][-1]
        return [math.log(ours / theirs)]
    return [_log_ratio(stretch, metric) for row in lives for stretch in row["stretches"]]


def _log_ratio(stretch: Mapping[str, Any], metric: Mapping[str, Any]) -> float:
    """Return a stretch's log-ratio: the median over its slices or turns."""
    if metric["column"] == "cpu":
        pairs = stretch["together"][metric["of"]]
        return statistics.median(math.log(ours / theirs) for theirs, ours in pairs)
    return statistics.median(
        math.log(_wall(turn, CANDIDATE) / _wall(turn, BASELINE))
        for turn in stretch["in_turn"][metric["of"]]
    )


def _wall(turn: Sequence[Sequence[Any]], name: str) -> float:
    return float(sum(slice_[2] for slice_ in turn if slice_[0] == name))


def levels(lives: Sequence[Mapping[str, Any]], metric: Mapping[str, Any]) -> list[float]:
    """Return the median of a metric itself, baseline and candidate: milliseconds a call, bytes."""
    if metric["of"] == "open":
        return [float(lives[-1]["opened"][name][metric["column"]]) for name in SIDES]
    values: list[list[float]] = [[], []]
    for row in lives:
        unit = row["calls"][metric["of"]] * 1e6
        for stretch in row["stretches"]:
            if metric["column"] == "cpu":
                for pair in stretch["together"][metric["of"]]:
                    values[0].append(pair[0] / unit)
                    values[1].append(pair[1] / unit)
                continue
            for turn in stretch["in_turn"][metric["of"]]:
                for name, _, wall in turn:
                    values[SIDES.index(name)].append(wall / unit)
    return [statistics.median(one) for one in values]


def judged(
    measured: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Sequence[Mapping[str, Any]]
) -> dict[str, verdicts.Verdict]:
    """Return the verdicts of a night, by `<artifact>: <metric>`."""
    groups: tuple[dict[str, list[float]], ...] = ({}, {}, {})
    for artifact, lives in measured.items():
        for metric in metrics:
            group = 0 if metric["primary"] else 2 if metric["of"] == "open" else 1
            groups[group][f"{artifact}: {metric['name']}"] = log_ratios(lives, metric)
    return verdicts.judge(groups[0], groups[1], groups[2])


def night(
    baseline: Side, candidate: Side, artifacts: Mapping[str, str],
    metrics: Sequence[Mapping[str, Any]], seed: int,
    record: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, verdicts.Verdict]:  # fmt: skip
    """Measure artifacts (name and folder) life by life and judge; `record` gets every life.

    While a primary metric is blind, its artifact gets more lives: the decision looks at the width
    of the interval alone, never at where it lies.
    """
    given = {name: words(baseline, folder, seed) for name, folder in artifacts.items()}
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in artifacts}
    waiting = list(artifacts)
    found: dict[str, verdicts.Verdict] = {}
    for number in range(MOST_LIVES):
        for name in waiting:
            row = life(baseline, candidate, artifacts[name], given[name], seed, number)
            record({"artifact": name, **row})
            measured[name].append(row)
        if number + 1 < LIVES:
            continue
        found = judged(measured, metrics)
        blind = {key.partition(": ")[0] for key, one in found.items() if one.primary and one.blind}
        waiting = [name for name in artifacts if name in blind]
        if not waiting:
            break
    return found
