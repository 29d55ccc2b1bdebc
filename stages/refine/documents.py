"""Documents in the first pass: what may be used, changes, filters, whoever judges in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.lm.records import Document, raw_documents
from stages.refine import filters, layout
from stages.refine.contamination import cut_spans
from stages.refine.filters import Drop, Step
from stages.refine.identified import Judge
from stages.refine.ledger import Ledger, Rule, Size, measure
from stages.refine.permitted import Permits
from stages.refine.ruled import Ruled, Waiting
from stages.refine.safety import Safety

if TYPE_CHECKING:
    from stages.refine.intake import Intake


class Texts:
    """Documents: text in, text out, perhaps in pieces; `folder` is where they are read from."""

    folder = Path()

    def __init__(self, intake: Intake) -> None:
        params = intake.params
        self._intake = intake
        self._read = intake.ledger.rule("read")
        self._permits = Permits.of(params.permitted, intake.lists, intake.ledger)
        changes = [] if params.intact else filters.changes(params.normalise)
        reasons = [] if params.intact else filters.reasons(params.filters)
        self._before = _rules(intake.ledger, changes)
        self._split: Callable[[str], list[str]] | None = None
        if params.documents != "record":
            self._split = layout.paragraphs if params.documents == "paragraph" else layout.lines
            self._pieces = intake.ledger.rule(f"{params.documents}s")
        self._after = _rules(intake.ledger, reasons)
        self._safety = Safety.of(params.permitted, intake.lists, intake.ledger)
        self._judge: Judge | None = None
        if params.identifier != "none":
            where = f"models/{params.identifier}"
            self._judge = Judge(
                params.identified, intake.identifier, intake.ledger, params.threads, where
            )
        self._ruled = None if params.intact else Ruled(params, intake.ledger)
        self._waiting: list[Waiting] = []
        self._held = intake.ledger.rule("held_out") if intake.held_out else None

    def read(self, folder: Path) -> Iterator[Document]:
        """Yield the documents of a raw folder."""
        return raw_documents(folder)

    def take(self, record: Document, identity: str) -> None:
        """Pass one document through the rules that judge it alone."""
        size = measure(record.text)
        self._read.pass_on(size, size)
        if self._permits and not self._permits.allow(
            record, identity, self.folder, size, self._intake.spool
        ):
            return
        passed = _through(self._before, self._intake.ledger, identity, record.text, size)
        if passed is None:
            return
        text, size = passed
        for name, piece, piece_size in self._cut(identity, text, size):
            kept = _through(self._after, self._intake.ledger, name, piece, piece_size)
            if kept is not None and (self._ruled or self._judge or self._safety):
                self._waiting.append(Waiting(name, kept[0], kept[1], record.source))
            elif kept is not None:
                self._keep(name, kept[0], kept[1], record.source)

    def finish(self) -> None:
        """Let identifier and rule sets judge what waits for them: documents are scored together."""
        waiting, self._waiting = self._waiting, []
        if self._safety:
            waiting = list(self._safety.judge(waiting, self._intake.spool))
        if self._judge:
            waiting = list(self._judge.judge(waiting, self._intake.spool.languages))
        if self._ruled and waiting:
            waiting = list(self._ruled.judge(waiting, self._intake.spool.scores))
        for one in waiting:
            self._keep(one.identity, one.text, one.size, one.source)

    def _cut(self, identity: str, text: str, size: Size) -> Iterator[tuple[str, str, Size]]:
        if self._split is None:
            yield identity, text, size
            return
        pieces = self._split(text)
        if not pieces:
            self._intake.ledger.drop(self._pieces, identity, size, "nothing but blanks")
            return
        sizes = [measure(piece) for piece in pieces]
        total = Size()
        for piece_size in sizes:
            total.add(piece_size)
        self._pieces.pass_on(size, total)
        for number, (piece, piece_size) in enumerate(zip(pieces, sizes, strict=True), start=1):
            yield f"{identity}#{number}", piece, piece_size

    def _keep(self, identity: str, text: str, size: Size, source: str) -> None:
        held, rule = self._intake.held_out, self._held
        if held is not None and rule is not None:
            spans = held.spans(text)
            cut = cut_spans(text, spans) if spans else text
            if spans and (held.settings.action == "drop" or not cut):
                detail = text[spans[0][0] : spans[0][1]].strip()[:80]
                self._intake.ledger.drop(rule, identity, size, detail)
                return
            after = measure(cut) if spans else size
            rule.pass_on(size, after)
            text, size = cut, after
        self._intake.spool.append({"id": identity, "text": text, "source": source}, size)


def _rules(ledger: Ledger, steps: Sequence[tuple[str, Step]]) -> list[tuple[Rule, Step]]:
    return [(ledger.rule(name), step) for name, step in steps]


def _through(
    steps: Sequence[tuple[Rule, Step]], ledger: Ledger, identity: str, text: str, size: Size
) -> tuple[str, Size] | None:
    """Pass a text through steps; None where one drops it."""
    for rule, step in steps:
        result = step(text)
        if isinstance(result, Drop):
            ledger.drop(rule, identity, size, result.detail)
            return None
        after = size if result is text or result == text else measure(result)
        rule.pass_on(size, after)
        text, size = result, after
    return text, size
