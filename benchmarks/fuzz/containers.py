"""Targets: containers of records (`extract`). What they hold is kept or lost with a reason."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from benchmarks.fuzz import drawing
from benchmarks.fuzz.engine import Target
from benchmarks.fuzz.kernels import same
from benchmarks.fuzz.readers import PACK, refused
from stages.core.log import Log

MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")


def taken(given: dict[str, Any], folder: Path, name: str, data: bytes) -> dict[str, Any] | None:
    """Extract one file; returns its account, or None where it was refused."""
    from stages.acquire.stage import AcquireParams, acquire

    path = folder / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    params = {"licence": "CC0-1.0", "source": {"kind": "extract", "reader": given["reader"]}}
    try:
        acquire(AcquireParams.model_validate(params), folder / "in", folder / "raw", Log())
    except Exception as error:
        refused(error)
        return None
    told: dict[str, Any] = json.loads((folder / "raw" / "manifest.json").read_text())["extraction"]
    tables = {
        name: [
            row
            for one in sorted((folder / "raw" / name).glob("*.parquet"))
            for row in pq.read_table(one).to_pylist()
        ]
        for name in ("files", "losses")
    }
    same(told["kept"], len(tables["files"]))
    same(told["lost"], dict(Counter(row["reason"] for row in tables["losses"])))
    same(told["records"], len(tables["files"]) + len(tables["losses"]))
    ids = [row["id"] for name in tables for row in tables[name]]
    same(len(set(ids)), len(ids))
    assert all(row["reason"] for row in tables["losses"]), tables["losses"]
    return told | {"rows": tables["files"]}


def extracted(given: dict[str, Any], folder: Path) -> None:
    """Every record is kept or lost; of lines it is known how many there are."""
    data = given["data"]
    told = taken(given, folder, f"{given['name']}{given['suffix']}", PACK[given["suffix"]](data))
    lines = given["reader"]["format"] in ("jsonl", "tatoeba")
    if told is not None and lines and not data.startswith(MARKS):
        rows = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        if given["reader"]["format"] == "jsonl":
            filled = [row for row in rows if row.decode("utf-8", "replace").strip()]
        else:
            filled = [row for row in rows if row.removesuffix(b"\r")]
        if not any(reason in told["lost"] for reason in ("truncated", "damaged")):
            same(told["records"], len(filled))


def batches(given: dict[str, Any], folder: Path) -> None:
    """A changed Arrow or Parquet file is refused, or its rows are kept or lost; whole, all are."""
    text = pa.array(given["rows"], pa.string())
    if given["coded"]:
        text = text.dictionary_encode()
    table, out = pa.table({"text": text, "number": [*range(len(text))]}), io.BytesIO()
    if given["kind"] == ".parquet":
        pq.write_table(table, out)
    else:
        opener = pa.ipc.new_file if given["kind"] == ".arrow" else pa.ipc.new_stream
        with opener(out, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    whole, data = drawing._changed(out.getvalue(), [tuple(one) for one in given["changes"]])
    told = taken({"reader": {"format": "arrow"}}, folder, f"a{given['kind']}", data)
    if told is not None and data == whole:
        same(told["records"], len(given["rows"]))
        kept = [one for one in given["rows"] if one is not None and one.strip()]
        same([row["text"] for row in told["rows"]], kept)


def archive(given: dict[str, Any], folder: Path) -> None:
    """Every record of a web archive is kept or lost, one by one; damage costs what it touched."""
    parts = []
    for kind, head, body in given["records"]:
        block = head + body
        if kind == "response":
            block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + head + b"\r\n" + body
        told = f"WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Type: text/plain\r\n"
        told += f"Content-Length: {len(block)}\r\n\r\n"
        parts.append(told.encode() + block + b"\r\n\r\n")
    packed = [gzip.compress(one, mtime=0) if given["packed"] else one for one in parts]
    whole, data = drawing._changed(b"".join(packed), [tuple(one) for one in given["changes"]])
    name = "a.warc.gz" if given["packed"] else "a.warc"
    told = taken({"reader": {"format": "warc"}}, folder, name, data)
    documents = [one for one in given["records"] if one[0] != "warcinfo"]
    if data == whole and documents:
        assert told is None or told["records"] == len(documents), (told, len(documents))


def catalogue(given: dict[str, Any], folder: Path) -> None:
    """A compiled catalogue's messages are kept or lost, whatever its tables say."""
    pairs = [(b"", b"Content-Type: text/plain; charset=UTF-8\n"), *given["messages"]]
    count, at = len(pairs), 28 + 16 * len(pairs)
    tables, texts = [b"", b""], b""
    for side in range(2):
        for pair in pairs:
            tables[side] += struct.pack("<2I", len(pair[side]), at + len(texts))
            texts += pair[side] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    whole = head + b"".join(tables) + texts
    _, data = drawing._changed(whole, [tuple(one) for one in given["changes"]])
    taken({"reader": {"format": "gettext"}}, folder, "eo/LC_MESSAGES/a.mo", data)


