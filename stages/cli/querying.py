"""The verb query: SQL over what every stage wrote."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from typing import TYPE_CHECKING

from stages.cli.inspection import Add, table
from stages.core import workspace

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_ROWS = 40
SHOWN_CHARACTERS = 60


def add_verbs(add: Add) -> None:
    """Register the verbs of this file."""
    query = add("query", query_outputs, "SQL over corpora, tokens, ledgers, metrics, reports")
    query.add_argument("sql", metavar="SQL", nargs="?", help="one SELECT; none lists the tables")
    form = query.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line, all rows")
    form.add_argument("--csv", action="store_true", help="as CSV, all rows")


def query_outputs(options: argparse.Namespace) -> int:
    """Print what a query gives, or what can be asked."""
    from stages.lm import queries

    root = workspace.root()
    if not options.sql or not options.sql.strip():
        found = queries.described(root)
        if options.json:
            print(json.dumps(found, ensure_ascii=False))
        for name, columns in found.items() if not options.json else ():
            print(f"{name}  {', '.join(f'{column} {kind}' for column, kind in columns)}")
        if not found:
            print("no stage wrote anything here yet: `deveno run`")
        return 0
    rows = queries.ask(root, options.sql)
    if options.json:
        for row in _rows(rows):
            print(json.dumps(row, ensure_ascii=False, default=str))
    elif options.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(rows.column_names)
        writer.writerows(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    else:
        print(_drawn(rows))
    return 0


def _rows(rows: pa.Table) -> list[dict[str, object]]:
    return rows.to_pylist()


def _drawn(rows: pa.Table) -> str:
    shown = rows.slice(0, SHOWN_ROWS)
    cells = zip(*(column.to_pylist() for column in shown.columns), strict=True)
    lines = [table([rows.column_names, *([_cell(cell) for cell in row] for row in cells)])]
    if rows.num_rows > SHOWN_ROWS:
        lines.append(f"(+{rows.num_rows - SHOWN_ROWS} more rows; --json and --csv give all)")
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
