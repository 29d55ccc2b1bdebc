"""Rows on disk: as a list would have them, in the bytes that a table gives, in little memory."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from stages.lm import tables
from stages.refine import rows as module
from stages.refine.ledger import Size
from stages.refine.rows import Rows
from stages.refine.spool import Spool
from stages.refine.takings import Takings

SCHEMA = pa.schema([("id", pa.string()), ("count", pa.int64()), ("share", pa.float64())])


def made(count):
    draw = random.Random(count)
    names = ["a", "ŝ" * 9, "\u0000", "x" * 200]
    return [[f"{n}{draw.choice(names)}", draw.randrange(-(2**62), 2**62), draw.random()]
            for n in range(count)]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 30])
def test_rows_come_back_in_order_whatever_was_packed(tmp_path, monkeypatch, count):
    monkeypatch.setattr(module, "PACKED", 7)
    given, rows = made(count), Rows(tmp_path / "rows")
    half = count // 2
    for row in given[:half]:
        rows.append(row)
    assert list(rows) == given[:half]  # reading between two additions disturbs neither
    rows += given[half:]
    assert list(rows) == list(rows) == given
    assert len(rows) == count
    assert len(rows._held) < 7
    assert (count == 0) or (given[-1] in rows and ["none", 0, 0.0] not in rows)
    rows.close()
    assert not list(tmp_path.iterdir())


def test_a_streamed_table_has_the_bytes_of_a_whole_one(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "GROUP_ROWS", 50)
    for count in (0, 49, 50, 173):
        given = made(count)
        whole = pa.Table.from_pylist(
            [dict(zip(SCHEMA.names, row, strict=True)) for row in given], schema=SCHEMA
        )
        tables.write_table(tmp_path / "whole", whole)
        tables.write_rows(tmp_path / "streamed", SCHEMA, iter(given))
        assert (tmp_path / "whole").read_bytes() == (tmp_path / "streamed").read_bytes()


def test_a_spool_leaves_nothing_behind(tmp_path):
    with Spool(tmp_path / "work" / "documents") as spool:
        spool.append({"id": "a", "text": "\ud800"}, Size(1, 1, 0))
        spool.scores += made(5000)
        assert spool[0]["text"] == "\ud800"
        assert len(list((tmp_path / "work").iterdir())) == 2
    assert not list((tmp_path / "work").iterdir())


def test_a_part_keeps_lone_surrogates_and_is_packed():
    taken = Takings(losses=[("\udc00", "rule", "x" * 9000)], scores=made(3), records=3)
    data = taken.dump()
    assert Takings.load(data) == Takings.load(Takings.load(data).dump())
    assert Takings.load(data).losses == [["\udc00", "rule", "x" * 9000]]
    assert len(data) < 1000
