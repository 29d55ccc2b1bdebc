"""The recipe `esperanto_files` on real text, and four treebanks through the same entries.

    python benchmarks/real_input.py FOLDER      FOLDER holds data/ with eo_classics, ud, ...

Copies the Esperanto texts and treebanks to data/external of this checkout, adds the treebanks'
entries to params.yaml (only names change between languages), runs everything, and writes
benchmarks/real_input.json. Use a fresh clone: params.yaml is replaced.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import duplicate_pairs  # noqa: E402
from stages.lm import tables  # noqa: E402

SPLITS = ("train", "valid", "test")
TEXTS = (
    "eo_classics/**/*.txt", "eo_classics/**/*.txt.gz", "eo_bible/**/*.txt",
    "eo_raw_commonvoice/*.txt", "eo_raw_commonvoice/*.txt.gz",
    "wikipedia_sentences/eo*", "tatoeba/eng-epo/*2021*.epo.gz",
    "dedup/eo_second_transcriptions/*.txt*", "document_pairs/*.eo.txt",
)  # fmt: skip
TREEBANKS = {
    "prago": "UD_Esperanto-Prago",
    "welsh": "UD_Welsh-CCG",
    "maltese": "UD_Maltese-MUDT",
    "afrikaans": "UD_Afrikaans-AfriBooms",
}
BY_LINE = ("**/sentence-collector*", "**/singleword*", "**/eowiki_old*", "**/tatoeba/**")
"""Collections of sentences; `*.crp.txt` is known by its name, and any other file is a document."""
FLOOR = 0.85
"""Accuracy aimed for on UD Esperanto-Prago by a tagger that saw generated labels only."""


def main(folder: Path) -> int:
    """Run the recipe and write what came."""
    from stages.core import canonical, dvcfile, recipes, yamlfile

    copied = gather(folder / "data", ROOT / "data" / "external")
    sections = recipes.complete(choices(recipes.read(ROOT, "esperanto_files")), "real input")
    yamlfile.write(ROOT / "params.yaml", sections)
    dvcfile.sync(ROOT)
    ran = subprocess.run([sys.executable, "-m", "stages", "run"], cwd=ROOT, check=False).returncode
    script = [sys.executable, "benchmarks/duplicate_pairs.py", str(folder / "data")]
    subprocess.run(script, cwd=ROOT, check=True)
    result = measured(copied) | {"exit_code": ran, "duplicates": duplicates(folder / "data")}
    result["pass"] = ran == 0 and result["duplicates"]["pass"] and result["ledger_adds_up"]
    result["figure"] = told(result)
    canonical.write_json(ROOT / "benchmarks" / "real_input.json", result)
    return 0 if result["pass"] else 1


def gather(source: Path, target: Path) -> dict[str, int]:
    """Copy texts and treebanks; return how many files and bytes of text there are."""
    files = sorted({path for pattern in TEXTS for path in source.glob(pattern) if path.is_file()})
    banks = [
        path
        for name in TREEBANKS.values()
        for path in sorted((source / "ud" / name).glob("*.conllu.gz"))
    ]
    for path in [*files, *banks]:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return {"text_files": len(files), "treebank_files": len(banks)}


def choices(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe with sentence collections read by line, and the treebanks' entries."""
    source = recipe["acquire"]["texts"]["source"]
    source["patterns"] = ["**/*.txt", "**/*.txt.gz", "**/*.txt.bz2", "**/tatoeba/**/*.gz"]
    source["pack"] = False
    lines = {"format": "text", "documents": "line"}
    source["rules"] = [{"pattern": pattern, **lines} for pattern in BY_LINE]
    for key, name in TREEBANKS.items():
        recipe["acquire"][key] = {
            "folder": "data/external",
            "source": {"kind": "files", "patterns": [f"ud/{name}/*.conllu.gz"]},
            "licence": "CC-BY-SA-4.0",
        }
        share = {"train": 0.0, "valid": 0.0, "test": 1.0} if key == "prago" else {}
        recipe["refine"][key] = {"raw": key, "kind": "labelled", "split": share}
        model = "pos" if key == "prago" else key
        if key != "prago":
            recipe["finetune"][key] = {"base": "pretrained/eo", "data": key, "epochs": 5}
        task = {"kind": "token-classification"}
        recipe["evaluate"][key] = {"model": f"finetuned/{model}", "data": key, "task": task}
    return recipe


