"""Running targets: examples drawn from a seed; the smallest that fails is kept and replayed."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.strategies import SearchStrategy

from stages.lm.kernels import compiled

ROOT = Path(__file__).resolve().parent.parent.parent
CPU_SECONDS = 10.0
"""No example may take longer: they are all small."""
ROUND_EXAMPLES = 100
SHRINK_SECONDS = 20.0


@dataclass(frozen=True)
class Target:
    """What draws examples (of lists, dicts, texts, bytes and numbers) and what checks one.

    The check gets an example and an empty folder, and raises where something is wrong.
    """

    name: str
    draws: SearchStrategy[Any]
    check: Callable[[Any, Path], None]


@dataclass
class Outcome:
    """What a target's run found."""

    examples: int = 0
    cpu_seconds: float = 0.0
    finding: dict[str, Any] | None = None


class TooSlow(AssertionError):
    """An example took longer than any may."""


def pack(value: Any) -> Any:
    """Return an example as JSON holds it."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {"object": {key: pack(one) for key, one in value.items()}}
    if isinstance(value, list | tuple):
        return [pack(one) for one in value]
    return value


def unpack(value: Any) -> Any:
    """Return an example from JSON."""
    if isinstance(value, list):
        return [unpack(one) for one in value]
    if isinstance(value, dict) and "base64" in value:
        return base64.b64decode(value["base64"])
    if isinstance(value, dict):
        return {key: unpack(one) for key, one in value["object"].items()}
    return value


def probe(target: Target, example: Any, cpu_seconds: float = CPU_SECONDS) -> None:
    """Check one example in a folder of its own, within the time that any may take."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    begun = clock()
    try:
        target.check(example, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    spent = clock() - begun
    if spent > cpu_seconds:
        raise TooSlow(f"{spent:.1f} CPU seconds")


def clock() -> float:
    """Return the CPU seconds of this process, without those for compiling kernels."""
    return time.process_time() - compiled.spent()[0]


def fuzz(
    target: Target,
    number: int,
    seconds: float,
    most: int = 1 << 40,
    current: Path | None = None,
    cpu_seconds: float = CPU_SECONDS,
) -> Outcome:
    """Run a target for some CPU seconds or `most` examples from a seed on; ends at a finding.

    `current` always holds the example that is being checked: what kills the process is in it.
    """
    outcome, begun = Outcome(), clock()
    stop = begun + seconds
    smallest: tuple[int, Any, str] | None = None

    def attempt(example: Any) -> None:
        nonlocal smallest
        late = clock() - stop
        if late > (0 if smallest is None else SHRINK_SECONDS):
            return
        packed = json.dumps({"target": target.name, "example": pack(example)})
        if current is not None:
            current.write_text(packed)
        outcome.examples += 1
        try:
            probe(target, example, cpu_seconds)
        except Exception as error:
            if smallest is None or len(packed) < smallest[0]:
                smallest = (len(packed), pack(example), told(error))
            raise

    while smallest is None and outcome.examples < most and clock() < stop:
        try:
            _round(target, attempt, number, min(ROUND_EXAMPLES, most - outcome.examples))
        except Exception:
            # What failed is kept; hypothesis adds errors of its own where time ran out meanwhile.
            if smallest is None:
                raise
        number += 1
    outcome.cpu_seconds = clock() - begun
    if smallest is not None:
        outcome.finding = finding(target.name, smallest[1], smallest[2])
    return outcome


def _round(target: Target, attempt: Callable[[Any], None], number: int, examples: int) -> None:
    drawn = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
        report_multiple_bugs=False,
    )
    seed(number)(drawn(given(target.draws)(attempt)))()


def told(error: BaseException) -> str:
    """Return where an error came from, in the files of this project, and what it says."""
    frames = [
        f"{Path(frame.filename).relative_to(ROOT).as_posix()}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(ROOT)
    ]
    last = "".join(traceback.format_exception_only(error))
    return "\n".join([*frames, last]).replace(f"{ROOT}/", "")


def finding(name: str, packed: Any, error: str) -> dict[str, Any]:
    """Return what is kept of an example that failed."""
    return {"target": name, "error": error.strip(), "example": packed}


def keep(found: dict[str, Any], folder: Path) -> Path:
    """Write a finding to a file that its content names."""
    text = json.dumps(found, indent=1)
    mark = hashlib.sha256(json.dumps(found["example"]).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found['target']}-{mark}.json"
    path.write_text(text + "\n")
    return path


def replay(path: Path, targets: dict[str, Target]) -> None:
    """Check a kept example again; what is wrong with it is raised as it was."""
    held = json.loads(path.read_text())
    probe(targets[held["target"]], unpack(held["example"]))
