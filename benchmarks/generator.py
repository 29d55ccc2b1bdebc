"""Megabytes of plain text per CPU second of the embedded generator, everything on.

Writes `generator.json` beside this file: quartiles over the repeats, each a fresh process whose
CPU time is counted from before the imports, so that start-up and the first pool are included.
Run from the root: `python benchmarks/generator.py`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIZES = {"default_shares": {"size_mb": 100.0}, "all_gold": {"size_mb": 20.0}}
REPEATS = 5
FLOOR_MB_PER_CPU_SECOND = 5.0

SCRIPT = """
import json, resource, sys, time
from pathlib import Path
from stages.acquire.generator.corpus import generate
from stages.acquire.generator.parameters import GeneratorParams
from stages.core.log import Log
folder = Path(sys.argv[1])
generate(GeneratorParams(**json.loads(sys.argv[2])), folder, Log())
found = json.loads((folder / "truth" / "statistics.json").read_text())
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "text_bytes": found["size_bytes"], "cpu_seconds": time.process_time(),
    "peak_memory_mib": usage.ru_maxrss / 1024, "sentences": found["sentences"],
    "plants": sum(n for name, n in found["counts"].items() if name.startswith("plants_")),
}))
"""


def run(params: dict[str, float]) -> dict[str, float]:
    """Generate once in a fresh process and return what it used."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, folder, json.dumps(params)],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
    return json.loads(done.stdout)


def summary(runs: list[dict[str, float]]) -> dict[str, object]:
    """Return quartiles of the rate and the peak of the memory."""
    rates = [run["text_bytes"] / 1e6 / run["cpu_seconds"] for run in runs]
    low, middle, high = statistics.quantiles(rates, n=4, method="inclusive")
    return {
        "text_mb_per_cpu_second_quartiles": [round(rate, 2) for rate in (low, middle, high)],
        "peak_memory_mib_max": round(max(run["peak_memory_mib"] for run in runs)),
        "text_bytes": runs[0]["text_bytes"],
        "sentences": runs[0]["sentences"],
        "plants": runs[0]["plants"],
        "num_runs": len(runs),
    }


def main() -> None:
    """Measure every size, interleaved, and write the result."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in SIZES}
    for _ in range(REPEATS):
        for name, params in SIZES.items():
            runs[name].append(run(params))
    result = {
        "synthetic": True,
        "command": "python benchmarks/generator.py",
        "floor_text_mb_per_cpu_second": FLOOR_MB_PER_CPU_SECOND,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "runs": {name: {"params": SIZES[name], **summary(rows)} for name, rows in runs.items()},
    }
    text = json.dumps(result, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    Path(__file__).with_suffix(".json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
