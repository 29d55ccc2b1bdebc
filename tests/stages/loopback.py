"""A loopback server that is honest unless a test makes it cut, lie or refuse."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stages.acquire.stage import AcquireParams, acquire
from stages.core.errors import SourceError
from stages.core.log import Log

BODY = os.urandom(300_000)
TEXT = "".join(f"Linio numero {n}.\n" for n in range(20_000)).encode()


class _Http(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Say nothing of connections that the client dropped."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Server:
    """A loopback server; `act` decides what each request gets, `seen` remembers the requests."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.seen: list[tuple[str, str | None]] = []
        self.act: Callable[[Handler, bytes], None] = serve
        self.http = _Http(("127.0.0.1", 0), Handler)
        self.http.owner = self
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        owner: Server = self.server.owner
        owner.seen.append((self.path, self.headers.get("Range")))
        body = owner.files.get(self.path.lstrip("/"))
        if body is None:
            self.answer(404, b"")
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            owner.act(self, body)

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        if length is not None and length != len(body):
            self.close_connection = True

    @property
    def start(self) -> int:
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0


def serve(handler: Handler, body: bytes, cut: int | None = None) -> None:
    """Answer as an honest server with ranges; `cut` closes the connection after so many bytes."""
    start, tag = handler.start, f'"{hashlib.md5(body).hexdigest()}"'
    if start >= len(body) > 0:
        handler.answer(416, b"", Content_Range=f"bytes */{len(body)}")
        return
    guard = handler.headers.get("If-Range")
    if guard not in (None, tag):
        start = 0
    rest = body[start:]
    headers = {"ETag": tag}
    if start:
        headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
    sent = rest if cut is None else rest[:cut]
    handler.answer(206 if start else 200, sent, len(rest), **headers)


def parameters(server: Server, paths=("a.bin",), **source) -> AcquireParams:
    files = [path if isinstance(path, dict) else {"path": path} for path in paths]
    given = {
        "kind": "url",
        "base": server.base,
        "files": files,
        "backoff_seconds": 0.01,
        "attempts": 3,
        "timeout_seconds": 5.0,
        "reading": {"format": "binary"},
    }
    return AcquireParams.model_validate({"licence": "CC0-1.0", "source": given | source})


def fetch(tmp_path: Path, params: AcquireParams, log: Log | None = None) -> Path:
    acquire(params, tmp_path / "none", tmp_path / "raw", log or Log(scratch=tmp_path / "scratch"))
    return tmp_path / "raw"


def refused(tmp_path: Path, params: AcquireParams) -> SourceError:
    with pytest.raises(SourceError) as caught:
        fetch(tmp_path, params)
    assert len(caught.value.lines()) == 3
    assert not (tmp_path / "raw/manifest.json").exists()
    return caught.value


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
