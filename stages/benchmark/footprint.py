"""What one variant costs a process of its own: import and load time, memory.

Several runtimes in one process share their pages, so each is opened in a fresh process that
answers once, and the kernel's high-water mark of that process is read.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from stages.benchmark import variants
from stages.core.errors import MachineError

ROOT = Path(__file__).resolve().parents[2]
STATUS = Path("/proc/self/status")


def measure(
    candidate: variants.Candidate, batch: int, length: int, threads: int
) -> dict[str, float]:
    """Return import_ms, load_ms, memory_model_bytes and memory_peak_bytes of a fresh process."""
    folder = str(candidate.folder.resolve())
    asked = json.dumps([folder, candidate.runtime, batch, length, threads])
    done = subprocess.run(
        [sys.executable, "-m", __name__, asked], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise MachineError(
            f"the process that opens {candidate.model} ended with status {done.returncode}: {last}",
            str(candidate.folder),
            "free some memory; if that is not it, make the model again",
        )
    return json.loads(done.stdout.splitlines()[-1])


def report(
    folder: Path, runtime: variants.Runtime, batch: int, length: int, threads: int
) -> dict[str, float]:
    """Measure this very process: import the runtime, open the model, answer once."""
    started = time.perf_counter()
    variants.import_runtime(folder, runtime)
    imported, resident = time.perf_counter(), _status("VmRSS")
    variant = variants.open_variant(folder, runtime, threads)
    loaded = time.perf_counter()
    import numpy as np

    ids = np.full((batch, length), 5, dtype=np.int64)
    variant.answers(ids, np.ones_like(ids))
    peak = _status("VmHWM")
    return {
        "import_ms": round(1000 * (imported - started), 3),
        "load_ms": round(1000 * (loaded - imported), 3),
        "memory_model_bytes": peak - resident,
        "memory_peak_bytes": peak,
    }


def _status(name: str) -> int:
    """Return a size in bytes from the kernel; getrusage's peak would be inherited from the parent.

    Where there is no /proc (not Linux) it is 0.
    """
    if not STATUS.is_file():
        return 0
    rows = STATUS.read_text(encoding="utf-8").splitlines()
    found = [row.split()[1] for row in rows if row.startswith(f"{name}:")]
    return 1024 * int(found[0]) if found else 0


def main(arguments: list[Any]) -> None:
    """Write the report of this process on standard output as one line of JSON."""
    folder, *asked = json.loads(arguments[0])
    sys.stdout.write(json.dumps(report(Path(folder), *asked)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
