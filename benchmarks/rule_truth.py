"""Precision and recall of every rule that the generator plants something for, with intervals.

    python -m benchmarks.rule_truth

A corpus is generated with every kind of plant; each rule judges every document alone, and is held
against the truth that `benchmarks/rule_truth_table.py` declares. Documents are the unit; for
personal data, planted values and decoys of each form are. Writes `benchmarks/rule_truth.json`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import zstandard

from benchmarks.rule_truth_table import CHANGES, FILTERS, SETS, UNPLANTED, Meant
from stages.acquire.generator import secrets
from stages.acquire.generator.corpus import generate
from stages.acquire.generator.parameters import GeneratorParams, PlantShares
from stages.core import canonical, registry
from stages.core.log import Log
from stages.identify.stage import IdentifyParams
from stages.lm.identifiers import Identifier
from stages.lm.kernels.text import of_strings
from stages.lm.proportions import share
from stages.lm.scores.table import score
from stages.refine import filters, personal, rulesets
from stages.refine.settings import Filters, Normalise, RefineParams

OUT = Path(__file__).with_suffix(".json")
SIZE_MB, SEED, OTHER_SEED = 6.0, 17, 23
KINDS = list(personal.KINDS)
NEAR = 0.7
SHARES = dict.fromkeys(PlantShares.model_fields, 0.03) | {"private": 0.2}
STOP_WORDS = ["la", "kaj", "de", "en", "estas", "ne", "al", "por"]
Truth = dict[str, list[dict[str, Any]]]


class Generated:
    """A generated corpus in a folder: texts by id, truth by kind."""

    def __init__(self, folder: Path, seed: int, size_mb: float, shares: dict[str, float]) -> None:
        params = GeneratorParams(
            size_mb=size_mb, seed=seed, annotated_share=0.0, parallel_share=0.0,
            plants=PlantShares(**shares),
        )  # fmt: skip
        folder.mkdir(parents=True)
        rows = generate(params, folder, Log())
        manifest = {**rows, "licence": "CC0-1.0", "synthetic": True, "origin": "generator"}
        canonical.write_json(folder / "manifest.json", manifest)
        self.folder, self.params = folder, params
        self.documents = list(lines(folder, "files/documents"))
        self.texts = {row["id"]: row["text"] for row in self.documents}
        self.truth: Truth = defaultdict(list)
        for row in lines(folder, "truth/plants"):
            self.truth[row["kind"]].append(row)

    def named(self, kinds: Sequence[str], only: str = "") -> set[str]:
        """Return the documents with plants of some kinds, narrowed by `key=value`."""
        key, _, value = only.partition("=")
        return {
            row["id"]
            for kind in kinds
            for row in self.truth[kind]
            if not only or str(row[key]).replace("...", "…") in value.split(",")
        }


def lines(folder: Path, stem: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of compressed shards."""
    for path in sorted(folder.glob(f"{stem}-*")):
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            yield from map(json.loads, stream.read().decode().splitlines())


def told(meant: Meant, made: Generated, found: set[str], section: str) -> dict[str, Any]:
    """Return precision and recall of a rule that found some documents."""
    must = made.named(meant.must, meant.only)
    spared = made.named((*meant.may, *meant.must)) - must
    judged = found - spared
    wrong = Counter(
        next((kind for kind in made.truth if name in made.named([kind])), "unaltered")
        for name in judged - must
    )
    return {
        "rule": meant.rule,
        "section": section,
        "planted": [*meant.must, *([meant.only] if meant.only else [])],
        "not_counted": sorted(meant.may),
        "precision": share(len(judged & must), len(judged)),
        "recall": share(len(judged & must), len(must)),
        "wrongly_found": dict(sorted(wrong.items())),
    }


