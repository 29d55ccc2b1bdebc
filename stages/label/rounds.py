"""One round: the test set is what it was, the batch is chosen, answers become a corpus."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.core import canonical
from stages.core.errors import ArtifactError, CheckFailed
from stages.core.log import Log
from stages.label import agreement, answers, batch, choice
from stages.label.answers import Answered
from stages.label.leaks import TestSet
from stages.label.sentences import Sentence, digest_of, place, pool_of, row_of, test_of
from stages.label.stage import FileAnswers, LabelParams
from stages.lm import corpora, tables

LABELS = pa.schema(
    [
        ("id", pa.string()),
        ("tokens", pa.list_(pa.string())),
        ("tags", pa.list_(pa.string())),
        ("state", pa.string()),
        ("round", pa.int32()),
        ("answers", pa.int32()),
        ("source", pa.string()),
    ]
)
"""Every sentence that was asked for or answered so far; `state` is labelled, skipped, excluded or
missing, `round` the one that asked."""
CHANGED = 1000
"""Ids of relabelled sentences that rounds.json lists."""


@dataclass(frozen=True)
class Inputs:
    """Folders that a round reads."""

    pool: Path
    test: Path
    before: Path | None
    model: Path | None
    answers: Path


@dataclass
class Known:
    """What the rounds before left: rows of labels.parquet by id, and their history."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    test_digest: str = ""

    @property
    def asked(self) -> set[str]:
        """Return the sentences that are settled: those nobody answered may be asked again."""
        return {name for name, row in self.rows.items() if row["state"] != "missing"}


def make(params: LabelParams, inputs: Inputs, corpus: Path, log: Log) -> None:
    """Write a round's corpus, its batch and its accounts."""
    gold = test_of(inputs.test)
    known = _before(inputs.before)
    digest = digest_of(gold)
    _check_same(digest, known, inputs.test)
    labels = params.labels or sorted({tag for one in gold for tag in one.tags or ()})
    test = TestSet(gold, params.leak_jaccard)
    pool = {one.id: one for one in pool_of(inputs.pool)}
    leaks = {name for name, one in pool.items() if test.like(one.tokens)}
    free = [one for name, one in pool.items() if name not in leaks and name not in known.asked]
    if not free:
        raise CheckFailed(
            f"nothing is left to ask: of {len(pool)} sentences {len(leaks)} are like the test set's"
            f" and {len(known.asked)} were asked before",
            str(inputs.pool),
            "give the pool more sentences, or end the rounds here",
        )
    labelled = [pool[name] for name in known.rows if name in pool]
    asked = choice.choose(params, free, labelled, inputs.model)
    found = _answered(params, inputs.answers, pool, labels, test, [one for one, _ in asked])
    agreed = _agreement(params, found, inputs.answers)
    corpus.mkdir(parents=True)
    number = len(known.history)
    rows, changed = _rows(params, known, pool, asked, found, number)
    told = {
        "round": number,
        "by": params.by,
        "asked": len(asked),
        "pool": {"sentences": len(pool), "like_test": len(leaks), "left": len(free)},
        **_counts(rows.values(), number),
        "revised": found.revised,
        "relabelled": changed[:CHANGED],
        "misaligned_spans": found.misaligned_spans,
        "agreement": agreed,
    }
    batch.write(corpus, asked, labels, number)
    _write(params, inputs, corpus, rows, gold, labels)
    history = [*known.history, told]
    canonical.write_json(corpus / "rounds.json", {"test_sha256": digest, "rounds": history})
    log.metric("test_sentences", len(gold))
    _tell(told, log)


def _tell(told: Mapping[str, Any], log: Log) -> None:
    for name in ("asked", "labelled", "labelled_words", "missing", "skipped", "excluded"):
        log.metric(name, told[name])
    if told["agreement"].get("fleiss_kappa") is not None:
        log.metric("fleiss_kappa", told["agreement"]["fleiss_kappa"])
    if told["missing"]:
        log.text("waiting", f"{told['missing']} of {told['asked']} sentences of batch.jsonl wait")


def _check_same(digest: str, known: Known, where: Path) -> None:
    """Refuse another test set than that of the round before."""
    if known.test_digest and known.test_digest != digest:
        raise CheckFailed(
            f"the test set is not that of the round before ({digest[:12]} and"
            f" {known.test_digest[:12]}), so their scores say nothing of each other",
            str(where),
            "put the test set back as it was, or begin with a round 0 again",
        )


def _agreement(params: LabelParams, found: Answered, where: Path) -> dict[str, Any]:
    """Return how annotators agree, or refuse answers on which they agree too little."""
    agreed = agreement.told(
        [
            {who: tags for who, tags in given.items() if tags is not None}
            for given in found.by_id.values()
        ]
    )
    kappa = agreed.get("fleiss_kappa")
    if kappa is not None and kappa < params.min_kappa:
        raise CheckFailed(
            f"annotators agree with a kappa of {kappa:.3f} on {agreed['sentences']} sentences, the"
            f" least is {params.min_kappa:g}",
            str(where),
            "settle what the labels mean with the annotators, and let them answer again",
        )
    return agreed


def _before(folder: Path | None) -> Known:
    if folder is None:
        return Known()
    try:
        told = json.loads((folder / "rounds.json").read_text(encoding="utf-8"))
        rows = tables.iter_file(folder / "labels.parquet", LABELS.names)
        by_id = {row["id"]: row for part in rows for row in part.to_pylist()}
        return Known(by_id, list(told["rounds"]), str(told["test_sha256"]))
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise ArtifactError(
            f"the round before cannot be read: {fault}",
            str(folder),
            "name in `before` the corpus of a label entry",
        ) from fault


