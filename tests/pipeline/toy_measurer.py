"""A measurer for the project of naps: it speaks the protocol and says what calls would have cost.

So a night in a test takes seconds, and a slower commit is one that changes COST_MS.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

PROTOCOL = 1
COST_MS = 10.0
"""CPU time of one call, with half a per cent of scatter."""
METRICS = [
    {"name": "tag_cpu_ms", "primary": True, "of": "tag", "column": "cpu"},
    {"name": "tag_wall_ms", "primary": False, "of": "tag", "column": "wall"},
    {"name": "forward_cpu_ms", "primary": False, "of": "forward", "column": "cpu"},
    {"name": "size_bytes", "primary": False, "of": "open", "column": "size_bytes"},
]


def answer(asked: dict) -> dict:
    """Return the answer to a request."""
    if asked["do"] == "list":
        artifacts = [{"name": "naps/a", "folder": "data/naps/a"}]
        return {"protocol": PROTOCOL, "artifacts": artifacts, "metrics": METRICS}
    if asked["do"] == "open":
        files = sorted(Path(asked["folder"]).iterdir())
        return {"size_bytes": sum(path.stat().st_size for path in files), "cwd": str(Path.cwd())}
    if asked["do"] == "words":
        return {"words": ["soci"]}
    if asked["do"] == "take":
        return {"tagged": 1}
    cost = COST_MS * 1e6 * asked["calls"]
    return {"cpu": round(cost * DRAWN.gauss(1, 0.005)), "wall": round(cost * DRAWN.gauss(1, 0.02))}


DRAWN = random.Random(os.getpid())
if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()
