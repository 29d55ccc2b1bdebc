"""Port checkpoints of many shapes that real fairseq made, and count what is equal.

    python benchmarks/fairseq_shapes.py DIR [--sentences 60]

DIR is what `benchmarks/fairseq_oracle.py` wrote: a folder per shape, with fairseq's own n-best
outputs and scores beside the checkpoint. Writes `fairseq_shapes.json` beside this file, a row per
shape: the transformers class, the updates it was trained for, sentences whose tokens are fairseq's
(every hypothesis), the largest difference of a score in bits, and what plain `AutoTokenizer` and
`generate` do otherwise. A shape that is refused or fails its verification has its error instead.
Shapes that the file has and DIR lacks stay as they are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from stages.core.errors import DevenoError
from stages.core.log import Log
from stages.port.stage import Fairseq, PortParams, port

RESULT = Path(__file__).resolve().parent / "fairseq_shapes.json"


def row_of(folder: Path, sentences: int) -> dict[str, Any]:
    """Port one release and return its row."""
    log = Log()
    with tempfile.TemporaryDirectory() as name:
        raw, model = Path(name) / "raw", Path(name) / "model"
        raw.mkdir()
        (raw / "files").symlink_to(folder.resolve())
        try:
            params = PortParams(raw="x", source=Fairseq(sentences=sentences))
            port(params, raw, raw, raw, model, log)
        except DevenoError as error:
            return {"passed": False, "error": error.what}
        told = json.loads((model / "verification.json").read_text(encoding="utf-8"))
    searches = []
    for one in told["searches"]:
        name = f"verify/beam-{one['num_beams']}_scores_are_fairseq's"
        kept = ("num_beams", "sentences", "sentences_equal", "plain_texts_differ")
        row = {key: one[key] for key in kept}
        searches.append(
            {
                **row,
                "near_ties": len(one["near_ties"]),
                "worst_score_difference_bits": float(f"{log.observed[name]:.2g}"),
            }
        )
    training = folder / "training.json"
    updates = json.loads(training.read_text(encoding="utf-8"))["updates"]
    kept = ("family", "tying", "codes_format", "settings_format", "source_dtypes", "passed")
    facts = {key: told[key] for key in kept}
    return facts | {"checks": len(told["checks"]), "searches": searches, "updates": updates}


def _total(rows: list[dict[str, Any]], name: str) -> int:
    return sum(one[name] for row in rows for one in row.get("searches", ()))


def main() -> None:
    """Port every folder of DIR that holds recorded outputs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sentences", type=int, default=60, help="recorded ones per beam size")
    given = parser.parse_args()
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"shapes": {}}
    for folder in sorted(given.folder.iterdir()):
        if not (folder / "fairseq-beam5-nbest5.jsonl").exists():
            continue
        row = row_of(folder, given.sentences)
        print(folder.name, json.dumps(row), flush=True)
        found["shapes"][folder.name] = row
        rows = list(found["shapes"].values())
        found |= {
            "made_by": "fairseq 0.12.2, torch 1.13.1, benchmarks/fairseq_oracle.py",
            "shapes_ported": sum(one["passed"] for one in rows),
            "shapes_tried": len(rows),
            "searches": _total(rows, "sentences"),
            "searches_equal": _total(rows, "sentences_equal"),
            "searches_near_ties": _total(rows, "near_ties"),
            "worst_score_difference_bits": max(
                (
                    one["worst_score_difference_bits"]
                    for row in rows
                    for one in row.get("searches", ())
                ),
                default=0.0,
            ),
        }
        RESULT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
