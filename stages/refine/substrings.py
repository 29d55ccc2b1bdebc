"""Spans of many words or bytes that stand in the corpus before: listed, cut out, or dropped with.

The kept texts lie behind one another in a file of the scratch folder, as bytes and, where words
are counted, as their hashes; both are mapped, so memory holds only samples of them
(`stages.lm.repeats`). First comes first: what stands nowhere before always stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.lm import repeats, tables
from stages.lm.kernels import wordplaces
from stages.lm.kernels.text import Texts
from stages.refine.contamination import in_characters, sentences, union
from stages.refine.settings import Substrings
from stages.refine.shingled import Reader, batches

RULE = "repeated_spans"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("begin_byte", pa.int64()),
        ("end_byte", pa.int64()),
        ("words", pa.int64()),
        ("first_id", pa.string()),
        ("first_begin_byte", pa.int64()),
        ("excerpt", pa.string()),
    ]
)
EXCERPT = 80
_WORD = re.compile(r"\w+")
Rows = NDArray[np.int64]


@dataclass
class Found:
    """Spans by rows (document, begin, end, first document, its begin, words), places in bytes.

    Documents are numbered as `kept` is; rows ascend.
    """

    texts: Texts
    rows: Rows

    def of(self, document: int) -> Rows:
        """Return the rows of one document."""
        first, stop = np.searchsorted(self.rows[:, 0], [document, document + 1])
        return self.rows[first:stop]


def find(
    kept: Sequence[int], lengths: Rows, reader: Reader, settings: Substrings, scratch: Path,
    threads: int = 1,
) -> Found:  # fmt: skip
    """Return all spans of kept documents that stand before."""
    scratch.mkdir(parents=True, exist_ok=True)
    offsets, bounds = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]
    by_words = settings.unit == "words"
    with (scratch / "texts").open("wb") as text, (scratch / "words").open("wb") as words:
        for numbers in batches(np.asarray(kept, np.int64), lengths):
            texts = reader(numbers)
            text.write(texts.data.tobytes())
            offsets.append(offsets[-1][-1] + texts.offsets[1:])
            if by_words:
                found = wordplaces.words(texts, fold=False)
                words.write(found.hashes.tobytes())
                bounds.append(bounds[-1][-1] + found.bounds[1:])
    whole = Texts(_mapped(scratch / "texts", np.uint8), np.concatenate(offsets))
    if not by_words:
        rows = repeats.spans(whole, settings.length, earlier=True, threads=threads)
        return Found(whole, _placed(repeats.firsts(rows), whole.offsets))
    hashes, ends = _mapped(scratch / "words", np.uint64), np.concatenate(bounds)
    rows = repeats.word_spans(hashes, ends, settings.length, earlier=True, threads=threads)
    return Found(whole, _in_bytes(_placed(repeats.firsts(rows), ends), whole))


def _mapped(path: Path, kind: Any) -> NDArray[Any]:
    size = path.stat().st_size
    return np.asarray(np.memmap(path, kind, "r")) if size else np.zeros(0, kind)


def _placed(rows: Rows, bounds: Rows) -> Rows:
    """Return rows (document, begin, end, first document, its begin, 0), places within each."""
    own = np.searchsorted(bounds, rows[:, 0], side="right") - 1
    other = np.searchsorted(bounds, rows[:, 2], side="right") - 1
    begins, ends = rows[:, 0] - bounds[own], rows[:, 1] - bounds[own]
    return np.stack([own, begins, ends, other, rows[:, 2] - bounds[other], np.zeros_like(own)], 1)


def _in_bytes(rows: Rows, texts: Texts) -> Rows:
    """Turn numbers of words into places in bytes."""
    made = rows.copy()
    held: dict[int, Rows] = {}

    def places(document: int) -> Rows:
        if document not in held:
            if len(held) >= 1024:
                held.clear()
            part = texts.part(document, document + 1)
            held[document] = wordplaces.words(part, fold=False).places
        return held[document]

    for row in made:
        document, begin, end, first, start, _ = row.tolist()
        own = places(document)
        row[1:] = own[begin, 0], own[end - 1, 1], first, places(first)[start, 0], end - begin
    return made


def left(found: Found, settings: Substrings) -> Iterator[tuple[int, str]]:
    """Yield documents (by place in `kept`) that lose something by a cut, with what is left."""
    for document in np.unique(found.rows[:, 0]).tolist():
        data = found.texts.bytes_at(document)
        ranges = union(found.of(document)[:, 1:3].tolist())
        text = data.decode("utf-8", "surrogatepass")
        cuts = list(snapped(text, in_characters(data, ranges), settings.boundaries))
        if cuts:
            yield document, without(text, cuts)


def snapped(
    text: str, ranges: Sequence[tuple[int, int]], boundaries: str
) -> Iterator[tuple[int, int]]:
    """Yield of each range the part that begins and ends at boundaries, if there is some."""
    if boundaries == "character":
        yield from ranges
        return
    units = list(sentences(text)) if boundaries == "sentence" else []
    for begin, end in ranges:
        if boundaries == "sentence":
            inside = [(a, b) for a, b in units if begin <= a and b <= end]
            yield from union(inside)
            continue
        while 0 < begin < end and not _begins(text, begin):
            begin += 1
        while begin < end < len(text) and _inside(text, end):
            end -= 1
        if begin < end:
            while end < len(text) and not (text[end].isspace() or _WORD.match(text[end])):
                end += 1  # marks behind the last word go with it
            yield begin, end


def _inside(text: str, at: int) -> bool:
    """Return whether a place lies within a word."""
    return bool(_WORD.match(text[at - 1]) and _WORD.match(text[at]))


def _begins(text: str, at: int) -> bool:
    """Return whether a word may begin at a place, with marks in front of it."""
    return text[at - 1].isspace() or bool(_WORD.match(text[at]) and not _WORD.match(text[at - 1]))


def without(text: str, cuts: Sequence[tuple[int, int]]) -> str:
    """Return a text without ranges; of equal blanks that meet one stays, and none at its ends."""
    made, at = "", 0
    for begin, end in [*cuts, (len(text), len(text))]:
        part = text[at:begin]
        if made and part and made[-1].isspace() and part[0] == made[-1]:
            part = part[1:]
        made, at = made + part, end
    made = made.lstrip() if cuts[0][0] == 0 else made
    return made.rstrip() if cuts[-1][1] == len(text) else made


def dropped(found: Found, settings: Substrings) -> dict[int, tuple[int, int]]:
    """Return documents that go: by place in `kept`, bytes that stand before and a first document.

    What counts stands in another document that stays, so nothing goes with its last copy.
    """
    gone: dict[int, tuple[int, int]] = {}
    sizes = np.diff(found.texts.offsets)
    for document in np.unique(found.rows[:, 0]).tolist():
        rows = [
            row for row in found.of(document).tolist() if row[3] != document and row[3] not in gone
        ]
        size = sum(end - begin for begin, end in union([row[1:3] for row in rows]))
        if size > settings.max_fraction * int(sizes[document]):
            gone[document] = (size, rows[0][3])
    return gone


def write(path: Path, found: Found, identities: Sequence[str]) -> None:
    """Write the table of spans; `identities` by place in `kept`."""
    columns: list[list[Any]] = [[] for _ in SCHEMA]
    for document, begin, end, first, start, words in found.rows.tolist():
        data = found.texts.bytes_at(document)[begin : min(end, begin + 4 * EXCERPT)]
        excerpt = data.decode("utf-8", "ignore")[:EXCERPT]
        values = (identities[document], begin, end, words, identities[first], start, excerpt)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    tables.write_table(path, pa.table(arrays, schema=SCHEMA))


def summary(found: Found, settings: Substrings) -> dict[str, Any]:
    """Return substrings.json."""
    documents = np.unique(found.rows[:, 0]).tolist()
    return {
        "method": settings.model_dump(mode="json"),
        "spans": len(found.rows),
        "documents": len(documents),
        "bytes": sum(
            end - begin
            for document in documents
            for begin, end in union(found.of(document)[:, 1:3].tolist())
        ),
        "longest_bytes": int((found.rows[:, 2] - found.rows[:, 1]).max(initial=0)),
    }
