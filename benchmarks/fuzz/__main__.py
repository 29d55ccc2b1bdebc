"""Fuzz readers and kernels; see the package.

python -m benchmarks.fuzz [--seconds 300] [--seed N] [--targets kernels,jsonl] [--replay FILE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.fuzz import engine

ROOT = Path(__file__).resolve().parent.parent.parent
RESULT = ROOT / "benchmarks" / "fuzz.json"
KEPT = ROOT / ".deveno" / "fuzz"
GROUPS = {"kernels": 0.25, "tokens": 0.15, "readers": 0.20, "containers": 0.15}
"""Modules of targets and their shares of the time; what is left checks kernels' indexes."""
CHECKED = {"kernels": 0.15, "tokens": 0.10}
GRACE_SECONDS = 600.0
"""A process may take so much longer than 8 times what it was given on a busy machine: kernels are
compiled, findings made small."""
MEMORY_BYTES = 6 << 30


def targets(names: list[str]) -> dict[str, dict[str, engine.Target]]:
    """Return the targets by group: all, or those that are named by themselves or by their group."""
    found: dict[str, dict[str, engine.Target]] = {}
    for group in GROUPS:
        held = importlib.import_module(f"benchmarks.fuzz.{group}").TARGETS
        chosen = {one.name: one for one in held if not names or {one.name, group} & set(names)}
        if chosen:
            found[group] = chosen
    return found


def child(group: str, names: list[str], seed: int, seconds: float, folder: Path) -> int:
    """Run some targets of a group, one after the other; a line of JSON tells of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    held = targets([group])[group]
    for name in names:
        print(json.dumps({"begun": name}), flush=True)
        found = engine.fuzz(held[name], seed, seconds, current=folder / "current.json")
        print(json.dumps({"name": name, **vars(found)}), flush=True)
    return 0


def watched(
    group: str, names: list[str], seed: int, seconds: float, checked: bool
) -> list[dict[str, Any]]:
    """Run targets in processes that may die: a death is the finding of the target that was on."""
    done: list[dict[str, Any]] = []
    KEPT.mkdir(parents=True, exist_ok=True)
    environment = os.environ | ({"NUMBA_BOUNDSCHECK": "1"} if checked else {})
    while left := names[len(done) :]:
        command = [
            sys.executable, "-m", "benchmarks.fuzz", "--child", group, "--targets", ",".join(left),
            "--seed", str(seed), "--seconds", str(seconds),
        ]  # fmt: skip
        with (KEPT / "output.jsonl").open("w+") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output)
            try:
                status = process.wait(8 * seconds * len(left) + GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
            output.seek(0)
            lines = [json.loads(line) for line in output if line.endswith("\n")]
        told = [line for line in lines if "name" in line]
        done += told
        if status and len(told) < len(left):
            name = left[len(told)]
            packed = json.loads((KEPT / "current.json").read_text())["example"]
            why = f"the process ended with {status} and told nothing"
            death = engine.finding(name, packed, why)
            done.append({"name": name, "examples": 1, "cpu_seconds": 0.0, "finding": death})
        elif len(told) < len(left):
            raise RuntimeError(f"{group}: {len(told)} of {len(left)} targets were run")
    return done


def campaign(names: list[str], seed: int, seconds: float) -> dict[str, Any]:
    """Run all groups; returns what stands in fuzz.json."""
    rows: dict[str, Any] = {}
    begun = time.monotonic()
    chosen = targets(names)
    plans = [(group, share, False) for group, share in GROUPS.items() if group in chosen]
    plans += [(group, share, True) for group, share in CHECKED.items() if group in chosen]
    total = sum(share for _, share, _ in plans)
    for group, share, checked in plans:
        held = list(chosen[group])
        each = seconds * share / total / len(held)
        for one in watched(group, held, seed, each, checked):
            mark = one["name"] + (" (every index checked)" if checked else "")
            rows[mark] = {
                "group": group, "examples": one["examples"],
                "cpu_seconds": round(one["cpu_seconds"], 1), "findings": 0,
            }  # fmt: skip
            if one["finding"]:
                rows[mark]["findings"] = 1
                path = engine.keep(one["finding"], KEPT)
                rows[mark]["kept"] = path.relative_to(ROOT).as_posix()
                last = one["finding"]["error"].splitlines()[-1]
                print(f"{mark}: {last}\n  make fuzz REPLAY={rows[mark]['kept']}", flush=True)
            else:
                print(f"{mark}: {one['examples']} examples, nothing found", flush=True)
    return {
        "seed": seed,
        "seconds": seconds,
        "wall_seconds": round(time.monotonic() - begun),
        "examples": sum(row["examples"] for row in rows.values()),
        "findings": sum(row["findings"] for row in rows.values()),
        "targets": rows,
    }


def main() -> int:
    """Run the command; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz")
    parser.add_argument("--seconds", type=float, default=300.0, help="of CPU")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--targets", default="")
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = [one for one in given.targets.split(",") if one]
    seed = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    if given.child:
        return child(given.child, names, seed, given.seconds, KEPT)
    if given.replay:
        every = {name: one for held in targets([]).values() for name, one in held.items()}
        engine.replay(given.replay, every)
        print("nothing is wrong with this example any more")
        return 0
    print(f"seed {seed}, {given.seconds:g} seconds; failing examples go to {KEPT}", flush=True)
    found = campaign(names, seed, given.seconds)
    print(f"{found['examples']} examples, {found['findings']} findings")
    if not names:
        RESULT.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    return 1 if found["findings"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
