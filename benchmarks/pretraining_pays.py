"""Does pretraining pay: the pretrained tagger against the same model from random weights.

    python benchmarks/pretraining_pays.py            # uses models/pretrained/eo, data/corpora/pos

Each seed chooses 60 training sentences, fine-tunes both on exactly those, and scores both on the
same unseen sentences of the split `test` (post 000: 97 % against 72 %). Passes where the
difference is at least 10 points on every seed; writes benchmarks/pretraining_pays.json.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PINS = {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"}
"""What the runner pins before torch is imported, so that these weights are its weights."""
REQUIRED_POINTS = 10.0


def measure(
    base: Path,
    corpus: Path,
    seeds: list[int],
    sentences: int = 60,
    epochs: int = 20,
    tested: int = 500,
) -> dict[str, Any]:
    """Fine-tune and score both models for every seed; returns the whole record."""
    from stages.core.log import Log
    from stages.finetune import sentences as labelled
    from stages.finetune.stage import FinetuneParams, finetune
    from stages.finetune.tagging import accuracy
    from stages.lm.classify import Tagger

    gold = labelled.read(corpus, "test", tested, "test")
    started = time.process_time()
    rows = []
    with tempfile.TemporaryDirectory() as made:
        for seed in seeds:
            row: dict[str, Any] = {"seed": seed}
            for initial in ("pretrained", "random"):
                folder = Path(made) / f"{initial}-{seed}"
                params = FinetuneParams(
                    base="pretrained/eo",
                    data="pos",
                    initial=initial,
                    max_sentences=sentences,
                    epochs=epochs,
                    batch_sentences=8,
                    seed=seed,
                )
                finetune(params, base, base, corpus, folder, Log())
                share = accuracy(Tagger.load(folder), gold)
                row[f"{initial}_accuracy_fraction"] = round(share, 6)
            gain = row["pretrained_accuracy_fraction"] - row["random_accuracy_fraction"]
            row["difference_points"] = round(100 * gain, 4)
            rows.append(row)
    return {
        "train_sentences": sentences,
        "epochs": epochs,
        "test_sentences": len(gold),
        "test_words": gold.words,
        "required_points": REQUIRED_POINTS,
        "seeds": rows,
        "pass": all(row["difference_points"] >= REQUIRED_POINTS for row in rows),
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the record and print its rows; exit code 1 where it does not pay."""
    parser = argparse.ArgumentParser(description="Does pretraining pay?")
    parser.add_argument("--base", type=Path, default=ROOT / "models/pretrained/eo")
    parser.add_argument("--corpus", type=Path, default=ROOT / "data/corpora/pos")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/pretraining_pays.json")
    parser.add_argument("--sentences", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    chosen = parser.parse_args(arguments)
    from stages.core import canonical
    from stages.core.errors import DevenoError

    try:
        record = measure(chosen.base, chosen.corpus, chosen.seeds, chosen.sentences, chosen.epochs)
    except DevenoError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    canonical.write_json(chosen.out, record)
    for row in record["seeds"]:
        print(
            f"seed {row['seed']}: pretrained {row['pretrained_accuracy_fraction']:.4f}, random"
            f" {row['random_accuracy_fraction']:.4f}, {row['difference_points']:+.1f} points"
        )
    print(f"{'pass' if record['pass'] else 'FAIL'} ({record['cpu_seconds']} CPU seconds)")
    return 0 if record["pass"] else 1


if __name__ == "__main__":
    for name, value in PINS.items():
        os.environ.setdefault(name, value)
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
