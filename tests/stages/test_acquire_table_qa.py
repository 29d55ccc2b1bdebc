"""Questions over tables: exact answers, no table on two sides, rows that go, what is refused."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import ValidationError

from stages.acquire.stage import AcquireParams, acquire
from stages.acquire.tableqa import flattening, queries
from stages.acquire.tableqa.execution import Disagreement, Engines, script, written
from stages.acquire.tableqa.parameters import TEMPLATES, TableQaParams
from stages.acquire.tableqa.tables import Table
from stages.core.errors import SourceError
from stages.core.log import Log
from stages.lm import denotation
from stages.lm.records import raw_documents, raw_pairs
from tests.stages.refine_material import Refined

CITIES = Table(
    "t", ("year", "city", "country"), (True, False, False),
    ((1896, "athens", "greece"), (1900, "paris", "france"), (2004, "athens", "greece"),
     (2008, "beijing", "china"), (2024, "paris", "france")),
)  # fmt: skip


class Made:
    """One run of the stage."""

    def __init__(self, folder: Path, source: Path | None = None, **params: Any) -> None:
        self.folder = folder
        chosen = {"kind": "table-qa"} | params
        made = AcquireParams(source=chosen, licence="CC0-1.0" if source else None)
        acquire(made, source or folder.parent / "none", folder, Log())
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.account = self.manifest["table_qa"]
        self.pairs = self._lines("files/pairs.jsonl")
        self.tables = {row["id"]: row for row in self._lines("truth/tables.jsonl")}

    def _lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("tableqa")
    return Made(folder / "raw", pairs=150, seed=3, questions="both", max_words=60)


def parsed(text: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a flattened table, by its marks alone."""
    _, _, table = text.rpartition(" col : ")
    header, *rows = table.split(" row ")
    cells = [row.partition(" : ")[2].split(" | ") for row in rows]
    assert [row.partition(" : ")[0] for row in rows] == [str(n + 1) for n in range(len(rows))]
    return header.split(" | "), cells


def test_every_answer_is_that_of_the_table_as_written(made):
    """A third reading: the table comes from the text, the answer from a fresh engine."""
    dropped = 0
    for pair in made.pairs:
        columns, rows = parsed(pair["source_text"])
        base = sqlite3.connect(":memory:")
        kinds = ["BIGINT" if all(r[at].lstrip("-").isdigit() for r in rows) else "TEXT"
                 for at in range(len(columns))]  # fmt: skip
        named = ", ".join(f'"{name}" {kind}' for name, kind in zip(columns, kinds, strict=True))
        base.execute(f"CREATE TABLE w ({named})")
        base.executemany(f"INSERT INTO w VALUES ({', '.join('?' * len(columns))})", rows)
        found = [written(row[0]) for row in base.execute(pair["sql"]).fetchall()]
        base.close()
        assert ", ".join(found) == pair["target_text"], pair
        assert len(pair["source_text"].split()) <= 60
        assert pair["source_text"] == pair["source_text"].lower()
        whole = made.tables[pair["table"]]["rows"]
        assert pair["rows_dropped"] == len(whole) - len(rows)
        dropped += pair["rows_dropped"] > 0
    assert dropped > 10
    assert set(made.account["templates"]) == set(TEMPLATES)
    assert made.account["pairs"] == len(made.pairs) == 150
    assert len({pair["source_text"] for pair in made.pairs}) == 150
    assert len({json.dumps(row["rows"]) for row in made.tables.values()}) == len(made.tables)
    assert (made.manifest["licence"], made.manifest["synthetic"]) == ("CC0-1.0", True)


def test_the_same_seed_gives_the_same_bytes(made, tmp_path):
    again = Made(tmp_path / "raw", pairs=150, seed=3, questions="both", max_words=60)
    for name in ("files/pairs.jsonl", "files/texts.jsonl", "truth/tables.jsonl", "manifest.json"):
        assert (made.folder / name).read_bytes() == (again.folder / name).read_bytes()
    other = Made(tmp_path / "other", pairs=30, seed=4)
    assert other.pairs[0] != made.pairs[0]
    # Fewer pairs are the first of more, so that sizes of a corpus can be compared.
    fewer = Made(tmp_path / "fewer", pairs=30, seed=3, questions="both", max_words=60)
    assert fewer.pairs == made.pairs[:30]


def test_no_table_is_on_two_sides_of_a_split(made, tmp_path):
    done = Refined(
        made.folder, tmp_path / "pairs", kind="parallel", intact=True,
        split={"train": 0.7, "valid": 0.1, "test": 0.2, "by": "group"},
    )  # fmt: skip
    assert len(done.rows) == 150
    sides: dict[str, set[str]] = {}
    for name, split in done.split.items():
        sides.setdefault(name.rpartition(":")[0], set()).add(split)
    assert all(len(found) == 1 for found in sides.values())
    assert set(done.split.values()) == {"train", "valid", "test"}
    texts = Refined(
        made.folder, tmp_path / "texts", kind="text", intact=True,
        split={"train": 0.7, "valid": 0.1, "test": 0.2, "by": "group"},
    )  # fmt: skip
    assert texts.split == done.split
    assert len(list(raw_pairs(made.folder))) == len(list(raw_documents(made.folder))) == 150


