"""Executions of one fingerprint, each going on where the last was killed, read as one run.

An execution that resumes names the one before it (`resumes` in its `start` event) and says at which
step it went on (`resumed`). What the one before did beyond that step was done again and is
superseded; so a join sees every step once, whichever way and however often a run was killed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.core import journal
from stages.core.journal import Event, Execution

Curves = dict[str, list[tuple[int, float]]]


def resumed_at(execution: Execution) -> int | None:
    """Return the step behind which an execution went on; 0 if it began anew, None if first."""
    if not execution.start.get("resumes"):
        return None
    return next((step for event in execution.events() if (step := went_on(event)) is not None), 0)


def went_on(event: Event) -> int | None:
    """Return the step that a `resumed` event of a training tells."""
    if event.get("event") == "resumed" and event.get("unit", "steps") == "steps":
        return int(event["step"])
    return None


def chain(home: Path, execution: Execution) -> list[Execution]:
    """Return an execution and those that it goes on from, oldest first."""
    found = [execution]
    while name := found[0].start.get("resumes"):
        before = journal.find(home, str(name))
        if before is None or before.id in {one.id for one in found}:
            break
        found.insert(0, before)
    return found


def superseded_after(home: Path, execution: Execution) -> int | None:
    """Return the step beyond which a later execution did this one's work again, or None."""
    stage, _, key = execution.path.parent.name.partition("@")
    later = (
        one
        for one in journal.executions(home, stage, key)
        if one.start.get("resumes") == execution.id
    )
    follower = next(later, None)
    return None if follower is None else resumed_at(follower)


def events(home: Path, execution: Execution) -> list[Event]:
    """Return the events of an execution and all it goes on from, without superseded steps."""
    found: list[Event] = []
    for one in chain(home, execution):
        at = resumed_at(one)
        if at is not None:
            found = [event for event in found if not beyond(event, at)]
        found += one.events()
    return found


def beyond(event: Event, step: int | None) -> bool:
    """Say whether an event is a number of a step that a later execution did again."""
    if step is None or event.get("event") != "metric" or event.get("step") is None:
        return False
    return int(event["step"]) > step


def curves(home: Path, execution: Execution) -> Curves:
    """Return the stepped metrics of a whole run by name, in order of steps."""
    found: Curves = {}
    for event in events(home, execution):
        if event.get("event") == "metric" and event.get("step") is not None:
            points: list[tuple[int, Any]] = found.setdefault(str(event["name"]), [])
            points.append((int(event["step"]), float(event["value"])))
    return {name: sorted(points) for name, points in found.items()}
