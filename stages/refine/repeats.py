"""Paragraphs and lines that stood in the corpus before: taken out, in reading order.

A rule reads the kept documents in their order, lets the first so many copies of a piece stand and
takes later ones out, whichever document they are in. Pieces are equal up to letter case and blanks;
short ones (`min_copied_characters`) are greetings, names and numbers and are never counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.lm.kernels import copies
from stages.lm.kernels.equality import keyed
from stages.lm.kernels.text import Texts
from stages.refine.ledger import Ledger, Size, measure
from stages.refine.shingled import Reader, batches
from stages.refine.spool import Spool

Unit = Literal["paragraphs", "lines"]
RULES: dict[Unit, str] = {
    "paragraphs": "duplicate_paragraphs",
    "lines": "duplicate_lines",
}


def without(
    unit: Unit,
    most: int,
    least: int,
    kept: Sequence[int],
    lengths: NDArray[np.int64],
    reader: Reader,
    threads: int = 1,
) -> Iterator[tuple[int, str]]:
    """Yield the documents from which pieces go, with the text that is left, in order.

    `most` copies of a piece stand; pieces of fewer than `least` characters are left alone.
    """
    counted = copies.Copies()
    for numbers in batches(np.asarray(kept, np.int64), lengths):
        texts = reader(numbers)
        pieces, bounds = _cut(unit, texts, threads)
        keys, characters = keyed(pieces, threads)
        judged = np.flatnonzero(characters >= max(1, least))
        gone = np.zeros(len(keys), bool)
        gone[judged] = counted.count(keys[judged, 0]) >= most
        removed = np.concatenate([[0], np.cumsum(gone)])
        for at in np.flatnonzero(removed[bounds[1:]] > removed[bounds[:-1]]).tolist():
            left = [
                pieces.bytes_at(place)
                for place in range(bounds[at], bounds[at + 1])
                if not gone[place]
            ]
            yield int(numbers[at]), b"".join(left).decode("utf-8", "surrogatepass").strip("\n")


def _cut(unit: Unit, texts: Texts, threads: int) -> tuple[Texts, NDArray[np.int64]]:
    return copies.paragraphs(texts, threads) if unit == "paragraphs" else copies.lines(texts)


def enter(
    rule_name: str,
    changed: Iterator[tuple[int, str]],
    ledger: Ledger,
    spool: Spool,
    kept: Sequence[int],
    lowest: Callable[[Size], bool],
) -> list[int]:
    """Write what is left of changed documents into the spool and the ledger; return who stays.

    A document goes where nothing is left of it, or less than the filters ask (`lowest`).
    """
    rule = ledger.rule(rule_name)
    stays: list[int] = []
    following = next(changed, None)
    for number in kept:
        size = spool.size(number)
        if following is None or following[0] != number:
            rule.pass_on(size, size)
            stays.append(number)
            continue
        text = following[1]
        after = measure(text)
        if not text.strip() or lowest(after):
            ledger.drop(rule, str(spool[number]["id"]), size, f"{after.characters} characters left")
        else:
            spool.replace(number, {**spool[number], "text": text}, after)
            rule.pass_on(size, after)
            stays.append(number)
        following = next(changed, None)
    return stays
