"""Prove the corpus path: each line with its command, figure and verdict, into corpus.json.

    python -m benchmarks.prove_corpus [--lines 1,2,...] [--keep FOLDER]

Lines 1 to 8 are the table of `make bench-corpus`, read from the tracked result of each row
(minutes to an hour each); a row that was never measured fails. The others are tests, which read
the junit file of one `make test` in a fresh clone.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import prove_again
from benchmarks.prove_again import ROOT, Line

RESULT = ROOT / "benchmarks" / "corpus.json"


class Corpora(prove_again.Again):
    """Runs the lines of issue "from raw text to packed tokens" in the clones of a `Prover`."""

    def row(self, name: str) -> Line:
        """Return what a row of the table found."""
        path = ROOT / "benchmarks" / "corpus" / f"{name}.json"
        command = f"make bench-corpus ({name})"
        if not path.is_file():
            return command, "not measured", False
        self.measured_on = f"{committed(path)} (its tracked result)"
        found = json.loads(path.read_text(encoding="utf-8"))
        leaves = list(_leaves(found.get("passes") or {}))
        figure = "; ".join(f"{where}: {value}" for where, value in leaves)
        verdicts = [value for _, value in leaves if isinstance(value, bool)]
        return command, figure or "no verdict", bool(verdicts) and all(verdicts)

    def line_1(self) -> Line:
        """Full rule set beside datatrove's Gopher, C4 and FineWeb: 100 times, same decisions."""
        return self.row("rules")

    def line_2(self) -> Line:
        """Near-duplicates, text to keep-list: 20 times rensa, 5 gaoya, 500 datatrove."""
        return self.row("near_duplicates")

    def line_3(self) -> Line:
        """Exact substrings: the suffix array's list, 10 times as fast, a quarter of its memory."""
        return self.row("substrings")

    def line_4(self) -> Line:
        """BPE training: 10 times tokenizers, equal compression."""
        return self.row("bpe_training")

    def line_5(self) -> Line:
        """Encoding: 40 times tokenizers 0.23, equal ids."""
        return self.row("encoding")

    def line_6(self) -> Line:
        """Encode and pack: 100 times two maps of datasets."""
        return self.row("packing")

    def line_7(self) -> Line:
        """Loader: 50 times a DataLoader with torch format."""
        return self.row("loader")

    def line_8(self) -> Line:
        """Whole chain, raw text to packed set: 50 times the peers chained."""
        return self.row("chain")

    def line_9(self) -> Line:
        """`make test` as a whole, in a fresh clone."""
        return self.line_21()


def committed(path: Path) -> str:
    """Return the commit that wrote a file last."""
    command = ["git", "log", "-1", "--format=%H", "--", str(path.relative_to(ROOT))]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout[:40]


def _leaves(tree: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested mappings with its path."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _leaves(value, f"{where} {name}".strip())
    else:
        yield where, tree


LINES = range(1, 10)

if __name__ == "__main__":
    raise SystemExit(prove_again.prove_lines(Corpora, LINES, RESULT, str(__doc__)))
