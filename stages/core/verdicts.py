"""What is said of an artifact that was made again: identical, near, different, and since where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core import canonical, machine, registry, replica
from stages.core.divergence import Difference
from stages.core.records import Record, Records, is_code

IDENTICAL = "identical"
WITHIN = "equal within tolerance"
DIFFERENT = "different"
MACHINE_BOUND = "machine-bound"
RESTORED = "restored"
FAILED = "failed"
BLOCKED = "not made"
WORST = (BLOCKED, FAILED, DIFFERENT, WITHIN)
"""Verdicts that are no proof, the worst first; all others are as good as can be."""


@dataclass(frozen=True)
class Output:
    """One output: what was recorded, what came, and where they part."""

    path: str
    recorded: str
    made: str | None
    differences: tuple[Difference, ...] = ()
    note: str = ""

    @property
    def verdict(self) -> str:
        """Identical by bytes; else within the tolerance if every difference is."""
        if self.made == self.recorded:
            return IDENTICAL
        near = bool(self.differences) and all(one.within for one in self.differences)
        return WITHIN if near else DIFFERENT


@dataclass
class Made:
    """One entry made again: the verdict, its outputs, and why it is not what it was."""

    record: Record
    verdict: str
    outputs: list[Output] = field(default_factory=list)
    reason: str = ""
    after: tuple[str, ...] = ()
    """The entries above it that came out otherwise, and so explain a difference here."""
    curves: tuple[Difference, ...] = ()
    """First steps at which its stepped metrics part from the recorded journal's."""
    notes: tuple[str, ...] = ()
    error: tuple[str, ...] = ()
    """The three lines of what failed, or the last words of it."""
    seconds: float = 0.0
    folder: Path | None = None
    """Where its outputs lie for what stands on it."""
    replaced: bool = False
    """Whether what stands on it is made from its recorded bytes instead."""

    @property
    def sound(self) -> bool:
        """Whether what stands on it has the recorded bytes as input."""
        return self.replaced or self.verdict in (IDENTICAL, RESTORED)

    @property
    def first_divergence(self) -> Difference | None:
        """The first place where it parts: a step of a curve, else what its outputs tell."""
        places = [one for output in self.outputs for one in output.differences]
        steps = [*self.curves, *(one for one in places if one.kind == "curve")]
        beyond = [one for one in places if not one.within]
        return next(iter([*steps, *beyond, *places]), None)


def judged(record: Record, outputs: list[Output], after: tuple[str, ...]) -> Made:
    """Return the verdict of an entry: that of its worst output, tempered by what holds times."""
    found = {one.verdict for one in outputs}
    made = Made(record, next((word for word in WORST if word in found), IDENTICAL), outputs)
    made.after = after
    reason = bound(record)
    if made.verdict == IDENTICAL or not reason:
        return made
    rows = [one for output in outputs for one in output.differences]
    fixed = [str(one) for one in rows if one.kind in ("missing", "extra")]
    fixed += [f"{output.path} was not made" for output in outputs if output.made is None]
    unseen = [output.path for output in outputs if output.note]
    if fixed:
        made.reason = f"{reason}, and not only times differ: {'; '.join(fixed[:3])}"
    else:
        same = sum(output.verdict == IDENTICAL for output in outputs)
        told = "files and names compared and as recorded"
        if unseen:
            told = f"not compared, for the recorded bytes are gone: {', '.join(unseen)}"
        made.verdict = MACHINE_BOUND
        made.reason = f"{reason}; {told}; {same} of {len(outputs)} outputs identical"
    return made


def bound(record: Record) -> str:
    """Return why a record's stage cannot give the same bytes elsewhere; empty if it can."""
    if record.stage not in registry.names():
        return ""
    return registry.get(record.stage).machine_bound


def owned(path: str) -> bool:
    """Return whether some stage writes artifacts where a path lies."""
    starts = [write.split("${")[0] for one in registry.stages().values() for write in
              one.writes.values()]  # fmt: skip
    return path.startswith(tuple(starts))


def key(record: Record) -> str:
    """Return what tells records apart, as the name of a folder."""
    return f"{record.fingerprint}-{canonical.digest(dict(record.outs))[:8]}"


def reads(record: Record, producer: Record) -> bool:
    """Return whether a record reads an output of another, itself or below a parent folder."""
    folders = [f"{path}/" for path in record.deps if not is_code(path)]
    return any(
        record.deps.get(path) == md5 or path.startswith(tuple(folders))
        for path, md5 in producer.outs.items()
    )


def first(ancestry: Sequence[Record], made: Mapping[str, Made]) -> Made | None:
    """Return the first entry, producers first, that came out otherwise though its inputs did not.

    What only parts because something above it does is not the first.
    """
    rows = [made[key(one)] for one in ancestry if key(one) in made]
    bad = {one.record.entry for one in rows if one.verdict in WORST}
    return next((one for one in rows if one.verdict in WORST and not bad & set(one.after)), None)


def worst(rows: Sequence[Made]) -> str:
    """Return the verdict of all: the worst, identical if there is none to fear."""
    found = {one.verdict for one in rows}
    return next((word for word in WORST if word in found), IDENTICAL)


def environments(rows: Sequence[Record]) -> dict[str, tuple[str, str]]:
    """Return the packages that any record had in another version: (recorded, installed)."""
    found: dict[str, tuple[str, str]] = {}
    for record in rows:
        found |= replica.packages(record)
    return dict(sorted(found.items()))


def machines(rows: Sequence[Record], records: Records) -> list[str]:
    """Return in words how the machines that made the records differ from this one."""
    now = machine.facts()
    found: dict[str, list[str]] = {}
    for record in rows:
        execution = records.execution(record)
        then = execution.start.get("machine") or {} if execution else {}
        lacking = [text] if (text := without_device(record, records)) else []
        for text in [*_other(then, now), *lacking]:
            found.setdefault(text, []).append(record.entry)
    return [f"{text} ({_few(entries)})" for text, entries in found.items()]


def device(record: Record, records: Records) -> str:
    """Return the device that a record was made on, as its journal has it; empty where none has."""
    execution = records.execution(record)
    facts = execution.start.get("machine") or {} if execution else {}
    return str(facts.get("device") or "")


def without_device(record: Record, records: Records) -> str:
    """Return in words that this machine lacks the device that made a record; empty if it has it."""
    then = device(record, records)
    if machine.showing(then) is not None:
        return ""
    return f"another device: {then} then, {machine.device()} now"


def _other(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    names = {"cpu_model": "CPU", "python": "Python", "implementation": "Python", "system": "system"}
    found = []
    for name, word in names.items():
        before, here = then.get(name), now[name]
        if name == "system" and before:  # the kernel's release changes nothing that is computed
            before, here = (" ".join(str(one).split()[::2]) for one in (before, here))
        if before is not None and before != here:
            found.append(f"another {word}: {before} then, {here} now")
    lost = set(then.get("cpu_flags") or []) - set(now["cpu_flags"])
    lost &= set(machine.TELLING)
    if lost:
        found.append(f"this CPU lacks {', '.join(sorted(lost))}")
    return found


def _few(entries: Sequence[str]) -> str:
    more = f" and {len(entries) - 3} more" if len(entries) > 3 else ""
    return ", ".join(entries[:3]) + more
