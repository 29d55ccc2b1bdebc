"""Files of every format with some bytes changed: nothing crashes, nothing is told twice or never.

`DEVENO_MUTANTS` asks for more of them than a test has time for.
"""

from __future__ import annotations

import bz2
import gzip
import os
import random
import struct
from typing import Any

import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from stages.acquire.formats import Format
from stages.acquire.readers import batches
from stages.acquire.readers.batches import END, Bounds, Input, Loss, Place, batched, schema_of
from stages.acquire.readers.registry import READERS
from stages.acquire.stage import AcquireParams, acquire
from stages.core.errors import DevenoError
from stages.core.log import Log
from tests.stages.acquire_material import put
from tests.stages.extract_material import extract
from tests.stages.test_acquire_extract import DUMP, TREE, rows
from tests.stages.test_acquire_machine import MESSAGES, PO, POLISH, mo
from tests.stages.test_acquire_tables import ROWS, SENTENCES, packed
from tests.stages.test_acquire_warc import record

PAGES = [record(n) for n in range(4)]
SEEDS: dict[str, tuple[dict[str, Any], list[bytes]]] = {
    "arrow": ({"columns": {"url": "url", "meta": "meta"}},
              [packed(pa.table(ROWS), kind) for kind in ("file", "stream", "parquet")]),
    "conllu": ({}, [TREE.encode()]),
    "gettext": ({}, [mo(MESSAGES), mo({"a\0b": "c\0d\0e"}, rule=POLISH, order=">"), PO.encode()]),
    "html": ({}, [PAGES[0]]),
    "jsonl": ({"columns": {"a": "b.c"}},
              [rows(20), gzip.compress(rows(20), mtime=0), rows(5).decode().encode("utf-16")]),
    "leipzig": ({}, [b"1\tabc\n2\tdef\n"]),
    "mediawiki": ({}, [DUMP.encode(), bz2.compress(DUMP.encode())]),
    "python": ({"parsable": True}, [b"# coding: latin-1\nx='\xe9'\n"]),
    "tatoeba": ({}, [SENTENCES.encode()]),
    "warc": ({}, [b"".join(PAGES), b"".join(gzip.compress(one, mtime=0) for one in PAGES),
                  gzip.compress(b"".join(PAGES), mtime=0)]),
}  # fmt: skip
MARKS = (
    b"\0", b"\n", b"\r\n", b"\xff\xfe", b"&", b"<page>", b"</page>", b"WARC/1.0\r\n",
    b"\x1f\x8b\x08", b"{{", b"\xed\xa0\x80", b'"', b"\t", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f",
)  # fmt: skip


def mutated(chance: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(found) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            found[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del found[at : at + chance.randint(1, 40)]
        elif kind == 2:
            found[at:at] = chance.randbytes(chance.randint(1, 20))
        elif kind == 3:
            del found[at:]
        elif kind == 4:
            other = chance.randrange(len(found) + 1)
            found[at:at] = found[other : other + chance.randint(1, 200)]
        else:
            mark = chance.choice(MARKS)
            found[at : at + chance.choice((0, len(mark)))] = mark
    return bytes(found)


def taken(source: Input, settings: Any, place: Place) -> list[tuple[list[Any], Place]]:
    """Return what each batch of one record holds, and the place behind it."""
    reader = READERS[settings.format]
    kind, schema = reader.kind(settings), schema_of(reader, settings)
    if place.offset == END:
        return []
    found = []
    for batch in batched(reader.read(source, settings, place), schema, source, kind, place):
        batch.rows.validate(full=True)
        found.append(([*batch.rows.to_pylist(), *batch.losses], batch.place))
    return found


@pytest.mark.parametrize("name", SEEDS)
def test_mutants_cost_records_and_never_the_run(tmp_path, name, monkeypatch):
    assert set(SEEDS) == set(READERS)
    monkeypatch.setattr(batches, "BATCH_ITEMS", 1)
    choices, seeds = SEEDS[name]
    settings = TypeAdapter(Format).validate_python({"format": name, **choices})
    chance = random.Random(f"mutants of {name}")
    source = Input(tmp_path / "x", "x", Bounds(1 << 20, 100), "MIT")
    for case in range(int(os.environ.get("DEVENO_MUTANTS", "40"))):
        source.path.write_bytes(mutated(chance, chance.choice(seeds)))
        whole = taken(source, settings, Place())
        ids = [one.id if isinstance(one, Loss) else one["id"] for held, _ in whole for one in held]
        assert len(ids) == len(set(ids)), f"case {case}"
        if whole:
            at = chance.randrange(len(whole))
            again = taken(source, settings, whole[at][1])
            assert [held for held, _ in again] == [held for held, _ in whole[at + 1 :]], f"{case}"


def test_offsets_beyond_their_buffer_are_never_followed(tmp_path):
    """Arrow checks none by itself: whoever reads such a column reads other memory, or dies."""
    data = packed(pa.table({"text": ["unu", "du", "tri"]}), "stream", 9)
    offsets = struct.pack("<4i", 0, 3, 5, 8)
    assert offsets in data
    bad = data.replace(offsets, struct.pack("<4i", 0, 3, 1 << 30, 8))
    found = extract(tmp_path, {"a": bad, "b": data}, {"format": "arrow"})
    assert (found.texts, found.lost) == (["unu", "du", "tri"], [("a:1", "damaged")])
    params = {"licence": "MIT", "source": {"kind": "sql", "query": "SELECT text FROM bad"}}
    folder = put(tmp_path / "sql", {"bad.arrow": bad})
    with pytest.raises(DevenoError, match=r"bad.arrow is damaged|bad.*damaged") as caught:
        acquire(AcquireParams.model_validate(params), folder, tmp_path / "raw-sql", Log())
    assert len(caught.value.lines()) == 3


def test_a_charset_that_is_no_name(tmp_path):
    one = record(1, headers="Content-Type: text/html; charset=u\0tf\r\n")
    assert len(extract(tmp_path, {"a.warc": one}, {"format": "warc"}).rows) == 1
