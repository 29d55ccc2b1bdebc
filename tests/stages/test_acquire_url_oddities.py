"""Acquire from servers that ask to wait, change files behind a range, or pack what was plain."""

from __future__ import annotations

import email.utils
import gzip
import time

import pytest

from stages.acquire import download
from stages.lm.records import raw_manifest
from tests.stages.loopback import (
    BODY,
    TEXT,
    Handler,
    Server,
    fetch,
    parameters,
    refused,
    serve,
    sha,
)


@pytest.fixture
def server():
    made = Server({"a.bin": BODY, "t.txt": TEXT, "t.txt.gz": gzip.compress(TEXT, mtime=0)})
    yield made
    made.close()


@pytest.fixture
def waits(monkeypatch):
    asked = []
    monkeypatch.setattr(download, "_pause", lambda seconds, url, log: asked.append(seconds))
    return asked


def busy_once(value: str):
    """Answer 503 with `Retry-After` first, then as an honest server."""

    def act(handler: Handler, body: bytes) -> None:
        if len(handler.server.owner.seen) == 1:
            handler.answer(503, b"", Retry_After=value)
        else:
            serve(handler, body)

    return act


def test_busy_server_is_left_alone_as_long_as_it_asks(tmp_path, server, waits):
    server.act = busy_once("7")
    raw = fetch(tmp_path, parameters(server))
    assert (raw / "files/a.bin").read_bytes() == BODY
    assert waits == [7.0]


def test_retry_after_may_be_a_date_or_nonsense(tmp_path, server, waits):
    server.act = busy_once(email.utils.formatdate(time.time() + 30, usegmt=True))
    fetch(tmp_path / "a", parameters(server))
    assert 20 < waits.pop() <= 30
    server.seen.clear()
    server.act = busy_once("soon")
    fetch(tmp_path / "b", parameters(server))
    assert waits == [0.01]  # The back-off's own first wait.


def test_a_wait_of_hours_is_told_and_not_waited_for(tmp_path, server, waits):
    server.act = lambda handler, _: handler.answer(503, b"", Retry_After="86400")
    error = refused(tmp_path, parameters(server))
    assert error.what == "the server answered 503 and asks to wait 86400 seconds"
    assert waits == []
    assert len(server.seen) == 1


def test_file_that_changed_behind_a_range_is_not_mixed(tmp_path, server):
    """The server ignores `If-Range`: equal size and a right range, but of another file."""
    new = bytes(255 - byte for byte in BODY)

    def heedless(handler: Handler, body: bytes) -> None:
        first = len(server.seen) == 1
        body, tag = (BODY, '"one"') if first else (new, '"two"')
        rest = body[handler.start :]
        headers = {"ETag": tag}
        if handler.start:
            headers["Content_Range"] = f"bytes {handler.start}-{len(body) - 1}/{len(body)}"
        sent = rest[:100_000] if first else rest
        handler.answer(206 if handler.start else 200, sent, len(rest), **headers)

    server.act = heedless
    raw = fetch(tmp_path, parameters(server))
    assert (raw / "files/a.bin").read_bytes() == new
    assert [asked for _, asked in server.seen] == [None, "bytes=100000-", None]


def packed(cut: int | None = None, body: bytes = gzip.compress(TEXT, mtime=0)):
    """Send gzip though the file itself was asked for, cut at first."""

    def act(handler: Handler, _: bytes) -> None:
        rest = body[handler.start :]
        headers = {"Content_Encoding": "gzip", "ETag": '"packed"'}
        if handler.start:
            headers["Content_Range"] = f"bytes {handler.start}-{len(body) - 1}/{len(body)}"
        first = len(handler.server.owner.seen) == 1
        sent = rest[:cut] if first and cut else rest
        handler.answer(206 if handler.start else 200, sent, len(rest), **headers)

    return act


def test_gzip_that_was_not_asked_for_is_resumed_and_unpacked(tmp_path, server):
    server.act = packed(cut=9_000)
    given = parameters(server, [{"path": "t.txt", "sha256": sha(TEXT)}])
    raw = fetch(tmp_path, given)
    assert (raw / "files/t.txt").read_bytes() == TEXT
    assert [asked for _, asked in server.seen] == [None, "bytes=9000-"]
    assert raw_manifest(raw)["addresses"][0]["sha256"] == sha(TEXT)


def test_a_file_named_gz_stays_packed_whatever_the_server_says(tmp_path, server):
    server.act = packed()
    raw = fetch(tmp_path, parameters(server, ["t.txt.gz"]))
    assert gzip.decompress((raw / "files/t.txt.gz").read_bytes()) == TEXT


def test_a_pin_decides_which_bytes_are_meant(tmp_path, server):
    body = gzip.compress(TEXT, mtime=0)
    server.act = packed()
    raw = fetch(tmp_path, parameters(server, [{"path": "t.txt", "sha256": sha(body)}]))
    assert (raw / "files/t.txt").read_bytes() == body


def test_unpacking_keeps_to_the_size_limit(tmp_path, server):
    server.act = packed()
    error = refused(tmp_path, parameters(server, ["t.txt"], max_bytes=len(TEXT) - 1))
    assert error.what.endswith(f" is larger than {len(TEXT) - 1} bytes")


def test_damaged_gzip_is_told_and_not_kept(tmp_path, server):
    server.act = packed(body=gzip.compress(TEXT, mtime=0)[:-20])
    error = refused(tmp_path, parameters(server, ["t.txt"]))
    assert error.what.startswith("the server sent gzip that is damaged (")
    assert not [*(tmp_path / "scratch/downloads").glob("*.p*")]


def test_unknown_encodings_are_refused(tmp_path, server):
    server.act = lambda handler, body: handler.answer(200, body, Content_Encoding="br")
    error = refused(tmp_path, parameters(server))
    assert error.what == "the server sends the file in the encoding 'br'"
