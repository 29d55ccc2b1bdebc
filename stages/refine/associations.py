"""Which words keep company with chosen terms: nPMI per term, and how two terms differ.

Occurrence counts once per document: npmi(w, s) = ln(p(w, s) / (p(w) p(s))) / -ln p(w, s), where p
is documents that hold it over all documents. The bias of a word is npmi(w, s1) - npmi(w, s2):
positive is closer to s1 (Data Measurements Tool, huggingface.co/blog/data-measurements-tool).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.lm.kernels import company
from stages.lm.kernels.text import Texts, of_strings
from stages.lm.kernels.vocabulary import Vocabulary

MOST_COLUMNS = 200_000
SHOWN = 25
"""Words shown of either end of a pair."""
SCHEMA = pa.schema(
    [
        ("term", pa.string()),
        ("word", pa.string()),
        ("term_documents", pa.int64()),
        ("word_documents", pa.int64()),
        ("together_documents", pa.int64()),
        ("npmi", pa.float64()),
    ]
)
Ints = NDArray[np.int64]


class Plan(NamedTuple):
    """What is counted: the names of rows (terms, then groups) and the words of the columns."""

    terms: list[str]
    groups: list[str]
    numbers: list[tuple[int, list[int]]]
    columns: Ints
    """Numbers of the words in the vocabulary, `[K]`."""


class Counts(NamedTuple):
    """Documents in all, by row [R], by column [K], and by both [R, K]."""

    documents: int
    rows: Ints
    columns: Ints
    table: Ints

    def plus(self, other: Counts) -> Counts:
        """Return the counts of both sets of documents."""
        return Counts(
            self.documents + other.documents,
            self.rows + other.rows,
            self.columns + other.columns,
            self.table + other.table,
        )


def plan(
    words: Vocabulary, terms: Sequence[str], groups: Mapping[str, Sequence[str]], least: int
) -> Plan:
    """Choose rows and columns; words in fewer than `least` documents get no column."""
    lowered = list(dict.fromkeys(term.lower().strip() for term in terms))
    numbers = [(row, numbered(words, term)) for row, term in enumerate(lowered)]
    for row, name in enumerate(groups, start=len(lowered)):
        numbers += [(row, numbered(words, term)) for term in groups[name]]
    often = np.flatnonzero(words.holders >= least)
    chosen = often[np.argsort(-words.holders[often], kind="stable")][:MOST_COLUMNS]
    return Plan(lowered, list(groups), numbers, np.sort(chosen))


def numbered(words: Vocabulary, term: str) -> list[int]:
    """Return the numbers of a term's words."""
    return words.look(of_strings([term])).ids.tolist()


class Counter:
    """Counts documents for a plan."""

    def __init__(self, words: Vocabulary, made: Plan) -> None:
        column = np.full(max(1, len(words)), -1, np.int32)
        column[made.columns] = np.arange(len(made.columns))
        rows = len(made.terms) + len(made.groups)
        found = company.terms(made.numbers, len(words))
        self._words = words
        self._company = company.Company(found, rows, column)
        self._documents = 0

    def add(self, texts: Texts) -> NDArray[np.bool_]:
        """Count documents; returns which rows each has."""
        numbered = self._words.look(texts)
        self._documents += texts.documents
        return self._company.add(numbered)

    def counts(self) -> Counts:
        """Return what was counted."""
        one = self._company
        return Counts(self._documents, one.holders, one.columns, one.table)


def npmi(together: Ints, first: Ints, second: Ints, documents: int) -> NDArray[Any]:
    """Return nPMI by counts of documents: -1 where the two never meet, 0 where both are in all."""
    with np.errstate(divide="ignore", invalid="ignore"):
        joint = together / documents
        found = np.log(joint * documents * documents / (first * second)) / -np.log(joint)
    found = np.where(together == documents, 0.0, found)
    rounded: NDArray[Any] = np.round(np.where(together == 0, -1.0, found), 6) + 0.0
    return rounded


