"""Where the records of a web archive begin, found without its reader: for what lies behind damage.

Crawlers pack every record by itself, so a record begins where a gzip member or zstd frame begins
that holds `WARC/`. In plain archives records follow each other by their declared lengths.
"""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.lm.streams import BUFFER_BYTES

PLAIN = b"WARC/"
MAGIC = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd"}
SEEKABLE = (None, "gzip", "zstd")
"""Compressions in which a record may begin at a byte of its own."""
HEAD_BYTES = 1 << 14
_ABOUT = frozenset({b"warcinfo", b"request", b"metadata"})
"""Records that tell about others and hold no document."""
_TYPE = re.compile(rb"^WARC-Type:[ \t]*([\w-]+)", re.I | re.M)
_LENGTH = re.compile(rb"^Content-Length:[ \t]*([0-9]{1,18})\s*$", re.I | re.M)


def begins(path: Path, kind: str | None, offset: int) -> bool:
    """Tell whether what is at an offset looks like the start of a record."""
    if kind not in SEEKABLE:
        return False
    with path.open("rb") as raw:
        raw.seek(offset)
        return raw.read(8).startswith(PLAIN if kind is None else MAGIC[kind])


def following(path: Path, kind: str | None, offset: int, passed: int, own: bool) -> int | None:
    """Return where the document begins that stands behind `passed` others, or None.

    They are counted from an offset on, where the first of them begins. With none passed it is the
    next one behind the offset, or, with `own`, at it.
    """
    if kind not in SEEKABLE or not path.stat().st_size:
        return None
    with path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = _plain(data, offset) if kind is None else _packed(data, kind, offset)
        for count, at in enumerate(found):
            if passed and count == passed:
                return at
            if not passed and (at > offset or own):
                return at
    return None


def _plain(data: Any, at: int) -> Iterator[int]:
    while 0 <= at < len(data):
        head = data[at : at + HEAD_BYTES]
        end = head.find(b"\r\n\r\n")
        length = _LENGTH.search(head[:end]) if end > 0 else None
        if head.startswith(PLAIN):
            if _is_document(head):
                yield at
            follows = at + end + 4 + int(length[1]) + 4 if length else -1
            if follows == len(data) or data[follows : follows + 5] == PLAIN and follows > at:
                at = follows
                continue
        at = data.find(b"\nWARC/1.", at + 1) + 1 or -1


def _packed(data: Any, kind: str, offset: int) -> Iterator[int]:
    at = data.find(MAGIC[kind], offset)
    while at >= 0:
        head = _head(data[at : at + HEAD_BYTES], kind)
        last = at + HEAD_BYTES >= len(data)
        held = head is not None and (head.startswith(PLAIN) or (last and PLAIN.startswith(head)))
        if head is not None and held and _is_document(head):
            yield at
        at = data.find(MAGIC[kind], at + 1)


def _head(data: bytes, kind: str) -> bytes | None:
    """Return the first bytes of what is packed, or None if it is not packed so."""
    if kind == "gzip":
        try:
            return zlib.decompressobj(31).decompress(data, HEAD_BYTES)
        except zlib.error:
            return None
    import zstandard

    try:
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj().decompress(data)
    except zstandard.ZstdError:
        return None


def _is_document(head: bytes) -> bool:
    kind = _TYPE.search(head.partition(b"\r\n\r\n")[0])
    return kind is None or kind[1].lower() not in _ABOUT


def whole(path: Path, kind: str | None, offset: int) -> bool:
    """Tell whether the last packed unit from an offset on has its end."""
    if kind not in MAGIC:
        return True
    unit: Any = None
    with path.open("rb") as raw:
        raw.seek(offset)
        rest = b""
        while data := rest or raw.read(BUFFER_BYTES):
            rest = b""
            if unit is None:
                if not MAGIC[kind].startswith(data[: len(MAGIC[kind])]):
                    return True  # Something else behind the archive; its reader has seen it.
                unit = _unit(kind)
            try:
                unit.decompress(data)
            except Exception:  # Of the library's own kind; the archive's reader tells of it.
                return True
            if unit.eof:
                rest, unit = unit.unused_data, None
    return unit is None


def _unit(kind: str) -> Any:
    if kind == "gzip":
        return zlib.decompressobj(31)
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