def test_the_flattened_form_is_that_of_tapex():
    text = flattening.source_text("select city where year = 2008", CITIES.without(0).without(0))
    assert text == (
        "select city where year = 2008 col : year | city | country row 1 : 2004 | athens | greece"
        " row 2 : 2008 | beijing | china row 3 : 2024 | paris | france"
    )


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ('SELECT "year" FROM w WHERE "city" = \'beijing\' ORDER BY rowid', "2008"),
        ('SELECT "city" FROM w WHERE "country" = \'france\' ORDER BY "year" ASC LIMIT 1', "paris"),
        ('SELECT avg("year") FROM w', "1966.4"),
        ('SELECT sum("year") FROM w WHERE "city" = \'rome\'', ""),
        ('SELECT count(DISTINCT "city") FROM w', "3"),
        ('SELECT "year" FROM w WHERE "city" = \'paris\' ORDER BY rowid', "1900, 2024"),
    ],
)
def test_both_engines_answer(sql, answer):
    with Engines() as engines:
        assert ", ".join(engines.both(CITIES, sql)) == answer


def test_what_the_engines_disagree_on_is_not_taken():
    nulls = Table("n", ("a", "b"), (False, True), (("x", 1), (None, 2), ("y", 3)))
    with Engines() as engines, pytest.raises(Disagreement):
        engines.both(nulls, 'SELECT "b" FROM w ORDER BY "a" LIMIT 1')
    quote = Table("q", ('a "b"',), (False,), (("it's",), ("x",)))
    for base, kind in ((sqlite3.connect(":memory:"), "TEXT"), (duckdb.connect(), "VARCHAR")):
        run = getattr(base, "executescript", base.execute)
        run(script(quote, kind))
        assert base.execute('SELECT "a ""b""" FROM w').fetchall() == [("it's",), ("x",)]


def test_the_order_of_equals_is_never_asked():
    ties = Table("t", ("n", "c"), (True, False), ((1, "a"), (1, "b"), (2, "a"), (2, "b")))
    asked = queries.Query("order", "", "", "", ordered_by="n")
    most = queries.Query("most", "", "", "", counted="c")
    assert not queries.sound(asked, ties)
    assert not queries.sound(most, ties)
    assert queries.sound(most, ties.without(3))
    assert queries.sound(asked, ties.without(3).without(0))


def test_rows_go_only_where_the_answer_stays():
    def unchanged(table: Table) -> bool:
        return any(row[1] == "beijing" for row in table.rows)

    shown = flattening.fitted("q", CITIES, 24, unchanged, [3, 0, 1, 2, 4])
    assert shown is not None
    assert [row[0] for row in shown.rows] == [2008, 2024]
    assert flattening.fitted("q", CITIES, 8, unchanged, [3, 0, 1, 2, 4]) is None
    assert flattening.fitted("q", CITIES, 500, unchanged, []) is CITIES


def test_tables_of_files_are_asked_about(tmp_path):
    source = tmp_path / "own"
    source.mkdir()
    lines = ["City,Note,Founded,Size"]
    lines += [f'Town {n},"A|b, c{n}",{1800 + n},{n * 7 % 40}' for n in range(30)]
    (source / "towns.csv").write_text("\n".join(lines) + "\n", "utf-8")
    done = Made(tmp_path / "raw", source, tables="files", pairs=40, max_rows=6)
    assert {pair["table"] for pair in done.pairs} == {"towns"}
    assert all("town" in p["source_text"] or "a/b" in p["source_text"] for p in done.pairs)
    assert done.account["not_taken"]["an answer holds the separator"] > 0
    assert len({pair["source_text"] for pair in done.pairs}) == 40


def test_what_cannot_be_asked_is_refused(tmp_path):
    with pytest.raises(SourceError, match="tables gave no pair: .*too long") as caught:
        Made(tmp_path / "a", pairs=10, max_words=8)
    assert len(caught.value.lines()) == 3
    (tmp_path / "own").mkdir()
    with pytest.raises(SourceError, match="no file holds a table"):
        Made(tmp_path / "b", tmp_path / "own", tables="files")
    (tmp_path / "own" / "x.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(SourceError, match="x.parquet cannot be read"):
        Made(tmp_path / "c", tmp_path / "own", tables="files")
    with pytest.raises(ValidationError, match="min_rows is 9, must be at most max_rows, 8"):
        TableQaParams(min_rows=9)
    with pytest.raises(ValidationError, match="templates is empty"):
        TableQaParams(templates=[])
    with pytest.raises(SourceError, match="the table-qa source states no licence"):
        AcquireParams(source={"kind": "table-qa", "tables": "files"})


@pytest.mark.parametrize(
    ("said", "gold", "right"),
    [
        ("Paris,  athens", "athens, paris", True), ("2008.0", "2008", True), ("007", "7", True),
        ("-0.0", "0", True), ("48.290", "48.29", True), ("paris, paris", "paris", True),
        ("paris", "athens, paris", False), ("", "", False), ("-5", "5", False),
        ("1.5", "15", False),
    ],
)  # fmt: skip
def test_denotations(said, gold, right):
    assert denotation.equal(said, gold) is right
