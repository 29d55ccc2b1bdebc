"""Why an entry is stale now, which change above it came first, and why it ran the last time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core import fingerprint, journal, plan, references, workspace
from stages.core.journal import Execution
from stages.core.plan import Plan, Step

AFTER = "after "
"""How the planner begins a reason that only hands on the staleness of another entry."""


@dataclass(frozen=True)
class Cause:
    """A stale entry whose reasons are its own, and the way its staleness took to the entry."""

    entry: str
    reasons: list[str]
    way: list[str]


@dataclass(frozen=True)
class Now:
    """What the plan says of an entry; `causes` come producers first, so the first is the first."""

    action: str
    reasons: list[str]
    causes: list[Cause]


@dataclass(frozen=True)
class Last:
    """Where the recorded output came from.

    `state` is `computed` (by the newest execution), `restored` (put there by DVC, and not by the
    newest execution, if there is one) or `never`. `execution` is the newest one, whatever its
    outcome; `reasons` say why it ran; `made_by` is the execution of the recorded fingerprint.
    """

    state: str
    fingerprint: str | None
    present: bool
    execution: Execution | None = None
    reasons: list[str] = field(default_factory=list)
    made_by: str | None = None
    restored_at: float | None = None


def now(made: Plan, name: str) -> Now:
    """Return why an entry of a plan is stale and every first cause above it."""
    step = made.steps[name]
    pending = {one.name: one for one in made.pending}
    if name not in pending:
        return Now(step.action, step.reasons, [])
    above = [one for one in made.steps if one in references.ancestors(made.graph, {name})]
    causes = []
    for one in above:
        own = _own(pending[one], pending, made) if one in pending else []
        way = _way(made, one, name, set(pending))
        if own and way:
            causes.append(Cause(one, own, way))
    return Now(step.action, step.reasons, causes)


def _own(step: Step, pending: Mapping[str, Step], made: Plan) -> list[str]:
    """Return a step's reasons without those that a stale entry above it brought."""
    handed = {
        path
        for up in step.entry.upstream
        if up in pending
        for path in made.graph[up].writes.values()
    }
    parents = {path.rsplit("/", 1)[0] for path in handed}
    return [
        reason
        for reason in step.reasons
        if not reason.startswith(AFTER)
        and not any(reason.startswith(f"input {path} ") for path in handed | parents)
    ]


def _way(made: Plan, start: str, end: str, pending: set[str]) -> list[str]:
    """Return the shortest way down from one stale entry to another through stale ones, or []."""
    ways = {start: [start]}
    for name in made.steps:  # producers first
        known = [ways[up] for up in made.graph[name].upstream if up in ways]
        if name in pending and known and name not in ways:
            ways[name] = [*min(known, key=len), name]
    return ways.get(end, [])


def last(root: Path, name: str) -> Last:
    """Return why an entry ran the last time, or how its output came here without running."""
    home = workspace.home(root)
    recorded = fingerprint.locks(root).get(name)
    in_force = fingerprint.digest(fingerprint.from_lock(recorded)) if recorded else None
    outs = plan.outs(recorded) if recorded else {}
    present = bool(outs) and all((root / path).exists() for path in outs)
    runs = list(journal.executions(home, *name.split("@")))
    newest = next(iter(runs), None)
    restored_at = _restored(home, name, newest)
    if newest is None:
        state = "restored" if recorded else "never"
        return Last(state, in_force, present, restored_at=restored_at)
    done = [one for one in runs if one.outcome == "ok"]
    makers = [one for one in done if one.start.get("fingerprint") == in_force]
    made_by = makers[0].id if makers else None
    by_newest = bool(done) and done[0].id == made_by and restored_at is None
    state = "restored" if recorded and not by_newest else "computed"
    return Last(
        state, in_force, present, newest, why_ran(newest, _before(newest, runs)), made_by,
        restored_at,
    )  # fmt: skip


def _before(newest: Execution, runs: list[Execution]) -> Execution | None:
    """Return the last execution before the newest that was finished, by success or by failure."""
    older = [one for one in runs if one.id != newest.id and one.end is not None]
    done = [one for one in older if one.outcome == "ok"]
    return next(iter([*done, *older]), None)


def why_ran(newest: Execution, before: Execution | None) -> list[str]:
    """Return why an execution ran: as its journal says, else by what differs from the one before.

    `before` is the last finished execution before it, or None.
    """
    found = [str(reason) for reason in newest.start.get("reasons") or []]
    if not found:
        found = _computed(newest, before)
    resumed = newest.start.get("resumes")
    return [*found, f"it went on from {resumed}, which had not ended"] if resumed else found


def _computed(newest: Execution, before: Execution | None) -> list[str]:
    if before is None:
        return ["it never ran here before"]
    now, then = newest.start, before.start
    found = _inputs(now.get("inputs") or {}, then.get("inputs") or {})
    prefix = f"{now.get('stage')}.{now.get('key')}."
    found += _values("param", prefix, now.get("params") or {}, then.get("params") or {})
    found += _values("package", "", now.get("packages") or {}, then.get("packages") or {})
    if now.get("version") != then.get("version"):
        found.append(f"stage version: {then.get('version')} -> {now.get('version')}")
    if found:
        return found
    if now.get("fingerprint") != then.get("fingerprint"):
        return ["the command or another declared value changed (not kept in the journal)"]
    if before.outcome != "ok":
        return [f"the execution before it ended as {before.outcome!r}"]
    return ["nothing it depends on changed: it was asked for by name, or its output was lost"]


def _inputs(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    found = []
    for path in sorted(set(now) | set(then)):
        if now.get(path) != then.get(path):
            kind = "code" if path.startswith("stages/") and Path(path).suffix else "input"
            gone, new = path not in now, path not in then
            found.append(f"{kind} {path} {'is gone' if gone else 'is new' if new else 'changed'}")
    return found


def _values(kind: str, prefix: str, now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    flat_now, flat_then = plan.flatten(now), plan.flatten(then)
    return [
        f"{kind} {prefix}{name}: {flat_then.get(name, 'absent')} -> {flat_now.get(name, 'absent')}"
        for name in sorted(set(flat_now) | set(flat_then))
        if name and flat_now.get(name) != flat_then.get(name)
    ]


def _restored(home: Path, name: str, newest: Execution | None) -> float | None:
    """Return when a flow run last restored the entry since its newest execution, or None."""
    since = float(newest.start.get("time", 0.0)) if newest else 0.0
    for path in sorted((journal.folder(home) / journal.FLOWS).glob("*.jsonl"), reverse=True):
        events = journal.Tail(path).read()
        if events and float(events[-1].get("time", 0.0)) < since:
            return None
        for event in reversed(events):
            if event.get("event") == "restored" and event.get("entry") == name:
                time = float(event.get("time", 0.0))
                return time if time > since else None
    return None
