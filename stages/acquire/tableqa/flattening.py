"""A table as one line of text, as TAPEX's tokenizer has it.

<query> col : c1 | c2 row 1 : v11 | v12 row 2 : v21 | v22
"""

from __future__ import annotations

from collections.abc import Callable

from stages.acquire.tableqa.tables import Cell, Table


def flattened(table: Table) -> str:
    """Return a table's header and rows with their marks."""
    parts = ["col : " + " | ".join(table.columns)]
    for number, row in enumerate(table.rows, start=1):
        parts.append(f"row {number} : " + " | ".join(map(shown, row)))
    return " ".join(parts)


def shown(cell: Cell) -> str:
    """Return a cell as it is written."""
    return "" if cell is None else str(cell)


def source_text(question: str, table: Table) -> str:
    """Return what a model reads."""
    return f"{question} {flattened(table)}"


def fitted(
    question: str, table: Table, most: int, unchanged: Callable[[Table], bool],
    order: list[int],
) -> Table | None:  # fmt: skip
    """Return the table with rows dropped until question and table have `most` words, or None.

    Rows go in the order given, each only if the answer stays what it was without it.
    """
    left = list(range(len(table.rows)))
    for place in order:
        if len(source_text(question, table).split()) <= most:
            return table
        if len(left) < 2:
            break
        smaller = table.without(left.index(place))
        if unchanged(smaller):
            table = smaller
            left.remove(place)
    return table if len(source_text(question, table).split()) <= most else None
