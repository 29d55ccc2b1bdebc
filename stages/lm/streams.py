"""Byte and text streams of files as they come: compressed, of any encoding, perhaps damaged.

A stream holds one buffer, whatever the file's size. Offsets in errors count bytes of the
decompressed content from 0; line numbers count from 1 and lines end at `\\n` alone.
"""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from stages.core.canonical import line as canonical_line
from stages.core.errors import ArtifactError

COMPRESSIONS = {".gz": "gzip", ".bz2": "bzip2", ".zst": "zstd", ".xz": "xz"}
BUFFER_BYTES = 1 << 18
LINE_CHARACTERS = 64 << 20
"""A line or a document longer than this is refused: it would not fit the memory bound."""
SHARD_BYTES = 256 << 20
"""Plain bytes of a shard of JSON lines, at most."""
ZSTD_LEVEL = 3
ZSTD_TAKE_BYTES = 1 << 12
"""A block of zstd makes 128 kB of 4 bytes: more of them at once would be a bomb in memory."""

PADDED = ("gzip", "xz")
"""Behind frames of these zeros may stand, to fill a block."""
_DAMAGE = (EOFError, zlib.error)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = (
    (b"\x1f\x8b\x08", "gzip data", ".gz"),
    (b"BZh9", "bzip2 data", ".bz2"),
    (b"\x28\xb5\x2f\xfd", "zstd data", ".zst"),
    (b"\xfd7zXZ\x00", "xz data", ".xz"),
    (b"PK\x03\x04", "a zip archive", None),
    (b"%PDF-", "a PDF document", None),
    (b"PAR1", "a Parquet file", None),
    (b"\x7fELF", "a program", None),
    (b"\x89PNG", "an image", None),
    (b"\xff\xd8\xff", "an image", None),
)
_CONTROL = bytes(sorted(set(range(32)) - set(b"\t\n\v\f\r\x1a\x1b")))


def compression(name: str) -> str | None:
    """Return the compression that a file's name declares, or None."""
    return COMPRESSIONS.get(Path(name).suffix.lower())


def bare_name(name: str) -> str:
    """Return the name without the suffix of its compression."""
    return name[: -len(Path(name).suffix)] if compression(name) else name


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed as its name says; damage becomes an ArtifactError."""
    if not path.is_file():
        raise ArtifactError(
            f"no file {path.name}", str(path.parent), "name a file that is there, or put it there"
        )
    kind = compression(path.name)
    if kind and not path.stat().st_size:
        raise _damaged(path, kind, EOFError(), 0)
    with path.open("rb") as raw, unpacked(raw, kind) as stream:
        try:
            yield stream
        except _DAMAGE as error:
            raise _damaged(path, kind, error, raw.tell()) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise _damaged(path, kind, error, raw.tell()) from error


def unpacked(raw: IO[bytes], kind: str | None) -> IO[bytes]:
    """Return a compressed file's bytes as a buffered stream; None is a plain one."""
    if kind is not None:
        return io.BufferedReader(_Frames(raw, kind), BUFFER_BYTES)
    return io.BufferedReader(_Borrowed(raw), BUFFER_BYTES)


def _damaged(path: Path, kind: str | None, error: Exception, offset: int) -> ArtifactError:
    how = "ends too early" if isinstance(error, EOFError) else f"is damaged ({error})"
    return ArtifactError(
        f"the {kind or 'plain'} stream of {path.name} {how}, near compressed byte {offset}",
        str(path),
        "fetch the file again, or remove it from the source",
    )


