"""Evaluation text in training text: shared runs of words and whole sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import ArtifactError, CheckFailed
from stages.lm.kernels import wordplaces
from stages.lm.kernels.text import of_strings
from stages.lm.records import raw_documents, raw_files, raw_labelled, raw_pairs
from stages.refine.settings import Decontaminate

_SENTENCE = re.compile(r"[^\n.!?…]+(?:[.!?…]+[»”\"')\]]*|\n|$)")
EXAMPLES = 10
"""Found items of a set that are named."""
Ranges = list[tuple[int, int]]


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of sentences: up to `.`, `!`, `?`, an ellipsis or a line end."""
    for match in _SENTENCE.finditer(text):
        if match[0].strip():
            yield match.span()


class Keys:
    """Hashes of runs of words, each with the items that hold it, and their table."""

    def __init__(self) -> None:
        self._items: dict[int, list[int]] = {}
        self._table: wordplaces.Table | None = None
        self._owners: list[list[int]] = []

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, keys: Iterable[int], item: int) -> None:
        """Take the runs of an item."""
        for key in keys:
            own = self._items.setdefault(key, [])
            if not own or own[-1] != item:
                own.append(item)
        self._table = None

    def find(self, words: wordplaces.Words, ngram: int, *, whole: bool) -> NDArray[np.int64]:
        """Return rows (first word, key)."""
        if self._table is None:
            keys = np.fromiter(self._items, np.uint64, len(self._items))
            self._table, self._owners = wordplaces.table(keys), list(self._items.values())
        return wordplaces.find(words, ngram, self._table, whole=whole)

    def items(self, rows: NDArray[np.int64]) -> Iterator[int]:
        """Yield the items that hold what was found."""
        for key in np.unique(rows[:, 1]).tolist():
            yield from self._owners[key]


@dataclass
class HeldOut:
    """Word runs and sentences of the held-out texts, as 8-byte hashes, each with its items.

    An item is one held-out record of some set; `hit` collects the items that training text
    contained. `sets` are (name, number of the first item); `names` are the items' ids.
    """

    settings: Decontaminate
    runs: Keys = field(default_factory=Keys)
    whole: Keys = field(default_factory=Keys)
    sets: list[tuple[str, int]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    hit: set[int] = field(default_factory=set)

    @property
    def items(self) -> int:
        """Return how many items there are."""
        return len(self.names)

    def begin(self, name: str) -> None:
        """Begin another set."""
        self.sets.append((name, self.items))

    def add(self, *texts: str, name: str = "") -> None:
        """Take one held-out record of one text or several."""
        ngram, least = self.settings.ngram, self.settings.min_sentence_words
        words = wordplaces.words(of_strings(texts), fold=True)
        for first, stop in zip(words.bounds, words.bounds[1:], strict=False):
            if first == stop:
                continue  # A text without words.
            own, numbers = words.hashes[first:stop], words.sentences[first:stop]
            self.runs.add(wordplaces.run_hashes(own, ngram).tolist(), self.items)
            starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
            for begin, end in zip(starts, [*starts[1:], len(own)], strict=True):
                if end - begin >= least:
                    sentence = wordplaces.run_hashes(own[begin:end], end - begin)
                    self.whole.add(sentence.tolist(), self.items)
        self.names.append(name)

    def spans(self, text: str) -> Ranges:
        """Return the sentences of a text that share something with the held-out texts, in order.

        None where the stage is to fail: then only what was hit counts.
        """
        words = wordplaces.words(of_strings([text]), fold=True)
        found: Ranges = []
        for keys, size, whole in (
            (self.runs, self.settings.ngram, False),
            (self.whole, self.settings.min_sentence_words, True),
        ):
            rows = keys.find(words, size, whole=whole) if keys else np.zeros((0, 2), np.int64)
            if len(rows):
                self.hit.update(keys.items(rows))
                last = rows[:, 0] + (0 if whole else size - 1)
                begins, ends = words.places[rows[:, 0], 0], words.places[last, 1]
                found += zip(begins.tolist(), ends.tolist(), strict=True)
        if not found or self.settings.action == "fail":
            return []
        return _crossed(text, in_characters(_encoded(text), union(sorted(found))))

    def report(self) -> list[dict[str, Any]]:
        """Return of every set what it holds, what of it was found, and some of that by id."""
        ends = [first for _, first in self.sets[1:]] + [self.items]
        rows = []
        for (name, first), end in zip(self.sets, ends, strict=True):
            found = sorted(item for item in self.hit if first <= item < end)
            rows.append(
                {
                    "held_out": name,
                    "items": end - first,
                    "items_found": len(found),
                    "share_found": round(len(found) / max(1, end - first), 6),
                    "examples": [self.names[item] for item in found[:EXAMPLES]],
                }
            )
        return rows

    def check(self) -> None:
        """Raise CheckFailed if held-out text was found and the stage is to fail then."""
        if not self.hit or self.settings.action != "fail":
            return
        worst = max(self.report(), key=lambda row: row["items_found"])
        raise CheckFailed(
            f"{worst['items_found']} of {worst['items']} items of {worst['held_out']} stand in the"
            f" text, such as {', '.join(worst['examples'][:3])}",
            "refine: decontaminate.action is fail",
            "cut or drop them (action), take the source out, or evaluate on another set",
        )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _crossed(text: str, found: Sequence[tuple[int, int]]) -> Ranges:
    """Return the sentences that some range reaches into; ranges ascend and do not overlap."""
    crossed: Ranges = []
    at = 0
    for begin, end in sentences(text):
        while at < len(found) and found[at][1] <= begin:
            at += 1
        if at < len(found) and found[at][0] < end:
            crossed.append((begin, end))
    return crossed


def union(ranges: Iterable[Sequence[int]]) -> Ranges:
    """Return ranges, ascending, joined where they touch or overlap."""
    made: Ranges = []
    for begin, end in ranges:
        if made and begin <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((begin, end))
    return made


def in_characters(data: bytes, ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Turn places in UTF-8 into numbers of characters, inwards where one is in the middle."""
    continued = np.frombuffer(data, np.uint8) & 0xC0 == 0x80
    before = np.concatenate([[0], np.cumsum(~continued)])
    starts = np.concatenate([~continued, [True]])
    found = []
    for begin, end in ranges:
        last = int(before[end]) if starts[end] else int(before[end]) - 1
        found.append((int(before[begin]), last))
    return [(begin, end) for begin, end in found if begin < end]


def cut_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text without the spans."""
    parts, at = [], 0
    for start, stop in spans:
        parts.append(text[at:start])
        at = stop
    kept = "".join([*parts, text[at:]])
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" {2,}", " ", kept)).strip()


