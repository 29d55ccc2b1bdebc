"""First pass: raw records are normalised, filtered and freed of held-out text, one at a time.

Every record enters the ledger's rules in their order; what survives goes to the spool.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from stages.core.errors import Resumable
from stages.core.log import Log
from stages.lm import engines
from stages.lm.parts import Parts
from stages.lm.records import (
    Labelled,
    Pair,
    raw_labelled,
    raw_manifest,
    raw_pairs,
)
from stages.refine import alignment, bitext, encodings, filters
from stages.refine.contamination import HeldOut
from stages.refine.documents import Texts
from stages.refine.filters import Drop, Step
from stages.refine.ledger import Ledger, Rule, Size, count_tokens
from stages.refine.settings import Normalise, RefineParams
from stages.refine.spool import Spool
from stages.refine.takings import Takings, enter, gather

Record = dict[str, Any]
Work = Callable[..., Takings]
PREFIXES = ("", "second/", "third/")
"""Of the raw folders' ids, which are unique within a folder only."""
ESPERANTO = ("eo", "none")
"""Languages of a side that may be in x-system: Esperanto, or nobody says which."""
BATCH_RECORDS = 4096
BATCH_CHARACTERS = 8 << 20
ASKED = 64  # documents between two questions whether to stop: each looks for a file


@dataclass
class Intake:
    """What the first pass works with."""

    params: RefineParams
    ledger: Ledger
    spool: Spool | Takings
    held_out: HeldOut | None
    log: Log
    identifier: Path = Path()
    lists: Path = Path()

    def run(self, folders: Sequence[Path]) -> None:
        """Read every record of the raw folders through all rules into the spool."""
        spool, parts, count = self.spool, Parts(self.log, "intake"), 0
        assert isinstance(spool, Spool)
        worker = self.worker()
        with engines.engine(self.log) as engine:
            work: Work = self.made
            given: tuple[Any, ...] = (worker,)
            if engine.name != "local":
                place = Place(self.params, self.held_out, self.identifier, self.lists)
                work, given = _elsewhere, (f"{self.log.scratch} {os.getpid()}", engine.share(place))
            for taken in parts.each(
                engine, work, _items(worker, folders, given), Takings.dump, Takings.load
            ):
                enter(taken, self.ledger, self.held_out, spool)
                count += taken.records
                self.log.progress(count, None, "documents")
        self.spool = spool
        parts.close()
        self.log.progress(count, count, "documents")

    def worker(self) -> Any:
        """Return who takes records of this kind; its rules enter the ledger now."""
        workers: dict[str, Any] = {"text": Texts, "labelled": _Sentences, "parallel": _Pairs}
        return workers[self.params.kind](self)

    def made(
        self, worker: Any, prefix: str, folder: Path, records: list[Any], before: int
    ) -> Takings:
        """Make one part: what is taken from some records."""
        worker.folder = folder
        work = partial(self._take, worker, prefix, records, before)
        return gather(self.ledger, self.held_out, work)

    def _take(
        self, worker: Any, prefix: str, records: list[Any], before: int, taken: Takings
    ) -> int:
        """Make one part; a request to stop gives it up."""
        self.spool = taken
        for done, record in enumerate(records, start=before + 1):
            worker.take(record, prefix + record.id)
            if (done - before) % ASKED == 1 and self.log.stopping:
                raise Resumable(
                    f"stopped on request after reading {done} documents",
                    str(self.log.scratch),
                    "run the same entry again: it goes on from the last whole part",
                )
        worker.finish()
        return len(records)


@dataclass
class Place:
    """What an engine's worker needs to take records as this process would."""

    params: RefineParams
    held_out: HeldOut | None
    identifier: Path
    lists: Path

    def taker(self) -> Callable[..., Takings]:
        """Return a function of what `_items` gives."""
        ledger, log = Ledger(lambda *loss: None), Log()
        intake = Intake(
            self.params, ledger, Takings(), self.held_out, log, self.identifier, self.lists
        )
        return partial(intake.made, intake.worker())


_takers: dict[str, Callable[..., Takings]] = {}


def _elsewhere(token: str, place: Place, *item: Any) -> Takings:
    """Make a part in a worker of an engine; a run's first part there sets it up."""
    if token not in _takers:
        _takers.clear()
        _takers[token] = place.taker()
    return _takers[token](*item)


