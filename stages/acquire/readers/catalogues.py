"""Message catalogues: what programs say, in the language of their source and in another.

`.mo` files are read by their tables, every offset checked; `.po` files line by line. A message in
singular and plural gives two pairs; the languages' further plural forms stand in `forms`. Pairs
whose placeholders differ are lost as `placeholders`: one side would not be what the other says.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa

from stages.acquire.formats import GettextFormat
from stages.acquire.readers import plurals
from stages.acquire.readers.batches import Damaged, Input, Item, Loss, Place, Reader, clipped
from stages.acquire.readers.containers import opened

COLUMNS = ("source_language", "target_language", "number", "context", "domain", "package")
_MAGIC = 0x950412DE
_HEAD_BYTES = 28
_CHARSET = re.compile(rb"charset=([\w.:-]{1,40})", re.I)
_PRINTF = re.compile(
    r"%(?:\d+\$)?(?:\((\w+)\))?[-+#0']*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|L|q|j|z|t|I64)?"
    r"([diouxXeEfFgGaAcsSpr])|%%"
)
_BRACES = re.compile(r"\{[\w.!:]{0,40}\}")
_KEYWORD = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr)(?:\[(\d{1,2})\])?\s*(".*")\s*')
_ESCAPE = re.compile(r"\\([abfnrtv\\\"'?]|[0-7]{1,3}|x[0-9a-fA-F]{1,2})")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Message(NamedTuple):
    """A message: its context, singular and plural, and its translations by plural form."""

    context: str | None
    single: str
    plural: str | None
    translations: list[str]
    fuzzy: bool = False


def _columns(_: GettextFormat) -> list[pa.Field]:
    fields = [pa.field(name, pa.string()) for name in COLUMNS]
    return [*fields, pa.field("forms", pa.list_(pa.string()))]


def _read(source: Input, settings: GettextFormat, place: Place) -> Iterator[Item]:
    limit = source.bounds.record_bytes
    with opened(source) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise Damaged("too_long", f"more than {limit} bytes")
    language, domain = _names(source)
    if settings.targets and language not in settings.targets:
        if not place.number:
            yield Item(Loss(source.id(1), "other_language", language), Place(0, 1))
        return
    told = {
        "source_language": settings.source,
        "target_language": language,
        "domain": domain,
        "package": source.package,
    }
    magic = _MAGIC.to_bytes(4, "little")
    number, header = 0, ""
    for message in _of_mo(data) if data[:4] in (magic, magic[::-1]) else _of_po(data):
        found: list[dict[str, Any] | tuple[str, str]]
        if not isinstance(message, Message):
            found = [message]
        elif not message.single and message.context is None:
            header = message.translations[0]
            continue
        else:
            found = list(_pairs(message, header, settings))
        for one in found:
            number += 1
            if number <= place.number:
                continue
            identity = source.id(number)
            row = (
                Loss(identity, *one) if isinstance(one, tuple) else {"id": identity, **told, **one}
            )
            yield Item(row, Place(0, number))


def _names(source: Input) -> tuple[str, str]:
    """Return a catalogue's language and domain by its path: `eo/LC_MESSAGES/a.mo`, `po/eo.po`."""
    path = PurePosixPath(source.name)
    stem = path.name.split(".po")[0].split(".mo")[0]
    if path.parent.name == "LC_MESSAGES":
        return path.parent.parent.name or "und", stem
    return stem, path.parent.name


def _pairs(
    message: Message, header: str, settings: GettextFormat
) -> Iterator[dict[str, Any] | tuple[str, str]]:
    shown = clipped(message.single)
    if message.fuzzy and not settings.fuzzy:
        yield "fuzzy", shown
        return
    if not any(one.strip() for one in message.translations):
        yield "untranslated", shown
        return
    row: dict[str, Any] = {"context": message.context}
    if message.plural is None:
        yield _checked(row, message.single, message.translations[0], None)
        return
    one, many = plurals.forms(header)
    given = message.translations
    if max(one, many) >= len(given):
        yield "plural_forms", f"{len(given)} of {max(one, many) + 1} or more: {shown}"
        return
    used = {one, many % len(given)}
    others = [form for at, form in enumerate(given) if at not in used]
    yield _checked(row | {"number": "one"}, message.single, given[one], message.plural)
    plural = row | {"number": "many", "forms": others}
    yield _checked(plural, message.plural, given[many], message.plural)


def _checked(
    row: dict[str, Any], left: str, right: str, plural: str | None
) -> dict[str, Any] | tuple[str, str]:
    """Return the pair unless its placeholders differ; of plural messages a form may lack some."""
    ours, theirs = _placeholders(left), _placeholders(right)
    same = ours == theirs if plural is None else not theirs - (ours | _placeholders(plural))
    if not same:
        return "placeholders", clipped(f"{sorted(ours)} and {sorted(theirs)}: {left} | {right}")
    return row | {"source_text": left, "target_text": right}


