"""The making of a corpus: intake, duplicates, splits, and the accounts of all of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core import canonical
from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.lm import engines
from stages.lm.engines import Engine
from stages.lm.kernels import compiled
from stages.lm.kernels.text import Texts, of_strings
from stages.lm.parts import Parts
from stages.refine import (
    clusters,
    duplicates,
    filtering,
    gates,
    measuring,
    oddness,
    output,
    repeats,
    reports,
    substrings,
    twins,
)
from stages.refine.contamination import HeldOut
from stages.refine.contamination import held_out as read_held_out
from stages.refine.duplicates import Findings, Match
from stages.refine.intake import Intake, manifests, texts_of
from stages.refine.ledger import Ledger, Size
from stages.refine.settings import RefineParams
from stages.refine.shingled import Reader, Shingled, batches
from stages.refine.spool import Spool

UNITS = {
    "text": "documents",
    "labelled": "sentences",
    "parallel": "pairs",
}
DUPLICATE_RULES = {
    "exact": "exact_duplicate",
    "near": "near_duplicate",
    "contained": "contained",
    "across": "across_sources",
}


def make_corpus(
    params: RefineParams, raw: Sequence[Path], held: Sequence[tuple[str, Path]],
    against: Path | None, identifier: Path, lists: Path, corpus: Path, log: Log,
) -> None:  # fmt: skip
    """Write a corpus folder from raw folders; `held` are evaluation sets to keep out.

    `against` is another corpus that this one is measured against; `identifier` tells languages,
    where the entry names one; `lists` holds those that `permitted` names.
    """
    about = manifests(raw)
    out = read_held_out(held, params.decontaminate) if held else None
    losses = output.Losses()
    ledger = Ledger(losses.add)
    with _workplace(log) as work, Spool(work / "documents") as spool:
        Intake(params, ledger, spool, out, log, identifier, lists).run(raw)
        if out is not None:
            out.check()
        _refuse_empty(ledger, len(spool), raw)
        found = _findings(params, spool, work, log)
        kept = _without_duplicates(params, ledger, spool, found.matches)
        report = _clusters(params, spool, found)
        kept = _without_repeats(params, ledger, spool, kept)
        if params.kind == "parallel" and not params.intact:
            kept = twins.without(params.pairs, ledger, spool, kept)
        corpus.mkdir(parents=True)
        kept = _without_spans(params, ledger, spool, kept, work, corpus)
        if params.perplexity.max and not params.intact:
            kept = oddness.without(params.perplexity, ledger, spool, kept, corpus)
        kept = _first(ledger, spool, kept, params.max_documents)
        gone = [match for match in found.matches if match.kind != "related"]
        splits, labels = output.write_splits(corpus, params, spool, kept)
        output.write_matches(corpus / "duplicates.parquet", gone, spool)
        related = [match for match in found.matches if match.kind == "related"]
        output.write_matches(corpus / "related.parquet", related, spool)
        if params.filters.scores:
            output.write_scores(corpus / "scores.parquet", spool.scores, params.kind)
        canonical.write_json(corpus / "duplicates.json", report)
        told = reports.beside(corpus, params, spool, lists)
    losses.write(corpus / "dropped.parquet")
    accounts = ledger.as_json(UNITS[params.kind])
    manifest: dict[str, Any] = {
        "kind": params.kind,
        "splits": splits,
        "licences": sorted({_licence(one) for one in about}),
        "synthetic": any(one.get("synthetic", False) for one in about),
        "languages": _languages(params),
    }
    if params.kind == "labelled":
        manifest["labels"] = labels
    canonical.write_json(corpus / "corpus.json", manifest)
    canonical.write_json(corpus / "ledger.json", accounts)
    statistics = _measured(params, raw, against, corpus, splits, accounts["rules"], len(gone))
    statistics |= told
    canonical.write_json(corpus / "statistics.json", statistics)
    if out is not None:
        canonical.write_json(corpus / "contamination.json", _contamination(params, out, ledger))
    _tell(log, ledger, splits, statistics)


def _measured(
    params: RefineParams, raw: Sequence[Path], against: Path | None, corpus: Path,
    splits: dict[str, Any], rules: Sequence[dict[str, Any]], duplicates: int,
) -> dict[str, Any]:  # fmt: skip
    """Return statistics.json, with the tables beside it written and every gate passed."""
    names = [str(row["rule"]) for row in rules]
    told = measuring.Told(raw, splits, _languages(params), names, duplicates, against)
    statistics = measuring.measure(corpus, params, told)
    filtering.write(corpus, params, raw, names, statistics)
    gates.check(params.gates, statistics, rules, against)
    return statistics


@contextmanager
def _workplace(log: Log) -> Iterator[Path]:
    """Give a folder to work in that is empty, whatever a killed run left there."""
    work = log.scratch / "work"
    shutil.rmtree(work, ignore_errors=True)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _refuse_empty(ledger: Ledger, left: int, raw: Sequence[Path]) -> None:
    if left:
        return
    worst = ledger.worst()
    where = ", ".join(str(folder) for folder in raw)
    entered = ledger.rules[0].entered.documents
    if not entered:
        raise CheckFailed("the raw material holds no document", where, "acquire a filled source")
    count = worst.entered.documents - worst.left.documents
    raise CheckFailed(
        f"no document is left of {entered}: the rule {worst.name} dropped {count}",
        where,
        f"loosen or switch off {worst.name} in params.yaml, or give other text",
    )


def _reader(spool: Spool) -> Reader:
    def texts(numbers: NDArray[np.int64]) -> Texts:
        return of_strings(["\t".join(texts_of(spool[number])) for number in numbers.tolist()])

    return texts


def _findings(params: RefineParams, spool: Spool, scratch: Path, log: Log) -> Findings:
    """Return every duplicate and related pair in the order of the rules that find them."""
    with engines.engine(log) as engine:
        return _found(params, spool, scratch, log, engine)


def _found(params: RefineParams, spool: Spool, scratch: Path, log: Log, engine: Engine) -> Findings:
    settings, threads = params.duplicates, params.threads
    found = Findings([])
    if params.intact:
        return found
    lengths, texts = np.array(spool.lengths(), np.int64), _reader(spool)
    sources = clusters.sources(spool) if settings.across == "keep" else None
    if settings.exact:
        every = batches(np.arange(len(spool)), lengths)
        found.matches += duplicates.exact(map(texts, every), settings.keep, threads, sources)
    # Sentences and pairs are short and formulaic: equal ones go, similar ones are wanted.
    gone = {match.document for match in found.matches}
    if params.kind == "text" and (settings.near or settings.containment or settings.related):
        left = np.setdiff1d(np.arange(len(spool)), np.fromiter(gone, np.int64, len(gone)))
        own = None if sources is None else sources[left]
        parts = Parts(log, "signatures")
        shingled = Shingled(
            left, texts, lengths[left], settings, scratch / "signatures",
            parts=parts, threads=threads, engine=engine,
        )  # fmt: skip
        parts.close()
        if settings.near:
            alike = duplicates.near(shingled, settings, own, engine)
            found.matches += alike.matches
            found.candidates += alike.candidates
            gone |= {match.document for match in alike.matches}
        if settings.containment or settings.related:
            within = duplicates.contained(shingled, settings, gone, own)
            found.matches += within.matches
            found.candidates += within.candidates
        shingled.close()
    compiled.report(log)
    return found


def _without_repeats(
    params: RefineParams, ledger: Ledger, spool: Spool, kept: list[int]
) -> list[int]:
    """Cut paragraphs and lines that stood in the corpus before; return who is left."""
    settings = params.duplicates
    if params.intact or params.kind != "text":
        return kept
    units: dict[repeats.Unit, int] = {
        "paragraphs": settings.max_paragraph_copies,
        "lines": settings.max_line_copies,
    }
    for unit, most in units.items():
        if most:
            changed = repeats.without(
                unit, most, settings.min_copied_characters, kept,
                np.array(spool.lengths(), np.int64), _reader(spool), params.threads,
            )  # fmt: skip
            name = repeats.RULES[unit]
            kept = repeats.enter(name, changed, ledger, spool, kept, _too_little(params))
    return kept


def _too_little(params: RefineParams) -> Callable[[Size], bool]:
    filters = params.filters
    return lambda size: size.characters < filters.min_characters or size.tokens < filters.min_words


def _without_spans(
    params: RefineParams, ledger: Ledger, spool: Spool, kept: list[int], work: Path, corpus: Path
) -> list[int]:
    """List spans that stood in the corpus before, and cut or drop them; return who is left."""
    settings = params.duplicates.substrings
    if params.intact or params.kind != "text" or settings.action == "keep":
        return kept
    lengths = np.array(spool.lengths(), np.int64)
    found = substrings.find(kept, lengths, _reader(spool), settings, work / "spans", params.threads)
    names = [str(spool[number]["id"]) for number in kept]
    substrings.write(corpus / "substrings.parquet", found, names)
    canonical.write_json(corpus / "substrings.json", substrings.summary(found, settings))
    if settings.action == "cut":
        left = ((kept[place], text) for place, text in substrings.left(found, settings))
        return repeats.enter(substrings.RULE, left, ledger, spool, kept, _too_little(params))
    if settings.action == "drop":
        gone = substrings.dropped(found, settings)
        again = gone
        while again:  # what stood first in a document that went stands first in another one now
            places = [place for place in range(len(kept)) if place not in gone]
            left_over = substrings.find(
                [kept[place] for place in places], lengths, _reader(spool), settings,
                work / "spans", params.threads,
            )  # fmt: skip
            again = {
                places[place]: (count, places[first])
                for place, (count, first) in substrings.dropped(left_over, settings).items()
            }
            gone |= again
        rule = ledger.rule(substrings.RULE)
        for place, number in enumerate(kept):
            size = spool.size(number)
            if place in gone:
                count, first = gone[place]
                detail = f"{count} bytes stand before, some in {names[first]}"
                ledger.drop(rule, names[place], size, detail)
            else:
                rule.pass_on(size, size)
        return [number for place, number in enumerate(kept) if place not in gone]
    return kept


def _without_duplicates(
    params: RefineParams, ledger: Ledger, spool: Spool, matches: Sequence[Match]
) -> list[int]:
    """Enter the duplicates in the ledger and return the documents that are left."""
    left: list[int] = list(range(len(spool)))
    settings, texts = params.duplicates, params.kind == "text"
    used = {
        "exact": not params.intact and settings.exact,
        "near": not params.intact and texts and settings.near,
        "contained": not params.intact and texts and settings.containment > 0,
    }
    several = params.second != "none" or params.third != "none"
    used["across"] = any(used.values()) and several and settings.across == "drop"
    sources = clusters.sources(spool) if used["across"] else np.zeros(len(spool), np.int64)
    for kind, name in DUPLICATE_RULES.items():
        if not used[kind]:
            continue
        by_number = {
            match.document: match
            for match in matches
            if kind == _rule_of(match, sources) and match.kind != "related"
        }
        rule = ledger.rule(name)
        kept = []
        for number in left:
            size = spool.size(number)
            if number in by_number:
                match = by_number[number]
                other = str(spool[match.representative]["id"])
                detail = f"{match.kind} of {other}" if kind == "across" else f"of {other}"
                ledger.drop(rule, str(spool[number]["id"]), size, detail)
            else:
                rule.pass_on(size, size)
                kept.append(number)
        left = kept
    return left


def _rule_of(match: Match, sources: NDArray[np.int64]) -> str:
    """Return the kind of a match, or `across` where its documents are of two raw folders."""
    same = sources[match.document] == sources[match.representative]
    return match.kind if same else "across"


def _clusters(params: RefineParams, spool: Spool, found: Findings) -> dict[str, Any]:
    return clusters.report(
        found,
        params.duplicates,
        len(spool),
        lambda number: spool.size(number).characters,
        lambda number: str(spool[number]["id"]),
    )


def _first(ledger: Ledger, spool: Spool, kept: list[int], most: int) -> list[int]:
    if not most:
        return kept
    rule = ledger.rule("max_documents")
    for place, number in enumerate(kept):
        size = spool.size(number)
        if place < most:
            rule.pass_on(size, size)
        else:
            ledger.drop(rule, str(spool[number]["id"]), size, f"after the first {most}")
    return kept[:most]


def _licence(manifest: dict[str, Any]) -> str:
    """Return a raw folder's licence, or the stated reason why it names none."""
    return str(manifest.get("licence") or manifest.get("licence_reason") or "not stated")


