"""Readers for the layouts in which public text collections are handed out.

Numbered lines (Leipzig corpora `*-sentences.txt`, Apertium `*.crp.txt`), Tatoeba's exports and
MediaWiki's XML dumps. Narrow: they give plain text, not every detail of the markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from stages.core.errors import ArtifactError
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
    if len(cells) < 3 or not cells[0].isdigit():
        raise ArtifactError(
            f"line {number} of {path.name} is not `id<TAB>language<TAB>text`: {line[:60]!r}",
            f"{path}:{number}",
            "fetch the export again, or name another format",
        )
    return cells[0], cells[1], cells[2]


def join_tatoeba(
    links: Path, sources: Path, targets: Path, source: str, reading: Reading
) -> Iterator[Pair]:
    """Yield the pairs that a links file (`id<TAB>id`) joins; memory holds the linked texts only."""
    linked: list[tuple[int, int]] = []
    for number, line in text_lines(links, reading.encoding):
        cells = line.split("\t")
        if len(cells) < 2 or not (cells[0].isdigit() and cells[1].isdigit()):
            raise ArtifactError(
                f"line {number} of {links.name} is not `id<TAB>id`: {line[:60]!r}",
                f"{links}:{number}",
                "fetch the links again",
            )
        linked.append((int(cells[0]), int(cells[1])))
    left = _tatoeba_texts(sources, {pair[0] for pair in linked}, reading)
    right = _tatoeba_texts(targets, {pair[1] for pair in linked}, reading)
    for first, second in sorted(set(linked)):
        if first in left and second in right:
            yield Pair(f"tatoeba:{first}-{second}", left[first], right[second], source)


def _tatoeba_texts(path: Path, wanted: set[int], reading: Reading) -> dict[int, str]:
    texts = {}
    for number, line in text_lines(path, reading.encoding):
        identity, _, text = _tatoeba_row(path, number, line)
        if int(identity) in wanted:
            texts[int(identity)] = text
    return texts


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
    text = plain_wikitext(found.get("text", ""))
    if found.get("ns", "0") != "0" or not text:
        return None
    return Document(f"{source}:{found.get('id', found.get('title', ''))}", text, source)


_COMMENT = re.compile(r"<!--.*?-->", re.S)
_REFERENCE = re.compile(
    r"<(ref|math|gallery|timeline|syntaxhighlight|source|score)\b[^<>]*?(?:/>|>.*?</\1\s*>)", re.S
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_INNER = re.compile(r"\{\{[^{}]*\}\}|\{\|(?:(?!\{\||\|\}).)*\|\}", re.S)
_LINK = re.compile(r"\[\[([^\[\]|]*)(?:\|([^\[\]]*))?\]\]")
_OUTSIDE = re.compile(r"\[(?:https?:)?//[^\s\]]+\s*([^\]]*)\]")
_HEADING = re.compile(r"^=+\s*(.*?)\s*=+\s*$", re.M)
_MARKS = re.compile(r"'{2,}|__[A-Z]+__")
_LIST = re.compile(r"^[*#:;]+\s*", re.M)
_ENTITIES = {"&nbsp;": " ", "&ndash;": "–", "&mdash;": "—", "&amp;": "&", "&lt;": "<", "&gt;": ">"}


def plain_wikitext(text: str) -> str:
    """Strip templates, tables, references and markup from wiki text; paragraphs stay."""
    text = _REFERENCE.sub("", _COMMENT.sub("", text))
    before = None
    while before != text:  # Templates nest: the innermost go first.
        before, text = text, _INNER.sub("", text)
    before = None
    while before != text:
        before, text = text, _LINK.sub(_link_text, text)
    text = _OUTSIDE.sub(r"\1", text)
    text = _LIST.sub("", _MARKS.sub("", _HEADING.sub(r"\1", _TAG.sub("", text))))
    for entity, character in _ENTITIES.items():
        text = text.replace(entity, character)
    lines = (" ".join(line.split()) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _link_text(found: re.Match[str]) -> str:
    target, label = found[1], found[2]
    if ":" in target and not target.startswith(":"):
        return ""  # Files, categories and links to other languages are not text.
    return target.lstrip(":") if label is None else label.rpartition("|")[2]
