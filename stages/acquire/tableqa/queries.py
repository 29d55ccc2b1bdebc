"""Queries by kind: as a model reads them, as engines run them, and as English asks them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from stages.acquire.tableqa.flattening import shown
from stages.acquire.tableqa.parameters import Template
from stages.acquire.tableqa.tables import Cell, Table

TABLE = "w"
"""The table's name in the engines."""


class Query(NamedTuple):
    """A query: its kind, `text` as read, `sql` as run, `english` as asked.

    Equal values of the column `ordered_by`, or equally frequent ones of `counted`, would leave the
    answer open.
    """

    template: Template
    text: str
    sql: str
    english: str
    ordered_by: str = ""
    counted: str = ""


class _Drawn:
    """Columns and values of one table, drawn for one query."""

    def __init__(self, table: Table, draw: random.Random) -> None:
        self.table, self.draw = table, draw
        self.names, self.numbers = table.of(numeric=False), table.of(numeric=True)

    def any(self, *but: str) -> str:
        return self.draw.choice([name for name in self.table.columns if name not in but])

    def number(self, *but: str) -> str:
        return self.draw.choice([name for name in self.numbers if name not in but])

    def name(self, *but: str) -> str:
        return self.draw.choice([name for name in self.names if name not in but])

    def cell(self, column: str) -> Cell:
        return self.draw.choice([cell for cell in self.table.column(column) if cell is not None])

    def equal(self, column: str) -> tuple[str, str, str]:
        """Return a condition that holds of some row, as text, as SQL and in English."""
        cell = self.cell(column)
        return (
            f"{column} = {shown(cell)}",
            f"{quoted(column)} = {literal(cell)}",
            f"the {column} is {shown(cell)}",
        )


def quoted(column: str) -> str:
    """Return a column's name as SQL has it."""
    return '"' + column.replace('"', '""') + '"'


def literal(cell: Cell) -> str:
    """Return a cell as SQL has it."""
    if cell is None:
        return "NULL"
    return str(cell) if isinstance(cell, int) else "'" + str(cell).replace("'", "''") + "'"


def _select(what: str, condition: str = "", end: str = "ORDER BY rowid") -> str:
    where = f" WHERE {condition}" if condition else ""
    return f"SELECT {what} FROM {TABLE}{where} {end}".rstrip()


def _where(one: _Drawn) -> Query:
    key = one.any()
    text, sql, english = one.equal(key)
    wanted = one.any(key)
    return Query(
        "where", f"select {wanted} where {text}", _select(quoted(wanted), sql),
        f"what is the {wanted} where {english} ?",
    )  # fmt: skip


COMPARED = (
    (">", "is more than"), ("<", "is less than"), (">=", "is at least"), ("<=", "is at most"),
    ("!=", "is not"),
)  # fmt: skip


def _compare(one: _Drawn) -> Query:
    key = one.number()
    wanted, cell = one.any(key), one.cell(key)
    sign, words = one.draw.choice(COMPARED)
    return Query(
        "compare", f"select {wanted} where {key} {sign} {cell}",
        _select(quoted(wanted), f"{quoted(key)} {sign} {literal(cell)}"),
        f"which {wanted} has a {key} that {words} {cell} ?",
    )  # fmt: skip


def _joined(template: Template, word: str) -> Callable[[_Drawn], Query]:
    def make(one: _Drawn) -> Query:
        first = one.any()
        second = one.any(first)
        a, b = one.equal(first), one.equal(second)
        wanted = one.any(*((first, second) if len(one.table.columns) > 2 else (first,)))
        return Query(
            template, f"select {wanted} where {a[0]} {word} {b[0]}",
            _select(quoted(wanted), f"{a[1]} {word.upper()} {b[1]}"),
            f"what is the {wanted} where {a[2]} {word} {b[2]} ?",
        )  # fmt: skip

    return make


ORDERS = (("asc", "rising"), ("desc", "falling"))


def _order(one: _Drawn) -> Query:
    key = one.number()
    wanted = one.any(key)
    way, words = one.draw.choice(ORDERS)
    return Query(
        "order", f"select {wanted} order by {key} {way}",
        _select(quoted(wanted), end=f"ORDER BY {quoted(key)} {way.upper()}"),
        f"list every {wanted} by {words} {key} .", key,
    )  # fmt: skip


def _limit(one: _Drawn) -> Query:
    key = one.number()
    wanted = one.any(key)
    way, _ = one.draw.choice(ORDERS)
    most = one.draw.randint(1, min(3, len(one.table.rows)))
    words = "lowest" if way == "asc" else "highest"
    return Query(
        "limit", f"select {wanted} order by {key} {way} limit {most}",
        _select(quoted(wanted), end=f"ORDER BY {quoted(key)} {way.upper()} LIMIT {most}"),
        f"what is the {wanted} of the {most} {words} {key} ?", key,
    )  # fmt: skip


def _count(one: _Drawn) -> Query:
    key = one.any()
    text, sql, english = one.equal(key)
    return Query(
        "count", f"select count ( * ) where {text}", _select("count(*)", sql, ""),
        f"in how many rows is it that {english} ?",
    )  # fmt: skip


AGGREGATES = (
    ("sum", "sum"), ("avg", "average"), ("max", "highest value"), ("min", "lowest value"),
)  # fmt: skip


