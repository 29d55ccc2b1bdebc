"""MD5 of many files, each read once, in the way that costs least for their sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stages.core import canonical, machine

SINGLE_BYTES_S, LANE_BYTES_S = 0.74e9, 0.17e9
"""What hashlib does alone, and what each of sixteen lanes does (`stages.lm.lanes`)."""
START_S = 0.9
"""What it costs to start numba."""
OWN = Path(__file__).resolve().parents[2]
GAIN = 0.85
"""Lanes are used where they are expected to take at most this part of the CPU time."""


def md5s(paths: Sequence[Path], threads: int = 0) -> list[str]:
    """Return the MD5 of each file in hex; `threads` at once, else as many as there are cores."""
    sizes = [path.stat().st_size for path in paths]
    order = sorted(range(len(paths)), key=lambda number: -sizes[number])
    alone = split([sizes[number] for number in order]) if sys.byteorder == "little" else len(order)
    single, together = order[:alone], order[alone:]
    found = [""] * len(paths)
    with ThreadPoolExecutor(max(1, min(threads or machine.cores(), len(single) + 1))) as pool:
        laned = pool.submit(_lanes, [paths[number] for number in together])
        values = pool.map(lambda number: canonical.file_digest(paths[number], "md5"), single)
        for number, value in zip(single, values, strict=True):
            found[number] = value
        for number, value in zip(together, laned.result(), strict=True):
            found[number] = value
    return found


def _lanes(paths: list[Path]) -> list[str]:
    """Return the MD5 of files hashed side by side, in a process that computes; core does not."""
    if not paths:
        return []
    command = [sys.executable, "-m", "stages.lm.lanes"]
    text = json.dumps([str(path.absolute()) for path in paths])
    shown = subprocess.run(
        command, cwd=OWN, input=text, capture_output=True, text=True, check=False
    )
    if shown.returncode == 0:
        return [str(value) for value in json.loads(shown.stdout)]
    return [canonical.file_digest(path, "md5") for path in paths]  # as without it


def split(sizes: Sequence[int]) -> int:
    """Return how many of the largest files to hash one by one, the rest going side by side.

    All sixteen lanes are computed until the longest is done, so they pay for many files of about
    one size. `sizes` falls.
    """
    best, least = len(sizes), GAIN * sum(sizes) / SINGLE_BYTES_S
    alone = 0.0
    for count, size in enumerate(sizes):
        rest = sum(sizes[count:])
        cost = alone / SINGLE_BYTES_S + max(size, rest / 16) / LANE_BYTES_S + START_S
        if cost < least:
            best, least = count, cost
        alone += size
    return best
