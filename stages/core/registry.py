"""The stages that exist: every folder under stages/ with a stage.py, found, not listed."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Mapping
from pathlib import Path

from stages.core.declare import Stage
from stages.core.errors import DeclarationError, UnknownEntryError

STAGES = Path(__file__).resolve().parent.parent


def names() -> list[str]:
    """Return the names of the stages, alphabetically."""
    return sorted(path.parent.name for path in STAGES.glob("*/stage.py"))


@functools.cache
def get(name: str) -> Stage:
    """Return one declared stage by its folder's name."""
    if name not in names():
        raise UnknownEntryError(
            f"there is no stage {name!r}", f"stages: {', '.join(names())}", near(name, names())
        )
    module = importlib.import_module(f"stages.{name}.stage")
    declared = getattr(getattr(module, name, None), "declaration", None)
    if not isinstance(declared, Stage):
        raise DeclarationError(
            f"stages/{name}/stage.py declares no stage {name!r}",
            f"stages/{name}/stage.py",
            f"decorate a function named {name} with @stage",
        )
    return declared


@functools.cache
def stages() -> Mapping[str, Stage]:
    """Return every stage by name, producers before consumers."""
    left = {name: get(name) for name in names()}
    ordered: dict[str, Stage] = {}
    while left:
        ready = [name for name in left if not _producers(left[name], left)]
        if not ready:
            raise DeclarationError(
                f"the stages {', '.join(left)} read each other's outputs in a circle",
                "stages/*/stage.py",
                "break the circle in their `reads`",
            )
        name = min(ready, key=lambda found: _place(left[found]))
        ordered[name] = left.pop(name)
    return ordered


def _place(stage: Stage) -> tuple[bool, int, str]:
    """Return where a stage goes among those that may come next: makers of data and models first."""
    reports = any(write.startswith("reports/") for write in stage.writes.values())
    open_reads = sum(_start(read) in ("data/", "models/") for read in stage.reads.values())
    return reports, open_reads, stage.name


def _start(path: str) -> str:
    return path.split("${")[0]


def _producers(stage: Stage, among: Mapping[str, Stage]) -> set[str]:
    """Return the stages whose outputs a stage names outright (`models/${item.x}` may be any)."""
    found = set()
    for read in stage.reads.values():
        start = _start(read)
        for other in among.values():
            owned = [_start(write) for write in other.writes.values()]
            listed = bool(stage.sections) and any(own.startswith(start + "/") for own in owned)
            if other.name != stage.name and (start in owned or listed):
                found.add(other.name)
    return found


CLEARLY = 0.2
"""By so much likeness the nearest name is meant, and not another."""


def _likeness(word: str, name: str) -> float:
    return difflib.SequenceMatcher(None, word, name).ratio()


def near(word: str, known: list[str]) -> str:
    """Return advice that offers the names nearest to a wrong one."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        best = _likeness(word, close[0])
        close = [name for name in close if _likeness(word, name) > best - CLEARLY]
        return f"did you mean {' or '.join(close)}?"
    return f"choose one of: {', '.join(known) if known else '(there is none)'}"
