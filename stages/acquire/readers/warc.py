"""Web archives: every page that was answered, resource and conversion (WET), as its text.

Records about records (`warcinfo`, `request`, `metadata`) are no documents and are passed over.
Where an archive breaks, reading goes on at the next place where a record begins.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import pyarrow as pa

from stages.acquire.formats import WarcFormat
from stages.acquire.readers import framing, html, http
from stages.acquire.readers.batches import END, Damaged, Input, Item, Loss, Place, Reader, clipped
from stages.acquire.readers.containers import compression_of, opened

COLUMNS = ("url", "date", "record", "media_type", "encoding", "truncated")
_ALGORITHMS = ("sha1", "sha256", "sha512", "md5")


def _columns(_: WarcFormat) -> list[pa.Field]:
    return [pa.field(name, pa.string()) for name in COLUMNS]


class _Walk:
    """Where a walk through an archive is: the last record known to begin at a byte, and how many
    documents were passed from there."""

    def __init__(self, source: Input, place: Place) -> None:
        self.source = source
        self.offset, self.number, self.skip = place
        with source.path.open("rb") as raw:
            self.kind = compression_of(raw.read(8))

    @property
    def place(self) -> Place:
        """Return the place behind the last record."""
        return Place(self.offset, self.number, self.skip)

    def reach(self, offset: int) -> None:
        """Take note that the archive says a record to begin at an offset, if one does."""
        if offset > self.offset and framing.begins(self.source.path, self.kind, offset):
            self.offset, self.skip = offset, 0

    def next(self) -> int:
        """Count one more record; returns its number."""
        self.number += 1
        return self.number

    def leave(self) -> bool:
        """Go where the next record begins, and tell whether there is one."""
        found = framing.following(self.source.path, self.kind, self.offset, self.skip, False)
        self.offset = END if found is None else found
        self.skip = 0
        return found is not None

    def rest(self) -> str:
        """Return what the archive holds behind its last record, where it ends as if that were
        all; empty if it is."""
        path = self.source.path
        if not framing.whole(path, self.kind, self.offset):
            return f"the {self.kind} stream has no end"
        found = framing.following(path, self.kind, self.offset, self.skip, not self.skip)
        return "" if found is None else f"it ends within the header at byte {found}"

    @contextmanager
    def records(self) -> Iterator[Any]:
        """Open the archive at the offset and give its records."""
        from fastwarc.warc import ArchiveIterator, WarcRecordType

        kinds = (
            WarcRecordType.response
            | WarcRecordType.resource
            | WarcRecordType.conversion
            | WarcRecordType.revisit
            | WarcRecordType.continuation
            | WarcRecordType.unknown
        )
        with ExitStack() as stack:
            stream: Any
            if self.kind in framing.SEEKABLE:
                stream = stack.enter_context(self.source.path.open("rb"))
                stream.seek(self.offset)
            else:
                stream = _Forward(stack.enter_context(opened(self.source)))
            yield ArchiveIterator(stream, record_types=kinds, parse_http=False)


class _Forward(io.RawIOBase):
    """A stream that says where it is, and goes nowhere else: FastWARC asks."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._at = stream, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        if (offset, whence) not in ((0, 1), (self._at, 0)):
            raise io.UnsupportedOperation("this stream goes forward only")
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read1(len(buffer))  # type: ignore[attr-defined]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _read(source: Input, settings: WarcFormat, place: Place) -> Iterator[Item]:
    walk = _Walk(source, place)
    gap = ""
    more = source.path.stat().st_size > place.offset
    while more:
        passed = walk.skip
        row: dict[str, Any] | Loss | None = None
        broken = False
        try:
            with walk.records() as records:
                for record in records:
                    if passed:
                        passed -= 1
                        continue
                    walk.reach(record.stream_pos)
                    if gap:
                        yield Item(Loss(source.id(walk.next()), "damaged", gap), walk.place)
                        gap = ""
                    row, broken = _taken(source.id(walk.next()), source, settings, record)
                    walk.skip += 1
                    if broken:
                        break
                    yield Item(row, walk.place)
        except BaseException as error:
            if not _is_damage(error):
                raise
            gap = gap or f"behind byte {walk.offset}: {clipped(error)}"
            row, broken = None, True
        if not broken and not gap and (rest := walk.rest()):
            raise Damaged("truncated", rest)
        more = broken and walk.leave()
        if broken and row is not None:
            yield Item(row, walk.place)
    if gap:
        number = walk.next()
        yield Item(Loss(source.id(number), "damaged", gap), Place(END, number))