def _placeholders(text: str) -> Counter[str]:
    if "%" not in text and "{" not in text:
        return Counter()
    found = Counter(
        f"%{one[1] or ''}{one[2]}" for one in _PRINTF.finditer(text) if one[2] is not None
    )
    return found + Counter(_BRACES.findall(text))


def _of_mo(data: bytes) -> Iterator[Message | tuple[str, str]]:
    """Yield the messages of a compiled catalogue, or (reason, detail) of what cannot be one."""
    order = "<" if struct.unpack("<I", data[:4])[0] == _MAGIC else ">"
    if len(data) < _HEAD_BYTES:
        raise Damaged("truncated", f"{len(data)} bytes")
    revision, count, sources, targets = struct.unpack(f"{order}4I", data[4:20])
    if revision >> 16 > 1:
        raise Damaged("malformed", f"revision {revision >> 16}")
    if max(sources, targets) + 8 * count > len(data):
        raise Damaged("truncated", f"{count} messages in {len(data)} bytes")
    charset = "utf-8"
    for at in range(count):
        sides = []
        for table in (sources, targets):
            size, start = struct.unpack(f"{order}2I", data[table + 8 * at : table + 8 * at + 8])
            sides.append(data[start : start + size] if start + size <= len(data) else None)
        left, right = sides
        if left is None or right is None:
            yield "truncated", f"message {at + 1} of {count} lies behind the end"
            continue
        if not left:
            charset = _charset(right)
        try:
            yield _message(left.decode(charset), right.decode(charset))
        except (UnicodeDecodeError, LookupError) as error:
            yield "undecodable", clipped(f"message {at + 1}: {error}")


def _charset(header: bytes) -> str:
    found = _CHARSET.search(header)
    name = found[1].decode("ascii") if found else "utf-8"
    return "utf-8" if name.upper() == "CHARSET" else name


def _message(left: str, right: str) -> Message:
    context, split, rest = left.partition("\x04")
    single, plural, several = (rest if split else left).partition("\0")
    return Message(
        context if split else None,
        single,
        several if plural else None,
        right.split("\0") if plural else [right],
    )


def _of_po(data: bytes) -> Iterator[Message | tuple[str, str]]:
    """Yield the messages of a catalogue's source, or (reason, detail) of what cannot be one."""
    charset = _charset(data[: 1 << 16])
    try:
        text = data.decode(charset)
    except (UnicodeDecodeError, LookupError) as error:
        raise Damaged("undecodable", clipped(error)) from error
    if "msgid" not in text:
        raise Damaged("malformed", "no message in it")
    entry = _Entry()
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if entry.ends_before(line):
            yield from entry.message()
            entry = _Entry()
        entry.take(number, line)
    yield from entry.message()


class _Entry:
    """The entry of a `.po` file that is being read."""

    def __init__(self) -> None:
        self.parts: dict[str, list[str]] = {}
        self.at = ""
        self.fuzzy = False
        self.broken = ""

    def ends_before(self, line: str) -> bool:
        """Tell whether a line belongs to the next entry."""
        if not any(name.startswith("msgstr") for name in self.parts):
            return False
        return not line or line.startswith(("#", "msgid", "msgctxt"))

    def take(self, number: int, line: str) -> None:
        """Take a line; one that is nothing breaks the entry."""
        if not line or line.startswith("#"):
            self.fuzzy |= line.startswith("#,") and "fuzzy" in line
            return
        found = _KEYWORD.fullmatch(line)
        if found is not None:
            self.at = found[1] + (f"[{found[2]}]" if found[2] else "")
            self.parts[self.at] = [_unquoted(found[3])]
        elif len(line) > 1 and line[0] == line[-1] == '"' and self.at:
            self.parts[self.at].append(_unquoted(line))
        else:
            self.broken = self.broken or f"line {number}: {line}"

    def message(self) -> Iterator[Message | tuple[str, str]]:
        """Yield what the entry is, if anything."""
        if not self.parts and not self.broken:
            return
        whole = {name: "".join(parts) for name, parts in self.parts.items()}
        by_form = sorted(whole, key=lambda name: (len(name), name))
        forms = [whole[name] for name in by_form if name.startswith("msgstr")]
        if self.broken or "msgid" not in whole or not forms:
            yield "malformed", clipped(self.broken or f"only {', '.join(whole)}")
            return
        plural = whole.get("msgid_plural")
        yield Message(whole.get("msgctxt"), whole["msgid"], plural, forms, self.fuzzy)


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(_unescaped, text[1:-1])


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] == "x":
        return chr(int(code[1:], 16))
    return chr(int(code, 8) & 255) if code[0].isdigit() else _ESCAPES.get(code, code)


READER = Reader(kind=lambda _: "pairs", columns=_columns, read=_read)
