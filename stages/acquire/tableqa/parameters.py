"""What the source `table-qa` may be told."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.core.declare import Params

Template = Literal[
    "where", "compare", "both", "either", "order", "limit", "count", "aggregate", "superlative",
    "arithmetic", "difference", "distinct", "group", "most", "choose",
]  # fmt: skip
TEMPLATES: tuple[Template, ...] = (
    "where", "compare", "both", "either", "order", "limit", "count", "aggregate", "superlative",
    "arithmetic", "difference", "distinct", "group", "most", "choose",
)  # fmt: skip
"""Kinds of queries; `queries` has one of each."""


class TableQaParams(Params):
    """Tables, queries over them and their answers, after TAPEX (Liu et al. 2022, arXiv 2107.07653).

    Pairs: the source is the query (or a question in English) and the flattened table, the target
    the answers joined by `, `; all in small letters. Ids are `<table>:<number>`, so that
    `split: {by: group}` in refine puts no table on two sides.
    """

    kind: Literal["table-qa"] = "table-qa"
    """Discriminator."""
    tables: Literal["random", "files"] = "random"
    """Random tables, or the CSV, TSV, JSON lines and Parquet files of the entry's `folder`."""
    pairs: int = Field(10_000, ge=1)
    """Pairs to make."""
    pairs_per_table: int = Field(8, ge=1)
    """Pairs of one table at most."""
    seed: int = 0
    """Another seed gives other tables and queries."""
    min_rows: int = Field(3, ge=2)
    """Rows of a random table at least."""
    max_rows: int = Field(8, ge=2)
    """Rows of a table at most; larger files give windows of so many rows."""
    min_columns: int = Field(3, ge=2)
    """Columns of a random table at least; one is of numbers, one of names."""
    max_columns: int = Field(5, ge=2)
    """Columns of a table at most; further ones of a file are left out."""
    templates: list[Template] = list(TEMPLATES)
    """Kinds of queries, drawn equally often."""
    questions: Literal["sql", "english", "both"] = "sql"
    """Queries, the same asked in English by templates, or either in turn."""
    max_answers: int = Field(10, ge=1)
    """Queries with more answers are not taken, nor those without any."""
    max_cell_words: int = Field(15, ge=1)
    """Cells are cut to so many words (TAPEX: 15 tokens)."""
    max_words: int = Field(256, ge=8)
    """Words of a query and its flattened table at most: rows are dropped that the answer does not
    rest on, else the query is not taken."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.templates:
            raise ValueError("templates is empty; name at least one kind of query")
        for name in ("rows", "columns"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low > high:
                raise ValueError(f"min_{name} is {low}, must be at most max_{name}, {high}")
        return self
