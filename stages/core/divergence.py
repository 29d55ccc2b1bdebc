"""Where two artifacts part, and how far: the words of a verdict, and values compared.

Plain values and curves are compared here; files of numbers need heavy packages and so are compared
in `stages.lm.divergence`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

TOLERANCE = 1e-3
"""Largest relative difference that still counts as equal, of a tensor (against its largest
magnitude) and of a number that is not whole. Whole numbers, texts and shapes must be equal."""
SHOWN = 80
"""Characters of a differing text that are kept."""


@dataclass(frozen=True)
class Difference:
    """One place where two artifacts part.

    `kind` is tensor, number, curve, row, line, byte, encoding (same content, other bytes), missing
    (only the recorded artifact has it) or extra (only the one made again has it). `absolute` and
    `relative` are the largest differences where numbers were compared.
    """

    file: str
    kind: str
    where: str
    recorded: str = ""
    made: str = ""
    absolute: float | None = None
    relative: float | None = None

    @property
    def within(self) -> bool:
        """Whether it is within the tolerance."""
        if self.kind == "encoding":
            return True
        return self.relative is not None and self.relative <= TOLERANCE

    def __str__(self) -> str:
        place = f"{self.file}: " if self.file else ""
        if self.kind == "encoding":
            return f"{place}same content, other bytes"
        if self.kind in ("missing", "extra"):
            return f"{place}{self.kind} {self.where}".rstrip()
        told = f"{place}{self.kind} {self.where}".rstrip()
        if self.recorded or self.made:
            told += f": {self.recorded} recorded, {self.made} made"
        if self.absolute is not None and self.relative is not None:
            told += f" (off by {self.absolute:.3g}, relative {self.relative:.3g})"
        return told

    def row(self) -> dict[str, Any]:
        """Return it as JSON values."""
        row = asdict(self) | {"within_tolerance": self.within}
        for name in ("absolute", "relative"):
            if row[name] is not None and not math.isfinite(row[name]):
                row[name] = None
        return row


def values(file: str, where: str, recorded: Any, made: Any) -> Iterable[Difference]:
    """Yield where two JSON values part; `where` is the path of names and numbers."""
    if isinstance(recorded, dict) and isinstance(made, dict):
        for key in [*recorded, *(key for key in made if key not in recorded)]:
            place = f"{where}.{key}" if where else str(key)
            if key not in made:
                yield Difference(file, "missing", place)
            elif key not in recorded:
                yield Difference(file, "extra", place)
            else:
                yield from values(file, place, recorded[key], made[key])
    elif isinstance(recorded, list) and isinstance(made, list):
        for index, (left, right) in enumerate(zip(recorded, made, strict=False)):
            yield from values(file, f"{where}[{index}]", left, right)
        if len(recorded) != len(made):
            counts = [f"{len(one)} items" for one in (recorded, made)]
            yield Difference(file, "number", where or "of items", counts[0], counts[1])
    elif recorded != made or type(recorded) is not type(made):
        yield number(file, "number", where, recorded, made)


def number(file: str, kind: str, where: str, recorded: Any, made: Any) -> Difference:
    """Return how two differing values differ; only numbers that are not whole may be near."""
    pair = (recorded, made)
    shown = [(repr(one) if isinstance(one, float) else str(one))[:SHOWN] for one in pair]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in pair):
        return Difference(file, kind, where, shown[0], shown[1])
    off = abs(recorded - made)
    scale = max(abs(recorded), abs(made))
    whole = isinstance(recorded, int) and isinstance(made, int)
    relative = math.inf if whole or not math.isfinite(off) else off / scale if scale else 0.0
    return Difference(file, kind, where, shown[0], shown[1], float(off), relative)


def parted(
    file: str, curve: str, recorded: Mapping[str, Any], made: Mapping[str, Any]
) -> list[Difference]:
    """Return the first step at which two curves part, with the largest difference of all steps."""
    first: Difference | None = None
    absolute, relative = 0.0, 0.0
    for step in [*recorded, *(step for step in made if step not in recorded)]:
        left, right = recorded.get(step), made.get(step)
        if left == right:
            continue
        here = number(file, "curve", f"{curve} from step {step}", left, right)
        first = first or here
        absolute = max(absolute, here.absolute if here.absolute is not None else math.inf)
        relative = max(relative, here.relative if here.relative is not None else math.inf)
    if first is None:
        return []
    return [Difference(**{**asdict(first), "absolute": absolute, "relative": relative})]
