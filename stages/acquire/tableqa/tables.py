"""Tables to ask about: random ones, and windows of files; all in small letters."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.acquire.tableqa.parameters import TableQaParams
from stages.core import canonical
from stages.core.errors import SourceError

Cell = str | int | None
NAMES = {
    "city": "beijing paris london berlin madrid rome vienna prague warsaw athens cairo lima oslo "
    "sydney tokyo delhi boston dublin lisbon geneva",
    "country": "china france england germany spain italy austria poland greece egypt peru norway "
    "japan india ireland portugal sweden chile kenya canada",
    "name": "anna ben clara david emma felix greta hugo ida jonas karl lena max nora otto paula "
    "rita simon tina uwe",
    "team": "lions tigers bears eagles sharks wolves hawks bulls foxes owls ravens cobras storms "
    "rockets comets giants pirates knights rangers titans",
    "color": "red blue green yellow white black brown orange purple grey",
    "animal": "dog cat horse cow sheep goat duck goose mouse rabbit bear fox wolf deer owl",
    "sport": "tennis football rowing skiing boxing cycling judo golf rugby hockey",
    "month": "january february march april may june july august september october november "
    "december",
}
"""Columns of names, and what may stand in them."""
NUMBERS = {
    "year": (1896, 2024), "points": (0, 99), "age": (18, 70), "rank": (1, 40), "price": (1, 500),
    "goals": (0, 30), "weight": (40, 120), "games": (1, 60), "size": (1, 99),
}  # fmt: skip
"""Columns of whole numbers, and their bounds."""
READ = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_INTEGER = re.compile(r"[+-]?\d{1,15}")


@dataclass(frozen=True)
class Table:
    """A table: its name, its columns, whether each is of whole numbers, and its rows."""

    id: str
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def column(self, name: str) -> list[Cell]:
        """Return the cells of a column."""
        place = self.columns.index(name)
        return [row[place] for row in self.rows]

    def of(self, numeric: bool) -> list[str]:
        """Return the columns of numbers, or those of names."""
        return [
            name for name, is_ in zip(self.columns, self.numeric, strict=True) if is_ is numeric
        ]

    def without(self, place: int) -> Table:
        """Return the table without one of its rows."""
        return Table(
            self.id, self.columns, self.numeric, self.rows[:place] + self.rows[place + 1 :]
        )

    @property
    def digest(self) -> str:
        """Return what two tables of the same content share."""
        return canonical.digest([list(self.columns), [list(row) for row in self.rows]])


def random_tables(params: TableQaParams) -> Iterator[Table]:
    """Yield different tables without end, the same ones for the same seed."""
    number = 0
    while True:
        draw = random.Random(f"{params.seed} table {number}")
        yield _random_table(f"t{number}", params, draw)
        number += 1


def _random_table(name: str, params: TableQaParams, draw: random.Random) -> Table:
    width = draw.randint(params.min_columns, min(params.max_columns, len(NAMES) + len(NUMBERS)))
    height = draw.randint(params.min_rows, params.max_rows)
    numbers = draw.randint(1, min(width - 1, len(NUMBERS)))
    names = min(width - numbers, len(NAMES))
    chosen = draw.sample(sorted(NAMES), names) + draw.sample(sorted(NUMBERS), numbers)
    draw.shuffle(chosen)
    columns: list[list[Cell]] = []
    for column in chosen:
        if column in NUMBERS:
            low, high = NUMBERS[column]
            columns.append([draw.randint(low, high) for _ in range(height)])
            continue
        words = NAMES[column].split()
        # Every other column of names repeats some, so that there are groups to count.
        kept = draw.sample(words, min(len(words), max(2, draw.randint(height // 2, height + 4))))
        different = len(kept) >= height and draw.random() < 0.5
        column_cells = draw.sample(kept, height) if different else draw.choices(kept, k=height)
        columns.append(list(column_cells))
    rows = tuple(zip(*columns, strict=True))
    return Table(name, tuple(chosen), tuple(column in NUMBERS for column in chosen), rows)


def file_tables(params: TableQaParams, folder: Path) -> Iterator[Table]:
    """Yield windows of the folder's tables, drawn again and again with other rows and columns."""
    sources = [(path, *_read(path)) for path in _files(folder)]
    usable = [one for one in sources if len(one[1]) >= 2 and len(one[2]) >= 2]
    if not usable:
        raise SourceError(
            "no file holds a table of two columns and two rows",
            str(folder),
            f"put CSV or Parquet files ({', '.join(READ)}) there, or set `tables: random`",
        )
    number = 0
    while True:
        draw = random.Random(f"{params.seed} window {number}")
        path, columns, rows = usable[number % len(usable)]
        place = path.relative_to(folder).with_suffix("").as_posix().replace(":", "-")
        # One file is one group: of its windows none may be on another side of a split.
        yield _window(place, columns, rows, params, draw)
        number += 1


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in READ)


def _read(path: Path) -> tuple[list[str], list[list[Any]]]:
    """Return column names and rows of a file, as the engine reads them."""
    import duckdb

    readers = {".csv": "read_csv", ".tsv": "read_csv", ".parquet": "read_parquet"}
    reader = readers.get(path.suffix, "read_json")
    try:
        with duckdb.connect(":memory:") as base:
            base.execute("SET threads = 1")
            found = base.execute(f"SELECT * FROM {reader}(?)", [str(path)])
            names = [str(row[0]) for row in found.description or []]
            return names, [list(row) for row in found.fetchall()]
    except duckdb.Error as error:
        raise SourceError(
            f"{path.name} cannot be read: {str(error).splitlines()[0]}",
            str(path),
            "mend the file, or take it out of the folder",
        ) from error


def _window(
    name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], params: TableQaParams,
    draw: random.Random,
) -> Table:  # fmt: skip
    places = sorted(draw.sample(range(len(columns)), min(len(columns), params.max_columns)))
    height = min(len(rows), params.max_rows)
    start = draw.randint(0, len(rows) - height)
    names: list[str] = []
    for place in places:
        plain = cleaned(columns[place], params.max_cell_words) or f"column {place + 1}"
        while plain in names:
            plain += f" {place + 1}"
        names.append(plain)
    texts = [[rows[start + at][place] for place in places] for at in range(height)]
    numeric = tuple(all(_whole(row[at]) for row in texts) for at in range(len(places)))
    cells = tuple(
        tuple(
            int(cell) if is_number else cleaned(cell, params.max_cell_words) or None
            for cell, is_number in zip(row, numeric, strict=True)
        )
        for row in texts
    )
    return Table(name, tuple(names), numeric, cells)


def _whole(cell: Any) -> bool:
    if isinstance(cell, bool) or cell is None:
        return False
    return isinstance(cell, int) or _INTEGER.fullmatch(str(cell).strip()) is not None


def cleaned(cell: Any, most: int) -> str:
    """Return a cell's text in small letters on one line, without the mark between cells."""
    text = "" if cell is None else str(cell)
    plain = text.replace("|", "/").replace("\0", " ").lower()
    return " ".join(plain.split()[:most])