def changed(made: Generated) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the rows of normalising steps, and the texts after all of them."""
    steps = filters.changes(Normalise())
    met: dict[str, set[str]] = defaultdict(set)
    done: dict[str, str] = {}
    for name, text in made.texts.items():
        for rule, step in steps:
            after = step(text)
            if after != text:
                met[rule].add(name)
            text = str(after)
        done[name] = text
    rows = [told(meant, made, met[meant.rule], "normalise") for meant in CHANGES]
    for row in rows:
        plants = [one for kind in row["planted"] for one in made.truth[kind]]
        digests = [one for one in plants if "original_sha256" in one]
        if digests:
            right = sum(
                hashlib.sha256(done[one["id"]].encode()).hexdigest() == one["original_sha256"]
                for one in digests
            )
            row["restored"] = share(right, len(digests))
    return rows, done


def filtered(made: Generated, texts: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows of filters, each alone on normalised text."""
    rows = []
    steps = dict(filters.reasons(Filters(languages=["eo"])))
    for meant in FILTERS:
        step = steps[meant.rule]
        found = {name for name, text in texts.items() if step(text) != text}
        rows.append(told(meant, made, found, "filters"))
    return rows


def normalised(made: Generated) -> dict[str, str]:
    """Return the texts as the stage normalises them, but with repeated sentences left in."""
    steps = filters.changes(Normalise(repeats=False))
    found = {}
    for name, text in made.texts.items():
        for _, step in steps:
            text = str(step(text))
        found[name] = text
    return found


