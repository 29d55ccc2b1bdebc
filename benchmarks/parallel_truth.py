"""Rules of parallel text on real pairs with planted faults: precision and recall of each rule.

    python -m benchmarks.parallel_truth [--data FOLDER]

Pairs of the Tatoeba test sets (English, French, Russian with Esperanto) go through `refine` as they
are, and again with one fault planted in one pair of twenty. A planted pair counts for its own rule
alone; precision of a rule is over every pair it drops, so that what it drops of real pairs counts
against it, and the share of real pairs that it drops is given beside.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stages.core import canonical, registry
from stages.core.log import Log
from stages.refine.settings import RefineParams
from stages.refine.stage import refine

RESULT = Path(__file__).with_suffix(".json")
SETS = {
    "eng-epo": ("en", "eo"),
    "epo-fra": ("eo", "fr"),
    "epo-rus": ("eo", "ru"),
}
"""Names as in the shared data, and the languages of source and target."""
EVERY = 20
SEED = 5
SHIFTED = 300
"""Lines in the stretch where one side lost a line."""
BOUNDS = {"recall": 0.95, "recall of misaligned": 0.85, "precision": 0.9, "real": 0.03}
"""Each planted rule finds so much, is right so often, and all of them drop less of real pairs. Of a
stretch that is off, up to `STEP` lines at each end stand among lines that are not."""

Pair = tuple[str, str]
Fault = Callable[[Pair, Pair, random.Random], Pair]


def _longer(text: str, other: str) -> str:
    while len(text.split()) < 40:
        text += " " + other
    return text


FAULTS: dict[str, Fault] = {
    "empty_side": lambda pair, _, draw: draw.choice([(pair[0], " \t"), ("", pair[1])]),
    "identical": lambda pair, _, draw: draw.choice([(pair[0], pair[0]), (pair[1], pair[1] + "!")]),
    "few_letters": lambda pair, _, draw: (pair[0], "*** 12:30 - 14:45 ***"),
    "too_long": lambda pair, _, draw: (pair[0] + " vorto" * 260, pair[1] + " vorto" * 260),
    "length_ratio": lambda pair, other, draw: (pair[0].split()[0], _longer(pair[1], other[1])),
    "copied": lambda pair, _, draw: (_longer(pair[0], pair[0]), _longer(pair[0], pair[0]) + " ne"),
    "numbers": lambda pair, _, draw: (f"{pair[0]} 1984-37", f"{pair[1]} 2656-22"),
    "placeholders": lambda pair, _, draw: draw.choice(
        [
            (f"{pair[0]} %s", pair[1]),
            (pair[0], pair[1] + " {name}"),
            (f"<b>{pair[0]}</b>", f"<b>{pair[1]}"),
            (f"{pair[0]} %(count)d", f"{pair[1]} %(kvanto)d"),
        ]
    ),
    "punctuation": lambda pair, _, draw: (pair[0], pair[1] + " !!!!!!!!"),
    "language": lambda pair, _, draw: (pair[1], pair[0]),
    "exact_duplicate": lambda pair, other, draw: other,
    "near_pair": lambda pair, other, draw: (other[0].upper() + " !", other[1].upper() + "?"),
}
"""What makes of a pair, and of one that stands before it, a faulty one."""


RULES = (*FAULTS, "script", "misaligned")


def read(data: Path, name: str) -> list[Pair]:
    """Return the pairs of a set."""
    sides = []
    for language in name.split("-"):
        (path,) = sorted((data / "tatoeba" / name).glob(f"*2021*.{language}.gz"))
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
        sides.append(text.rstrip("\n").split("\n"))
    return list(zip(*sides, strict=True))


def planted(
    pairs: list[Pair], draw: random.Random, swapped: str
) -> tuple[list[Pair], dict[int, str]]:
    """Return pairs with faults, and the rule that each fault is for, by place.

    `swapped` is the rule for swapped sides: `script` where the languages have different ones.
    """
    made, truth = list(pairs), {}
    names = list(FAULTS)
    for place in range(EVERY, len(pairs) - 2 * SHIFTED, EVERY):
        long = [at for at in range(place - EVERY + 1, place) if len(pairs[at][0].split()) >= 5]
        if not long or len(pairs[place][0].split()) < 6:
            continue
        name = names[len(truth) % len(names)]
        made[place] = FAULTS[name](pairs[place], pairs[draw.choice(long)], draw)
        truth[place] = swapped if name == "language" else name
    # A line lost on one side in the middle, another put in at the end: as many lines as before.
    start = len(made) - SHIFTED - SHIFTED // 2
    targets = [target for _, target in made]
    targets[start : start + SHIFTED] = targets[start + 1 : start + SHIFTED] + [targets[start]]
    made = [(source, target) for (source, _), target in zip(made, targets, strict=True)]
    truth |= {place: "misaligned" for place in range(start, start + SHIFTED)}
    return made, truth


def dropped(pairs: list[Pair], languages: Pair, folder: Path) -> dict[int, str]:
    """Return the rule that dropped each lost pair, by place, as the stage tells it."""
    raw = folder / "raw"
    (raw / "files").mkdir(parents=True)
    for side, name in enumerate(("source.txt", "target.txt")):
        lines = "".join(pair[side] + "\n" for pair in pairs)
        (raw / "files" / name).write_text(lines, "utf-8")
    files = [
        {"path": "files/source.txt", "format": "parallel", "partners": ["files/target.txt"]},
        {"path": "files/target.txt", "format": "parallel", "partner_of": "files/source.txt"},
    ]
    manifest = {"files": files, "licence": "CC-BY-2.0-FR", "synthetic": False, "origin": "tatoeba"}
    canonical.write_json(raw / "manifest.json", manifest)
    sides = {"source_language": languages[0], "target_language": languages[1]}
    params = RefineParams.model_validate(
        {"raw": "raw", "kind": "parallel", "pairs": sides | {"near_duplicates": "aggressive"}}
    )
    unread = dict.fromkeys(registry.stages()["refine"].reads, folder / "none")
    refine(params=params, **unread | {"raw": raw}, corpus=folder / "corpus", log=Log())
    rows = pq.read_table(folder / "corpus" / "dropped.parquet").to_pylist()
    _check_aligned(pairs, folder / "corpus")
    return {int(row["id"].rsplit(":", 1)[1]) - 1: row["rule"] for row in rows}


def _check_aligned(pairs: list[Pair], corpus: Path) -> None:
    """Every pair that stays has the sides of its own line, but for blanks and characters."""
    for path in sorted(corpus.glob("*-*.parquet")):
        for row in pq.read_table(path).to_pylist():
            pair = pairs[int(row["id"].rsplit(":", 1)[1]) - 1]
            for text, whole in zip((row["source_text"], row["target_text"]), pair, strict=True):
                if "".join(text.split())[:3] != "".join(whole.split())[:3]:
                    raise AssertionError(f"{row['id']} has {text!r}, its line is {whole!r}")


def judge(found: dict[int, str], truth: dict[int, str], before: dict[int, str]) -> dict[str, Any]:
    """Return recall and precision of each planted rule, and what it dropped of real pairs.

    Pairs that a rule drops of the real set, too, are no errors of the planted run's count.
    """
    rows: dict[str, Any] = {}
    for name in RULES:
        wanted = {place for place, rule in truth.items() if rule == name}
        hit = {place for place in wanted if found.get(place) == name}
        lost = {place for place in wanted if place in found}
        own = {place for place, rule in found.items() if rule == name and place not in before}
        rows[name] = {
            "planted": len(wanted),
            "found": len(hit),
            "found_by_any_rule": len(lost),
            "dropped_and_not_before": len(own),
            "right": len(own & wanted),
        }
    return rows


def main(data: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the result of every set."""
    for name, languages in SETS.items():
        pairs = read(data, name)
        made, truth = planted(
            pairs, random.Random(SEED), "script" if "ru" in languages else "language"
        )
        with tempfile.TemporaryDirectory() as folder:
            before = dropped(pairs, languages, Path(folder) / "before")
            found = dropped(made, languages, Path(folder) / "planted")
        yield (
            name,
            {
                "pairs": len(pairs),
                "real_pairs_dropped": dict(sorted(Counter(before.values()).items())),
                "rules": judge(found, truth, before),
            },
        )


