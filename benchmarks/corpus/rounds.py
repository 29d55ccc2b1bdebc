"""Taking turns: contestants in processes of their own, timed in rounds, compared as ratios.

A contestant is a module with a function per system; `serve` makes it answer requests, one JSON
object a line. It is started once, loads what it needs, and is then called in turn with the others,
each round in another order, so that what the machine does meanwhile hits all alike.
"""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent
PEERS = os.environ.get("DEVENO_PEERS_PYTHON", "")
"""Interpreter of an environment with `peers.txt`; empty: peers are left out, as the row says."""
Answer = dict[str, Any]


class Contestant:
    """A process that answers requests with what it took (`cpu_s`, `wall_s`) and what it found."""

    def __init__(self, module: str, *, python: str = sys.executable, threads: int = 1) -> None:
        names = ("OMP", "MKL", "OPENBLAS", "RAYON", "NUMBA", "POLARS")
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
        for name in names:
            environment[f"{name}_NUM_THREADS"] = str(threads)
        environment.pop("PYTHONPATH", None)  # `-m` finds the checkout by the working folder
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.corpus.{module}"], env=environment, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, **request: Any) -> Answer:
        """Send one request and return its answer."""
        sent, got = self._process.stdin, self._process.stdout
        assert sent is not None
        assert got is not None
        sent.write(json.dumps(request) + "\n")
        sent.flush()
        for line in got:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)


def serve(systems: Mapping[str, Callable[..., Any]]) -> None:
    """Answer requests `{"system": name, ...}` by calling systems, until the input ends.

    A system is a generator function: what it does before its first `yield` is preparation, from
    there to the second it is timed, and the second yields what it found.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a system prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        running = systems[request.pop("system")](**request)
        next(running)
        before, begun = _cpu(), time.perf_counter()
        found = next(running)
        took = {"cpu_s": _cpu() - before, "wall_s": time.perf_counter() - begun}
        answers.write(json.dumps({**took, "found": found}) + "\n")
        answers.flush()


def _cpu() -> float:
    """Return the CPU seconds of this process and of its ended children."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def memory_begins() -> int:
    """Forget this process's peak of memory; return what is resident now in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident_kb("VmRSS")


def resident_kb(name: str) -> int:
    """Return a line of this process's status: VmRSS is resident now, VmHWM the peak of that."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"no {name} in /proc/self/status")


def interleaved(
    systems: Mapping[str, Callable[[], Answer]],
    rounds: int,
    seed: int = 0,
    ready: Collection[str] = (),
) -> dict[str, list[Answer]]:
    """Ask every system once per round, in an order drawn anew; one call before does not count.

    That call is left out for those that are `ready`: their preparation loads all they need.
    """
    draw, found = random.Random(seed), {name: [] for name in systems}
    for name, call in systems.items():
        if name not in ready:
            call()
    for _ in range(rounds):
        names = list(systems)
        draw.shuffle(names)
        for name in names:
            found[name].append(systems[name]())
    return found


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return lower quartile, median, upper quartile and count, four significant digits."""
    ranked = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ranked) - 1)
        low = int(place)
        high = min(low + 1, len(ranked) - 1)
        value = ranked[low] + (ranked[high] - ranked[low]) * (place - low)
        return float(f"{value:.4g}")

    return {"low": at(0.25), "median": at(0.5), "high": at(0.75), "rounds": len(ranked)}


def ratios(
    found: Mapping[str, Sequence[Answer]], ours: str, kind: str = "cpu_s"
) -> dict[str, dict[str, float]]:
    """Return how many times ours goes into each other one's time, round by round."""
    return {
        name: quartiles(
            [peer[kind] / own[kind] for peer, own in zip(answers, found[ours], strict=True)]
        )
        for name, answers in found.items()
        if name != ours
    }


def machine() -> dict[str, Any]:
    """Return what a reader of the figures must know of this machine."""
    cpu = "unknown"
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def versions(packages: Sequence[str], python: str = PEERS) -> dict[str, str]:
    """Return the versions that an environment has of some packages."""
    code = (
        "import json,sys;from importlib.metadata import version as v;"
        "print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
    )
    shown = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True)
    return json.loads(shown.stdout) if shown.returncode == 0 else {"error": shown.stderr[-200:]}


def command(row: str) -> str:
    """Return how this row is being run, options and all."""
    options = sys.argv[2:] if sys.argv[1:2] == [row] else []
    return " ".join(["python -m benchmarks.corpus", row, *options])


def write(row: str, result: Mapping[str, Any]) -> None:
    """Write `<row>.json` beside this module, with the command that made it, and print it."""
    told = {"row": row, "command": command(row), "machine": machine(), **result}
    text = json.dumps(told, indent=2, ensure_ascii=False)
    (FOLDER / f"{row}.json").write_text(text + "\n", "utf-8")
    print(text)
