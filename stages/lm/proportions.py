"""Shares of counted things, with the interval that counting leaves them."""

from __future__ import annotations

import math
from typing import Any

Z_95 = 1.959963984540054


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927), wide where little was counted."""
    if not count:
        return 0.0, 1.0
    share, square = right / count, Z_95 * Z_95
    middle = (share + square / (2 * count)) / (1 + square / count)
    spread = math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    half = Z_95 * spread / (1 + square / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def share(right: int, count: int) -> dict[str, Any]:
    """Return a share as reports hold it; without anything counted there is none."""
    if not count:
        return {"count": 0, "right": 0}
    low, high = wilson(right, count)
    return {
        "count": count,
        "right": right,
        "share": round(right / count, 6),
        "interval_95": [round(low, 6), round(high, 6)],
    }