def _is_damage(error: BaseException) -> bool:
    """Tell what an archive's bytes may cause: FastWARC's errors, and panics of its Rust code."""
    if isinstance(error, OSError):
        return error.errno is None
    return type(error).__name__ == "PanicException"


def _taken(
    identity: str, source: Input, settings: WarcFormat, record: Any
) -> tuple[dict[str, Any] | Loss, bool]:
    """Return a record's row or loss, and whether the archive broke within it."""
    limit = source.bounds.record_bytes
    if record.content_length > limit:
        return Loss(identity, "too_long", f"{record.content_length} bytes"), False
    try:
        data = record.reader.read(limit + 1)
    except OSError as error:
        return Loss(identity, "damaged", clipped(error)), True
    if len(data) < record.content_length:
        told = f"{len(data)} of {record.content_length} bytes"
        return Loss(identity, "truncated", told), True
    headers = {name.lower(): value for name, value in record.headers.items()}
    try:
        if "content-length" not in headers:
            raise Damaged("malformed", "its header has no Content-Length")
        if settings.verify:
            _verify(data, headers.get("warc-block-digest", ""))
        return {"id": identity, **_row(data, headers, settings, limit)}, False
    except Damaged as damage:
        return Loss(identity, damage.reason, clipped(damage.detail)), False


def _row(data: bytes, headers: dict[str, str], settings: WarcFormat, limit: int) -> dict[str, Any]:
    kind = headers.get("warc-type", "")
    if kind in ("revisit", "continuation"):
        raise Damaged(kind, headers.get("warc-refers-to", headers.get("warc-target-uri", "")))
    if kind not in ("response", "resource", "conversion"):
        raise Damaged("unknown_type", kind)
    told, body = headers.get("content-type", ""), data
    if kind == "response":
        answer = http.parse(data, limit)
        if not 200 <= answer.status < 300:
            raise Damaged("http_status", str(answer.status))
        told, body = answer.headers.get("content-type", ""), answer.body
    media, charset = http.media_type(told)
    media = media or ("text/html" if body[:512].lstrip()[:1] == b"<" else "unknown")
    if media not in settings.types:
        raise Damaged("media_type", media)
    row = {
        "url": headers.get("warc-target-uri"),
        "date": headers.get("warc-date"),
        "record": headers.get("warc-record-id"),
        "truncated": headers.get("warc-truncated"),
        "media_type": media,
    }
    if media == "text/plain":
        text, encoding = html.decoded(body, charset)
        return row | {"text": text, "encoding": encoding}
    return row | html.of_page(html.page(body, charset, settings))


def _verify(data: bytes, declared: str) -> None:
    """See that a record's block has the digest that its header declares, in base 32 or 16."""
    name, colon, value = declared.partition(":")
    if not colon or name.strip().lower() not in _ALGORITHMS:
        return
    found = hashlib.new(name.strip().lower(), data, usedforsecurity=False)
    if value.strip().lower() == found.hexdigest():
        return
    if value.strip().upper().rstrip("=") != base64.b32encode(found.digest()).decode().rstrip("="):
        raise Damaged("digest", f"declared is {declared}, found {name}:{found.hexdigest()}")


READER = Reader(kind=lambda _: "documents", columns=_columns, read=_read)
