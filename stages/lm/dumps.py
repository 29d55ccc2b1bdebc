"""Readers for the layouts in which public text collections are handed out.

Numbered lines (Leipzig corpora `*-sentences.txt`, Apertium `*.crp.txt`), Tatoeba's exports and
MediaWiki's XML dumps. Narrow: they give plain text, not every detail of the markup.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import ArtifactError
from stages.lm import wikitext
from stages.lm.reading import Document, Pair, Reading
from stages.lm.streams import open_bytes, text_lines

_NUMBERED = re.compile(r"\s*([0-9]+)(?:\t|\.[ \t]+)(.*)")


def read_numbered(path: Path, source: str, reading: Reading) -> Iterator[Document]:
    """Yield the lines of `12<TAB>text` or `12. text` files as documents, without the number."""
    for number, line in text_lines(path, reading.encoding):
        if not line.strip():
            continue
        found = _NUMBERED.fullmatch(line)
        if found is None:
            raise ArtifactError(
                f"line {number} of {path.name} does not begin with its number: {line[:60]!r}",
                f"{path}:{number}",
                "correct the line, or declare `reading: {format: text, documents: line}`",
            )
        yield Document(f"{source}:{found[1]}", found[2], source)


def read_tatoeba(path: Path, source: str, reading: Reading) -> Iterator[Document]:
    """Yield the sentences of an export: `id<TAB>language<TAB>text`, further columns ignored."""
    for number, line in text_lines(path, reading.encoding):
        identity, language, text = _tatoeba_row(path, number, line)
        if reading.language in (None, language):
            yield Document(f"tatoeba:{identity}", text, source)


def _tatoeba_row(path: Path, number: int, line: str) -> tuple[str, str, str]:
    cells = line.split("\t")
    if len(cells) < 3 or not _is_number(cells[0]):
        raise ArtifactError(
            f"line {number} of {path.name} is not `id<TAB>language<TAB>text`: {line[:60]!r}",
            f"{path}:{number}",
            "fetch the export again, or name another format",
        )
    return cells[0], cells[1], cells[2]


def join_tatoeba(
    links: Path, sources: Path, targets: Path, source: str, reading: Reading
) -> Iterator[Pair]:
    """Yield the pairs that a links file (`id<TAB>id`) joins, by the ids of both sides.

    Memory holds the linked texts alone, packed, and sixteen bytes for each link.
    """
    linked = array("q")
    for number, line in text_lines(links, reading.encoding):
        cells = line.split("\t")
        if len(cells) < 2 or not (_is_number(cells[0]) and _is_number(cells[1])):
            raise ArtifactError(
                f"line {number} of {links.name} is not `id<TAB>id`: {line[:60]!r}",
                f"{links}:{number}",
                "fetch the links again",
            )
        linked.append(int(cells[0]))
        linked.append(int(cells[1]))
    if not linked:
        return
    pairs = np.unique(np.frombuffer(linked, dtype=np.int64).reshape(-1, 2), axis=0)
    left = _Packed(sources, np.unique(pairs[:, 0]), reading)
    right = _Packed(targets, np.unique(pairs[:, 1]), reading)
    for row in pairs:
        first, second = int(row[0]), int(row[1])
        one, two = left.text(first), right.text(second)
        if one is not None and two is not None:
            yield Pair(f"tatoeba:{first}-{second}", one, two, source)


def _is_number(cell: str) -> bool:
    return cell.isascii() and cell.isdigit() and len(cell) <= 18


class _Packed:
    """The texts of an export that are wanted, in one buffer instead of a string for each."""

    def __init__(self, path: Path, wanted: NDArray[np.int64], reading: Reading) -> None:
        self._ids = array("q", wanted.tobytes())
        self._start = array("q", bytes(8 * len(self._ids)))
        self._size = array("q", [-1]) * len(self._ids)
        self._data = bytearray()
        for number, line in text_lines(path, reading.encoding):
            identity, _, text = _tatoeba_row(path, number, line)
            if (at := self._place(int(identity))) is not None:
                data = text.encode("utf-8", "surrogatepass")
                self._start[at], self._size[at] = len(self._data), len(data)
                self._data += data

    def _place(self, identity: int) -> int | None:
        at = bisect_left(self._ids, identity)
        return at if at < len(self._ids) and self._ids[at] == identity else None

    def text(self, identity: int) -> str | None:
        """Return the text, or None where the export has none under this id."""
        at = self._place(identity)
        if at is None or self._size[at] < 0:
            return None
        start = self._start[at]
        return self._data[start : start + self._size[at]].decode("utf-8", "surrogatepass")


def read_mediawiki(path: Path, source: str, reading: Reading) -> Iterator[Document]:
    """Yield the articles (namespace 0, no redirects) of an XML dump as plain text."""
    with open_bytes(path) as stream:
        try:
            walk = ElementTree.iterparse(stream, events=("start", "end"))
            root = None
            for event, element in walk:
                if root is None:
                    root = element
                if event == "end" and _local(element) == "page":
                    document = _article(element, source)
                    if document is not None:
                        yield document
                    root.clear()
        except ElementTree.ParseError as error:
            raise ArtifactError(
                f"{path.name} is not well-formed XML ({error})",
                str(path),
                "fetch the dump again",
            ) from error


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _article(page: ElementTree.Element, source: str) -> Document | None:
    found: dict[str, str] = {}
    for element in page.iter():
        name = _local(element)
        if name == "redirect":
            return None
        if name in ("ns", "title", "id", "text") and name not in found:
            found[name] = element.text or ""
    text = wikitext.plain(found.get("text", ""))
    if found.get("ns", "0") != "0" or not text:
        return None
    return Document(f"{source}:{found.get('id', found.get('title', ''))}", text, source)