def held_out(folders: Sequence[tuple[str, Path]], settings: Decontaminate) -> HeldOut:
    """Read named held-out sets: valid and test of a corpus, or every text of a raw folder."""
    found = HeldOut(settings)
    for name, folder in folders:
        found.begin(name)
        if (folder / "corpus.json").is_file():
            records = _corpus_texts(folder)
        elif (folder / "manifest.json").is_file():
            records = _raw_texts(folder)
        else:
            raise ArtifactError(
                "the held-out folder holds neither corpus.json nor manifest.json",
                str(folder),
                "name an entry of refine (corpora/<key>) or of acquire (raw/<key>) that was made",
            )
        for identity, *texts in records:
            found.add(*texts, name=identity)
    return found


def _corpus_texts(folder: Path) -> Iterator[tuple[str, ...]]:
    from stages.lm import tables

    manifest = json.loads((folder / "corpus.json").read_text("utf-8"))
    columns = {"text": ["text"], "labelled": ["tokens"], "parallel": ["source_text", "target_text"]}
    wanted = columns[manifest["kind"]]
    for split in ("test", "valid"):
        for row in tables.iter_rows(folder, split, ["id", *wanted]):
            values = [row[name] for name in wanted]
            yield (
                row["id"],
                *(" ".join(one) if isinstance(one, list) else str(one) for one in values),
            )


def _raw_texts(folder: Path) -> Iterator[tuple[str, ...]]:
    kinds = {file.kind for file in raw_files(folder)}
    if "documents" in kinds:
        yield from ((document.id, document.text) for document in raw_documents(folder))
    if "labelled" in kinds:
        for sentence in raw_labelled(folder):
            yield sentence.id, sentence.text or " ".join(sentence.tokens)
    if "pairs" in kinds:
        for pair in raw_pairs(folder):
            yield pair.id, pair.source_text, pair.target_text
