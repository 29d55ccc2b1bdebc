"""The recipe `esperanto_files` on real text, before and after: its page, and what its rules did.

    python -m benchmarks.esperanto_files [DATA] [--page FOLDER]

DATA is the folder of the shared test material (default: $DEVENO_TEST_DATA/data). The entries
`texts` and `eo` of the recipe run as it has them; the identifier learns from real labelled text
instead of the generator's, and rejects what is not Esperanto in place of the word lists. Writes
`benchmarks/esperanto_files.json`, and the page with `--page`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from stages.core import canonical, recipes, references, registry
from stages.core.log import Log

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(__file__).with_suffix(".json")
RECIPE = "esperanto_files"
TEXTS = (
    "eo_classics/**/*.txt*", "eo_bible/**/*.txt*", "eo_raw_commonvoice/*.txt*",
    "wikipedia_sentences/*", "mixed_language/*", "multilingual_raw_commonvoice/*/*",
    "dedup/eo_second_transcriptions/*", "document_pairs/*",
)  # fmt: skip
LABELLED = {
    "multilingual_raw_commonvoice/cy/*": "cy", "multilingual_raw_commonvoice/de/*": "de",
    "multilingual_raw_commonvoice/en/*": "en", "multilingual_raw_commonvoice/es/*": "es",
    "multilingual_raw_commonvoice/ia/*": "ia", "multilingual_raw_commonvoice/it/*": "it",
    "multilingual_raw_commonvoice/ro/*": "ro", "eo_raw_commonvoice/sentence-collector*": "eo",
    "flores200/devtest/epo*": "eo", "flores200/devtest/rus*": "ru", "flores200/devtest/afr*": "af",
    "flores200/devtest/mlt*": "mt", "ntrex128/newstest2019-ref.por.txt": "pt",
    "tatoeba/epo-fra/*.fra.gz": "fr",
}  # fmt: skip


def settings(data: Path) -> dict[str, Any]:
    """Return the recipe's sections with real material in place of `data/external`."""
    chosen = recipes.read(ROOT, RECIPE)
    readable = {"format": "text"}
    chosen["acquire"]["texts"] |= {"licence_reason": "test material, shown in counts and samples"}
    chosen["acquire"]["texts"]["source"] |= {
        "root": str(data), "patterns": list(TEXTS), "exclude": ["**/README*", "**/LICEN*"],
        "reading": readable,
    }  # fmt: skip
    chosen["acquire"]["labelled"] = {
        "source": {
            "kind": "files", "root": str(data), "patterns": list(LABELLED),
            "reading": readable | {"documents": "line"},
        },
        "licence_reason": "test material, learned from",
    }  # fmt: skip
    chosen["identify"]["languages"] = {"raw": "labelled", "paths": LABELLED}
    chosen["refine"]["eo"]["filters"]["languages"] = []  # the identifier decides
    chosen["refine"]["eo"] |= {"languages": ["eo"], "identified": {"languages": ["eo"]}}
    return recipes.complete(chosen, RECIPE)


def run(sections: dict[str, Any], name: str, key: str, root: Path, **more: Any) -> Path:
    """Run one entry as the runner would, in a folder; return its output."""
    stage = registry.get(name)
    params = references.validated(stage, sections[name][key], f"{name}.{key}")
    item = sections[name][key]
    reads = {}
    for read, path in stage.reads.items():
        for field, value in item.items():
            path = path.replace(f"${{item.{field}}}", str(value))
        reads[read] = root / path
        reads[read].mkdir(parents=True, exist_ok=True)
    (write, place), *_ = stage.writes.items()
    out = root / place.replace("${key}", key)
    out.parent.mkdir(parents=True, exist_ok=True)
    stage.function(params=params, **more, **reads, **{write: out}, log=Log())
    return out


def summary(corpus: Path, identifier: Path) -> dict[str, Any]:
    """Return what is tracked: before, after, every rule, languages, the company of terms."""

    def read(folder: Path, name: str) -> Any:
        return json.loads((folder / name).read_text("utf-8"))

    rules = read(corpus, "ledger.json")["rules"]
    units = ("documents", "characters", "tokens")
    filtering = read(corpus, "filtering.json")
    languages = read(identifier, "report.json")["languages"]
    return {
        "before": {unit: rules[0][f"{unit}_in"] for unit in units},
        "after": {unit: rules[-1][f"{unit}_out"] for unit in units},
        "rules": [
            {
                "rule": row["rule"],
                "documents_dropped": row["documents_in"] - row["documents_out"],
                "documents_changed": row["documents_changed"],
                "characters_less": row["characters_in"] - row["characters_out"],
            }
            for row in rules
            if row["documents_in"] != row["documents_out"] or row["documents_changed"]
        ],
        "languages": read(corpus, "statistics.json")["identified"],
        "identifier": {label: row.get("held_out") for label, row in languages.items()},
        "private": filtering["private"],
        "biases": filtering["biases"],
        "scores": filtering["scores"],
    }


def main() -> None:
    """Run the entries, write the summary, keep the page where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    data = options.data or Path(os.environ["DEVENO_TEST_DATA"]) / "data"
    sections = settings(data)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        run(sections, "acquire", "texts", root)
        run(sections, "acquire", "labelled", root)
        identifier = run(sections, "identify", "languages", root)
        corpus = run(sections, "refine", "eo", root)
        canonical.write_json(OUT, summary(corpus, identifier))
        shown = {
            "acquire": {key: sections["acquire"][key] for key in ("texts", "labelled")},
            "identify": sections["identify"],
            "refine": {"eo": sections["refine"]["eo"]},
            "report": {RECIPE.replace("_", "-"): sections["report"]["esperanto"]},
        }
        sections["report"] = shown["report"]
        page = run(sections, "report", RECIPE.replace("_", "-"), root, entries=shown)
        if options.page:
            shutil.copytree(page, options.page, dirs_exist_ok=True)
    print(f"wrote {OUT.name}" + (f" and {options.page}/index.html" if options.page else ""))


if __name__ == "__main__":
    main()