_changes = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "insert", "drop", "double", "zero"]),
        st.integers(0, 1 << 30), st.binary(min_size=1, max_size=4),
    ).map(list),
    max_size=3,
)  # fmt: skip
_word = ["1\ta\ta\tX\t_\t_\t0\tr\t_\t_\n", "# text = a\n", "1-2\t", "\n", "# newdoc id\n"]
_wiki = ["<mediawiki>", "<page>", "<title>a</title>", "<ns>0</ns>", "<id>1</id>",
         "<text>[[a|b]] c", "</text>", "</page>", "</mediawiki>", "<redirect/>", "{{", "[[",
         "&#x0;", "<!--"]  # fmt: skip
_page = ["<html>", "<body>", "<p>la domo kaj la urbo", "</p>", "<div>", "</div>", "<!--", "-->",
         "<script>", "<meta charset=utf-16>", "<meta charset=x>", "&#xd800;", "<", ">", "<table>",
         '<a rel="license" href="https://creativecommons.org/licenses/by/4.0/">']  # fmt: skip
_po = ['msgid "a"\n', 'msgstr "b"\n', 'msgid_plural "c"\n', 'msgstr[1] "d"\n', "#, fuzzy\n", "\n",
       'msgid ""\nmsgstr "Plural-Forms: nplurals=2; plural=(n?(n%0):1);\\n"\n', '"\\x41\\777"\n',
       "msgctxt \"e\"\n", '"charset=utf-16"\n']  # fmt: skip
_code = ["# -*- coding: rot13 -*-\n", "# coding: latin-1\n", "x = 1\n", "def f(:\n", "(" * 300, "é"]
_json = ['{"text": "a"}\n', '{"text": null}\n', "{", "\n", '{"text": "\\ud800"}', '{"text":"  "}\n']
_forms = st.sampled_from([
    ({"format": "jsonl"}, "a.jsonl", _json), ({"format": "leipzig"}, "a-sentences.txt",
                                              ["1\ta\n", "x\n", "\n", "2\t\n"]),
    ({"format": "conllu"}, "a.conllu", _word), ({"format": "mediawiki"}, "a.xml", _wiki),
    ({"format": "html"}, "a.html", _page), ({"format": "gettext"}, "eo.po", _po),
    ({"format": "python"}, "a.py", _code),
    ({"format": "tatoeba"}, "a.tsv", ["1\tepo\ta\n", "2\tepo\t\n", "x\ty\n", "\n"]),
    ({"format": "tatoeba", "yields": "pairs"}, "a.tsv", ["1\ta\t2\tb\n", "1\ta\n", "\n"]),
])  # fmt: skip


def _joined(parts: list[str]) -> Any:
    return st.lists(
        st.one_of(st.sampled_from(parts).map(str.encode), drawing.piece), max_size=14
    ).map(b"".join)


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
TARGETS = [
    Target("extract", _forms.flatmap(lambda one: st.fixed_dictionaries({
        "reader": st.just(one[0]), "name": st.just(one[1]), "suffix": st.sampled_from([*PACK]),
        "data": _joined(one[2])})), extracted),
    Target("arrow", st.fixed_dictionaries({
        "rows": st.lists(st.one_of(st.none(), _text, st.just("domo")), max_size=9),
        "coded": st.booleans(), "kind": st.sampled_from([".arrow", ".stream.arrow", ".parquet"]),
        "changes": _changes}), batches),
    Target("warc", st.fixed_dictionaries({
        "records": st.lists(st.tuples(
            st.sampled_from(["response", "response", "resource", "conversion", "warcinfo"]),
            st.sampled_from([b"", b"", b"Content-Encoding: gzip\r\n", b"X: \xff\r\n"]),
            st.one_of(_joined(_page), drawing.document)).map(list), max_size=4),
        "packed": st.booleans(), "changes": _changes}), archive),
    Target("gettext_mo", st.fixed_dictionaries({
        "messages": st.lists(st.tuples(drawing.document, drawing.document).map(list), max_size=4),
        "changes": _changes}), catalogue),
]  # fmt: skip
