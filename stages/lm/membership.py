"""Is this text in a corpus: exactly, in part, nearly; which document, and where in it.

Nothing is indexed: a corpus folder is scanned by kernels over its Parquet buffers, at some hundred
megabytes per second, one row group in memory at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.lm import signatures, tables
from stages.lm.kernels import wordplaces
from stages.lm.kernels.text import Texts, of_arrow, of_strings
from stages.lm.kernels.wordplaces import Words

LEAST_WORDS = 8
"""Words in a row that count as a passage; texts of fewer are looked for whole."""
NGRAM, LANES = 5, 128
"""Words of a shingle, and lanes of a signature, where documents are compared."""
NEAR = 0.5
"""Estimated Jaccard similarity from which a document is told as near."""
MOST = 5
"""Documents told per text."""
BATCH_ROWS = 2048
COLUMNS = {"text": ("text",), "parallel": ("source_text", "target_text"), "labelled": ("tokens",)}


class Asked(NamedTuple):
    """A text that is looked for: its bytes, words, and the runs by which it is found."""

    data: bytes
    words: Words
    ngram: int
    runs: Any
    signature: Any


class Passage(NamedTuple):
    """Words begin .. end - 1 of a text stand in a document, at a byte offset of its text."""

    begin: int
    end: int
    row: dict[str, Any]
    exact: bool


def search(folder: Path, texts: Sequence[str], least_words: int = LEAST_WORDS) -> list[Any]:
    """Return for each text what a corpus folder holds of it.

    An answer says `found` (`exact`: every byte, blanks around it apart; `words`: every word up to
    letter case and what stands between; `part`, `near` or `no`), the documents that hold all of
    it, the passages of at least `least_words` words that stand in some document, the share of
    words that these cover, and near documents by estimated Jaccard similarity.
    """
    about = json.loads((folder / "corpus.json").read_text("utf-8"))
    asked = [_asked(text, least_words) for text in texts]
    passages: list[list[Passage]] = [[] for _ in asked]
    near: list[list[dict[str, Any]]] = [[] for _ in asked]
    groups: dict[int, list[int]] = {}
    for number, one in enumerate(asked):
        if one.ngram:
            groups.setdefault(one.ngram, []).append(number)
    lookups = {ngram: _lookup(asked, numbers) for ngram, numbers in groups.items()}
    for rows, column in _batches(folder, about["kind"]):
        words = wordplaces.words(column, fold=True)
        for ngram, (keys, owners) in lookups.items():
            _collect(asked, passages, ngram, keys, owners, words, column, rows)
        _verbatim(asked, passages, column, rows)
        _compare(asked, near, column, rows)
    licences = about.get("licences", [])
    return [
        _answer(one, own, alike, licences)
        for one, own, alike in zip(asked, passages, near, strict=True)
    ]


def _asked(text: str, least_words: int) -> Asked:
    given = of_strings([text.strip()])
    words = wordplaces.words(given, fold=True)
    ngram = min(least_words, len(words.hashes))
    signed = signatures.sign(given, "fast", LANES, ngram=NGRAM)
    return Asked(
        given.data.tobytes(),
        words,
        ngram,
        wordplaces.run_hashes(words.hashes, ngram) if ngram else None,
        signed.signatures[0] if signed.sizes[0] else None,
    )


def _lookup(asked: Sequence[Asked], numbers: Sequence[int]) -> Any:
    """Return the table of these texts' runs, and whose each is: (text, first word)."""
    owners: dict[int, list[tuple[int, int]]] = {}
    for number in numbers:
        for place, key in enumerate(asked[number].runs.tolist()):
            owners.setdefault(key, []).append((number, place))
    keys = np.fromiter(owners, np.uint64, len(owners))
    return wordplaces.table(keys), list(owners.values())


def _batches(folder: Path, kind: str) -> Iterator[tuple[Any, Texts]]:
    """Yield rows of a corpus and their texts: (of row i: split, id, source, side), texts."""
    import pyarrow.compute as pc

    for split in ("train", "valid", "test"):
        if not any(folder.glob(f"{split}-[0-9]*.parquet")):
            continue
        wanted = ["id", "source", *COLUMNS[kind]]
        for batch in tables.iter_batches(folder, split, wanted, batch_rows=BATCH_ROWS):
            for side in COLUMNS[kind]:
                column = batch.column(side)
                if side == "tokens":
                    column = pc.binary_join(column, " ")
                yield (split, batch.column("id"), batch.column("source"), side), of_arrow(column)


def _collect(
    asked: Sequence[Asked], passages: list[list[Passage]], ngram: int, keys: Any, owners: Any,
    words: Words, column: Texts, rows: Any,
) -> None:  # fmt: skip
    """Add the longest passages that these documents share with the texts."""
    going: dict[tuple[int, int], list[int]] = {}
    done: list[list[int]] = []
    for first, key in wordplaces.find(words, ngram, keys).tolist():
        for number, place in owners[key]:
            # A passage goes on where text and document move on together, one word at a time.
            run = going.get((number, first - place))
            if run is not None and run[3] == first + ngram - 1:
                run[3] = first + ngram
                continue
            if run is not None:
                done.append(run)
            going[number, first - place] = [number, first, place, first + ngram]
    for number, first, place, stop in [*done, *going.values()]:
        found = _passage(asked[number], first, place, stop - first, words, column, rows)
        passages[number].append(found)


