"""Who is concerned by damage: the entries that made or read some bytes, now or in an earlier run.

Known from everything that is recorded here (dvc.lock of now and of every commit, the run cache, the
journals). A reader is concerned whether it read before or after the damage, for nobody knows when
that happened; what a concerned entry made is followed further.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.core import plan
from stages.core.records import WORKSPACE, Record, Records


@dataclass(frozen=True)
class Taint:
    """Who made some bytes and who read them, directly or not."""

    makers: tuple[str, ...]
    readers: tuple[str, ...]


class Tracer:
    """Follows bytes through everything that is recorded here."""

    def __init__(self, root: Path) -> None:
        self.cache = plan.cache_folder(root)
        self.records = Records(root)
        self.present = {id(record) for record in self.records.locks[WORKSPACE].values()}

    def of(self, oid: str, path: str = "") -> Taint:
        """Return who is concerned by the bytes of a hash; `path` is the output they lie in."""
        bad = {oid, *self.holders.get(oid, ())}
        makers = [one for one in self.records.all if bad & set(one.outs.values())]
        readers = [
            one
            for one in self.records.all
            if bad & set(one.deps.values())
            or (id(one) in self.present and any(_inside(path, dep) for dep in one.deps))
        ]
        found: dict[int, Record] = {}
        waiting = [*makers, *readers]
        while waiting:
            for one in self.records.consumers(waiting.pop()):
                if id(one) not in found:
                    waiting.append(one)
                    found[id(one)] = one
        read = [*found.values(), *(one for one in readers if id(one) not in found)]
        return Taint(self._label(makers), self._label(read))

    @functools.cached_property
    def holders(self) -> dict[str, set[str]]:
        """The hashes of the folders that hold a file, by the file's."""
        found: dict[str, set[str]] = {}
        made = {oid for one in self.records.all for oid in one.outs.values()}
        for folder in sorted(oid for oid in made if oid.endswith(".dir")):
            for oid in (plan.members(self.cache, folder) or {}).values():
                found.setdefault(oid, set()).add(folder)
        return found

    def _label(self, found: Iterable[Record]) -> tuple[str, ...]:
        rows = list(found)
        now = {one.entry for one in rows if id(one) in self.present}
        earlier = {one.entry for one in rows} - now
        return (*sorted(now), *(f"{name} (an earlier run)" for name in sorted(earlier)))


def _inside(path: str, dep: str) -> bool:
    """Return whether a dependency lies in an output, is it, or is a folder above it."""
    return bool(path) and (f"{dep}/".startswith(f"{path}/") or f"{path}/".startswith(f"{dep}/"))
