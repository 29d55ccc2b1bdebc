"""Hostile files by name: bytes to be read to the last record, or refused in three lines.

A case that is taken lists every (id, text) that must come out; nothing else may. A case that is
refused says a part of the error's first line. Nothing in between: no crash, no part of a file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from stages.lm.streams import LINE_CHARACTERS
from tests.hostile.archives import archives
from tests.hostile.case import LONG, SAYS, FileCase, refused, taken


def cases() -> list[FileCase]:
    """Return all cases."""
    groups = (
        _encodings(), _packed(), archives(), _json(), _json_texts(), _tables(), _lines(), _names(),
        _columns(), _large(),
    )  # fmt: skip
    return [one for group in groups for one in group]


def _encodings() -> Iterator[FileCase]:
    """Byte order marks, encodings that are declared and not so, bytes that are no characters."""
    for name in ("utf-8-sig", "utf-16", "utf-32"):
        yield taken(f"mark_{name}", "a.txt", SAYS.encode(name), SAYS)
    for name in ("utf-16-be", "utf-32-be"):
        yield taken(f"mark_{name}", "a.txt", ("\ufeff" + SAYS).encode(name), SAYS)
    yield taken("mark_twice", "a.txt", ("\ufeff\ufeff" + SAYS).encode(), "\ufeff" + SAYS)
    for name in ("utf-8-sig", "utf-16", "utf-32"):
        yield FileCase(f"mark_alone_{name}", {"a.txt": "".encode(name)}, told="hold no record")
    yield refused("utf16_without_mark", "a.txt", SAYS.encode("utf-16-le"), "binary: a zero byte")
    yield refused("utf16_cut", "a.txt", SAYS.encode("utf-16")[:-1], "is not utf-16")
    half = b"\xff\xfe" + "a".encode("utf-16-le") + b"\x00\xd8" + "b".encode("utf-16-le")
    yield refused("utf16_half_pair", "a.txt", half, "is not utf-16: byte 0x00 at offset 4")
    yield refused("utf32_beyond", "a.txt", b"\xff\xfe\0\0" + struct.pack("<I", 0x110000), "utf-32")
    for name, data in {
        "surrogate_bytes": b"\xed\xa0\x80", "surrogate_pair_bytes": b"\xed\xa0\xbd\xed\xb2\xa9",
        "overlong_slash": b"\xc0\xaf", "overlong_nul": b"\xc0\x80", "overlong_3": b"\xe0\x80\xaf",
        "overlong_4": b"\xf0\x80\x80\xaf", "beyond_unicode": b"\xf4\x90\x80\x80",
        "five_bytes": b"\xf8\x88\x80\x80\x80", "stray_tail": b"\x80", "cut_character": b"\xe2\x82",
        "ff": b"\xff", "fe": b"\xfe",
    }.items():  # fmt: skip
        yield refused(name, "a.txt", b"Bona " + data + b" fino", "is not utf-8: byte 0x")
    yield refused("utf8_is_latin1", "a.txt", "caf\xe9 la\n".encode("latin-1"), "0xe9 at offset 3")
    yield refused("utf8_is_shift_jis", "a.txt", "日本語の文".encode("shift_jis"), "is not utf-8")
    yield refused("utf8_is_utf16", "a.txt", SAYS.encode("utf-16-le"), "binary",
                  reading={"encoding": "utf-8"})  # fmt: skip
    yield taken(
        "declared_latin1", "a.txt", "caf\xe9".encode("latin-1"), "caf\xe9", encoding="latin-1"
    )
    yield taken("declared_cp1251", "a.txt", "Да".encode("cp1251"), "Да", encoding="cp1251")
    yield taken(
        "declared_shift_jis", "a.txt", "日本語".encode("shift_jis"), "日本語", encoding="sjis"
    )
    yield taken("declared_utf16_le", "a.txt", SAYS.encode("utf-16-le"), SAYS, encoding="utf-16-le")
    yield taken("latin1_is_utf8", "a.txt", "ĉ".encode(), "Ä\x89", encoding="latin-1")
    for name, encoding, data in (
        ("declared_ascii", "ascii", "ĉ".encode()), ("declared_euc_jp", "euc_jp", b"\x8f\xff"),
        ("declared_gb18030", "gb18030", b"\x81\x30\x81"), ("declared_big5", "big5", b"\xff\xff"),
        ("declared_utf16", "utf-16", b"\xff\xfea"), ("declared_utf16_bare", "utf-16", b"la"),
        ("declared_utf7", "utf-7", b"+2AA-"),
        ("declared_iso2022", "iso2022_jp", b"\x1b$B\xff"), ("declared_hz", "hz", b"~{\xff"),
    ):  # fmt: skip
        yield refused(name, "a.txt", data, "is not ", reading={"encoding": encoding})
    for encoding in ("unicode_escape", "raw_unicode_escape", "punycode", "idna", "undefined",
                     "base64", "rot13", "zlib", "mbcs", "utf-9", ""):  # fmt: skip
        yield refused(f"encoding_{encoding or 'empty'}", "a.txt", b"a", "encoding",
                      reading={"encoding": encoding})  # fmt: skip


def _packed() -> Iterator[FileCase]:
    """Compression that is cut, damaged, joined, misnamed or nested."""
    plain = LONG.encode()
    packs = {
        "gz": gzip.compress(plain, mtime=0), "bz2": bz2.compress(plain), "xz": lzma.compress(plain),
        "zst": zstandard.ZstdCompressor(write_checksum=True).compress(plain),
    }  # fmt: skip
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress,
            "zst": zstandard.compress}  # fmt: skip
    for suffix, data in packs.items():
        damaged = f"stream of a.txt.{suffix}"
        yield taken(f"{suffix}_whole", f"a.txt.{suffix}", data, LONG)
        yield taken(f"{suffix}_joined", f"a.txt.{suffix}", data + data, LONG + LONG)
        yield refused(f"{suffix}_cut", f"a.txt.{suffix}", data[: len(data) // 2], "ends too early")
        yield refused(f"{suffix}_cut_at_end", f"a.txt.{suffix}", data[:-1], "ends too early")
        yield refused(
            f"{suffix}_cut_in_head", f"a.txt.{suffix}", data[:5], f"stream of a.txt.{suffix}"
        )
        middle = len(data) // 2
        wrong = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
        yield refused(f"{suffix}_damaged", f"a.txt.{suffix}", wrong, damaged)
        yield refused(f"{suffix}_then_rubbish", f"a.txt.{suffix}", data + b"rubbish!" * 9,
                      f"{damaged} is damaged")  # fmt: skip
        yield refused(
            f"{suffix}_in_name_only", f"a.txt.{suffix}", plain, f"stream of a.txt.{suffix}"
        )
        yield refused(f"{suffix}_without_name", "a.txt", data, "not text")
        yield refused(f"{suffix}_nested", f"a.txt.{suffix}", pack[suffix](packs["gz"]),
                      "gzip data")  # fmt: skip
    yield refused("gz_wrong_sum", "a.txt.gz", packs["gz"][:-8] + b"\0\0\0\0" + packs["gz"][-4:],
                  "is damaged")  # fmt: skip
    for suffix in packs:
        yield refused(f"{suffix}_empty", f"a.txt.{suffix}", b"", "ends too early")
    for name, head in {"pdf": b"%PDF-1.7\n", "png": b"\x89PNG\r\n", "program": b"\x7fELF\2",
                       "zip": b"PK\x03\x04"}.items():  # fmt: skip
        yield refused(f"{name}_as_text", "a.txt", head + plain, "not text")
    yield refused("controls", "a.txt", bytes(range(1, 9)) * 9, "control characters")
    yield refused("nul", "a.txt", b"Bona\0 teksto", "a zero byte at offset 4")


def _row(text: Any, **more: Any) -> str:
    return json.dumps({"text": text, **more}) + "\n"


def _json() -> Iterator[FileCase]:
    """Lines of JSON that are none, or more than one may think."""
    for name, row, told in (
        ("null_text", '{"text": null}', "'text' is null"),
        ("number_text", '{"text": 7}', "holds 7, not a text"),
        ("list_text", '{"text": ["a"]}', "not a text"),
        ("nan_text", '{"text": NaN}', "holds nan, not a text"),
        ("missing_text", '{"id": "a"}', "no field 'text'"),
        ("half_pair", '{"text": "a\\ud800b"}', "half of a surrogate pair"),
        ("half_pair_low", '{"text": "a\\udc00b"}', "half of a surrogate pair"),
        ("pair_reversed", '{"text": "\\udc00\\ud800"}', "half of a surrogate pair"),
        ("half_pair_in_id", '{"text": "a", "id": "\\ud800"}', "half of a surrogate pair"),
        ("half_pair_in_source", '{"text": "a", "source": "\\udfff"}', "half of a surrogate pair"),
        ("text_twice", '{"text": "first", "text": "second"}', "'text' stands twice"),
        ("deep_lists", '{"text": "a", "b": ' + "[" * 100_000, "is not JSON"),
        ("deep_objects", '{"a":' * 100_000, "is not JSON"),
        ("huge_number", '{"text": "a", "n": ' + "9" * 5000 + "}", "is not JSON"),
        ("cut_line", '{"text": "a', "is not JSON"),
        ("two_on_a_line", '{"text": "a"} {"text": "b"}', "is not JSON"),
        ("single_quotes", "{'text': 'a'}", "is not JSON"),
        ("bare_newline", '{"text": "a\nb"}', "is not JSON"),
        ("list_of_rows", '[{"text": "a"}]', "is list, not an object"),
        ("bare_text", '"text"', "is str, not an object"), ("bare_null", "null", "is NoneType"),
        ("bare_number", "1e999", "is float"), ("rubbish", "\x01\x02", "is binary"),
        ("escape_unknown", '{"text": "\\x41"}', "is not JSON"),
        ("escape_cut", '{"text": "\\ud8"}', "is not JSON"),
    ):  # fmt: skip
        yield refused(name, "a.jsonl", (_row("bona") + row + "\n").encode(), told)


def _json_texts() -> Iterator[FileCase]:
    """Lines of JSON that are odd and right."""
    for name, lines, rows in (
        ("pair_escaped", '{"text": "\\ud83d\\udca9"}\n', [("a.jsonl:1", "\U0001f4a9")]),
        ("nul_escaped", '{"text": "a\\u0000b"}\n', [("a.jsonl:1", "a\0b")]),
        ("infinite_field", '{"text": "a", "n": [NaN, Infinity, 1e999]}\n', [("a.jsonl:1", "a")]),
        ("other_twice", '{"n": 1, "text": "a", "n": 2}\n', [("a.jsonl:1", "a")]),
        ("text_inside", '{"text": "a", "b": {"text": "c"}}\n', [("a.jsonl:1", "a")]),
        ("text_said", '{"text": "a \\"text\\": b"}\n', [("a.jsonl:1", 'a "text": b')]),
        ("ids_equal", _row("a", id="x") + _row("b", id="x"), [("x", "a"), ("x", "b")]),
        ("ids_of_paths", _row("a", id="../x\ny\0\t"), [("../x\ny\0\t", "a")]),
        ("ids_empty", _row("a", id="") + _row("b", id=None),
         [("a.jsonl:1", "a"), ("a.jsonl:2", "b")]),
        ("ids_of_numbers", _row("a", id=7) + _row("b", id=1.5), [("7", "a"), ("1.5", "b")]),
        ("ids_of_lists", _row("a", id=["x"]) + _row("b", id=False),
         [("['x']", "a"), ("False", "b")]),
        ("ids_long", _row("a", id="x" * 50_000), [("x" * 50_000, "a")]),
        ("crlf", '{"text": "a"}\r\n\r\n{"text": "b"}\r\n',
         [("a.jsonl:1", "a"), ("a.jsonl:3", "b")]),
        ("separators_raw", '{"text": "a\u2028b\x85c\x0cd"}\n'.replace("\x0c", ""),
         [("a.jsonl:1", "a\u2028b\x85cd")]),
        ("no_last_line_end", '{"text": "a"}', [("a.jsonl:1", "a")]),
        ("blank_between", ' \n{"text": "a"}\n\t\n', [("a.jsonl:2", "a")]),
        ("marked", '\ufeff{"text": "a"}\n', [("a.jsonl:1", "a")]),
    ):  # fmt: skip
        yield FileCase(f"json_{name}", {"a.jsonl": lines.encode()}, rows)


def _parquet(column: Any, name: str = "text", **more: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({name: column, **more}), out)
    return out.getvalue()


def _tables() -> Iterator[FileCase]:
    """Parquet that is cut, damaged, of other types."""
    good = _parquet(["unu", "du"])
    two = [("a.parquet:1", "unu"), ("a.parquet:2", "du")]
    for name, data in {
        "plain": good, "large": _parquet(pa.array(["unu", "du"], pa.large_string())),
        "coded": _parquet(pa.array(["unu", "du"]).dictionary_encode()),
        "chunked": _parquet(pa.chunked_array([["unu"], ["du"]])),
        "view": _parquet(pa.array(["unu", "du"], pa.string_view())),
    }.items():  # fmt: skip
        yield FileCase(f"parquet_{name}", {"a.parquet": data}, two)
    yield FileCase("parquet_without_rows", {"a.parquet": _parquet(pa.array([], pa.string())),
                   "b.txt": SAYS.encode()}, [("b.txt", SAYS)])  # fmt: skip
    wrong = pa.array([b"a\xff"]).view(pa.binary())
    ill = pa.StringArray.from_buffers(1, wrong.buffers()[1], wrong.buffers()[2])
    for name, data, told in (
        ("parquet_cut", good[:-20], "cannot be read"), ("parquet_empty", b"", "cannot be read"),
        ("parquet_text", b"no table", "cannot be read"),
        ("parquet_damaged", good[:40] + bytes(60) + good[100:], "a.parquet"),
        ("parquet_numbers", _parquet([1, 2]), "holds 1, not a text"),
        ("parquet_nulls", _parquet(pa.array(["a", None])), "is null"),
        ("parquet_nothing", _parquet(pa.nulls(2)), "is null"),
        ("parquet_lists", _parquet([["a"]]), "not a text"),
        ("parquet_bytes", _parquet([b"a"]), "not a text"),
        ("parquet_other_column", _parquet(["a"], "content"), "no column text"),
        ("parquet_not_utf8", _parquet(ill), "not UTF-8: byte 0xff"),
        ("parquet_ids_not_utf8", _parquet(["a"], id=ill), "not UTF-8: byte 0xff"),
    ):  # fmt: skip
        yield refused(name, "a.parquet", data, told)


def _lines() -> Iterator[FileCase]:
    """Texts whose documents are lines or paragraphs, with every line end."""
    text = "unu\r\ndu\rtri\x0bkvar\x0ckvin\x1cses\x85sep\u2028ok\u2029naŭ\n\n \ndek"
    odd = "du\rtri\x0bkvar\x0ckvin\x1cses\x85sep\u2028ok\u2029naŭ"
    for documents, rows in (
        ("file", [("a.txt", text)]),
        ("line", [("a.txt:1", "unu"), ("a.txt:2", odd), ("a.txt:5", "dek")]),
        ("paragraph", [("a.txt:1", f"unu\n{odd}"), ("a.txt:5", "dek")]),
    ):
        yield FileCase(f"line_ends_by_{documents}", {"a.txt": text.encode()}, rows,
                       source={"reading": {"documents": documents}})  # fmt: skip
    yield FileCase("empty_file", {"a.txt": b"", "b.txt": SAYS.encode()},
                   [("a.txt", ""), ("b.txt", SAYS)])  # fmt: skip
    yield FileCase("empty_files", {"a.txt": b"", "b.jsonl": b"\n"}, told="hold no record")
    yield refused("numbers_missing", "a-sentences.txt", b"1\tunu\nx\tdu\n", "begin with its number")
    yield refused(
        "tatoeba_ragged", "sentences.csv", b"1\tepo\n", "is not `id<TAB>language<TAB>text`"
    )


def _names() -> Iterator[FileCase]:
    """Names of files that are odd and right, or lead nowhere."""
    for number, name in enumerate(
        ("a b.txt", "a\nb.txt", "a'b\".txt", "-a.txt", "a;b&c.txt", "\u202ea.txt", "e\u0301.txt",
         "\u00e9.txt", "%s{}.txt", "a" * 200 + ".txt", "[a]*.txt", "a\\b.txt", "~a.txt", "#a.txt")
    ):  # fmt: skip
        yield taken(f"name_{number}", name, SAYS.encode(), SAYS)
    yield refused("name_not_utf8", "a\udcff.txt", SAYS.encode(), "is not UTF-8")
    yield refused("name_unknown", "a.xyz", SAYS.encode(), "does not tell its format")


def _columns() -> Iterator[FileCase]:
    """Tab-separated rows, labelled rows and pairs."""
    tsv = {"format": "tsv", "yields": "documents", "text": "1"}
    quotes = '1\t"a""b\n2\tc"\t\n'
    yield refused("tsv_ragged", "a.tsv", quotes.encode(), "columns, the file 2", reading=tsv)
    yield FileCase("tsv_quotes", {"a.tsv": b'1\t"a""b\n2\t"c\n'},
                   [("a.tsv:1", '"a""b'), ("a.tsv:2", '"c')], source={"reading": tsv})  # fmt: skip
    yield refused("tsv_column", "a.tsv", b"1\ta\n", "no field '9'", reading={**tsv, "text": "9"})
    labelled = {"yields": "labelled"}
    for name, row, told in (
        ("labels_fewer", {"tokens": ["a", "b"], "tags": ["X"]}, "2 tokens and 1 tags"),
        ("labels_missing", {"tokens": ["a"]}, "no field 'tags'"),
        ("labels_text", {"tokens": "a", "tags": ["X"]}, "not a list"),
        ("labels_half", {"tokens": ["\ud800"], "tags": ["X"]}, "half of a surrogate pair"),
        ("labels_document", {"tokens": ["a"], "tags": ["X"], "document": [7]}, "holds [7], not"),
        ("labels_document_half", {"tokens": ["a"], "tags": ["X"], "document": "\ud800"}, "half"),
        ("labels_lemmas", {"tokens": ["a"], "tags": ["X"], "lemmas": ["a", "b"]},
         "1 tokens and 2 lemmas"),
        ("labels_lemmas_text", {"tokens": ["a"], "tags": ["X"], "lemmas": 5}, "not a list"),
    ):  # fmt: skip
        yield refused(name, "a.jsonl", json.dumps(row).encode(), told, reading=labelled)
    pairs = {"yields": "pairs", "source_text": "s", "target_text": "t"}
    for name, pair, told in (
        ("pair_null", {"s": "a", "t": None}, "is null"),
        ("pair_one_side", {"s": "a"}, "no field 't'"),
        ("pair_half", {"s": "a", "t": "\udfff"}, "half of a surrogate pair"),
        ("pair_numbers", {"s": "a", "t": [1]}, "not a list of texts"),
        ("pair_none", {"s": [], "t": "a"}, "not a list of texts"),
    ):  # fmt: skip
        yield refused(name, "a.jsonl", json.dumps(pair).encode(), told, reading=pairs)
    yield FileCase("sides_unequal", {"a.en.txt": b"a\nb\n", "a.eo.txt": b"a\n"}, told="1 lines",
                   source={"parallel": [{"source": "*.en.txt", "target": "*.eo.txt"}]})  # fmt: skip


def _large() -> Iterator[FileCase]:
    """What would not fit the memory bound, whole or out of little."""
    over = b"la " * (LINE_CHARACTERS // 3 + 1)
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as stream:
        for _ in range(16):
            stream.write(over)
    bomb = zstandard.ZstdCompressor().compress(over * 4)
    line = b'{"text": "' + b"la " * 33_333_333 + b'"}\n'
    for name, file, data, told in (
        ("file_over_the_bound", "a.txt", over, "more than 67108864 characters"),
        ("line_of_100_mb", "a.jsonl", line, "line 1 of a.jsonl has more than 67108864 characters"),
        ("gz_bomb", "a.txt.gz", packed.getvalue(), "more than 67108864 characters"),
        ("gz_bomb_twice", "a.txt.gz", gzip.compress(packed.getvalue()), "gzip data"),
        ("zst_bomb", "a.txt.zst", bomb, "more than 67108864 characters"),
        ("xz_bomb", "a.txt.xz", lzma.compress(over, preset=0), "more than 67108864 characters"),
    ):
        yield FileCase(name, {file: data}, told=told, large=True)