def _passage(
    own: Asked, first: int, place: int, count: int, words: Words, column: Texts, rows: Any
) -> Passage:
    """Return `count` words from word `place` of a text and word `first` of the documents on."""
    document = int(np.searchsorted(words.bounds, first, side="right")) - 1
    begin, end = int(words.places[first, 0]), int(words.places[first + count - 1, 1])
    begins, ends = own.words.places[:, 0], own.words.places[:, 1]
    # Marks around the whole text belong to it.
    left = int(begins[place]) if place else 0
    right = int(ends[place + count - 1]) if place + count < len(ends) else len(own.data)
    at = begin - (int(begins[place]) - left)
    start, stop = int(column.offsets[document]), int(column.offsets[document + 1])
    verbatim = own.data[left:right]
    exact = start <= at and at + len(verbatim) <= stop
    exact = exact and column.data[at : at + len(verbatim)].tobytes() == verbatim
    split, ids, sources, side = rows
    row = {
        "split": split,
        "id": ids[document].as_py(),
        "source": sources[document].as_py(),
        "column": side,
        "offset_bytes": (at if exact else begin) - start,
        "size_bytes": len(verbatim) if exact else end - begin,
    }
    return Passage(place, place + count, row, exact)


def _verbatim(
    asked: Sequence[Asked], passages: list[list[Passage]], column: Texts, rows: Any
) -> None:
    """Add a place that holds a text byte for byte, though its ends are no ends of words."""
    haystack = b""
    split, ids, sources, side = rows
    for one, own in zip(asked, passages, strict=True):
        total = len(one.words.hashes)
        if not one.data or any(found.exact and found.end - found.begin == total for found in own):
            continue
        haystack = haystack or column.data.tobytes()
        at = haystack.find(one.data)
        while at >= 0:
            document = int(np.searchsorted(column.offsets, at, side="right")) - 1
            if at + len(one.data) <= column.offsets[document + 1]:
                row = {
                    "split": split,
                    "id": ids[document].as_py(),
                    "source": sources[document].as_py(),
                    "column": side,
                    "offset_bytes": at - int(column.offsets[document]),
                    "size_bytes": len(one.data),
                }
                own.append(Passage(0, total, row, True))
                break
            at = haystack.find(one.data, at + 1)


def _compare(
    asked: Sequence[Asked], near: list[list[dict[str, Any]]], column: Texts, rows: Any
) -> None:
    """Add documents whose signatures are like the texts'."""
    if all(one.signature is None for one in asked):
        return
    signed = signatures.sign(column, "fast", LANES, ngram=NGRAM)
    split, ids, sources, side = rows
    for one, own in zip(asked, near, strict=True):
        if one.signature is None:
            continue
        alike = (signed.signatures == one.signature).mean(axis=1)
        for place in np.flatnonzero((alike >= NEAR) & (signed.sizes > 0)).tolist():
            own.append(
                {
                    "split": split,
                    "id": ids[place].as_py(),
                    "source": sources[place].as_py(),
                    "column": side,
                    "estimated_jaccard": round(float(alike[place]), 4),
                }
            )


def _answer(
    one: Asked, passages: list[Passage], near: list[dict[str, Any]], licences: list[str]
) -> dict[str, Any]:
    total = len(one.words.hashes)
    whole = [found for found in passages if found.end - found.begin == total]
    whole.sort(key=lambda found: not found.exact)
    covered = np.zeros(total, bool)
    places: dict[tuple[int, int], list[Passage]] = {}
    for found in passages:
        covered[found.begin : found.end] = True
        places.setdefault((found.begin, found.end), []).append(found)
    longest = sorted(places, key=lambda place: (place[0] - place[1], place[0]))
    kept: list[tuple[int, int]] = []
    for place in longest:
        if not any(other[0] <= place[0] and place[1] <= other[1] for other in kept):
            kept.append(place)
    near.sort(key=lambda row: -row["estimated_jaccard"])
    kind = "part" if passages else "near" if near else "no"
    if whole:
        kind = "exact" if whole[0].exact else "words"
    return {
        "found": kind,
        "licences": licences,
        "documents": [{**found.row, "exact": found.exact} for found in whole[:MOST]],
        "documents_count": len(whole),
        "covered_words": int(covered.sum()),
        "words": total,
        "passages": [
            {
                "text": _between(one, *place),
                "words": place[1] - place[0],
                "times": len(places[place]),
                **places[place][0].row,
                "exact": places[place][0].exact,
            }
            for place in sorted(kept)
        ]
        if not whole
        else [],
        "near": near[:MOST],
    }


def _between(one: Asked, begin: int, end: int) -> str:
    first, last = int(one.words.places[begin, 0]), int(one.words.places[end - 1, 1])
    return one.data[first:last].decode("utf-8", "replace")
