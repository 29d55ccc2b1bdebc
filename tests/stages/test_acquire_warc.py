"""Pages out of web archives: text, columns, digests, and what damage costs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib

import brotli
import pytest
import zstandard

from stages.acquire import extraction
from stages.acquire.readers import batches
from tests.stages.extract_material import compressed, extract, interrupted

WARC = {"format": "warc"}
PAGE = (
    "<html><head><title>T</title></head><body><nav>menuo</nav><main><p>{}</p></main></body></html>"
)
TEXT = "Jen estas la teksto numero {} de la paĝo, sufiĉe longa."


def record(
    number: int,
    body: bytes | None = None,
    *,
    kind: str = "response",
    status: str = "200 OK",
    headers: str = "Content-Type: text/html; charset=utf-8\r\n",
    more: str = "",
) -> bytes:
    body = PAGE.format(TEXT.format(number)).encode() if body is None else body
    data = f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body
    return block(number, data, kind, more, "application/http; msgtype=response")


def block(number: int, data: bytes, kind: str, more: str = "", media: str = "text/plain") -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://a.b/{number}\r\n"
        f"WARC-Date: 2024-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:{number}>\r\n"
        f"Content-Type: {media}\r\n{more}Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data + b"\r\n\r\n"


def joined(records: list[bytes], suffix: str) -> bytes:
    """Each record packed by itself, as crawlers do; xz, bzip2 and what begins `one` as a whole."""
    if suffix in (".gz", ".zst"):
        return b"".join(compressed(one, suffix) for one in records)
    return compressed(b"".join(records), suffix.removeprefix("one"))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".xz", ".bz2", "one.gz"])
def test_pages_come_with_their_address(tmp_path, suffix):
    wanted = [record(n) for n in range(3)]
    about = [block(9, b"software: x", "warcinfo"), block(8, b"GET / HTTP/1.1\r\n\r\n", "request")]
    data = joined([about[0], wanted[0], about[1], *wanted[1:]], suffix)
    taken = extract(tmp_path, {"a.warc": data}, WARC)
    assert taken.texts == [TEXT.format(n) for n in range(3)]
    assert taken.lost == []
    first = taken.rows[0]
    assert (first["url"], first["record"]) == ("http://a.b/0", "<urn:uuid:0>")
    assert (first["media_type"], first["encoding"]) == ("text/html", "utf-8")
    whole = extract(tmp_path, {}, WARC | {"main_content": False}, to="whole")
    assert whole.texts[0].startswith("menuo")


def sha1(data: bytes) -> str:
    return base64.b32encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


BLOCK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>Saluton mondo"
HTML = {"media": "application/http; msgtype=response"}
PACKED = "Content-Type: text/html\r\nContent-Encoding: {}\r\n"
RAW = zlib.compressobj(wbits=-15)
DEFLATED = RAW.compress(b"<p>Saluton mondo") + RAW.flush()


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (block(1, BLOCK, "response", f"WARC-Block-Digest: sha1:{sha1(BLOCK)}\r\n", **HTML), None),
        (block(1, BLOCK, "response", "WARC-Block-Digest: sha1:AAAA\r\n", **HTML), "digest"),
        (block(1, BLOCK, "response", "WARC-Block-Digest: odd:AAAA\r\n", **HTML), None),
        (block(1, b"Saluton mondo", "conversion"), None),
        (block(1, b"<p>Saluton mondo", "resource", media="text/html"), None),
        (block(1, b"", "revisit"), "revisit"),
        (block(1, b"", "continuation"), "continuation"),
        (block(1, b"x", "mystery"), "unknown_type"),
        (block(1, b"rubbish", "response", **HTML), "no_http"),
        (record(1, status="404 Not Found"), "http_status"),
        (record(1, headers="Content-Type: image/png\r\n"), "media_type"),
        (record(1, b"<p>Saluton mondo", headers=""), None),
        (record(1, b"<p>  "), "no_words"),
        (record(1, b"<div>" * 3000 + b"Saluton"), "too_deep"),
        (record(1, b"x" * 40_000), "too_long"),
        (record(1, gzip.compress(b"<p>Saluton mondo"), headers=PACKED.format("gzip")), None),
        (record(1, b"<p>Saluton mondo", headers=PACKED.format("gzip")), None),
        (record(1, gzip.compress(bytes(9 << 20)), headers=PACKED.format("gzip")), "bomb"),
        (record(1, brotli.compress(b"<p>Saluton mondo"), headers=PACKED.format("br")), None),
        (record(1, brotli.compress(bytes(9 << 20)), headers=PACKED.format("br")), "bomb"),
        (record(1, b"\xff\xff\xff\xff", headers=PACKED.format("br")), "damaged"),
        (
            record(1, brotli.compress(b"<p>Saluton mondo" * 99)[:-4], headers=PACKED.format("br")),
            "truncated",
        ),
        (
            record(
                1,
                zstandard.ZstdCompressor().compress(b"<p>Saluton mondo"),
                headers=PACKED.format("zstd"),
            ),
            None,
        ),
        (record(1, zlib.compress(b"<p>Saluton mondo"), headers=PACKED.format("deflate")), None),
        (record(1, DEFLATED, headers=PACKED.format("deflate")), None),
        (
            record(1, gzip.compress(b"<p>Saluton mondo" * 99)[:-20], headers=PACKED.format("gzip")),
            "truncated",
        ),
        (record(1, b"x", headers=PACKED.format("lzw")), "unknown_coding"),
        (
            record(1, b"9\r\n<p>Saluto\r\n8\r\nn mondo \r\n0\r\n\r\n",
                   headers="Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n"),
            None,
        ),
        (
            record(1, b"9\r\n<p>Saluto\r\n800\r\nn mondo ",
                   headers="Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n"),
            "truncated",
        ),
    ],
)  # fmt: skip
def test_a_record_is_kept_or_says_why_not(tmp_path, one, told):
    data = b"".join([record(0), one, record(2)])
    taken = extract(tmp_path, {"a.warc": data}, WARC, max_record_bytes=20_000)
    middle = [] if told else ["Saluton mondo"]
    assert taken.texts == [TEXT.format(0), *middle, TEXT.format(2)]
    assert taken.lost == ([("a.warc:2", told)] if told else [])


CYRILLIC = "<p>Привет, мир: это страница на русском языке.</p>"
META = '<meta charset="{}">'


@pytest.mark.parametrize(
    ("markup", "real", "declared", "encoding"),
    [
        (CYRILLIC, "utf-8", "windows-1251", "utf-8"),
        (CYRILLIC, "windows-1251", "utf-8", "windows-1251"),
        (CYRILLIC, "koi8-r", "koi8-r", "koi8-r"),
        (META.format("koi8-r") + CYRILLIC, "koi8-r", "", "koi8-r"),
        ("<p>日本の文章です", "iso-2022-jp", "iso-2022-jp", "iso-2022-jp"),
        (CYRILLIC, "utf-16", "utf-8", "utf-16"),
        (CYRILLIC, "utf-8-sig", "latin-1", "utf-8"),
        ("<p>Привет", "utf-8", "no-such-encoding", "utf-8"),
    ],
)
def test_encodings_that_lie_are_found_out(tmp_path, markup, real, declared, encoding):
    charset = f"; charset={declared}" if declared else ""
    one = record(1, markup.encode(real), headers=f"Content-Type: text/html{charset}\r\n")
    [row] = extract(tmp_path, {"a.warc": one}, WARC).rows
    words = markup.rpartition("<p>")[2].removesuffix("</p>")
    assert (row["text"], row["encoding"].replace("cp", "windows-")) == (words, encoding)


@pytest.mark.parametrize(
    ("link", "licence"),
    [
        ('<a rel="license" href="//creativecommons.org/licenses/by-sa/4.0/">x</a>', "CC-BY-SA-4.0"),
        ("<link href='//creativecommons.org/publicdomain/zero/1.0/' rel=license>", "CC0-1.0"),
        ("<a rel=license href=creativecommons.org/licenses/by/3.0/de>", "LicenseRef-CC-BY-3.0-DE"),
        ('<a href="http://creativecommons.org/licenses/by/3.0/">x</a>', "unknown"),
    ],
)  # fmt: skip
def test_a_page_may_name_its_licence(tmp_path, link, licence):
    one = record(1, f"<main><p>Teksto {link} plu</p></main>".encode())
    taken = extract(tmp_path, {"a.warc": one}, WARC, licence=None)
    assert [row["licence"] for row in taken.rows] == [licence]
    assert taken.manifest["licence"] == (None if licence == "unknown" else licence)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_damage_costs_the_records_it_hits(tmp_path, suffix):
    records = [compressed(record(n), suffix) for n in range(6)]
    torn = bytearray(records[2])
    torn[5:9] = bytes(4)  # the version of a plain record, the time of a packed one
    torn[60:90] = bytes(30)
    whole = [*records[:2], bytes(torn), b"rubbish between\n", *records[3:5], records[5][:-40]]
    taken = extract(tmp_path, {"a.warc": b"".join(whole), "b.warc": records[0]}, WARC)
    kept = [int(row["record"][10:-1]) for row in taken.rows]
    assert kept == [0, 1, 3, 4, 0]
    assert [reason for _, reason in taken.lost][0] == "damaged"
    assert [reason for _, reason in taken.lost][-1] in ("truncated", "damaged")
    assert len(taken.losses) == 2


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", []),
        (b"no archive\n" * 50, ["damaged"]),
        (b"\x1f\x8b" * 30, ["damaged"]),
        (bytes(999), ["damaged"]),
        (b"WARC/1.0\r\n", ["truncated"]),
        (record(1)[:100], ["malformed"]),
        (gzip.compress(record(1), mtime=0)[:30], ["truncated"]),
        (gzip.compress(record(1), mtime=0)[:-4], ["truncated"]),
    ],
)
def test_what_is_no_archive_is_a_loss(tmp_path, data, told):
    taken = extract(tmp_path, {"a.warc": data, "b.warc": record(1)}, WARC)
    assert [row["source"] for row in taken.rows if row["source"] != "a.warc"] == ["b.warc"]
    assert [reason for _, reason in taken.lost] == told


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".bz2", "one.gz"])
def test_stopped_within_an_archive_it_goes_on(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(batches, "BATCH_ITEMS", 2)
    monkeypatch.setattr(extraction, "PART_RECORDS", 5)
    records = [record(n) for n in range(24)]
    records[7] = record(7, status="404 Gone")
    data = joined(records, suffix)
    if suffix in ("", ".gz"):
        cut = len(data) // 2
        data = data[:cut] + b"XXXXXXXXX" + data[cut + 9 :]
    whole = extract(tmp_path, {"a.warc": data}, WARC)
    again, starts = interrupted(tmp_path, {}, WARC)
    assert starts > 3
    assert again.bytes == whole.bytes
    assert len(whole.rows) >= 20


def test_pages_as_files(tmp_path):
    files = {
        "a.html": PAGE.format("Unu"), "b.html": b"<p>" + b"x" * 999, "c.html": b"<div>" * 2500,
        "d.html.gz": gzip.compress(PAGE.format("Du").encode()),
    }  # fmt: skip
    taken = extract(tmp_path, files, {"format": "html"}, max_record_bytes=500 << 5)
    assert [text[:3] for text in taken.texts] == ["Unu", "xxx", "Du"]
    assert taken.lost == [("c.html:1", "too_deep")]
