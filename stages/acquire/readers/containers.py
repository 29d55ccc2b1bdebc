"""Bytes and lines out of files as they come: compressed or not, broken, or made to burst.

The compression goes by what the file holds, not by its name: a name that lies loses nothing. What
cannot be read on is `Damaged` with its reason; lines above the bound are told, never held.
"""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from stages.acquire.readers.batches import Bounds, Damaged, Input, Place, clipped
from stages.lm.streams import BUFFER_BYTES, unpacked

MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
)
FREE_BYTES = 64 << 20
"""So much may come out of any container before its ratio is looked at."""
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, OSError)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def compression_of(head: bytes) -> str | None:
    """Return the compression that a file's first bytes tell, or None."""
    return next((kind for magic, kind in MAGIC if head.startswith(magic)), None)


class _Guarded(io.RawIOBase):
    """Decompressed bytes, counted: damage and bombs become `Damaged`."""

    def __init__(self, raw: IO[bytes], stream: IO[bytes], kind: str | None, bounds: Bounds) -> None:
        self._raw, self._stream, self._kind, self._bounds = raw, stream, kind, bounds
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read1(len(buffer))  # type: ignore[attr-defined]
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            reason = "truncated" if isinstance(error, EOFError) else "damaged"
            raise Damaged(
                reason,
                f"the {self._kind} stream: {clipped(error)}, behind byte {self._done}",
            ) from error
        buffer[: len(data)] = data
        self._done += len(data)
        allowed = max(FREE_BYTES, self._bounds.ratio * max(1, self._raw.tell()))
        if self._kind is not None and self._done > allowed:
            raise Damaged(
                "bomb",
                f"{self._done} bytes out of {self._raw.tell()}, allowed is {self._bounds.ratio} "
                "for one",
            )
        return len(data)


@contextmanager
def opened(source: Input, offset: int = 0) -> Iterator[Any]:
    """Open an input decompressed and go to an offset of what comes out of it."""
    with source.path.open("rb") as raw:
        kind = compression_of(raw.read(8))
        raw.seek(0)
        if kind is None:
            raw.seek(offset)
            yield raw
            return
        with unpacked(raw, kind) as stream:
            guarded = io.BufferedReader(_Guarded(raw, stream, kind, source.bounds), BUFFER_BYTES)
            left = offset
            while left > 0 and (chunk := guarded.read1(min(left, BUFFER_BYTES))):
                left -= len(chunk)
            yield guarded


class _Transcoded(io.RawIOBase):
    """UTF-8 made of an encoding whose line ends are not the byte 10; what is wrong is U+FFFD."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            chunk = self._stream.read1(BUFFER_BYTES)  # type: ignore[attr-defined]
            text = self._decoder.decode(chunk, final=not chunk)
            self._held = memoryview(text.encode("utf-8", "replace"))
            if not chunk and not self._held:
                return 0
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size


class Lines:
    """The lines of an input from a place on, decoded one by one.

    `number` counts lines from 1, whatever they hold. A line is a text, or the reason it is none.
    """

    def __init__(self, source: Input, encoding: str, place: Place) -> None:
        self.source, self.encoding, self.place = source, encoding, place

    def __iter__(self) -> Iterator[tuple[Place, str | tuple[str, str]]]:
        with self.source.path.open("rb") as raw:
            packed = compression_of(raw.read(8)) is not None
        with opened(self.source) as stream:
            head = stream.peek(4)[:4]
            marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
            encoding = (marked or "utf-8") if self.encoding == "auto" else self.encoding
            wide = "\n".encode(encoding)[-4:] != b"\n"
            start = self.place.offset
            if wide:
                stream = io.BufferedReader(_Transcoded(stream, encoding), BUFFER_BYTES)
                encoding = "utf-8"
            if start and not (packed or wide):
                stream.seek(start)
            else:
                _pass(stream, start)
            number = self.place.number
            for end, line in byte_lines(stream, self.source.bounds.record_bytes, start):
                number += 1
                yield Place(end, number), _decoded(line, encoding, number == 1, wide)


def _pass(stream: IO[bytes], left: int) -> None:
    while left > 0 and (chunk := stream.read(min(left, BUFFER_BYTES))):
        left -= len(chunk)


def _decoded(line: bytes | int, encoding: str, first: bool, wide: bool) -> str | tuple[str, str]:
    if isinstance(line, int):
        return "too_long", f"a line of {line} bytes"
    if first and line.startswith(codecs.BOM_UTF8):
        line = line[len(codecs.BOM_UTF8) :]
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        return "undecodable", f"byte 0x{line[error.start]:02x} at {error.start} is not {encoding}"
    if wide and "\ufffd" in text:
        return "undecodable", f"at character {text.index(chr(0xFFFD))}"
    return text.removesuffix("\r")


def byte_lines(stream: IO[bytes], limit: int, start: int = 0) -> Iterator[tuple[int, bytes | int]]:
    """Yield (offset behind the line, line without its end); one above the limit is its length."""
    held: list[bytes] = []
    size, at = 0, start
    while chunk := stream.read1(BUFFER_BYTES):  # type: ignore[attr-defined]
        first, *rest = chunk.split(b"\n")
        size += len(first)
        if size <= limit:
            held.append(first)
        else:
            held.clear()
        for line in rest:
            at += size + 1
            yield at, (b"".join(held) if size <= limit else size)
            held, size = [line], len(line)
            if size > limit:
                held = []
    if size:
        yield at + size, (b"".join(held) if size <= limit else size)
