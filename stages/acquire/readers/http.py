"""An HTTP answer out of an archive's bytes: status, headers, and the body undone of its codings.

Bodies come out bounded. A crawler may have undone a coding and left its header: what does not begin
as the header says is taken as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from stages.acquire.readers.batches import Damaged, clipped

_GZIP = b"\x1f\x8b"


class Answer(NamedTuple):
    """A parsed answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def parse(data: bytes, limit: int) -> Answer:
    """Return the answer that the bytes are; a body above the limit is `Damaged`."""
    head, ended, body = data.partition(b"\r\n\r\n")
    if not ended or data.find(b"\n\n", 0, len(head)) >= 0:
        head, ended, body = data.partition(b"\n\n")
    lines = head.decode("latin-1").splitlines()
    words = lines[0].split(None, 2) if lines else []
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise Damaged("no_http", f"it begins {clipped(data[:60])}")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _unchunked(body)
    for coding in reversed(headers.get("content-encoding", "").lower().split(",")):
        undo = _CODINGS.get(coding.strip())
        if undo is not None:
            body = undo(body, limit)
        elif coding.strip() not in ("", "identity", "none", "utf-8"):
            raise Damaged("unknown_coding", clipped(coding.strip()))
    return Answer(int(words[1]), headers, body)


def media_type(value: str) -> tuple[str, str | None]:
    """Return the media type and the charset of a `Content-Type`."""
    kind, *more = value.split(";")
    for one in more:
        name, _, said = one.partition("=")
        if name.strip().lower() == "charset":
            return kind.strip().lower(), said.strip().strip("\"'").lower() or None
    return kind.strip().lower(), None


def _unchunked(body: bytes) -> bytes:
    out: list[bytes] = []
    at = 0
    while True:
        end = body.find(b"\n", at, at + 1000)
        size = body[at : max(at, end)].split(b";")[0].strip()
        if end < 0 or not size or len(size) > 16 or size.strip(b"0123456789abcdefABCDEF"):
            if not out:
                return body
            raise Damaged("truncated", f"no chunk at byte {at} of the body")
        length = int(size, 16)
        if not length:
            return b"".join(out)
        chunk = body[end + 1 : end + 1 + length]
        out.append(chunk)
        at = end + 1 + length
        if len(chunk) < length:
            raise Damaged("truncated", f"a chunk of {length} bytes has {len(chunk)}")
        at += 2 if body[at : at + 2] == b"\r\n" else 1


def _inflated(data: bytes, limit: int, bits: int) -> bytes:
    out: list[bytes] = []
    size = 0
    while data:
        unit = zlib.decompressobj(bits)
        try:
            out.append(unit.decompress(data, limit - size + 1))
        except zlib.error as error:
            raise Damaged("damaged", clipped(error)) from error
        size += len(out[-1])
        if size > limit:
            raise Damaged("bomb", f"a body of {len(data)} bytes becomes more than {limit}")
        if not unit.eof:
            raise Damaged("truncated", f"a packed body ends behind {size} bytes")
        data = unit.unused_data if unit.unused_data.startswith(_GZIP) else b""
    return b"".join(out)


def _gzip(data: bytes, limit: int) -> bytes:
    return _inflated(data, limit, 31) if data.startswith(_GZIP) else data


def _deflate(data: bytes, limit: int) -> bytes:
    """Undo `deflate`, which is zlib by the letter and bare by custom."""
    try:
        return _inflated(data, limit, 15)
    except Damaged as damage:
        if damage.reason != "damaged":
            raise
    return data if _is_text(data) else _inflated(data, limit, -15)


def _brotli(data: bytes, limit: int) -> bytes:
    import brotli

    return _stepwise(data, limit, brotli.Decompressor(), brotli.error)


def _stepwise(data: bytes, limit: int, unit: Any, error_type: type[Exception]) -> bytes:
    out: list[bytes] = []
    size, given = 0, data
    try:
        while not unit.is_finished():
            out.append(unit.process(given, output_buffer_limit=max(1, limit - size + 1)))
            size, given = size + len(out[-1]), b""
            if size > limit:
                raise Damaged("bomb", f"a body of {len(data)} bytes becomes more than {limit}")
            if not out[-1] and unit.can_accept_more_data():
                raise Damaged("truncated", f"a packed body ends behind {size} bytes")
    except error_type as error:
        if _is_text(data):
            return data
        raise Damaged("damaged", clipped(error)) from error
    return b"".join(out)


def _zstd(data: bytes, limit: int) -> bytes:
    import zstandard

    unit = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    try:
        with unit.stream_reader(data, read_across_frames=True) as stream:
            out = stream.read(limit + 1)
    except zstandard.ZstdError as error:
        if _is_text(data):
            return data
        raise Damaged("damaged", clipped(error)) from error
    if len(out) > limit:
        raise Damaged("bomb", f"a body of {len(data)} bytes becomes more than {limit}")
    return out


def _is_text(data: bytes) -> bool:
    return data[:512].lstrip()[:1] == b"<"


_CODINGS: dict[str, Callable[[bytes, int], bytes]] = {
    "br": _brotli,
    "deflate": _deflate,
    "gzip": _gzip,
    "x-gzip": _gzip,
    "zstd": _zstd,
}
