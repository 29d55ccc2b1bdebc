"""Which words keep company with which terms: documents that hold both, counted once each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from stages.lm.kernels.compiled import fills, kernel, reads
from stages.lm.kernels.vocabulary import OTHER, Numbered


class Terms(NamedTuple):
    """Terms of one or more words, in the numbers of a vocabulary, found by their first word.

    Term t is ids[offsets[t] : offsets[t + 1]] and counts for row rows[t]; `head` [V] names the
    first term that a word begins, `after` [T] the next one that begins alike; -1 is none.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    rows: NDArray[np.int32]
    head: NDArray[np.int32]
    after: NDArray[np.int32]


def terms(numbers: Sequence[tuple[int, Sequence[int]]], vocabulary: int) -> Terms:
    """Return terms, given as (row, numbers of words), ready to be found; unknown ones never are."""
    known = [(row, ids) for row, ids in numbers if ids and OTHER not in ids]
    head, after = np.full(max(1, vocabulary), -1, np.int32), np.full(len(known), -1, np.int32)
    for place, (_, ids) in enumerate(known):
        after[place], head[ids[0]] = head[ids[0]], place
    return Terms(
        np.array([one for _, ids in known for one in ids], np.int32),
        np.concatenate([[0], np.cumsum([len(ids) for _, ids in known])]).astype(np.int64),
        np.array([row for row, _ in known], np.int32),
        head,
        after,
    )


@kernel(
    types.void, reads(types.int32), reads(types.int64), reads(types.int32), reads(types.int64),
    reads(types.int32), reads(types.int32), reads(types.int32), reads(types.int32),
    fills(types.int64, 2), fills(types.int64), fills(types.int64), fills(types.int64),
    fills(types.boolean, 2),
)  # fmt: skip
def _together(
    ids: Any, bounds: Any, term_ids: Any, term_offsets: Any, rows: Any, head: Any, after: Any,
    column: Any, table: Any, holders: Any, columns: Any, seen: Any, present: Any,
) -> None:  # fmt: skip
    """Add to `table` [R, K], `holders` [R] and `columns` [K], in how many documents each word is.

    `present` [D, R] gets which rows each document has.

    `column` [V] is a word's column or -1; `seen` [K] is room.
    """
    seen[:] = -1
    for document in range(len(bounds) - 1):
        first, stop = bounds[document], bounds[document + 1]
        any_row = False
        for at in range(first, stop):
            term = head[ids[at]] if ids[at] >= 0 else -1
            while term >= 0:
                begin, size = term_offsets[term], term_offsets[term + 1] - term_offsets[term]
                same = 1
                while same < size and at + same < stop and ids[at + same] == term_ids[begin + same]:
                    same += 1
                if same == size and not present[document, rows[term]]:
                    present[document, rows[term]] = True
                    holders[rows[term]] += 1
                    any_row = True
                term = after[term]
        for at in range(first, stop):
            place = column[ids[at]] if ids[at] >= 0 else -1
            if place >= 0 and seen[place] != document:
                seen[place] = document
                columns[place] += 1
                if not any_row:
                    continue
                for row in range(table.shape[0]):
                    if present[document, row]:
                        table[row, place] += 1


class Company:
    """Counts of documents that hold a row's term and a word; rows may have several terms."""

    def __init__(self, found: Terms, rows: int, column: NDArray[np.int32]) -> None:
        width = int(column.max(initial=-1)) + 1
        self.table = np.zeros((rows, width), np.int64)
        self.holders = np.zeros(rows, np.int64)
        self.columns = np.zeros(width, np.int64)
        self._terms, self._column = found, column
        self._seen = np.zeros(width, np.int64)

    def add(self, documents: Numbered) -> NDArray[np.bool_]:
        """Count documents; returns which rows each of them has, `[D, R]`."""
        present = np.zeros((len(documents.offsets) - 1, len(self.holders)), np.bool_)
        one = self._terms
        _together(
            documents.ids, documents.offsets, one.ids, one.offsets, one.rows, one.head, one.after,
            self._column, self.table, self.holders, self.columns, self._seen, present,
        )  # fmt: skip
        return present


def reference(
    documents: Sequence[Sequence[int]], numbers: Sequence[tuple[int, Sequence[int]]],
    rows: int, column: Sequence[int],
) -> tuple[list[list[int]], list[int], list[int]]:  # fmt: skip
    """Return the table, the holders and the columns that `Company` counts, by sets."""
    width = max(column, default=-1) + 1
    table, holders, columns = [[0] * width for _ in range(rows)], [0] * rows, [0] * width
    for words in documents:
        has = {
            row
            for row, ids in numbers
            if ids and OTHER not in ids
            for at in range(len(words))
            if list(words[at : at + len(ids)]) == list(ids)
        }
        held = {column[word] for word in words if word >= 0 and column[word] >= 0}
        for place in held:
            columns[place] += 1
        for row in has:
            holders[row] += 1
            for place in held:
                table[row][place] += 1
    return table, holders, columns