def table(words: Vocabulary, made: Plan, counts: Counts, least: int) -> pa.Table:
    """Return one row for every term and word that meet, terms in order, words by nPMI."""
    parts = []
    names = words.texts()
    for row, term in enumerate(made.terms):
        if counts.rows[row] < least:
            continue
        met = np.flatnonzero(counts.table[row] > 0)
        found = npmi(counts.table[row][met], counts.rows[row], counts.columns[met],
                     counts.documents)  # fmt: skip
        order = np.argsort(-found, kind="stable")
        met, found = met[order], found[order]
        held = [names.bytes_at(int(made.columns[place])) for place in met]
        parts.append(
            pa.table(
                [
                    pa.array([term] * len(met), pa.string()),
                    pa.array(held, pa.binary()).cast(pa.string()),
                    pa.array(np.full(len(met), counts.rows[row]), pa.int64()),
                    pa.array(counts.columns[met], pa.int64()),
                    pa.array(counts.table[row][met], pa.int64()),
                    pa.array(found, pa.float64()),
                ],
                schema=SCHEMA,
            )
        )
    return pa.concat_tables(parts) if parts else SCHEMA.empty_table()


def biases(made: Plan, counts: Counts, first: str, second: str) -> tuple[Ints, NDArray[Any]]:
    """Return the columns that meet both terms, and their biases."""
    rows = [made.terms.index(term) for term in (first, second)]
    met = np.flatnonzero((counts.table[rows] > 0).all(axis=0))
    own = {int(word) for row, ids in made.numbers if row in rows for word in ids}
    met = met[[int(made.columns[place]) not in own for place in met]] if len(met) else met
    sides = [
        npmi(counts.table[row][met], counts.rows[row], counts.columns[met], counts.documents)
        for row in rows
    ]
    return met, np.stack([sides[0], sides[1]]) if len(met) else np.zeros((2, 0))


def pairs(
    words: Vocabulary, made: Plan, states: Mapping[str, Counts], wanted: Sequence[tuple[str, str]],
    least: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return for every pair of terms the words that lean most to either.

    `states` are counts by name; the first is the corpus as it is, the others (before some rule)
    tell what the bias of the same words was there.
    """
    now, *others = states.items()
    found = []
    for first, second in wanted:
        if any(
            term not in made.terms or now[1].rows[made.terms.index(term)] < least
            for term in (first, second)
        ):
            continue
        met, sides = biases(made, now[1], first, second)
        bias = np.round(sides[0] - sides[1], 6)
        order = np.argsort(-bias, kind="stable")
        ends = order if len(order) <= 2 * SHOWN else np.concatenate([order[:SHOWN], order[-SHOWN:]])
        rows = [_row(words, made, now[1], (first, second), met, sides, int(at)) for at in ends]
        for name, counts in others:
            places, before = biases(made, counts, first, second)
            known = dict(zip(places.tolist(), np.round(before[0] - before[1], 6), strict=True))
            for row, at in zip(rows, ends, strict=True):
                value = known.get(int(met[at]))
                row.setdefault("bias_before", {})[name] = None if value is None else float(value)
        found.append({"first": first, "second": second, "words_in_common": len(met), "words": rows})
    return found


def _row(
    words: Vocabulary, made: Plan, counts: Counts, terms: tuple[str, str], met: Ints,
    sides: NDArray[Any], at: int,
) -> dict[str, Any]:  # fmt: skip
    place = int(met[at])
    first, second = (made.terms.index(term) for term in terms)
    return {
        "word": words.word(int(made.columns[place])),
        "bias": round(float(sides[0][at] - sides[1][at]), 6),
        "npmi_first": float(sides[0][at]),
        "npmi_second": float(sides[1][at]),
        "together_first": int(counts.table[first, place]),
        "together_second": int(counts.table[second, place]),
    }