def summary(sets: dict[str, Any]) -> dict[str, Any]:
    """Return recall and precision over all sets, and the verdicts."""
    rules = {}
    for name in RULES:
        rows = [one["rules"][name] for one in sets.values()]
        planted_, found, own, right = (
            sum(row[key] for row in rows)
            for key in ("planted", "found", "dropped_and_not_before", "right")
        )
        rules[name] = {
            "planted": planted_,
            "recall": round(found / max(1, planted_), 4),
            "precision": round(right / max(1, own), 4),
        }
    duplicates = ("exact_duplicate", "near_pair")
    real = sum(
        count
        for one in sets.values()
        for rule, count in one["real_pairs_dropped"].items()
        if rule not in duplicates
    ) / sum(one["pairs"] for one in sets.values())
    return {
        "rules": rules,
        "real_pairs_dropped_share": round(real, 5),
        "bounds": BOUNDS,
        "passes": {
            "recall": all(
                row["recall"] >= BOUNDS.get(f"recall of {name}", BOUNDS["recall"])
                for name, row in rules.items()
            ),
            "precision": all(row["precision"] >= BOUNDS["precision"] for row in rules.values()),
            "real pairs kept": real <= BOUNDS["real"],
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DEVENO_TEST_DATA"))
    chosen = parser.parse_args()
    every = dict(main(Path(chosen.data) / "data" if chosen.data else Path("data")))
    result = {**summary(every), "sets": every}
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(json.dumps(summary(every), indent=1))
    sys.exit(not all(result["passes"].values()))
