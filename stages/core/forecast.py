"""What a size of text costs on some machines: arithmetic over measured rates.

Each stage was run at two sizes (`benchmarks/rates.json`). A cost is taken as `fixed + slope * GB`
through both. Work that an engine hands out is divided by all cores; what the driver does itself
(read, join, write) is not; what travels is divided by the driver's network. The hours lie between
the longest of the three, where all overlap, and their sum, where nothing does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

GB = 1e9
ORDER = ("acquire", "refine", "tokenizer", "encode")
MEMORY_SHARE = 0.8
"""Of a machine's memory that a stage may take."""


@dataclass(frozen=True)
class Machines:
    """Equal machines; `network` and `memory` of one, in bytes per second and bytes."""

    count: int
    cores: int
    memory: float
    network: float
    speed: float = 1.0
    """Of one core, with those of the machine that was measured as 1."""


class Line(NamedTuple):
    """A cost: what it is without text, and per gigabyte of it."""

    fixed: float
    slope: float

    def at(self, gigabytes: float) -> float:
        """Return the cost of some text."""
        return max(0.0, self.fixed + self.slope * gigabytes)


@dataclass(frozen=True)
class Cost:
    """What a stage takes at one size."""

    stage: str
    core_hours: float
    work_hours: float
    driver_hours: float
    travel_bytes: float
    travel_hours: float
    memory: float
    written: float
    pieces: int
    """In how many corpora the text must be cut so that each fits into a machine's memory."""

    @property
    def least(self) -> float:
        """Hours where work, driver and network overlap."""
        return max(self.work_hours, self.driver_hours, self.travel_hours)

    @property
    def most(self) -> float:
        """Hours where nothing overlaps."""
        return self.work_hours + self.driver_hours + self.travel_hours

    @property
    def bound(self) -> str:
        """What the time is spent on most."""
        spent = {
            "work": self.work_hours, "driver": self.driver_hours, "network": self.travel_hours,
        }  # fmt: skip
        return max(spent, key=lambda name: spent[name])


def line(runs: Sequence[Mapping[str, Any]], stage: str, name: str) -> Line:
    """Return the line through smallest and largest run; a cost never falls with the text."""
    small, large = runs[0], runs[-1]
    first, last = small["bytes"] / GB, large["bytes"] / GB
    one, other = float(small["stages"][stage][name]), float(large["stages"][stage][name])
    slope = max(0.0, (other - one) / (last - first))
    return Line(other - slope * last, slope)


def forecast(rates: Mapping[str, Any], size: float, machines: Machines) -> list[Cost]:
    """Return what every stage takes for `size` bytes of raw text."""
    runs = sorted(rates["runs"], key=lambda run: run["bytes"])
    stages = sorted(runs[0]["stages"], key=lambda name: (*ORDER, name).index(name))
    return [_cost(runs, stage, size / GB, machines) for stage in stages]


def _cost(
    runs: Sequence[Mapping[str, Any]], stage: str, gigabytes: float, machines: Machines
) -> Cost:
    def at(name: str) -> float:
        return line(runs, stage, name).at(gigabytes)

    work = at("work_s")
    cpu = max(at("cpu_s"), work)
    memory = line(runs, stage, "memory_bytes")
    travel = at("bytes_there") + at("bytes_back") if machines.count > 1 else 0.0
    room = machines.memory * MEMORY_SHARE - memory.fixed
    pieces = 1 if memory.slope == 0 else math.ceil(memory.slope * gigabytes / max(1.0, room))
    return Cost(
        stage=stage,
        core_hours=cpu / machines.speed / 3600,
        work_hours=work / machines.speed / machines.count / machines.cores / 3600,
        driver_hours=(cpu - work) / machines.speed / 3600,
        travel_bytes=travel,
        travel_hours=travel / machines.network / 3600,
        memory=memory.at(gigabytes),
        written=at("written_bytes"),
        pieces=max(1, pieces),
    )


def documents(rates: Mapping[str, Any], size: float) -> float:
    """Return about how many documents a size of text has."""
    run = max(rates["runs"], key=lambda run: run["bytes"])
    return float(size * run["documents"] / run["bytes"])