def _answered(
    params: LabelParams, folder: Path, pool: Mapping[str, Sentence], labels: Sequence[str],
    test: TestSet, asked: Sequence[Sentence],
) -> Answered:  # fmt: skip
    if isinstance(params.annotation, FileAnswers):
        return answers.read(params, params.annotation, folder, pool, labels, test)
    found = Answered()
    for one in asked:
        if one.tags is None:
            raise ArtifactError(
                f"the sentence {one.id!r} of the pool has no tags to answer with",
                "label: annotation",
                "simulate the annotator on a labelled pool, or let people answer (`kind: files`)",
            )
        tags = (_noisy(tag, labels, params, f"{one.id}\n{at}") for at, tag in enumerate(one.tags))
        found.by_id[one.id] = {"gold": tuple(tags)}
    return found


def _noisy(tag: str, labels: Sequence[str], params: LabelParams, where: str) -> str:
    """Return a label, another one for the annotator's share of errors."""
    noise = getattr(params.annotation, "noise", 0.0)
    others = [label for label in labels if label != tag]
    if not others or place(params.seed, "noise", where) / 2.0**64 >= noise:
        return tag
    return others[place(params.seed, "other", where) % len(others)]


def _rows(
    params: LabelParams, known: Known, pool: Mapping[str, Sentence], asked: choice.Asked,
    found: Answered, number: int,
) -> tuple[dict[str, dict[str, Any]], list[str]]:  # fmt: skip
    """Return labels.parquet by id, and the sentences that were labelled otherwise before."""
    rows = dict(known.rows)
    for one, _ in asked:
        rows[one.id] = _row(one, None, "missing", number, 0)
    changed = []
    for name, given in found.by_id.items():
        tags = answers.resolved(given, params.resolve)
        state = "labelled" if tags is not None else "skipped"
        if tags is not None and set(tags) & set(params.excluded):
            state = "excluded"
        former = known.rows.get(name)
        if (
            former is not None
            and former["state"] == "labelled"
            and former["tags"] != list(tags or ())
        ):
            changed.append(name)
        since = former["round"] if former is not None and former["state"] != "missing" else number
        rows[name] = _row(pool[name], tags, state, since, len(given))
    return rows, sorted(changed)


def _row(
    one: Sentence, tags: tuple[str, ...] | None, state: str, number: int, count: int
) -> dict[str, Any]:
    return {
        "id": one.id,
        "tokens": list(one.tokens),
        "tags": None if tags is None else list(tags),
        "state": state,
        "round": number,
        "answers": count,
        "source": one.source,
    }


def _counts(rows: Any, number: int) -> dict[str, Any]:
    """Return how many sentences are in which state, and how often each label was given."""
    every = list(rows)
    states = Counter(row["state"] for row in every)
    learned = [row for row in every if row["state"] == "labelled"]
    return {
        "labelled": len(learned),
        "labelled_words": sum(len(row["tokens"]) for row in learned),
        "labelled_here": sum(row["round"] == number for row in learned),
        **{name: states[name] for name in ("missing", "skipped", "excluded")},
        "labels": dict(sorted(Counter(tag for row in learned for tag in row["tags"]).items())),
    }


def _write(
    params: LabelParams, inputs: Inputs, corpus: Path, rows: Mapping[str, dict[str, Any]],
    gold: Sequence[Sentence], labels: Sequence[str],
) -> None:  # fmt: skip
    ordered = sorted(rows.values(), key=lambda row: (row["round"], row["id"]))
    tables.write_table(corpus / "labels.parquet", pa.Table.from_pylist(ordered, schema=LABELS))
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "valid": []}
    learned = [row for row in ordered if row["state"] == "labelled"]
    drawn = {row["id"]: place(0, "valid", row["id"]) for row in learned}
    valid = {name for name, draw in drawn.items() if draw / 2.0**64 < params.valid_fraction}
    if len(learned) > 1 and len(valid) in (0, len(learned)):  # too few to have some on each side
        valid = {min(drawn, key=lambda name: (drawn[name], name))}
    for row in learned:
        parts["valid" if row["id"] in valid else "train"].append(row)
    parts["test"] = [row_of(one) for one in gold]
    splits = {}
    for split, part in parts.items():
        with tables.ShardWriter(corpus, split, tables.LABELLED_SCHEMA) as writer:
            for row in part:
                writer.add({name: row.get(name) for name in tables.LABELLED_SCHEMA.names})
        texts = [" ".join(row["tokens"]) for row in part]
        splits[split] = {
            "documents": len(part),
            "characters": sum(map(len, texts)),
            "bytes": sum(len(text.encode("utf-8", "surrogatepass")) for text in texts),
            "shards": writer.shards,
        }
    about = [
        corpora.read_corpus(one, ["text", "labelled"], "label")
        for one in (inputs.pool, inputs.test)
    ]
    manifest = {
        "kind": "labelled",
        "splits": splits,
        "labels": sorted({*labels, *(tag for row in learned for tag in row["tags"])}),
        "licences": sorted({name for one in about for name in one.get("licences", [])}),
        "synthetic": any(one.get("synthetic", False) for one in about),
        "languages": about[0].get("languages", []),
    }
    canonical.write_json(corpus / "corpus.json", manifest)
