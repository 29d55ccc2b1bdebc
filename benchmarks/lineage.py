"""How long `deveno lineage` takes in a repository with a thousand recorded artifacts.

    python benchmarks/lineage.py

A clone of this repository gets fifty further commits of dvc.lock, each with other hashes for every
entry, a thousand journals and as many records in DVC's run cache; then the command runs in fresh
processes, in turn with one in an untouched clone. Written to benchmarks/lineage.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
COMMITS = 50
TURNS = 7
LIMIT_S = 2.0


def clone(folder: Path) -> Path:
    """Return a clone of the committed state in which git knows somebody."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    for name in ("name", "email"):
        git(folder, "config", f"user.{name}", "benchmark@localhost")
    return folder


def git(folder: Path, *words: str) -> None:
    """Run git there."""
    subprocess.run(["git", "-C", str(folder), *words], check=True, stdout=subprocess.DEVNULL)


def fill(folder: Path) -> dict[str, int]:
    """Record the history: commits, run cache, journals; return how many of each."""
    from stages.core import fingerprint, journal, lockfiles

    lock = folder / "dvc.lock"
    first = lock.read_text(encoding="utf-8")
    written = {"artifacts": 0, "commits": COMMITS, "run_cache": 0, "journals": 0}
    for number in range(COMMITS):
        text = re.sub(
            r"(?m)^(    - path: (?:data|models|reports)/\S+\n      hash: md5\n      md5: )(\w+)",
            lambda row, salt=number: (
                row[1] + hashlib.md5(f"{row[2]}{salt}".encode(), usedforsecurity=False).hexdigest()
            ),
            first,
        )
        lock.write_text(text, encoding="utf-8")
        git(folder, "commit", "-qam", f"night {number}")
        for name, entry in lockfiles.split(text).items():
            place = folder / ".dvc/cache/runs" / f"{number:02x}" / hashlib.sha256(
                entry.text.encode()
            ).hexdigest()  # fmt: skip
            place.mkdir(parents=True)
            (place / "value").write_text(entry.text, encoding="utf-8")
            stage, key = name.split("@")
            known = fingerprint.from_lock(entry.body)
            rows = [
                {"path": path, "md5": md5, "size_bytes": 1}
                for path, md5 in entry.fields[2].items()
                if not path.startswith(("metrics/", "plots/"))
            ]
            start = {
                "event": "start", "time": time.time(), "stage": stage, "key": key,
                "fingerprint": fingerprint.digest(known), "cmd": known["cmd"],
                "inputs": known["deps"], "values": known["params"], "machine": {},
            }  # fmt: skip
            end = {"event": "end", "outcome": "ok", "durations": {"cpu_s": 1.0}, "outputs": rows}
            path = journal.folder(folder) / name / f"20260101T{number:06d}.000000Z-1.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{json.dumps(start)}\n{json.dumps(end)}\n", encoding="utf-8")
            for kind in ("artifacts", "run_cache", "journals"):
                written[kind] += 1
    return written


def seconds(folder: Path, target: str) -> tuple[float, float]:
    """Return the wall and CPU seconds of one lineage in a fresh process."""
    before, started = os.times(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "stages", "lineage", target, "--json"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, check=False,
    )  # fmt: skip
    wall, after = time.monotonic() - started, os.times()
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    entries = json.loads(done.stdout)["entries"]
    if len(entries) < 5:
        raise SystemExit(f"only {len(entries)} entries were found")
    return wall, sum(after[2:4]) - sum(before[2:4])


def main() -> int:
    """Measure in turn and write the result."""
    from stages.core import canonical

    with tempfile.TemporaryDirectory() as place:
        full, plain = clone(Path(place) / "full"), clone(Path(place) / "plain")
        counts = fill(full)
        old = f"HEAD~{COMMITS // 2}:models/exported/pos-int8"
        targets = {"in force": "models/exported/pos-int8", "an old commit": old}
        rows = []
        for target, name in targets.items():
            seconds(full, name)
            timed = [seconds(full, name) for _ in range(TURNS)]
            base = [seconds(plain, "models/exported/pos-int8") for _ in range(TURNS)]
            rows.append({
                "target": target,
                "wall_s": quartiles([wall for wall, _ in timed]),
                "cpu_s": quartiles([cpu for _, cpu in timed]),
                "wall_s_one_commit": quartiles([wall for wall, _ in base]),
            })  # fmt: skip
    worst = max(row["wall_s"][1] for row in rows)
    result = {
        "recorded": counts, "rows": rows, "limit_s": LIMIT_S, "median_wall_s_worst": worst,
        "pass": worst < LIMIT_S, "load_average": round(os.getloadavg()[0], 2),
    }  # fmt: skip
    canonical.write_json(ROOT / "benchmarks" / "lineage.json", result)
    print(json.dumps(result, indent=1))
    return 0 if result["pass"] else 1


def quartiles(values: list[float]) -> list[float]:
    """Return the lower quartile, the median and the upper quartile."""
    return [round(value, 3) for value in statistics.quantiles(values, n=4)]


if __name__ == "__main__":
    raise SystemExit(main())
