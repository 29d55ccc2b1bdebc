"""Documents before lists of words: hits are counted as columns, and may drop a document.

Case does not count (Unicode case folding). `words` compares whole words as `\\w+` has them: an
entry of several words is met where they stand in a row, whatever signs and blanks are between.
`anywhere` compares characters. Hits may overlap; each entry counts each time it stands there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.lm.kernels.text import of_strings
from stages.lm.kernels.vocabulary import OTHER, Vocabulary
from stages.refine import listed
from stages.refine.ledger import Ledger
from stages.refine.permissions import Permitted, WordList
from stages.refine.ruled import Waiting

if TYPE_CHECKING:
    from stages.refine.spool import Spool
    from stages.refine.takings import Takings

RULE = "safety_words"
_WORD = re.compile(r"\w+")


class Found:
    """The hits of one list in some texts: `counts` int64 [D], and the first entry met of each."""

    def __init__(self, documents: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros(documents, np.int64)
        self.first = [""] * documents

    def add(self, document: int, entry: str, times: int = 1) -> None:
        """Count hits."""
        self.counts[document] += times
        self.first[document] = self.first[document] or entry


class Words:
    """A list of words and phrases, compared word by word."""

    def __init__(self, entries: Sequence[str]) -> None:
        split = {entry: _WORD.findall(entry) for entry in entries}
        self._vocabulary = Vocabulary()
        self._vocabulary.add(of_strings([" ".join(words) for words in split.values()]))
        self._after: dict[int, list[tuple[list[int], str]]] = {}
        for entry, words in split.items():
            numbers = [self._vocabulary.number(word) for word in words]
            self._after.setdefault(numbers[0], []).append((numbers, entry))

    def hits(self, texts: Sequence[str]) -> Found:
        """Return the hits in texts that are case-folded."""
        found = Found(len(texts))
        numbered = self._vocabulary.look(of_strings(texts))
        ids, bounds = numbered.ids, numbered.offsets
        places = np.flatnonzero(ids != OTHER)
        owners = np.searchsorted(bounds, places, side="right") - 1
        for place, document in zip(places.tolist(), owners.tolist(), strict=True):
            for numbers, entry in self._after.get(int(ids[place]), ()):
                stop = place + len(numbers)
                if stop <= bounds[document + 1] and ids[place:stop].tolist() == numbers:
                    found.add(document, entry)
        return found


class Anywhere:
    """A list of strings, found wherever they stand."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._entries = list(entries)

    def hits(self, texts: Sequence[str]) -> Found:
        """Return the hits in texts that are case-folded."""
        found = Found(len(texts))
        for number, text in enumerate(texts):
            for entry in self._entries:
                times = text.count(entry)
                if times:
                    found.add(number, entry, times)
        return found


def reference(entries: Sequence[str], text: str) -> int:
    """Return the hits of a list of words in a case-folded text."""
    words = _WORD.findall(text)
    split = [_WORD.findall(entry) for entry in entries]
    return sum(
        words[place : place + len(one)] == one for place in range(len(words)) for one in split
    )


def read(folder: Path, one: WordList) -> Words | Anywhere:
    """Return a list, case-folded; raises where it holds nothing to look for."""
    entries = dict.fromkeys(line.casefold() for _, line in listed.lines(folder, one.file))
    if one.match == "words":
        entries = dict.fromkeys(entry for entry in entries if _WORD.search(entry))
    if not entries:
        raise listed.empty(folder, one.file)
    return Words(list(entries)) if one.match == "words" else Anywhere(list(entries))


class Safety:
    """The word lists of an entry, as a rule."""

    def __init__(self, settings: Permitted, lists: Path, ledger: Ledger) -> None:
        self._settings, self._ledger = settings.words, ledger
        self._lists = [read(lists, one) for one in settings.words]
        self._rule = ledger.rule(RULE)

    @classmethod
    def of(cls, settings: Permitted, lists: Path, ledger: Ledger) -> Safety | None:
        """Return the rule, or None where no list is named."""
        return cls(settings, lists, ledger) if settings.words else None

    def judge(self, waiting: Sequence[Waiting], spool: Spool | Takings) -> Iterator[Waiting]:
        """Yield the documents that no list speaks against; keep the hits of all."""
        folded = [one.text.casefold() for one in waiting]
        found = [one.hits(folded) for one in self._lists]
        for number, one in enumerate(waiting):
            counts = [int(row.counts[number]) for row in found]
            against = [
                (settings.file, row.first[number], hits)
                for settings, row, hits in zip(self._settings, found, counts, strict=True)
                if settings.action == "drop" and hits >= settings.min_hits
            ]
            spool.safety.append([one.identity, *counts, not against])
            if against:
                file, entry, hits = against[0]
                detail = f"{file}: {hits} hit(s), first {entry!r:.40}"
                self._ledger.drop(self._rule, one.identity, one.size, detail)
            else:
                self._rule.pass_on(one.size, one.size)
                yield one


def schema(settings: Permitted) -> pa.Schema:
    """Return the columns of safety.parquet: a document's hits in every list."""
    hits = [(f"hits:{one.file}", pa.int64()) for one in settings.words]
    return pa.schema([("id", pa.string()), *hits, ("kept", pa.bool_())])


def summary(settings: Permitted, rows: Collection[Sequence[Any]]) -> list[Any]:
    """Return by list how many documents met it, with how many hits, and how many it dropped."""
    found = []
    for place, one in enumerate(settings.words, start=1):
        hits = [row[place] for row in rows]
        enough = sum(count >= one.min_hits for count in hits)
        told = {
            "file": one.file,
            "documents": len(hits),
            "documents_with_hits": sum(count > 0 for count in hits),
            "hits": sum(hits),
            "action": one.action,
            "documents_with_enough": enough,
        }
        found.append(told)
    return found