class _Borrowed(io.RawIOBase):
    """A raw stream over a file that somebody else closes."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._raw.readinto(buffer)  # type: ignore[attr-defined]


class _Frames(io.RawIOBase):
    """Reads the frames of a compressed file one after the other, whatever they are called.

    Unlike the library's readers, which take damage behind the first frame for rubbish and stop
    there (bzip2, xz), see no truncation (zstd), or keep back what came before it (gzip), it gives
    all that there is and takes nothing for an end but the end.
    """

    def __init__(self, raw: IO[bytes], kind: str) -> None:
        self._raw, self._kind = raw, kind
        self._frame: Any = None
        self._take = 256
        self._rest = b""
        self._pending = memoryview(b"")
        self._any = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending:
            if not self._go_on():
                return 0
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def _go_on(self) -> bool:
        """Decompress some bytes, perhaps to none; False where the file ends."""
        data = b""
        if getattr(self._frame, "needs_input", True):
            data = self._rest or self._raw.read(self._take)
            self._rest = b""
            if self._kind in PADDED and self._any and self._frame is None and data:
                data = data.lstrip(b"\0")
                if not data:
                    return True
            if not data:
                if self._frame is not None:
                    raise EOFError("the last frame is incomplete")
                return False
        self._frame = self._frame or _opened(self._kind)
        self._any = True
        try:
            limit = () if self._kind == "zstd" else (BUFFER_BYTES,)
            found = self._frame.decompress(data, *limit)
        except _frame_errors() as error:
            raise zlib.error(str(error)) from error
        self._rest = getattr(self._frame, "unconsumed_tail", b"")
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None
        self._pending = memoryview(found)
        # zstd gives all that its input holds at once, so the input follows the ratio.
        small = len(found) < BUFFER_BYTES
        most = ZSTD_TAKE_BYTES if self._kind == "zstd" else 1 << 16
        self._take = min(most, 2 * self._take) if small else max(64, self._take // 2)
        return True


def _opened(kind: str) -> Any:
    """Return what decompresses one frame."""
    if kind == "gzip":
        return zlib.decompressobj(31)
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "xz":
        return lzma.LZMADecompressor()
    import zstandard

    return zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()


def _frame_errors() -> tuple[type[Exception], ...]:
    zstandard = sys.modules.get("zstandard")  # Slow to import, and imported where it is needed.
    return (OSError, lzma.LZMAError, zlib.error, *((zstandard.ZstdError,) if zstandard else ()))


@contextmanager
def open_text(path: Path, encoding: str = "auto") -> Iterator[io.TextIOWrapper]:
    """Open a text file; `auto` means UTF-8 unless a byte order mark says UTF-16 or UTF-32.

    Line ends stay as they are; a leading byte order mark is dropped. Binary files and bytes that
    are not of the encoding are ArtifactErrors, the latter with their offset.
    """
    with open_bytes(path) as stream:
        head = stream.peek(8192)[:8192]  # type: ignore[attr-defined]
        found = _encoding(path, head, encoding)
        text = io.TextIOWrapper(stream, encoding=found, errors="strict", newline="\n")
        try:
            yield text
        except UnicodeError as error:
            raise _undecodable(path, found) from error
        finally:
            text.detach()


def _encoding(path: Path, head: bytes, declared: str) -> str:
    marked = next((name for mark, name in _BOMS if head.startswith(mark)), None)
    if marked is None or declared not in ("auto", marked):
        _refuse_binary(path, head, declared)
    if declared == "auto":
        return marked or "utf-8"
    if declared.lower().replace("_", "-") in ("utf-8", "utf8"):
        return "utf-8-sig"
    return declared


def _refuse_binary(path: Path, head: bytes, declared: str) -> None:
    for magic, what, suffix in _MAGIC:
        if head.startswith(magic):
            todo = f"give its name the suffix {suffix}" if suffix else "leave it out of the source"
            raise ArtifactError(f"{path.name} holds {what}, not text", str(path), todo)
    wide = declared.lower().replace("_", "-").startswith(("utf-16", "utf-32", "utf16", "utf32"))
    if wide:
        return
    zero = head.find(0)
    if zero >= 0:
        raise ArtifactError(
            f"{path.name} is binary: a zero byte at offset {zero}",
            str(path),
            "leave it out of the source, or declare its encoding (UTF-16 without a mark?)",
        )
    controls = len(head) - len(head.translate(None, _CONTROL))
    if controls > len(head) // 20:
        raise ArtifactError(
            f"{path.name} is binary: {controls} control characters in its first {len(head)} bytes",
            str(path),
            "leave it out of the source",
        )


def _undecodable(path: Path, encoding: str) -> ArtifactError:
    """Find the first bad byte in a second pass: the buffered reader cannot tell where it is."""
    name = encoding.removesuffix("-sig")
    decoder = codecs.getincrementaldecoder(name)()
    offset = 0
    with open_bytes(path) as stream:
        while True:
            chunk = stream.read(BUFFER_BYTES)
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                where = str(error)  # Of a missing mark no byte is told.
                if isinstance(error, UnicodeDecodeError):
                    bad = error.object[error.start : error.start + 1]
                    where = f"byte 0x{bad.hex()} at offset {offset - held + error.start}"
                return ArtifactError(
                    f"{path.name} is not {name}: {where}",
                    str(path),
                    "declare the file's encoding (for example latin-1), or repair the file",
                )
            if not chunk:
                raise AssertionError(f"{path} was decoded the second time")
            offset += len(chunk)


def text_lines(path: Path, encoding: str = "auto") -> Iterator[tuple[int, str]]:
    """Yield `(number, line)` from 1 on, without the line end (`\\n` or `\\r\\n`)."""
    with open_text(path, encoding) as stream:
        number = 0
        while line := stream.readline(LINE_CHARACTERS + 1):
            number += 1
            if len(line) > LINE_CHARACTERS:
                raise too_long(path, f"line {number}")
            yield number, line[:-1].removesuffix("\r") if line[-1] == "\n" else line


def whole_text(path: Path, encoding: str = "auto") -> str:
    """Return the whole text, line ends as they are; a file over the bound is refused."""
    with open_text(path, encoding) as stream:
        text = stream.read(LINE_CHARACTERS + 1)
    if len(text) > LINE_CHARACTERS:
        raise too_long(path, "the file")
    return text


def too_long(path: Path, where: str) -> ArtifactError:
    """Return the error for a document that is larger than the memory bound."""
    return ArtifactError(
        f"{where} of {path.name} has more than {LINE_CHARACTERS} characters",
        str(path),
        "read it with `documents: line` or `documents: paragraph`, or split it",
    )


class LineShards:
    """Writes JSON lines to `<folder>/<stem>-00000.jsonl.zst`, ...; equal rows give equal bytes."""

    def __init__(self, folder: Path, stem: str, *, shard_bytes: int = SHARD_BYTES) -> None:
        import zstandard

        self.folder, self.stem = folder, stem
        self.shards: list[str] = []
        self.rows = 0
        self._limit = shard_bytes
        self._factory = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
        self._raw: IO[bytes] | None = None
        self._stream: Any = None
        self._size = 0

    def __enter__(self) -> LineShards:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def add(self, row: Any) -> None:
        """Write one row as canonical JSON."""
        self.add_line(canonical_line(row).encode("utf-8"))

    def add_line(self, line: bytes) -> None:
        """Write a row that is canonical JSON already, without its line end."""
        data = line + b"\n"
        if self._stream is None or self._size + len(data) > self._limit:
            self._close()
            self.shards.append(f"{self.stem}-{len(self.shards):05d}.jsonl.zst")
            self._raw = (self.folder / self.shards[-1]).open("wb")
            self._stream = self._factory.stream_writer(self._raw, closefd=False)
            self._size = 0
        self._stream.write(data)
        self._size += len(data)
        self.rows += 1

    def _close(self) -> None:
        if self._stream is not None and self._raw is not None:
            self._stream.close()
            self._raw.close()
        self._stream = self._raw = None
