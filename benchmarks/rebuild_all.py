"""Make every shipped recipe in a fresh clone, then all of it again from raw in another.

    python benchmarks/rebuild_all.py [--recipes smoke,code,...] [--texts FOLDER] [--keep FOLDER]

The second clone has another path and another hash seed, and nothing but git: no cache, no journal,
so the recorded hashes alone decide. Where an entry differs, it is made again in the first clone,
which has the bytes and so can say where they part; what holds times is compared there too. The
table is benchmarks/rebuild_all.json; a recipe not asked for keeps its last rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULT = ROOT / "benchmarks" / "rebuild_all.json"
NETWORK = "esperanto_web"
OWN_TEXTS = "esperanto_files"
BY_DEFAULT = "smoke,code,esperanto,esperanto_files,esperanto_web"
TEXTS = 400
"""Documents of the generator that become text files where no folder is given."""
PASSING = ("identical", "machine-bound", "restored")


def command(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a clone's own code, its standard output apart; say how it ended."""
    started = time.monotonic()
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DVC_", "DEVENO_", "GIT_"))
    }
    own = {
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DEVENO_TRACKING": "off",
        "DVC_NO_ANALYTICS": "1",
    }
    shown = subprocess.run(
        arguments, cwd=folder, env=clean | own | variables, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    took = time.monotonic() - started
    print(f"$ {' '.join(arguments)[:150]}  -> {shown.returncode} in {took:.0f} s", flush=True)
    if shown.returncode:
        print(shown.stderr[-2000:], flush=True)
    return shown


def checked(folder: Path, *arguments: str, **variables: str) -> str:
    """Run a command that must work; return what it printed."""
    shown = command(folder, *arguments, **variables)
    if shown.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed in {folder}")
    return shown.stdout


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield names and texts: a given folder's, or documents of the embedded generator."""
    import zstandard

    from stages.acquire.generator import corpus
    from stages.acquire.generator.parameters import GeneratorParams
    from stages.core.log import Log

    if folder.is_dir():
        for path in sorted(folder.rglob("*.txt")):
            yield path.name, path.read_text(encoding="utf-8")
        return
    with tempfile.TemporaryDirectory(prefix="deveno-texts-") as place:
        corpus.generate(GeneratorParams(size_mb=1.0, seed=11), Path(place) / "raw", Log())
        rows: list[str] = []
        for path in sorted(Path(place).rglob("documents-*.jsonl.zst")):
            with zstandard.open(path, "rt", encoding="utf-8") as stream:
                rows += [str(json.loads(line)["text"]) for line in stream]
    for number, text in enumerate(rows[:TEXTS]):
        yield f"text-{number:04d}.txt", text


class Recipe:
    """One recipe: made in one clone, made again in another."""

    def __init__(self, name: str, folder: Path, given: Path) -> None:
        self.name, self.given = name, given
        self.first, self.second = folder / name / "first", folder / name / "again" / "second"

    def rows(self) -> list[dict[str, Any]]:
        """Return a row per entry, with its verdict."""
        if self.name == NETWORK:
            return [self._not_run(entry) for entry in self._entries(self._clone(ROOT, self.first))]
        first = self._clone(ROOT, self.first)
        entries = self._entries(first)
        checked(first, "dvc", "repro", "--quiet", PYTHONHASHSEED="0")
        checked(first, "git", "add", "--all")
        who = ("-c", "user.name=rebuild", "-c", "user.email=rebuild@localhost")
        checked(first, "git", *who, "commit", "-q", "--allow-empty", "-m", f"made: {self.name}")
        second = self._clone(first, self.second)
        self._give(second)
        found = self._rebuilt(second, entries)
        wrong = [row["entry"] for row in found if row["verdict"] not in PASSING]
        if wrong:
            told = {row["entry"]: row for row in self._rebuilt(first, wrong)}
            found = [told.get(row["entry"], row) for row in found]
        bound = [row["entry"] for row in found if row["verdict"] == "machine-bound"]
        if bound:  # only where the bytes are can what is deterministic in them be compared
            told = {row["entry"]: row for row in self._rebuilt(first, bound, "--from", "parents")}
            found = [told.get(row["entry"], row) for row in found]
        return [self._row(row) for row in found]

    def _clone(self, origin: Path, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        checked(target.parent, "git", "clone", "-q", str(origin), str(target))
        if origin == ROOT:
            (target / "data/external").mkdir(parents=True, exist_ok=True)
            checked(target, "python", "-m", "stages", "use", self.name, "--force")
            self._give(target)
        return target

    def _give(self, clone: Path) -> None:
        """Put the given texts where the recipe reads them."""
        if self.name != OWN_TEXTS:
            return
        (clone / "data/external").mkdir(parents=True, exist_ok=True)
        for name, text in texts(self.given):
            (clone / "data/external" / name).write_text(text, encoding="utf-8")

    def _entries(self, clone: Path) -> list[str]:
        listed = checked(clone, "python", "-m", "stages", "plan", "--json")
        return [row["entry"] for row in json.loads(listed)]

    def _rebuilt(self, clone: Path, entries: list[str], *how: str) -> list[dict[str, Any]]:
        words = ("python", "-m", "stages", "rebuild", *entries, *how, "--json")
        shown = command(clone, *words, PYTHONHASHSEED="4711")
        if not shown.stdout.startswith("{"):
            raise SystemExit(f"rebuilding {self.name} told nothing: {shown.stderr[-2000:]}")
        return list(json.loads(shown.stdout)["entries"])

    def _row(self, found: dict[str, Any]) -> dict[str, Any]:
        outputs = found["outputs"]
        places = [
            f"{output['path']}: {one['file']} {one['kind']} {one['where']}"
            for output in outputs
            for one in output["differences"]
        ]
        return {
            "recipe": self.name,
            "entry": found["entry"],
            "verdict": found["verdict"],
            "reason": found["reason"],
            "outputs": len(outputs),
            "outputs_identical": sum(one["verdict"] == "identical" for one in outputs),
            "parts_at": places[:3] if found["verdict"] not in PASSING else [],
            "seconds": found["seconds"],
        }

    def _not_run(self, entry: str) -> dict[str, Any]:
        return {
            "recipe": self.name,
            "entry": entry,
            "verdict": "not run",
            "reason": "its raw material comes over the network, which moves on without us; "
            "what was acquired is restored from the cache where its source is gone",
        }


def record(name: str, rows: list[dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    """Put one recipe's rows into the result, and count again."""
    from stages.core import canonical

    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    runs = {**kept.get("runs", {}), name: facts}
    entries = [row for row in kept.get("entries", []) if row["recipe"] != name] + rows
    entries.sort(key=lambda row: row["recipe"])
    counts: dict[str, int] = {}
    for row in entries:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    bound = [row for row in entries if row["verdict"] in ("machine-bound", "not run")]
    judged = [row for row in entries if row not in bound]
    same = sum(row["verdict"] == "identical" for row in judged)
    result = {
        "entries": entries,
        "runs": runs,
        "counts": counts,
        "deterministic_entries": len(judged),
        "deterministic_identical": same,
        "identical_fraction": same / len(judged) if judged else 0.0,
    }
    canonical.write_json(RESULT, result)
    return result


def main() -> int:
    """Make the recipes asked for, twice; exit 1 where a deterministic entry is not identical."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", default=BY_DEFAULT)
    parser.add_argument("--texts", type=Path, default=Path("none"), help="texts of esperanto_files")
    parser.add_argument("--keep", type=Path, help="keep the clones here")
    options = parser.parse_args()
    commit = checked(ROOT, "git", "rev-parse", "HEAD").strip()
    result: dict[str, Any] = {}
    for name in options.recipes.split(","):
        with tempfile.TemporaryDirectory(prefix="deveno-rebuild-all-") as temporary:
            started = time.monotonic()
            folder = (options.keep or Path(temporary)).resolve()
            rows = Recipe(name, folder, options.texts).rows()
            facts = {
                "commit": commit,
                "wall_s": round(time.monotonic() - started, 1),
                "cores": os.cpu_count(),
                "load_average_after": round(os.getloadavg()[0], 2),
            }
            result = record(name, rows, facts)
        for row in rows:
            print(f"  {name:16} {row['entry']:24} {row['verdict']:22} {row['reason'][:90]}")
    print(f"{result['deterministic_identical']} of {result['deterministic_entries']} identical")
    return 0 if result["deterministic_identical"] == result["deterministic_entries"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