def _languages(params: RefineParams) -> list[str]:
    named: Iterator[str] = iter((params.pairs.source_language, params.pairs.target_language))
    sides = [name for name in named if name != "none"] if params.kind == "parallel" else []
    return params.languages or params.filters.languages or sides


def _contamination(params: RefineParams, out: HeldOut, ledger: Ledger) -> dict[str, Any]:
    rule = next(rule for rule in ledger.rules if rule.name == "held_out")
    common = {
        "documents_changed": rule.changed,
        "documents_dropped": rule.entered.documents - rule.left.documents,
        "ngram": params.decontaminate.ngram,
        "min_sentence_words": params.decontaminate.min_sentence_words,
    }
    return {"sets": [{**row, **common} for row in out.report()]}


def _tell(log: Log, ledger: Ledger, splits: dict[str, Any], statistics: dict[str, Any]) -> None:
    first, last = ledger.rules[0].entered, ledger.rules[-1].left
    log.metric("documents_read", first.documents)
    log.metric("documents_kept", last.documents)
    log.metric("characters_kept", last.characters)
    log.metric("tokens_kept", last.tokens)
    log.metric("vocabulary_words", statistics["vocabulary_size"])
    log.metric("kept_fraction", last.characters / max(1, first.characters))
    for label, row in statistics.get("identified", {}).items():
        log.metric(f"rejected_fraction_{label}", row["rejected_fraction"])
    for name, split in splits.items():
        log.metric(f"{name}_documents", split["documents"])
    log.table("ledger", [rule.row() for rule in ledger.rules])
