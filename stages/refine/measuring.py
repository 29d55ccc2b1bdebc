"""The measuring of a corpus that is written: statistics.json and the tables beside it.

First pass over the shards: words, lengths, labels, duplicates, the sample. Second pass: company of
terms and groups, here and in what the rules dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stages.core import canonical
from stages.lm import shards, tables, wordshift
from stages.lm.kernels.vocabulary import Vocabulary
from stages.refine import associations, identities, lost, sampled
from stages.refine.associations import Counts, Plan
from stages.refine.measures import Measures
from stages.refine.measures import sampled as drawn
from stages.refine.settings import RefineParams


class Told(NamedTuple):
    """What is known of a corpus before it is measured."""

    raw: Sequence[Path]
    splits: Mapping[str, Mapping[str, Any]]
    languages: Sequence[str]
    rules: Sequence[str]
    duplicates: int
    reference: Path | None


def measure(corpus: Path, params: RefineParams, told: Told) -> dict[str, Any]:
    """Measure a corpus's shards; writes words, associations, topics and examples beside them."""
    settings, kind = params.measure, params.kind
    total = sum(int(split["documents"]) for split in told.splits.values())
    chosen = drawn(total, settings.sample_documents, settings.sample_seed)
    more = ("source", "tags") if kind == "labelled" else ("source",)
    found = Measures(chosen, params.threads)
    for group in shards.groups(corpus, kind, more):
        found.add(group)
    statistics = found.as_json(told.duplicates, told.languages)
    found.write_words(corpus / "words.parquet")
    sample = found.sample()
    closed = identities.closed(told.languages)
    topics = sampled.find_topics(corpus, found.words, sample, settings, closed)
    statistics["topics"] = topics
    oddest: list[dict[str, Any]] = []
    if settings.perplexity_order:
        odd = sampled.oddity(*sample, found.ids, len(found.words), settings.perplexity_order)
        oddest = odd.pop("oddest", [])
        statistics["ngram_perplexity"] = odd
    if told.reference is not None:
        statistics["drift"] = _drift(told.reference, corpus, found.words, sample, params)
    statistics |= _company(corpus, params, told, found.words)
    canonical.write_json(
        corpus / "examples.json",
        {
            "peek": found.peek(),
            "oddest": oddest,
            "duplicates": _named(corpus, kind, statistics["duplicates"].pop("most")),
        },
    )
    return statistics


def _drift(
    reference: Path, corpus: Path, words: Vocabulary, sample: Any, params: RefineParams
) -> dict[str, Any]:
    found: dict[str, Any] = {"against": params.against}
    found["words"] = wordshift.compare(reference / "words.parquet", corpus / "words.parquet")
    if params.measure.topics:
        found["topics"] = sampled.drift(reference, words, sample, params.measure)
    return found


def _named(corpus: Path, kind: str, most: list[dict[str, int]]) -> list[dict[str, Any]]:
    """Return repeated texts with the id of their first copy; a test split's text is not shown."""
    wanted = {row["document"]: row["copies"] for row in most}
    found: dict[int, dict[str, Any]] = {}
    at = 0
    for group in shards.groups(corpus, kind) if wanted else ():
        for place in [one - at for one in wanted if at <= one < at + group.rows.num_rows]:
            row: dict[str, Any] = {
                "id": group.rows.column("id")[place].as_py(),
                "split": group.split,
                "copies": wanted[at + place],
            }
            if group.split != "test":
                text = group.texts.bytes_at(place)[:640].decode("utf-8", "ignore")
                row["text"] = text[:160]
            found[at + place] = row
        at += group.rows.num_rows
    return [found[row["document"]] for row in most]


def _company(corpus: Path, params: RefineParams, told: Told, words: Vocabulary) -> dict[str, Any]:
    """Write associations.parquet and return the sections `associations` and `composition`."""
    settings = params.measure
    wanted = identities.pairs(told.languages, settings.pairs)
    terms = [*(settings.terms or identities.terms(told.languages)), *(t for p in wanted for t in p)]
    plan = associations.plan(words, terms, settings.groups, settings.min_documents)
    counter = associations.Counter(words, plan)
    if plan.terms or plan.groups:
        for group in shards.groups(corpus, params.kind):
            counter.add(group.texts)
    kept = counter.counts()
    dropped = _dropped(corpus, params, told, words, plan) if settings.groups else {}
    states, entering = {"now": kept}, {}
    behind = kept
    for rule in reversed(told.rules):
        if rule in dropped:
            behind = behind.plus(dropped[rule])
            states[f"before {rule}"] = behind
        entering[rule] = behind
    table = associations.table(words, plan, kept, settings.min_documents)
    tables.write_table(corpus / "associations.parquet", table)
    pairs = associations.pairs(words, plan, states, wanted, settings.min_documents)
    few = settings.min_documents
    named = dict(zip(plan.terms, kept.rows.tolist(), strict=False))
    return {
        "associations": {
            "documents": kept.documents,
            "terms": {term: count for term, count in named.items() if count >= few},
            "terms_in_few_documents": {t: count for t, count in named.items() if count < few},
            "pairs": pairs,
        },
        "composition": _composition(plan, told.rules, entering, dropped, kept),
    }


def _dropped(
    corpus: Path, params: RefineParams, told: Told, words: Vocabulary, plan: Plan
) -> dict[str, Counts]:
    """Return what every rule dropped, counted in the words that the kept corpus has."""
    counters: dict[str, associations.Counter] = {}
    rules = lost.losses(corpus / "dropped.parquet")
    for rule, texts in lost.lost(told.raw, params, rules):
        if rule not in counters:
            counters[rule] = associations.Counter(words, plan)
        counters[rule].add(texts)
    return {rule: counter.counts() for rule, counter in counters.items()}


def _composition(
    plan: Plan, rules: Sequence[str], entering: Mapping[str, Counts],
    dropped: Mapping[str, Counts], kept: Counts,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return for every rule how many documents of each group entered it and were dropped."""
    first = len(plan.terms)
    found = []
    for rule in rules if plan.groups else ():
        before = entering[rule]
        gone = dropped.get(rule)
        row: dict[str, Any] = {
            "rule": rule,
            "documents_in": before.documents,
            "documents_dropped": gone.documents if gone else 0,
            "groups": {},
        }
        for number, name in enumerate(plan.groups, start=first):
            entered = int(before.rows[number])
            left = int(gone.rows[number]) if gone else 0
            row["groups"][name] = {
                "documents_in": entered,
                "documents_dropped": left,
                "dropped_fraction": round(left / max(1, entered), 6),
                "share_in": round(entered / max(1, before.documents), 6),
                "share_out": round(
                    (entered - left) / max(1, before.documents - row["documents_dropped"]), 6
                ),
            }
        found.append(row)
    return found
