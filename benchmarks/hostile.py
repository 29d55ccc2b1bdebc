"""The whole hostile suite, the large cases among them, through the line; written to hostile.json.

    python -m benchmarks.hostile

`make test` runs the same with short lines and without bombs. Peak memory is of this process.
"""

from __future__ import annotations

import json
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.hostile import documents, files, line
from tests.hostile.test_files import check

RESULT = Path(__file__).resolve().parent / "hostile.json"
MOST_BYTES = 4 << 30


def through_the_line(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Run all documents; returns the row of the result and what is wrong."""
    given = documents.documents(documents.LARGE)
    (folder / "in").mkdir()
    third = len(given) // 3
    for number in range(3):
        part = given[number * third : (number + 1) * third if number < 2 else None]
        line.write_lines(folder / "in" / f"part-{number}.jsonl", part)
    raw = line.acquired(folder / "in", folder / "raw")
    corpora = [
        line.refined(raw, folder / f"corpus-{threads}", threads=threads) for threads in (1, 2, 3)
    ]
    out = line.read(corpora[0])
    wrong = line.account({one.name: (one.text, one.fate) for one in given}, out)
    digests = [line.digests(one) for one in corpora]
    wrong += [] if digests[0] == digests[1] == digests[2] else ["threads change a byte"]
    learned, tokens = line.packed(corpora[0], folder / "packed")
    for split, rows in out.kept.items():
        if line.unpacked(tokens, learned, split) != [text for _, text in rows]:
            wrong.append(f"{split}: the tokens do not give the texts back")
    row = {
        "documents": len(given),
        "longest_characters": max(len(one.text) for one in given),
        "fates": dict(sorted(Counter(one.fate for one in given).items())),
    }
    return row, wrong


def every_file(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Read every file; returns the row of the result and what is wrong."""
    every, wrong = files.cases(), []
    for case in every:
        try:
            check(case, folder / case.name)
        except Exception as error:
            wrong.append(f"{case.name}: {type(error).__name__} {str(error)[:200]}")
    taken = sum(case.rows is not None for case in every)
    row = {
        "files": len(every),
        "read_to_the_last_record": taken,
        "refused_in_three_lines": len(every) - taken,
        "large": sorted(case.name for case in every if case.large),
    }
    return row, wrong


def main() -> int:
    """Run everything and write hostile.json; 1 where anything is wrong."""
    begun = time.process_time()
    result: dict[str, Any] = {}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        for part, run in (("documents", through_the_line), ("files", every_file)):
            folder = Path(name) / part
            folder.mkdir()
            result[part], found = run(folder)
            wrong += found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result |= {
        "cpu_seconds": round(time.process_time() - begun, 1),
        "peak_memory_bytes": peak,
        "wrong": wrong,
        "pass": not wrong and peak < MOST_BYTES,
    }
    RESULT.write_text(json.dumps(result, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 0 if result["pass"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
