"""Acquire over HTTP from a loopback server that cuts, lies, refuses and moves."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stages.core.errors import MachineError, Resumable
from stages.core.log import Log
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
    made = Server({"a.bin": BODY, "t.txt": TEXT})
    yield made
    made.close()


def test_file_comes_whole_and_is_recorded(tmp_path, server):
    events = []
    log = Log(events.append, tmp_path / "scratch")
    raw = fetch(tmp_path, parameters(server, ["t.txt"], reading={"documents": "line"}), log)
    assert (raw / "files/t.txt").read_bytes() == TEXT
    manifest = raw_manifest(raw)
    assert manifest["addresses"] == [
        {
            "url": f"{server.base}t.txt",
            "path": "files/t.txt",
            "sha256": sha(TEXT),
            "pinned": False,
        }
    ]
    assert manifest["files"][0]["records"] == 20_000
    assert manifest["origin"] == server.base
    assert "attempts" not in manifest["source"]
    assert log.texts["pins"] == f"{server.base}t.txt sha256: {sha(TEXT)}"
    done = [e for e in events if e["event"] == "progress" and e["unit"] == "bytes of file 1/1"]
    assert (done[-1]["done"], done[-1]["total"]) == (len(TEXT), len(TEXT))


def test_cut_connection_resumes_by_range(tmp_path, server):
    cuts = iter([100_000, 50_000, None])
    server.act = lambda handler, body: serve(handler, body, next(cuts))
    raw = fetch(tmp_path, parameters(server, [{"path": "a.bin", "sha256": sha(BODY)}]))
    assert (raw / "files/a.bin").read_bytes() == BODY
    assert [asked for _, asked in server.seen] == [None, "bytes=100000-", "bytes=150000-"]
    assert raw_manifest(raw)["addresses"][0]["pinned"] is True


def test_many_cuts_are_fine_while_each_try_brings_something(tmp_path, server):
    server.act = lambda handler, body: serve(handler, body, 40_000)
    raw = fetch(tmp_path, parameters(server, attempts=2))
    assert (raw / "files/a.bin").read_bytes() == BODY
    assert len(server.seen) == 8


def test_killed_run_goes_on_in_the_next(tmp_path, server):
    log = Log(scratch=tmp_path / "scratch")

    def stop_midway(handler: Handler, body: bytes) -> None:
        log.request_stop()
        serve(handler, body, 120_000)

    server.act = stop_midway
    with pytest.raises(Resumable) as caught:
        fetch(tmp_path, parameters(server), log)
    assert caught.value.what == "stopped on request during a download"
    kept = next((tmp_path / "scratch/downloads").glob("*.part")).stat().st_size
    assert 0 < kept <= 120_000
    server.act = serve
    (tmp_path / "raw").exists() and (tmp_path / "raw").rmdir()
    raw = fetch(tmp_path, parameters(server))
    assert server.seen[-1] == ("/a.bin", f"bytes={kept}-")
    assert (raw / "files/a.bin").read_bytes() == BODY


def test_server_without_ranges_starts_over(tmp_path, server):
    cuts = iter([100_000, None])

    def whole_only(handler: Handler, body: bytes) -> None:
        cut = next(cuts)
        handler.answer(200, body[:cut], len(body))

    server.act = whole_only
    raw = fetch(tmp_path, parameters(server))
    assert (raw / "files/a.bin").read_bytes() == BODY
    assert [asked for _, asked in server.seen] == [None, "bytes=100000-"]


@pytest.mark.parametrize("size", [len(BODY), 200_000])
def test_file_that_changed_meanwhile_is_not_mixed(tmp_path, server, size):
    new = os.urandom(size)

    def change(handler: Handler, body: bytes) -> None:
        serve(handler, body, 100_000 if len(server.seen) == 1 else None)
        server.files["a.bin"] = new

    server.act = change
    raw = fetch(tmp_path, parameters(server))
    assert (raw / "files/a.bin").read_bytes() == new


def test_range_that_was_not_asked_starts_over(tmp_path, server):
    def shifted(handler: Handler, body: bytes) -> None:
        if handler.start == 100_000:
            handler.answer(206, body[7:], Content_Range=f"bytes 7-{len(body) - 1}/{len(body)}")
        else:
            serve(handler, body, 100_000 if len(server.seen) == 1 else None)

    server.act = shifted
    raw = fetch(tmp_path, parameters(server))
    assert (raw / "files/a.bin").read_bytes() == BODY


def test_server_that_gives_ranges_in_pieces(tmp_path, server):
    def pieces(handler: Handler, body: bytes) -> None:
        if handler.start:
            piece = body[handler.start : handler.start + 90_000]
            last = handler.start + len(piece) - 1
            spec = f"bytes {handler.start}-{last}/{len(body)}"
            handler.answer(206, piece, Content_Range=spec)
        else:
            serve(handler, body, 100_000)

    server.act = pieces
    raw = fetch(tmp_path, parameters(server))
    assert (raw / "files/a.bin").read_bytes() == BODY


def test_busy_server_is_asked_again(tmp_path, server):
    answers = iter([503, 429])

    def busy(handler: Handler, body: bytes) -> None:
        status = next(answers, None)
        if status is None:
            serve(handler, body)
        else:
            handler.answer(status, b"")

    server.act = busy
    assert (fetch(tmp_path, parameters(server)) / "files/a.bin").read_bytes() == BODY


def test_lost_end_answered_416_is_taken_if_all_is_there(tmp_path, server):
    params = parameters(server)
    name = sha(f"{server.base}a.bin".encode())
    folder = tmp_path / "scratch/downloads"
    folder.mkdir(parents=True)
    (folder / f"{name}.part").write_bytes(BODY)
    (folder / f"{name}.json").write_text(json.dumps({"total": len(BODY), "validator": None}))
    assert (fetch(tmp_path, params) / "files/a.bin").read_bytes() == BODY
    assert server.seen == [("/a.bin", f"bytes={len(BODY)}-")]


def test_part_longer_than_the_file_starts_over(tmp_path, server):
    name = sha(f"{server.base}a.bin".encode())
    folder = tmp_path / "scratch/downloads"
    folder.mkdir(parents=True)
    (folder / f"{name}.part").write_bytes(BODY + b"more")
    (folder / f"{name}.json").write_text(json.dumps({"total": None, "validator": None}))
    assert (fetch(tmp_path, parameters(server)) / "files/a.bin").read_bytes() == BODY


def test_part_without_its_note_is_not_trusted(tmp_path, server):
    folder = tmp_path / "scratch/downloads"
    folder.mkdir(parents=True)
    (folder / f"{sha(f'{server.base}a.bin'.encode())}.part").write_bytes(b"something else")
    assert (fetch(tmp_path, parameters(server)) / "files/a.bin").read_bytes() == BODY


@pytest.mark.parametrize("ranges", [True, False])
def test_lying_length_is_told(tmp_path, server, ranges):
    def lie(handler: Handler, body: bytes) -> None:
        if ranges and handler.start:
            serve(handler, body)
        else:
            handler.answer(200, body, len(body) + 1000)

    server.act = lie
    error = refused(tmp_path, parameters(server))
    promised = len(BODY) + 1000
    what = f"later {len(BODY)}" if ranges else f"sent {len(BODY)}"
    if ranges:
        assert f"the server said {promised} bytes and {what}" in error.what
    else:
        assert error.what.startswith(f"the download stopped at {len(BODY)} of {promised} bytes")


def test_lying_length_is_forgiven_if_the_digest_is_right(tmp_path, server):
    def lie(handler: Handler, body: bytes) -> None:
        if handler.start:
            serve(handler, body)
        else:
            handler.answer(200, body, len(body) + 1000)

    server.act = lie
    raw = fetch(tmp_path, parameters(server, [{"path": "a.bin", "sha256": sha(BODY)}]))
    assert (raw / "files/a.bin").read_bytes() == BODY


def test_length_that_is_too_short_is_caught_by_the_digest(tmp_path, server):
    server.act = lambda handler, body: handler.answer(200, body[:1000])
    error = refused(tmp_path, parameters(server, [{"path": "a.bin", "sha256": sha(BODY)}]))
    assert error.what == f"the SHA-256 is {sha(BODY[:1000])}, declared is {sha(BODY)}"


def test_wrong_checksum_is_told_and_not_kept(tmp_path, server):
    wrong = "0" * 64
    error = refused(tmp_path, parameters(server, [{"path": "a.bin", "sha256": wrong}]))
    assert error.what == f"the SHA-256 is {sha(BODY)}, declared is {wrong}"
    assert error.where == f"{server.base}a.bin"
    assert not list((tmp_path / "scratch/downloads").glob("[0-9a-f]" * 64))


def test_too_large_by_its_length_and_by_its_body(tmp_path, server):
    error = refused(tmp_path / "a", parameters(server, max_bytes=1000))
    assert error.what == f"the file has {len(BODY)} bytes or more, allowed are 1000"

    def endless(handler: Handler, body: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        handler.wfile.write(body)

    server.act = endless
    error = refused(tmp_path / "b", parameters(server, max_bytes=1000))
    assert error.what.endswith("bytes or more, allowed are 1000")


def test_server_not_reachable(tmp_path, server):
    params = parameters(server, attempts=2)
    server.close()
    error = refused(tmp_path, params)
    assert error.what == f"the server {params.source.base[7:-1]} is not reachable (2 tries)"


def test_dead_connection_is_told_where_it_stopped(tmp_path, server):
    def hang_up(handler: Handler, body: bytes) -> None:
        if handler.start:
            handler.close_connection = True
        else:
            serve(handler, body, 5000)

    server.act = hang_up
    error = refused(tmp_path, parameters(server))
    assert error.what.startswith(f"the download stopped at 5000 of {len(BODY)} bytes: ")
    assert error.todo == "run again, it goes on there (3 tries brought nothing more)"


def test_missing_file_on_the_server(tmp_path, server):
    error = refused(tmp_path, parameters(server, ["gone.txt"]))
    assert error.what == "the server answered 404 Not Found"
    assert len(server.seen) == 1


def test_redirects_lead_to_declared_hosts_only(tmp_path, server):
    other = Server({"a.bin": BODY})
    server.act = lambda handler, _: handler.answer(302, b"", Location=f"{other.base}a.bin")
    error = refused(tmp_path / "a", parameters(server))
    assert error.what == f"the server redirects to {other.base}a.bin"
    raw = fetch(tmp_path / "b", parameters(server, hosts=[other.base[7:-1]]))
    assert (raw / "files/a.bin").read_bytes() == BODY
    server.act = lambda handler, _: handler.answer(302, b"", Location=handler.path)
    error = refused(tmp_path / "c", parameters(server))
    assert error.what == "more than 5 redirects"
    other.close()


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"files": []}, "the source is empty: no address"),
        ({"base": "ftp://x/"}, "'ftp://x/a.bin' is no http or https address"),
        ({"base": ""}, "'a.bin' is no http or https address"),
        ({"files": [{"path": "../a.bin"}]}, "the path '../a.bin' leads outside its folder"),
        ({"files": [{"path": "a", "name": "/x"}]}, "the path '/x' leads outside its folder"),
        (
            {"files": [{"path": "a/x", "name": "x"}, {"path": "b/x", "name": "x"}]},
            "two addresses would be kept as 'x'",
        ),
    ],
)
def test_addresses_that_cannot_be(tmp_path, server, given, what):
    assert refused(tmp_path, parameters(server, **given)).what == what
    assert server.seen == []


def test_full_disk_while_fetching(tmp_path, server, monkeypatch):
    real = Path.open

    def full(self, mode="r", *rest, **more):
        if mode == "ab":
            raise OSError(28, "No space left on device")
        return real(self, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(MachineError) as caught:
        fetch(tmp_path, parameters(server))
    assert caught.value.what.startswith("no space is left for ")
    assert len(server.seen) == 1
