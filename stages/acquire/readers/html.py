"""The visible text of pages: decoded as they are, not as they say; never deeper than a bound.

The extractor is resiliparse's. A page's own licence is what its `rel="license"` links name.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from stages.acquire.formats import HtmlFormat, WarcFormat
from stages.acquire.readers.batches import Damaged, Input, Item, Loss, Place, Reader
from stages.acquire.readers.containers import opened

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FIRST = ("iso-2022", "hz", "utf-16", "utf-7")
"""Declared encodings whose bytes would pass as UTF-8, or as nothing at all."""
_META_BYTES = 4096
_META = re.compile(rb"<meta[^<>]{0,512}?charset\s*=\s*[\"']?\s*([\w:.-]{1,40})", re.I)
_ELEMENT = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_FLAT = frozenset(
    {"area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input"}
    | {"link", "meta", "param", "source", "track", "wbr", "p", "li", "dt", "dd", "option", "rt"}
    | {"optgroup", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "rp", "html", "head"}
    | {"body", "a"}
)
"""Elements that have no content, or that the next of their kind closes."""
_LICENCE = re.compile(r"<(?:a|link)\b[^<>]{0,1000}>", re.I)
_IS_LICENCE = re.compile(r"\brel\s*=\s*[\"']?[\w\s-]{0,100}\blicense\b", re.I)
_CREATIVE = re.compile(
    r"creativecommons\.org/(?:licenses/(by(?:-nc)?(?:-nd|-sa)?)|publicdomain/(zero|mark))"
    r"/(\d\.\d)(?:/([a-z]{2,3})(?=[/\"'\s>]))?",
    re.I,
)


class Page(NamedTuple):
    """A page's text, the encoding it really has, and the licence it names, if it names one."""

    text: str
    encoding: str
    licence: str | None


def page(data: bytes, declared: str | None, settings: WarcFormat | HtmlFormat) -> Page:
    """Return the visible text of a page; what has none is `Damaged` with the reason."""
    from resiliparse.extract.html2text import extract_plain_text

    markup, encoding = decoded(data, declared)
    many = markup.count("<") > settings.max_depth  # Fewer marks than that cannot be deeper.
    depth = nesting(markup) if many else 0
    if depth > settings.max_depth:
        raise Damaged("too_deep", f"{depth} elements within each other")
    try:
        text = extract_plain_text(markup, main_content=settings.main_content)
    except Exception as error:  # Of its own kinds; any of them costs this page alone.
        raise Damaged("unparsable", f"{type(error).__name__}: {error}") from error
    lines = [line.rstrip() for line in text.split("\n")]
    text = "\n".join(lines).strip()
    if not text:
        raise Damaged("no_words", f"{len(data)} bytes without visible text")
    return Page(text, encoding, licence(markup))


def decoded(data: bytes, declared: str | None) -> tuple[str, str]:
    """Return text and its encoding: the first that fits of mark, UTF-8, declared, meta, guessed."""
    tried = list(dict.fromkeys(_encodings(data, declared)))
    for name in tried:
        try:
            return data.decode(name).removeprefix("\ufeff"), name
        except (ValueError, LookupError):
            continue
    raise Damaged("undecodable", f"its bytes are not of {', '.join(tried)}")


def _encodings(data: bytes, declared: str | None) -> Iterator[str]:
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

    found = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if found:
        yield found
    meta = _META.search(data[:_META_BYTES])
    said = [name for name in (declared, meta[1].decode("ascii") if meta else None) if name]
    for name in said:
        if name.lower().startswith(_FIRST):
            yield name.lower()
    yield "utf-8"
    for name in said:
        mapped = map_encoding_to_html5(name, fallback_utf8=False)
        yield from (one for one in (mapped, name.lower()) if one and _is_encoding(one))
    guessed = detect_encoding(data)
    if guessed and _is_encoding(guessed):
        yield guessed


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, TypeError, ValueError):
        return False
    return True


def nesting(markup: str) -> int:
    """Return how deep elements stand within each other at most, by their marks alone."""
    depth = deepest = 0
    for found in _ELEMENT.finditer(markup):
        if found[2].lower() in _FLAT:
            continue
        if found[1]:
            depth = max(0, depth - 1)
        else:
            depth += 1
            deepest = max(deepest, depth)
    return deepest


def licence(markup: str) -> str | None:
    """Return the one Creative Commons licence that a page's `rel="license"` links name."""
    if "creativecommons.org/" not in markup:
        return None
    found = set()
    for mark in _LICENCE.finditer(markup):
        if _IS_LICENCE.search(mark[0]) and (name := _CREATIVE.search(mark[0])):
            found.add(_spdx(name))
    return found.pop() if len(found) == 1 else None


def _spdx(found: re.Match[str]) -> str:
    kind, public, version, country = found.groups()
    if public:
        zero = public.lower() == "zero"
        return f"CC0-{version}" if zero else "LicenseRef-public-domain"
    name = f"CC-{kind.upper()}-{version}"
    return name if country is None else f"LicenseRef-{name}-{country.upper()}"


def _columns(_: HtmlFormat) -> list[pa.Field]:
    return [pa.field("encoding", pa.string())]


def _read(source: Input, settings: HtmlFormat, place: Place) -> Iterator[Item]:
    limit = source.bounds.record_bytes
    with opened(source) as stream:
        data = stream.read(limit + 1)
    row: dict[str, Any] | Loss
    identity = source.id(1)
    if len(data) > limit:
        row = Loss(identity, "too_long", f"more than {limit} bytes")
    else:
        try:
            row = {"id": identity} | of_page(page(data, None, settings))
        except Damaged as damage:
            row = Loss(identity, damage.reason, damage.detail)
    if not place.number:
        yield Item(row, Place(len(data), 1))


def of_page(found: Page) -> dict[str, Any]:
    """Return a page as columns; its own licence goes before the source's."""
    row = {"text": found.text, "encoding": found.encoding}
    return row | ({"licence": found.licence} if found.licence else {})


READER = Reader(kind=lambda _: "documents", columns=_columns, read=_read)
