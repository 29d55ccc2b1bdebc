"""Hostile containers by name: what of them is kept, and what is lost for which reason.

Where `files` refuses a file, `extract` keeps what can be kept: every record is in one
of two tables.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.hostile.documents import prose

SAYS = prose("container", 12)
NEXT = prose("container next", 12)


@dataclass(frozen=True)
class ContainerCase:
    """A file, how it is read, the texts that are kept and (number, reason) of what is lost."""

    name: str
    file: str
    data: bytes
    reader: dict[str, Any]
    kept: list[str]
    lost: list[tuple[int, str]]
    source: dict[str, Any] = field(default_factory=dict)


def containers() -> list[ContainerCase]:
    """Return all cases."""
    return [one for group in (_lines(), _pages(), _archives(), _others()) for one in group]


def _lines() -> Iterator[ContainerCase]:
    """A line that is no record costs itself."""
    good = json.dumps({"text": SAYS}).encode()
    for name, row, reason in (
        ("half_pair", b'{"text": "\\ud800"}', "half_surrogate"),
        ("null", b'{"text": null}', "no_text"), ("number", b'{"text": 7}', "no_text"),
        ("missing", b"{}", "no_text"), ("blank", b'{"text": " \\u3000"}', "empty"),
        ("cut", b'{"text": "a', "not_json"), ("list", b"[]", "not_json"),
        ("deep", b'{"a":' * 100_000, "not_json"),
        ("huge", b'{"n":' + b"9" * 5000 + b"}", "not_json"),
        ("latin1", b'{"text": "caf\xe9"}', "undecodable"),
        ("overlong", b'{"text": "\xc0\xaf"}', "undecodable"),
        ("surrogate_bytes", b'{"text": "\xed\xa0\x80"}', "undecodable"),
        ("nul", b"\0\0\0", "not_json"), ("long", b'{"text": "' + b"q" * 9000 + b'"}', "too_long"),
    ):  # fmt: skip
        data = good + b"\n" + row + b"\n" + json.dumps({"text": NEXT}).encode()
        bound = {"max_record_bytes": 8000} if name == "long" else {}
        yield ContainerCase(f"jsonl_{name}", "a.jsonl", data, {"format": "jsonl"}, [SAYS, NEXT],
                            [(2, reason)], bound)  # fmt: skip


def _html(body: str) -> str:
    return f"<html><body><main><p>{body}</p></main></body></html>"


def _pages() -> Iterator[ContainerCase]:
    """Pages that are deep, lie about their encoding, or say nothing."""
    reader = {"format": "html"}
    deep = "<html><body>" + "<div>" * 100_000 + SAYS + "</div>" * 100_000
    wide = _html(SAYS).encode("utf-16")
    lying = _html(SAYS).replace("<body>", '<meta charset="shift_jis"><body>').encode()
    latin = _html("La ŝtono caf\xe9").replace("ŝ", "s").encode("latin-1")
    for name, data, kept, lost in (
        ("deep", deep.encode(), [], [(1, "too_deep")]), ("empty", b"", [], [(1, "no_words")]),
        ("without_words", b"<html><script>alert(1)</script></html>", [], [(1, "no_words")]),
        ("utf16_marked", wide, [SAYS], []), ("declared_shift_jis", lying, [SAYS], []),
        ("latin1_undeclared", latin, ["La stono caf\xe9"], []),
        ("unclosed", _html(SAYS).replace("</p></main></body></html>", "").encode(), [SAYS], []),
        ("entities", _html("&lol; &#x110000; " + SAYS).encode(), ["&lol; \ufffd " + SAYS], []),
    ):  # fmt: skip
        yield ContainerCase(f"html_{name}", "a.html", data, reader, kept, lost)


def record(body: bytes, kind: str = "response", more: str = "", length: int | None = None) -> bytes:
    """Return one record of a web archive."""
    block = body
    if kind == "response":
        block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + body
    size = len(block) if length is None else length
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\n{more}Content-Type: text/plain\r\n"
    return head.encode() + f"Content-Length: {size}\r\n\r\n".encode() + block + b"\r\n\r\n"


def _archives() -> Iterator[ContainerCase]:
    """Web archives that are cut, damaged, or hold no answers."""
    reader = {"format": "warc"}
    one, two = record(_html(SAYS).encode()), record(_html(NEXT).encode())
    about = record(b"software: a", "warcinfo")
    broken = one.replace(b"200 OK", b"404 No")
    digest = record(_html(SAYS).encode(), more="WARC-Block-Digest: sha1:" + "A" * 32 + "\r\n")
    middle = gzip.compress(one)
    middle = middle[:60] + bytes(20) + middle[80:]
    for name, file, data, kept, lost in (
        ("plain", "a.warc", about + one + two, [SAYS, NEXT], []),
        ("packed", "a.warc.gz", gzip.compress(one) + gzip.compress(two), [SAYS, NEXT], []),
        ("cut", "a.warc", one + two[:-60], [SAYS], [(2, "truncated")]),
        ("packed_cut", "a.warc.gz", gzip.compress(one) + gzip.compress(two)[:-30], [SAYS],
         [(2, "truncated")]),
        ("damaged", "a.warc.gz", middle + gzip.compress(two), [NEXT], [(1, "damaged")]),
        ("not_found", "a.warc", broken + two, [NEXT], [(1, "http_status")]),
        ("wrong_digest", "a.warc", digest + two, [NEXT], [(1, "digest")]),
        ("revisit", "a.warc", record(b"", "revisit") + two, [NEXT], [(1, "revisit")]),
        ("picture", "a.warc", one.replace(b"text/html", b"image/png") + two, [NEXT],
         [(1, "media_type")]),
    ):  # fmt: skip
        yield ContainerCase(f"warc_{name}", file, data, reader, kept, lost)


def _others() -> Iterator[ContainerCase]:
    """Dumps, sentences, containers that end early."""
    page = "<page><title>A</title><ns>{}</ns><id>{}</id><revision><text>{}</text></revision></page>"
    dump = "<mediawiki>" + page.format(0, 1, SAYS) + page.format(1, 2, NEXT)
    yield ContainerCase("wiki_other_namespace", "a.xml", (dump + "</mediawiki>").encode(),
                        {"format": "mediawiki"}, [SAYS], [(2, "other_namespace")])  # fmt: skip
    braces = "<mediawiki>" + page.format(0, 1, "{{" * 50_000 + SAYS) + "</mediawiki>"
    yield ContainerCase("wiki_braces", "a.xml", braces.encode(), {"format": "mediawiki"},
                        ["{{" * 50_000 + SAYS], [])  # fmt: skip
    lines = f"1\t{SAYS}\nx\n3\t{NEXT}\n".encode()
    yield ContainerCase("leipzig_ragged", "a-sentences.txt", lines, {"format": "leipzig"},
                        [SAYS, NEXT], [(2, "no_number")])  # fmt: skip
    rows = b"".join(json.dumps({"text": prose(n, 9)}).encode() + b"\n" for n in range(400))
    packed = gzip.compress(rows, mtime=0)
    yield ContainerCase("jsonl_gz_cut", "a.jsonl.gz", packed[: len(packed) // 2],
                        {"format": "jsonl"}, [], [(-1, "truncated")])  # fmt: skip
