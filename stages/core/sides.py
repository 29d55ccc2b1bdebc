"""What each side of a comparison is: one artifact, or all entries of a commit or an experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stages.core import bundles
from stages.core.errors import CheckFailed
from stages.core.records import WORKSPACE, Record, Records
from stages.core.resolution import commit_named, lock_at


@dataclass(frozen=True)
class Side:
    """A side: the entries it holds by name, and where else its files may lie."""

    name: str
    entries: dict[str, Record]
    whole: bool = False
    folders: list[Path] = field(default_factory=list)


def side(records: Records, target: str) -> Side:
    """Return what a target means: an artifact first, then a commit or experiment, then a hash."""
    known = target in records.by_entry or any(
        name.partition("@")[2] == target for name in records.locks[WORKSPACE]
    )
    place = Path(target).expanduser()
    if target == WORKSPACE:
        return Side(target, dict(records.locks[WORKSPACE]), whole=True)
    if not known and not place.exists() and not (records.root / target).exists():
        commit = commit_named(records.root, target)
        if commit is not None:
            return Side(target, dict(lock_at(records, commit)), whole=True)
    revision, colon, rest = target.partition(":")
    if colon and rest:
        commit = commit_named(records.root, revision)
        target = f"{commit}:{rest}" if commit else target
    found = records.resolve(target).record
    folders = [place] if place.is_dir() and bundles.is_bundle(place) else []
    return Side(target, {found.entry: found}, folders=folders)


def pairs(a: Side, b: Side) -> list[tuple[Record, Record]]:
    """Return the records to compare: the two artifacts, or every entry that two commits share.

    Entries that are the same on both sides, down to their outputs, are left out of the second.
    """
    if a.whole != b.whole:
        whole, single = (a, b) if a.whole else (b, a)
        entry = next(iter(single.entries))
        raise CheckFailed(
            f"{whole.name} is a whole commit and {single.name} one artifact",
            f"{a.name}, {b.name}",
            f"write {whole.name}:{entry}",
        )
    if not a.whole:
        return [(next(iter(a.entries.values())), next(iter(b.entries.values())))]
    shared = [name for name in a.entries if name in b.entries]
    if not shared:
        raise CheckFailed(
            f"{a.name} and {b.name} share no entry",
            f"{len(a.entries)} and {len(b.entries)} entries in their dvc.lock",
            f"`deveno compare {a.name}:ENTRY {b.name}:ENTRY` compares two of them",
        )
    both = [(a.entries[name], b.entries[name]) for name in shared]
    return [
        (x, y) for x, y in both if x.fingerprint != y.fingerprint or dict(x.outs) != dict(y.outs)
    ]


def alone(a: Side, b: Side) -> tuple[list[str], list[str]]:
    """Return the entries that only one side has."""
    return sorted(set(a.entries) - set(b.entries)), sorted(set(b.entries) - set(a.entries))
