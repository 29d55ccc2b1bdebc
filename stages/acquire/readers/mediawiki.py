"""Pages out of MediaWiki's XML dumps, one at a time, each parsed by itself.

The dump is cut at `<page>` and `</page>`, so one that is damaged costs itself and no other. A page
by itself has no place for a document type, hence no entity of its own: what XML knows only from one
(entity bombs, files of this machine) is undefined here, and its page is lost as `malformed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any
from xml.etree import ElementTree

import pyarrow as pa

from stages.acquire.formats import MediawikiFormat
from stages.acquire.readers.batches import Damaged, Input, Item, Loss, Place, Reader, clipped
from stages.acquire.readers.containers import opened
from stages.lm import wikitext
from stages.lm.streams import BUFFER_BYTES

_OPEN, _CLOSE = b"<page>", b"</page>"
_UNSEEN_KEYS = ("-2", "6", "14")
HEAD_BYTES = 4 << 20
"""Where a dump says how its namespaces are called: before its first page, and not far."""
COLUMNS = ("title", "page", "revision", "timestamp")


def _columns(_: MediawikiFormat) -> list[pa.Field]:
    return [pa.field(name, pa.string()) for name in COLUMNS]


def _read(source: Input, settings: MediawikiFormat, place: Place) -> Iterator[Item]:
    unseen = _unseen(source)
    number = place.number
    with opened(source, place.offset) as stream:
        for end, page in _pages(stream, source.bounds.record_bytes, place.offset):
            number += 1
            identity = source.id(number)
            if isinstance(page, int):
                row: dict[str, Any] | Loss = Loss(identity, "too_long", f"a page of {page} bytes")
            else:
                row = _row(identity, page, settings, unseen)
            yield Item(row, Place(end, number))
    if not number:
        raise Damaged("malformed", "no <page> in it: this is no dump of MediaWiki")


def _pages(stream: IO[bytes], limit: int, start: int) -> Iterator[tuple[int, bytes | int]]:
    """Yield (offset behind the page, its bytes, or how many there are above the limit)."""
    held = bytearray()
    at, begun, dropped, scanned = start, False, 0, 0
    while chunk := stream.read1(BUFFER_BYTES):  # type: ignore[attr-defined]
        held += chunk
        while True:
            if not begun:
                found = held.find(_OPEN)
                passed = found if found >= 0 else max(0, len(held) - len(_OPEN) + 1)
                del held[:passed]
                at += passed
                if found < 0:
                    break
                begun, dropped, scanned = True, 0, 0
            found = held.find(_CLOSE, scanned)
            if found < 0:
                scanned = max(0, len(held) - len(_CLOSE) + 1)
                if dropped + len(held) > limit:  # Too long already: only its end matters.
                    del held[:scanned]
                    at, dropped, scanned = at + scanned, dropped + scanned, 0
                break
            end = found + len(_CLOSE)
            at += end
            yield at, (bytes(held[:end]) if dropped + end <= limit else dropped + end)
            del held[:end]
            begun = False
    if begun:
        raise Damaged("truncated", f"the last page has no end: {dropped + len(held)} bytes")


def _unseen(source: Input) -> frozenset[str]:
    """Return how the dump calls the namespaces whose links show no words."""
    with opened(source) as stream:
        try:
            head = stream.read(HEAD_BYTES).partition(_OPEN)[0]
        except Damaged:
            return wikitext.UNSEEN
    _, _, rest = head.partition(b"<namespaces>")
    inner, closed, _ = rest.partition(b"</namespaces>")
    if not closed:
        return wikitext.UNSEEN
    try:
        spaces = ElementTree.fromstring(b"<namespaces>" + inner + b"</namespaces>")
    except ElementTree.ParseError:
        return wikitext.UNSEEN
    named = {(one.text or "").lower() for one in spaces if one.get("key") in _UNSEEN_KEYS}
    return wikitext.UNSEEN | (named - {""})


def _row(
    identity: str, page: bytes, settings: MediawikiFormat, unseen: frozenset[str]
) -> dict[str, Any] | Loss:
    try:
        root = ElementTree.fromstring(page)
    except (ElementTree.ParseError, ValueError) as error:
        return Loss(identity, "malformed", clipped(error))
    title = root.findtext("title", "")
    space = root.findtext("ns", "0").strip()
    if root.find("redirect") is not None:
        return Loss(identity, "redirect", clipped(title))
    if not space.lstrip("-").isdigit() or int(space) not in settings.namespaces:
        return Loss(identity, "other_namespace", clipped(f"{space}: {title}"))
    revisions = root.findall("revision")
    if not revisions:
        return Loss(identity, "no_revision", clipped(title))
    last = revisions[-1]  # Of a dump with histories the newest; they come in their order.
    markup = last.findtext("text", "")
    if markup[:9].lower() == "#redirect":
        return Loss(identity, "redirect", clipped(title))
    text = wikitext.plain(markup, unseen)
    if not text:
        return Loss(identity, "no_words", clipped(title))
    return {
        "id": identity,
        "text": text,
        "title": title,
        "page": root.findtext("id"),
        "revision": last.findtext("id"),
        "timestamp": last.findtext("timestamp"),
    }


READER = Reader(kind=lambda _: "documents", columns=_columns, read=_read)