def measured(copied: dict[str, int]) -> dict[str, Any]:
    """Return ledger sums and scores of the run."""
    corpus = ROOT / "data/corpora/eo"
    ledger = json.loads((corpus / "ledger.json").read_text(encoding="utf-8"))["rules"]
    raw = json.loads((ROOT / "data/raw/texts/manifest.json").read_text(encoding="utf-8"))
    acquired = sum(file["records"] for file in raw["files"])
    scores = {}
    for key in ("lm", "pos", *TREEBANKS):
        path = ROOT / "reports" / "evaluate" / key / "scores.json"
        rows = json.loads(path.read_text(encoding="utf-8"))["scores"]
        scores[key] = [
            {name: row.get(name) for name in ("name", "value", "unit", "n", "interval")}
            for row in rows
        ]
    return {
        **copied,
        "documents_in": ledger[0]["documents_in"],
        "documents_kept": ledger[-1]["documents_out"],
        "ledger_adds_up": acquired == ledger[0]["documents_in"] and not unaccounted(corpus, ledger),
        "ledger": ledger,
        "scores": scores,
    }


def unaccounted(corpus: Path, ledger: list[dict[str, Any]]) -> list[str]:
    """Return what does not add up: every document is kept or dropped once, under a named rule."""
    faults = [
        f"{before['rule']} left {before[f'{unit}_out']} {unit}, {after['rule']} took another number"
        for before, after in zip(ledger, ledger[1:], strict=False)
        for unit in ("documents", "characters", "tokens")
        if before[f"{unit}_out"] != after[f"{unit}_in"]
    ]
    dropped = pq.read_table(corpus / "dropped.parquet").to_pylist()
    rules = Counter(row["rule"] for row in dropped)
    faults += [
        f"{row['rule']} dropped another number than dropped.parquet names"
        for row in ledger
        if row["documents_in"] - row["documents_out"] != rules[row["rule"]]
    ]
    kept = [row for split in SPLITS for row in tables.iter_rows(corpus, split, ["id", "text"])]
    seen = [row["id"] for row in [*kept, *dropped]]
    if len(set(seen)) != len(seen) or len(seen) != ledger[0]["documents_in"]:
        faults.append(f"{len(seen)} ids are kept or dropped, {len(set(seen))} of them distinct")
    if sum(len(row["text"]) for row in kept) != ledger[-1]["characters_out"]:
        faults.append("the shards hold another number of characters than the last rule left")
    return faults


def duplicates(data: Path) -> dict[str, Any]:
    """Return the 22 pairs, measured by the script and found by the stage, and if both are right."""
    path = ROOT / "benchmarks" / "duplicate_pairs.json"
    measured_pairs = json.loads(path.read_text(encoding="utf-8"))
    table = duplicate_pairs.table_of(data)
    pairs = duplicate_pairs.by_stage(table, ROOT / "data/corpora/eo")
    for pair in pairs:
        print(
            f"refine: {'same' if pair['same_work'] else 'other':5} {pair['found']:9}"
            f" {pair['file_a']} | {pair['file_b']}"
        )
    stage = duplicate_pairs.summary(pairs, measured_pairs["settings"]["threshold"])
    found = measured_pairs["summary"]
    passed = all(
        one["same_work_at_threshold"] == one["same_work_at_threshold_found_near"]
        and one["same_work_below"] == one["same_work_below_found_by_containment"]
        and one["different_work_found"] == 0
        for one in (found, stage)
    )
    return found | {"pass": passed, "by_stage": stage, "pairs_by_stage": pairs}


def told(result: dict[str, Any]) -> str:
    """Return the figures in one line."""
    accuracy = {
        key: next((row["value"] for row in rows if row["name"] == "accuracy"), None)
        for key, rows in result["scores"].items()
    }
    pairs = result["duplicates"]["by_stage"]
    banks = ", ".join(f"{key} {accuracy[key]:.1%}" for key in TREEBANKS if accuracy.get(key))
    return (
        f"{result['documents_in']} documents in, {result['documents_kept']} kept, ledger adds up: "
        f"{result['ledger_adds_up']}; tagger: {banks} (aim for prago {FLOOR:.0%}); "
        f"duplicates, found by refine itself: {pairs['same_work_at_threshold_found_near']} of "
        f"{pairs['same_work_at_threshold']} at 0.7 found, {pairs['different_work_found']} of "
        f"{pairs['different_work']} different works, "
        f"{pairs['same_work_below_found_by_containment']} of {pairs['same_work_below']} below by "
        "containment"
    )


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
