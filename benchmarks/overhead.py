"""What an entry costs beside its stage function: `dvc repro -s` minus the stage's own time.

Runs the smoke recipe entry by entry in a fresh clone and writes benchmarks/overhead.json. DVC's
share is the wall of its command minus the life of the stage process; the runner's is that life
minus the stage function (which does its own imports). Tracking is on, as a user has it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Measure every entry of the smoke recipe."""
    from stages.core import canonical, dvcfile, journal, recipes, references

    recipes.use(ROOT, "smoke", force=True)
    dvcfile.sync(ROOT)
    rows = []
    for name, entry in references.load(ROOT).items():
        started, before = time.monotonic(), os.times()
        command = ["dvc", "--wait-for-lock", "repro", "-q", "-f", "-s", name]
        subprocess.run(command, cwd=ROOT, check=True)
        wall, after = time.monotonic() - started, os.times()
        last = journal.last(ROOT, entry.stage.name, entry.key)
        assert last is not None
        assert last.end is not None
        spent = last.end["durations"]
        rows.append(
            {
                "entry": name,
                "wall_s": round(wall, 3),
                "cpu_s": round(sum(after[2:4]) - sum(before[2:4]), 3),
                "stage_s": spent["stage_s"],
                "runner_s": round(spent["process_s"] - spent["stage_s"], 3),
                "dvc_s": round(wall - spent["process_s"], 3),
                "overhead_s": round(wall - spent["stage_s"], 3),
            }
        )
    result = {
        "entries": len(rows),
        "rows": rows,
        "load_average": list(os.getloadavg()),
        **{
            f"{part}_median": round(statistics.median(row[part] for row in rows), 3)
            for part in ("overhead_s", "dvc_s", "runner_s")
        },
    }
    canonical.write_json(ROOT / "benchmarks" / "overhead.json", result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
