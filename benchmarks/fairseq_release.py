"""Run the recipe `fairseq` over a real release in a fresh clone, and hold it against fairseq.

    python benchmarks/fairseq_release.py [RELEASE] [--keep FOLDER]

RELEASE is a folder with checkpoints, dictionaries, codes, what fairseq recorded and its scores
(`fairseq-scores.json`: b1, b5, ens); without it, the one below $DEVENO_TEST_DATA. Translations must
be fairseq's on every recorded sentence, near ties apart, and BLEU and chrF to the last digit. The
result is benchmarks/fairseq_release.json; exit 1 where something differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

RESULT = ROOT / "benchmarks" / "fairseq_release.json"
ENTRIES = {"b1": ("beam1", "greedy"), "b5": ("beam5", "beam"), "ens": ("ensemble", "beam")}
"""Name in fairseq-scores.json -> entry of evaluate and its way of decoding."""
ORIGINAL = "recorded-original"


def clone(release: Path, folder: Path) -> Path:
    """Return a fresh clone that uses the recipe, with the release where it reads it."""
    from benchmarks.rebuild_all import checked

    target = folder / "deveno"
    checked(folder, "git", "clone", "-q", str(ROOT), str(target))
    shutil.copytree(release, target / "data" / "external" / release.name)
    for path in (target / "data" / "external").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    checked(target, "python", "-m", "stages", "use", "fairseq", "--force")
    return target


def row(target: Path, golden: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what one evaluation gives beside what fairseq scored."""
    entry, way = ENTRIES[name]
    path = target / "reports" / "evaluate" / entry / "scores.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    own = {one["name"]: one for one in told["scores"] if "baseline" not in one}
    recorded = next(one for one in told["recorded"] if one["decoding"] == way)
    apart = [one for one in recorded["differ"] if not one["near_tie"]]
    found: dict[str, Any] = {
        "entry": f"evaluate@{entry}",
        "sentences": recorded["sentences"],
        "as_fairseq_sentences": recorded["equal"],
        "near_ties": [one["source"] for one in recorded["differ"] if one["near_tie"]],
    }
    same = not apart and recorded["sentences"] == golden["n"]
    for metric in ("bleu", "chrf"):
        ours = own[f"{metric}_{way}"]
        found |= {metric: ours["value"], f"{metric}_fairseq": golden[metric]}
        same &= ours["signature"].startswith(golden[f"{metric}_signature"] + "|")
        same &= found["near_ties"] != [] or ours["value"] == golden[metric]
    return found | {"pass": same}


def main() -> int:
    """Make the three evaluations and compare; 1 where one is not fairseq's."""
    from benchmarks.rebuild_all import checked

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data = Path(os.environ.get("DEVENO_TEST_DATA", "../shared"))
    parser.add_argument("release", nargs="?", type=Path, default=None)
    parser.add_argument("--keep", type=Path, help="work here and leave it")
    options = parser.parse_args()
    release = (options.release or data / "checkpoints" / "fairseq-en-eo").resolve()
    golden = json.loads((release / "fairseq-scores.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="deveno-fairseq-") as place:
        folder = options.keep or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        target = clone(release, folder)
        wanted = [f"evaluate@{entry}" for entry, _ in ENTRIES.values()]
        checked(target, "python", "-m", "stages", "run", *wanted)
        rows = [row(target, golden[name], name) for name in ENTRIES]
    for one in rows:
        print(json.dumps(one, ensure_ascii=False))
    passed = all(one["pass"] for one in rows)
    content = {"release": release.name, "rows": rows, "pass": passed}
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, indent=2) + "\n"
    RESULT.write_text(text, encoding="utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
