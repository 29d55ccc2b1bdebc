"""What the first pass takes from some records, held apart until it is entered: a part of its work.

The workers of `intake` write to ledger, spool and held-out text as they go. While a part is made
these are fresh ones; afterwards the part's sums, losses and documents are entered in the real
ones, in order, whether the part was made now or kept by a run that was killed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import zstandard

from stages.refine.contamination import HeldOut
from stages.refine.ledger import Ledger, Size
from stages.refine.rows import LEVEL
from stages.refine.spool import Spool

Row = dict[str, Any]


@dataclass
class Takings:
    """A part: by rule what entered and left, the losses, the documents kept, the items found, and
    rows of scores and languages."""

    rules: list[list[int]] = field(default_factory=list)
    losses: list[tuple[str, str, str]] = field(default_factory=list)
    documents: list[tuple[Row, tuple[int, int, int]]] = field(default_factory=list)
    hit: list[int] = field(default_factory=list)
    scores: list[list[Any]] = field(default_factory=list)
    languages: list[list[Any]] = field(default_factory=list)
    permits: list[list[Any]] = field(default_factory=list)
    safety: list[list[Any]] = field(default_factory=list)
    records: int = 0

    def append(self, record: Row, size: Size) -> None:
        """Take a document, as the spool would."""
        self.documents.append((record, (size.documents, size.characters, size.tokens)))

    def lose(self, identity: str, rule: str, detail: str) -> None:
        """Take a loss, as the table of losses would."""
        self.losses.append((identity, rule, detail))

    def dump(self) -> bytes:
        """Return the part as packed bytes; texts may hold lone surrogates."""
        text = json.dumps(vars(self), ensure_ascii=False).encode("utf-8", "surrogatepass")
        return zstandard.ZstdCompressor(level=LEVEL).compress(text)

    @classmethod
    def load(cls, data: bytes) -> Takings:
        """Return a part from its bytes."""
        text = zstandard.ZstdDecompressor().decompress(data)
        return cls(**json.loads(text.decode("utf-8", "surrogatepass")))


def gather(ledger: Ledger, held: HeldOut | None, work: Callable[[Takings], int]) -> Takings:
    """Return what `work` takes; ledger and held-out text are afterwards as they were."""
    taken = Takings()
    before, lose = ledger.sums(), ledger.losing(taken.lose)
    ledger.add([[0] * len(row) for row in before], anew=True)
    hit = held.hit if held is not None else set()
    if held is not None:
        held.hit = set()
    try:
        taken.records = work(taken)
        taken.rules = ledger.sums()
        taken.hit = sorted(held.hit) if held is not None else []
    finally:
        ledger.add(before, anew=True)
        ledger.losing(lose)
        if held is not None:
            held.hit = hit
    return taken


def enter(taken: Takings, ledger: Ledger, held: HeldOut | None, spool: Spool) -> None:
    """Enter a part."""
    ledger.add(taken.rules)
    for loss in taken.losses:
        ledger.told(*loss)
    for record, size in taken.documents:
        spool.append(record, Size(*size))
    spool.scores += taken.scores
    spool.languages += taken.languages
    spool.permits += taken.permits
    spool.safety += taken.safety
    if held is not None:
        held.hit.update(taken.hit)