def _aggregate(one: _Drawn) -> Query:
    wanted = one.number()
    name, words = one.draw.choice(AGGREGATES)
    text, sql, english = one.equal(one.any(wanted))
    if one.draw.random() < 0.5:
        text = sql = english = ""
    return Query(
        "aggregate", f"select {name} ( {wanted} )" + (f" where {text}" if text else ""),
        _select(f"{name}({quoted(wanted)})", sql, ""),
        f"what is the {words} of {wanted}" + (f" where {english} ?" if english else " ?"),
    )  # fmt: skip


def _superlative(one: _Drawn) -> Query:
    key = one.number()
    wanted = one.any(key)
    name, words = one.draw.choice((("max", "highest"), ("min", "lowest")))
    inner = _select(f"{name}({quoted(key)})", end="")
    return Query(
        "superlative", f"select {wanted} where {key} = ( select {name} ( {key} ) )",
        _select(quoted(wanted), f"{quoted(key)} = ({inner})"),
        f"which {wanted} has the {words} {key} ?",
    )  # fmt: skip


def _arithmetic(one: _Drawn) -> Query:
    first = one.number()
    second = one.number(first)
    sign, words = one.draw.choice((("+", "plus"), ("-", "minus")))
    text, sql, english = one.equal(one.name())
    return Query(
        "arithmetic", f"select {first} {sign} {second} where {text}",
        _select(f"{quoted(first)} {sign} {quoted(second)}", sql),
        f"what is {first} {words} {second} where {english} ?",
    )  # fmt: skip


def _difference(one: _Drawn) -> Query:
    wanted, key = one.number(), one.name()
    once = [cell for cell, count in Counter(one.table.column(key)).items()
            if count == 1 and cell is not None]  # fmt: skip
    first, second = one.draw.sample(once, 2)
    sides = [
        _select(quoted(wanted), f"{quoted(key)} = {literal(cell)}", "") for cell in (first, second)
    ]
    return Query(
        "difference",
        f"select ( select {wanted} where {key} = {first} ) - ( select {wanted} where {key} ="
        f" {second} )",
        f"SELECT ({sides[0]}) - ({sides[1]})",
        f"by how much is the {wanted} of {first} above that of {second} ?",
    )


def _distinct(one: _Drawn) -> Query:
    wanted = one.any()
    return Query(
        "distinct", f"select count ( distinct {wanted} )",
        _select(f"count(DISTINCT {quoted(wanted)})", end=""),
        f"how many different values of {wanted} are there ?",
    )  # fmt: skip


def _group(one: _Drawn) -> Query:
    wanted = one.name()
    least = one.draw.choice((1, 2, 2, 3))
    end = f"GROUP BY {quoted(wanted)} HAVING count(*) >= {least} ORDER BY min(rowid)"
    return Query(
        "group", f"select {wanted} group by {wanted} having count ( * ) >= {least}",
        _select(quoted(wanted), f"{quoted(wanted)} IS NOT NULL", end),
        f"which {wanted} stands in {least} rows or more ?",
    )  # fmt: skip


def _most(one: _Drawn) -> Query:
    wanted = one.name()
    end = f"GROUP BY {quoted(wanted)} ORDER BY count(*) DESC LIMIT 1"
    return Query(
        "most", f"select {wanted} group by {wanted} order by count ( * ) desc limit 1",
        _select(quoted(wanted), f"{quoted(wanted)} IS NOT NULL", end),
        f"which {wanted} stands in most rows ?", counted=wanted,
    )  # fmt: skip


def _choose(one: _Drawn) -> Query:
    key, number = one.name(), one.number()
    once = [cell for cell, count in Counter(one.table.column(key)).items()
            if count == 1 and cell is not None]  # fmt: skip
    first, second = one.draw.sample(once, 2)
    way, words = one.draw.choice((("desc", "higher"), ("asc", "lower")))
    condition = f"{quoted(key)} IN ({literal(first)}, {literal(second)})"
    return Query(
        "choose",
        f"select {key} where {key} in ( {first} , {second} ) order by {number} {way} limit 1",
        _select(quoted(key), condition, f"ORDER BY {quoted(number)} {way.upper()} LIMIT 1"),
        f"which has the {words} {number} , {first} or {second} ?", number,
    )  # fmt: skip


MAKERS: dict[Template, Callable[[_Drawn], Query]] = {
    "where": _where, "compare": _compare, "both": _joined("both", "and"),
    "either": _joined("either", "or"), "order": _order, "limit": _limit, "count": _count,
    "aggregate": _aggregate, "superlative": _superlative, "arithmetic": _arithmetic,
    "difference": _difference, "distinct": _distinct, "group": _group, "most": _most,
    "choose": _choose,
}  # fmt: skip


def drawn(template: Template, table: Table, draw: random.Random) -> Query | None:
    """Return a query of a kind over a table, or None where the table has not what it needs."""
    try:
        query = MAKERS[template](_Drawn(table, draw))
    except (IndexError, ValueError):  # nothing to choose from, or fewer than two
        return None
    return query if sound(query, table) else None


def sound(query: Query, table: Table) -> bool:
    """Tell whether a table leaves a query one answer: the order of equals is nobody's to say."""
    if query.ordered_by:
        cells = table.column(query.ordered_by)
        return None not in cells and len(set(cells)) == len(cells)
    if query.counted:
        every = (cell for cell in table.column(query.counted) if cell is not None)
        most = Counter(every).most_common(2)
        return len(most) == 1 or most[0][1] > most[1][1]
    return True
