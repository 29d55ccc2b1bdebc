"""One night: the last good commit and the one at HEAD, each in a worktree of its own, compared."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows import environments, history, measuring, worktree
from flows.page import write
from flows.walk import Step, benchmark_lock
from stages.core import machine
from stages.core.errors import DevenoError, MachineError

SIDES = (measuring.CANDIDATE, measuring.BASELINE)
NOT_BEGUN = "cancelled before it began"
NOT_STARTED = "its process did not start"
WAIT_S = 900.0
"""How long a night that has its artifacts waits for another benchmark to end."""

Prepare = Callable[[measuring.Side], str]
"""Makes or restores what a side measures; returns why it could not, or an empty text."""


class Skipped(Exception):
    """The night does not take place, and that is nobody's fault."""


@dataclass
class Night:
    """A night as it goes; what it knows is what history will tell."""

    home: Path
    name: str
    tell: Callable[[str], None]
    known: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def note(self, state: str, reason: str = "") -> None:
        """Append to the history and draw its page anew."""
        row = {"night": self.name, "state": state, "reason": reason, **self.known}
        if state != history.BEGUN:
            row["minutes"] = round((time.monotonic() - self.began) / 60, 2)
        row["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        history.append(self.home, row)
        write(self.home, running=self.name if state == history.BEGUN else "")


@dataclass(frozen=True)
class Refused:
    """A night that ended before it began, as the server tells of it."""

    name: str
    skipped: bool
    """Whether it was cancelled; else its process failed."""
    reason: str
    time: str


def refuse(home: Path, rows: Sequence[Refused]) -> None:
    """Append to the history what never began, each once."""
    for one in rows:
        state, told = (history.SKIPPED, NOT_BEGUN) if one.skipped else (history.FAILED, NOT_STARTED)
        row = {"night": one.name, "state": state, "reason": f"{told}: {one.reason}"}
        history.append(home, {**row, "time": one.time})
    if rows:
        write(home)


@contextlib.contextmanager
def recorded(home: Path, name: str, tell: Callable[[str], None]) -> Iterator[Night]:
    """Give a night; however it ends, the history has a row with the reason."""
    night = Night(home, name, tell)
    try:
        night.note(history.BEGUN)
        yield night
        night.note(history.MEASURED)
    except Skipped as reason:
        night.note(history.SKIPPED, str(reason))
        raise
    except DevenoError as error:
        night.note(history.FAILED, f"{error.what} ({error.where}); {error.todo}")
        raise
    except Exception as error:
        night.note(history.FAILED, f"{type(error).__name__}: {error}")
        raise
    except BaseException as error:  # the runner's way to cancel
        night.note(history.CANCELLED, f"stopped on request ({type(error).__name__})")
        raise


def held(night: Night, recipe: str, prepare: Prepare) -> str:
    """Measure and judge; return the verdict on the night. The last good commit moves with it."""
    with contextlib.ExitStack() as stack:
        sides = {}
        for name in SIDES:
            commit = history.good(night.home) if name == measuring.BASELINE else "HEAD"
            sides[name] = _side(night, stack, name, commit or "HEAD", recipe)
            reason = prepare(sides[name])
            if reason:
                raise MachineError(
                    f"what the {name} {sides[name].commit[:9]} measures was not made: {reason}",
                    f".deveno/worktrees/{sides[name].folder.name}",
                    "`deveno logs` of that entry tells more",
                )
        stack.enter_context(_alone(night))
        return _compared(night, sides[measuring.BASELINE], sides[measuring.CANDIDATE])


def _side(
    night: Night, stack: contextlib.ExitStack, name: str, commit: str, recipe: str
) -> measuring.Side:
    """Bring up a side: its worktree, its environment."""

    def tell(text: str) -> None:
        night.tell(f"{name}: {text}")

    try:
        place = worktree.opened(night.home, f"nightly-{name}", recipe, tell, commit)
        folder = stack.enter_context(place)
    except MachineError as error:
        if "another run works" in error.what:
            raise Skipped(error.what) from None
        raise
    head = worktree.git(folder, "rev-parse", "HEAD")
    night.known |= {name: head, f"{name}_title": worktree.titled(folder, "HEAD")}
    python = environments.interpreter(night.home, folder, tell)
    return measuring.Side(name, folder, python, head)


@contextlib.contextmanager
def _alone(night: Night) -> Iterator[None]:
    """Hold the lock of benchmarks while measuring."""
    deadline = time.monotonic() + WAIT_S
    while (lock := benchmark_lock(night.home)) is None:
        if time.monotonic() > deadline:
            raise Skipped("another benchmark held the lock all the time")
        time.sleep(1.0)
    try:
        yield
    finally:
        lock.close()


def _compared(night: Night, baseline: measuring.Side, candidate: measuring.Side) -> str:
    from stages.lm import verdicts

    theirs, ours = measuring.listed(baseline), measuring.listed(candidate)
    metrics = theirs["metrics"]
    folders = [{one["name"]: one["folder"] for one in side["artifacts"]} for side in (theirs, ours)]
    both = {name: folder for name, folder in folders[0].items() if folders[1].get(name) == folder}
    night.known["uncompared"] = sorted({*folders[0], *folders[1]} - both.keys())
    if not both:
        raise MachineError(
            f"no artifact is measured by both: {', '.join(sorted(folders[0])) or 'none'} and"
            f" {', '.join(sorted(folders[1])) or 'none'}",
            "params.yaml: benchmark",
            f"`git update-ref -d {history.GOOD}` lets the next night begin anew",
        )
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in both}

    def record(row: dict[str, Any]) -> None:
        rows[row["artifact"]].append(row)
        history.append(night.home, row, f"{night.name}.jsonl")
        night.tell(f"life {row['life'] + 1} of {row['artifact']}")

    seed = int.from_bytes(night.name.encode(), "big") % 2**31
    found = measuring.night(baseline, candidate, both, metrics, seed, record)
    verdict = verdicts.of_night(found)
    blind = sorted(name for name, one in found.items() if one.primary and one.blind)
    night.known |= {
        "verdict": verdict,
        "blind": blind,
        "rule": {"alpha": verdicts.ALPHA, "margin": verdicts.MARGIN, "seed": seed},
        "machine": machine.declared(),
        "metrics": [_row(name, one, rows, metrics) for name, one in found.items()],
    }
    if verdict != verdicts.SLOWER and not blind:
        history.keep(night.home, candidate.commit)
    return verdict


def _row(
    key: str, one: Any, rows: Mapping[str, list[dict[str, Any]]], metrics: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return a verdict as history keeps it, with the metric's own level on both sides."""
    artifact, _, name = key.partition(": ")
    metric = next(row for row in metrics if row["name"] == name)
    levels = measuring.levels(rows[artifact], metric)
    numbers = {part: value for part, value in asdict(one).items() if isinstance(value, float)}
    return {
        **asdict(one),
        **{part: float(f"{value:.6g}") for part, value in numbers.items()},
        "artifact": artifact,
        "metric": name,
        **{
            side: float(f"{value:.6g}") for side, value in zip(measuring.SIDES, levels, strict=True)
        },
    }


def models_only(steps: list[Step]) -> list[Step]:
    """Return the steps that make what is measured, without the benchmarks themselves."""
    return [step for step in steps if not step.alone]
