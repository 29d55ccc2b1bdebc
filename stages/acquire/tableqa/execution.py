"""Answers by two engines, SQLite and DuckDB: what they do not agree on is not taken."""

from __future__ import annotations

import sqlite3
from types import TracebackType
from typing import Any

import duckdb

from stages.acquire.tableqa.queries import TABLE, literal, quoted
from stages.acquire.tableqa.tables import Table

DIGITS = 2
"""Decimals of an average."""


class Disagreement(Exception):
    """Two engines gave different answers."""


class Engines:
    """Both engines, each holding the table last asked about."""

    def __init__(self) -> None:
        self._lite = sqlite3.connect(":memory:")
        self._duck = duckdb.connect(":memory:")
        self._duck.execute("SET threads = 1")
        self._in_lite: Table | None = None
        self._in_duck: Table | None = None

    def __enter__(self) -> Engines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lite.close()
        self._duck.close()

    def lite(self, table: Table, sql: str) -> list[str]:
        """Return SQLite's answers to a query over a table."""
        if table is not self._in_lite:
            self._lite.executescript(script(table, "TEXT"))
            self._in_lite = table
        return answers(self._lite.execute(sql).fetchall())

    def both(self, table: Table, sql: str) -> list[str]:
        """Return the answers that both engines give; raises Disagreement where they differ."""
        first = self.lite(table, sql)
        if table is not self._in_duck:
            self._duck.execute(script(table, "VARCHAR"))
            self._in_duck = table
        second = answers(self._duck.execute(sql).fetchall())
        if first != second:
            raise Disagreement(f"{first} and {second}")
        return first


def script(table: Table, text: str) -> str:
    """Return the statements that make an engine's table; `text` is its type of texts."""
    pairs = zip(table.columns, table.numeric, strict=True)
    columns = ", ".join(f"{quoted(name)} {'BIGINT' if number else text}" for name, number in pairs)
    rows = ", ".join(f"({', '.join(map(literal, row))})" for row in table.rows)
    return (
        f"DROP TABLE IF EXISTS {TABLE}; CREATE TABLE {TABLE} ({columns});"
        f" INSERT INTO {TABLE} VALUES {rows};"
    )


def answers(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return the values of the first column as they are written; no value is no answer."""
    return [written(row[0]) for row in rows if row[0] is not None]


def written(value: Any) -> str:
    """Return a value as text: whole numbers without a point, others with two decimals at most."""
    if isinstance(value, str):
        return value
    number = float(value)
    if number == int(number):
        return str(int(number))
    return f"{round(number, DIGITS):.{DIGITS}f}".rstrip("0").rstrip(".")
