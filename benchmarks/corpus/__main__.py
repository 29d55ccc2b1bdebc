"""Run rows of the table: `python -m benchmarks.corpus [ROW] [OPTIONS OF THE ROW]`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Run the row that is named, or all that there are (modules with a function `main`)."""
    if len(sys.argv) > 1:
        importlib.import_module(f"benchmarks.corpus.{sys.argv[1]}").main(sys.argv[2:])
        return
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if "\ndef main(" in path.read_text("utf-8") and path.stem != "__main__":
            print(f"== {path.stem}", flush=True)
            importlib.import_module(f"benchmarks.corpus.{path.stem}").main([])


if __name__ == "__main__":
    main()