def _items(
    worker: Any, folders: Sequence[Path], given: tuple[Any, ...]
) -> Iterator[Callable[[], tuple[Any, ...]]]:
    """Yield givers of `given` and what makes a part: prefix, folder, records, how many before."""
    before = 0
    for prefix, folder in zip(PREFIXES, folders, strict=False):
        for records in _batches(worker.read(folder)):
            yield partial(tuple, (*given, prefix, folder, records, before))
            before += len(records)


def _batches(records: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield records some thousands or some megabytes at a time: what a kill costs at most."""
    batch: list[Any] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(getattr(record, "text", None) or "")
        if len(batch) >= BATCH_RECORDS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def manifests(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the manifests of the raw folders."""
    return [raw_manifest(folder) for folder in folders]


class _Sentences:
    """Labelled sentences: tokens change one by one, so that tags stay with them."""

    def __init__(self, intake: Intake) -> None:
        ledger, params = intake.ledger, intake.params
        self._intake = intake
        self._read = ledger.rule("read")
        changes = [] if params.intact else _inline(params.normalise)
        self._changes = [(ledger.rule(name), step) for name, step in changes]
        names = [] if params.intact else ["unlabelled", "empty_token", "too_short"]
        if params.filters.languages and not params.intact:
            names.append("language")
        self._rules = {name: ledger.rule(name) for name in names}
        self._held = ledger.rule("held_out") if intake.held_out else None

    def read(self, folder: Path) -> Iterator[Labelled]:
        return raw_labelled(folder)

    def finish(self) -> None:
        """Do nothing: no sentence waits."""

    def take(self, record: Labelled, identity: str) -> None:
        tokens = list(record.tokens)
        size = _size(tokens)
        self._read.pass_on(size, size)
        for rule, step in self._changes:
            changed = _each(tokens, step)
            after = size if changed == tokens else _size(changed)
            rule.pass_on(size, after)
            tokens, size = changed, after
        ledger, text = self._intake.ledger, " ".join(tokens)
        for named, detail in self._losses(record, tokens, text):
            if detail:
                ledger.drop(named, identity, size, detail)
                return
            named.pass_on(size, size)
        row = {
            "id": identity,
            "tokens": tokens,
            "tags": record.tags,
            "lemmas": record.lemmas,
            "feats": record.feats,
            "source": record.source,
            "document": record.document,
        }
        self._intake.spool.append(row, size)

    def _losses(self, record: Labelled, tokens: list[str], text: str) -> Iterator[tuple[Rule, str]]:
        settings, rules = self._intake.params.filters, self._rules
        if not self._intake.params.intact:
            bare = next((tag for tag in record.tags if tag in ("", "_")), None)
            yield rules["unlabelled"], "" if bare is None and tokens else f"tag {bare!r}"
            filled = all(token.strip() for token in tokens)
            yield rules["empty_token"], "" if filled else "empty after changes"
            short = len(tokens) < settings.min_words
            yield rules["too_short"], f"{len(tokens)} tokens" if short else ""
        if "language" in rules:
            evidence = settings.language_evidence_nats
            found = filters.other_language(text, settings.languages, evidence)
            yield rules["language"], "" if found == "und" else found
        held = self._intake.held_out
        if held is not None and self._held is not None:
            yield self._held, text[:80] if held.spans(text) else ""


class _Pairs:
    """Pairs of texts: both sides change alike, and a pair is dropped whole."""

    def __init__(self, intake: Intake) -> None:
        ledger, params = intake.ledger, intake.params
        self._intake = intake
        self._read = ledger.rule("read")
        steps = [*_inline(params.normalise), ("blanks", _tidied(params.pairs.lines == "keep"))]
        if params.filters.private != "keep":
            redact = params.filters.private == "redact"
            kinds = params.filters.private_types
            steps.append(("private", lambda text: filters.private(text, redact, kinds)))
        names: Sequence[str] = bitext.RULES
        if params.intact:
            steps, names = [], []
        self._steps = [(ledger.rule(name), step) for name, step in steps]
        self._spoken = (params.pairs.source_language, params.pairs.target_language)
        self._rules = {name: ledger.rule(name) for name in names}
        self._held = ledger.rule("held_out") if intake.held_out else None

    def read(self, folder: Path) -> Iterator[Pair]:
        pairs = raw_pairs(folder)
        return pairs if self._intake.params.intact else alignment.placed(pairs)

    def finish(self) -> None:
        """Do nothing: no pair waits."""

    def take(self, record: Pair, identity: str) -> None:
        sides = (record.source_text, record.target_text)
        size, ledger = _size(sides), self._intake.ledger
        self._read.pass_on(size, size)
        for rule, step in self._steps:
            changed = [self._change(step, *side) for side in zip(sides, self._spoken, strict=True)]
            dropped = next((side for side in changed if isinstance(side, Drop)), None)
            if dropped is not None:
                ledger.drop(rule, identity, size, dropped.detail)
                return
            whole = (str(changed[0]), str(changed[1]))
            after = size if whole == sides else _size(whole)
            rule.pass_on(size, after)
            sides, size = whole, after
        counts = self._counts(identity, sides, getattr(record, "shift", 0))
        for rule, detail in chain(self._losses(counts), self._seen(*sides)):
            if detail:
                ledger.drop(rule, identity, size, detail)
                return
            rule.pass_on(size, size)
        row: Record = {"id": identity, "source_text": sides[0], "target_text": sides[1]}
        if references := self._changed(record.references):
            row["references"] = references
        self._intake.spool.append(row | {"source": record.source}, size)

    @staticmethod
    def _change(step: Step, text: str, language: str) -> str | Drop:
        """Return one side after a step; a sentence of French may look like x-system Esperanto."""
        return text if step is encodings.x_to_unicode and language not in ESPERANTO else step(text)

    def _changed(self, references: Sequence[str]) -> list[str]:
        """Return further references, changed as the sides are; an empty one is left out."""
        found = []
        for text in references:
            for _, step in self._steps:
                changed = self._change(step, text, self._spoken[1])
                text = "" if isinstance(changed, Drop) else str(changed)
            found += [text] if text else []
        return found

    def _losses(self, counts: dict[str, int]) -> Iterator[tuple[Rule, str]]:
        for name, detail in bitext.judge(counts, self._intake.params.pairs) if counts else ():
            yield self._rules[name], detail

    def _counts(self, identity: str, sides: tuple[str, str], shift: int) -> dict[str, int]:
        """Return what the rules ask about a pair; keep it where scores are kept."""
        params = self._intake.params
        if params.intact:
            return {}
        pair = bitext.Counted(*sides, shift)
        counts = bitext.count(pair, params.pairs, params.filters.language_evidence_nats)
        if params.filters.scores:
            self._intake.spool.scores.append([identity, *counts.values()])
        return counts

    def _seen(self, source: str, target: str) -> Iterator[tuple[Rule, str]]:
        held = self._intake.held_out
        if held is not None and self._held is not None:
            hit = next((text for text in (source, target) if held.spans(text)), "")
            yield self._held, hit[:80]


def _inline(settings: Normalise) -> list[tuple[str, Step]]:
    """Return the changes that keep the number of tokens and lines."""
    kept = {"mojibake", "line_ends", "controls", "unicode_form", "x_system"}
    return [(name, step) for name, step in filters.changes(settings) if name in kept]


def _tidied(keep_lines: bool) -> Step:
    """Return the step that makes runs of blanks one space, line breaks among them or not."""
    if not keep_lines:
        return lambda text: " ".join(text.split())
    return lambda text: "\n".join(filter(None, (" ".join(row.split()) for row in text.split("\n"))))


def _each(tokens: Sequence[str], step: Step) -> list[str]:
    """Apply a step to every token; x-system is judged on the whole sentence."""
    if step is encodings.x_to_unicode:
        respelt = encodings.x_to_unicode("\n".join(tokens)).split("\n")
        return respelt if len(respelt) == len(tokens) else list(tokens)
    return [token if isinstance(out := step(token), Drop) else out for token in tokens]


def _size(parts: Sequence[str]) -> Size:
    return Size(1, sum(map(len, parts)), sum(map(count_tokens, parts)))


def texts_of(record: Record) -> tuple[str, ...]:
    """Return the texts of a spooled record: one, or both sides of a pair."""
    if "tokens" in record:
        return (" ".join(record["tokens"]),)
    if "text" in record:
        return (record["text"],)
    return record["source_text"], record["target_text"]