def ruled(made: Generated, texts: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows of published sets, each rule alone with its published threshold."""
    names = list(texts)
    options = Filters(counting={"stop_words": STOP_WORDS}).counting.options()
    table = score(of_strings([texts[name] for name in names]), options).table
    known = {rule.reason: rule for rule in rulesets.RULES}
    rows = []
    for meant in SETS:
        rule = known[meant.rule]
        hit = rulesets.verdicts(table, [rule]).rule >= 0
        found = {name for name, one in zip(names, hit.tolist(), strict=True) if one}
        rows.append(told(meant, made, found, "rule sets") | {"threshold": rule.threshold})
    return rows


def refined(made: Generated, work: Path) -> list[dict[str, Any]]:
    """Return the rows of duplicates, from the stage itself with nothing else switched on."""
    off = {"boilerplate": "keep", "private": "keep", "min_alphabetic_fraction": 0.0,
           "max_symbol_fraction": 0.0, "max_repeated_line_fraction": 0.0,
           "max_mean_word_characters": 0.0}  # fmt: skip
    plain = dict.fromkeys(
        ("controls", "markers", "line_numbers", "unwrap", "verse_numbers", "repeats", "x_system",
         "blanks"), False,
    ) | {"mojibake": "keep", "unicode_form": "none"}  # fmt: skip
    params = RefineParams.model_validate({"raw": "x", "filters": off, "normalise": plain})
    stage, out = registry.get("refine"), work / "corpus"
    reads = {name: made.folder if name == "raw" else work / "none" for name in stage.reads}
    stage.function(params=params, **reads, corpus=out, log=Log())
    by_kind: dict[str, set[str]] = defaultdict(set)
    for row in pq.read_table(out / "duplicates.parquet").to_pylist():
        by_kind[row["kind"]].add(row["id"])
    exact = told(Meant("exact_duplicate", ("exact-duplicate",), ("near-duplicate",)), made,
                 by_kind["exact"], "duplicates")  # fmt: skip
    alike = {row["id"] for row in made.truth["near-duplicate"] if row["jaccard"] >= NEAR}
    found = by_kind["near"] | (by_kind["exact"] & alike)  # two equal edits are equal copies
    originals = {row["original"] for row in made.truth["near-duplicate"]}
    found -= originals - alike  # a copy may be read before: which of two stays is no matter
    near = {
        "rule": "near_duplicate", "section": "duplicates",
        "planted": [f"near-duplicate of Jaccard >= {NEAR}"], "not_counted": [],
        "precision": share(len(found & alike), len(found)),
        "recall": share(len(found & alike), len(alike)),
        "wrongly_found": {},
    }  # fmt: skip
    return [exact, near]


def identified(made: Generated, work: Path) -> list[dict[str, Any]]:
    """Return a row per language of an identifier that learned from another seed's documents."""
    other = Generated(
        work / "other", OTHER_SEED, 2.0, dict.fromkeys(SHARES, 0.0) | {"foreign_document": 0.5}
    )
    stage, out = registry.get("identify"), work / "identifier"
    reads = {name: other.folder if name == "raw" else work / "none" for name in stage.reads}
    params = IdentifyParams(raw="x", label="field")
    stage.function(params=params, **reads, identifier=out, log=Log())
    clean = {row["id"] for kind in ("mojibake", "foreign-paragraph", "x-system", "decomposed",
             "private", "figures", "code") for row in made.truth[kind]}  # fmt: skip
    rows = [row for row in made.documents if row["id"] not in clean]
    best = Identifier.load(out).best([row["text"] for row in rows])
    guesses = [one[0][0] for one in best]
    said = [row["language"] for row in rows]
    return [
        {
            "rule": f"identified: {label}", "section": "language identification",
            "planted": [f"documents in {label}"], "not_counted": ["texts altered in their letters"],
            "precision": share(
                sum(a == b == label for a, b in zip(said, guesses, strict=True)),
                guesses.count(label),
            ),
            "recall": share(
                sum(a == b == label for a, b in zip(said, guesses, strict=True)), said.count(label)
            ),
            "wrongly_found": {},
        }
        for label in sorted(set(said))
    ]  # fmt: skip


def personal_rows(made: Generated) -> list[dict[str, Any]]:
    """Return a row per type of personal data: planted values found, and what else was."""
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    wrong: dict[str, Counter[str]] = defaultdict(Counter)
    forms: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    marks = {kind: personal.PLACEHOLDERS.get(kind, f"[{kind}]") for kind in KINDS}
    for row in made.truth["private"]:
        text = made.texts[row["id"]]
        cut = str(filters.private(text, True, KINDS))
        for kind, mark in marks.items():
            found[kind] += cut.count(mark)
        for item in row["items"]:
            begun, stop = text.rfind("\n\n", 0, item["start"]) + 2, text.find("\n\n", item["end"])
            paragraph = text[begun : stop if stop >= 0 else len(text)]
            after = str(filters.private(paragraph, True, KINDS))
            kind = item["type"]
            for other, mark in marks.items():
                count = after.count(mark)
                if not item["decoy"] and other == kind:
                    met = count > 0 and item["value"] not in after
                    forms[kind][item["form"]][1] += 1
                    forms[kind][item["form"]][0] += met
                    right[kind] += met
                    count -= met
                name = f"{'decoy' if item['decoy'] else 'value'} {kind}/{item['form']}"
                if count:
                    wrong[other][name] += count
    return [
        {
            "rule": f"private: {kind}", "section": "personal data",
            "planted": ["private"], "not_counted": [],
            "precision": share(right[kind], found[kind]),
            "recall": share(right[kind], sum(count for _, count in forms[kind].values())),
            "recall_by_form": {
                form: share(met, count) for form, (met, count) in sorted(forms[kind].items())
            },
            "recall_of_later_forms": share(
                sum(forms[kind][form][0] for form in secrets.LATER[kind]),
                sum(forms[kind][form][1] for form in secrets.LATER[kind]),
            ),
            "wrongly_found": dict(sorted(wrong[kind].items())),
        }
        for kind in KINDS
    ]  # fmt: skip


def main() -> None:
    """Generate, judge, write and show the table."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "none").mkdir()
        made = Generated(work / "raw", SEED, SIZE_MB, SHARES)
        rows, texts = changed(made)
        rows += filtered(made, texts)
        rows += ruled(made, normalised(made))
        rows += refined(made, work)
        rows += identified(made, work)
        rows += personal_rows(made)
    found = {
        "documents": len(made.texts),
        "planted": {kind: len(plants) for kind, plants in sorted(made.truth.items())},
        "seed": SEED,
        "rows": rows,
        "without_planted_truth": sorted(UNPLANTED),
    }
    canonical.write_json(OUT, found)
    for row in rows:
        shares = [row["precision"].get("share"), row["recall"].get("share")]
        shown = "  ".join("-" if one is None else f"{one:6.1%}" for one in shares)
        counts = f"{row['precision']['count']:5} found {row['recall']['count']:5} planted"
        print(f"{row['rule']:36} {shown}  {counts}  {row['wrongly_found'] or ''}")


if __name__ == "__main__":
    main()
