"""Texts of a refined corpus as buffers, a row group at a time, whatever kind it is of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.lm import tables
from stages.lm.kernels.text import Texts, of_arrow

COLUMNS = {
    "text": ["text"],
    "labelled": ["tokens"],
    "parallel": ["source_text", "target_text"],
}
"""Columns that hold the texts of a kind of corpus."""
SPLITS = ("train", "valid", "test")


class Group(NamedTuple):
    """A row group: its split, its rows as they are, and one text of each (both sides, joined)."""

    split: str
    rows: pa.Table
    texts: Texts
    characters: int


def groups(folder: Path, kind: str, more: tuple[str, ...] = ()) -> Iterator[Group]:
    """Yield every row group, splits in order; `rows` has id, the texts' columns and `more`."""
    columns = ["id", *COLUMNS[kind], *more]
    for split in SPLITS:
        for path in tables.shard_paths(folder, split):
            source = tables.open_parquet(path, columns)
            for number in range(source.num_row_groups):
                rows = source.read_row_group(number, columns, use_threads=False)
                if rows.num_rows:
                    texts = of_arrow(joined(rows, kind))
                    added = rows.num_rows if kind == "parallel" else 0
                    yield Group(split, rows, texts, characters(texts) - added)


def joined(rows: pa.Table, kind: str) -> pa.ChunkedArray:
    """Return one text per row: a sentence's tokens with blanks between, a pair's sides in lines."""
    columns = [rows.column(name).combine_chunks() for name in COLUMNS[kind]]
    if kind == "labelled":
        wide = columns[0].cast(pa.large_list(pa.large_string()))
        return pc.binary_join(wide, pa.scalar(" ", pa.large_string()))
    if kind == "parallel":
        sides = [pc.fill_null(column.cast(pa.large_string()), "") for column in columns]
        return pc.binary_join_element_wise(*sides, pa.scalar("\n", pa.large_string()))
    return columns[0]


def characters(texts: Texts) -> int:
    """Return the number of code points: bytes that begin a character."""
    return int(((texts.data & np.uint8(0xC0)) != 0x80).sum())
