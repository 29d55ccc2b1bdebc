"""Plain text of wiki markup, in one pass over it whatever it holds.

Templates, tables, references, files and categories go; headings, list items and links leave their
words. Every step is linear in the text's length (links in 40 times it): pages are hostile at times,
and regular expressions that begin again at each of a hundred thousand open braces never end.
What is never closed stays as it is written.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator

UNSEEN = frozenset({"file", "image", "media", "category"})
"""Namespaces whose links show no words; a dump tells what else they are called (`Kategorio`)."""
LINK_DEPTH = 40
"""Links within links that are understood; a picture's caption holds one or two."""

_SWALLOWED = re.compile(
    r"<(ref|math|gallery|timeline|syntaxhighlight|source|score|imagemap|graph|chem|hiero)\b"
    r"([^<>]*)>",
    re.I,
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_BRACES = re.compile(r"\{{2,}|\}{2,}|^[ \t:]*\{\||^[ \t]*\|\}(?!\})", re.M)
_BRACKETS = re.compile(r"\[\[|\]\]")
_OUTSIDE = re.compile(r"\[(?:(?:https?|ftp)://|//|mailto:)", re.I)
_MARKS = re.compile(r"'{2,}|__[A-Z]+__")
_MEDIA = re.compile(
    r"\.(jpe?g|png|svg|gif|webp|tiff?|xcf|og[agv]|opus|web[mp]|pdf|midi?|wav|flac|mp[34]|djvu)\s*$",
    re.I,
)
"""Pictures and recordings, whatever their namespace is called in a dump that does not say it."""


def plain(text: str, unseen: Collection[str] = UNSEEN) -> str:
    """Return the words of wiki markup, paragraphs apart.

    `unseen` are the names, in lower case, of namespaces whose links show nothing.
    """
    text = "".join(_swallowed("".join(_uncommented(text))))
    text = _bare_links(_without_blocks(text), unseen)
    text = html.unescape(_MARKS.sub("", _TAG.sub("", _outside(text))))
    lines: list[str] = []
    for line in map(_line, text.split("\n")):
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).strip()


def _uncommented(text: str) -> Iterator[str]:
    at = 0
    while (start := text.find("<!--", at)) >= 0:
        end = text.find("-->", start + 4)
        if end < 0:
            break
        yield text[at:start]
        at = end + 3
    yield text[at:]


def _swallowed(text: str) -> Iterator[str]:
    """Leave out elements that are no text: references, formulas, galleries."""
    at, open_ended = 0, set()
    for found in _SWALLOWED.finditer(text):
        name = found[1].lower()
        if found.start() < at or name in open_ended:
            continue
        end: int | None = found.end()
        if not found[2].endswith("/"):
            close = re.compile(f"</{name}\\s*>", re.I).search(text, found.end())
            end = close.end() if close else None
        if end is None:  # No later one of this name is closed either.
            open_ended.add(name)
            continue
        yield text[at : found.start()]
        at = end
    yield text[at:]


class _Open:
    """Something that was opened: braces and how many, or a table; and where its output begins."""

    __slots__ = ("at", "count", "table")

    def __init__(self, at: int, count: int, table: bool) -> None:
        self.at, self.count, self.table = at, count, table


def _without_blocks(text: str) -> str:
    """Leave out templates, parameters and tables, however they nest."""
    out: list[str] = []
    stack: list[_Open] = []
    tables = at = 0
    for found in _BRACES.finditer(text):
        out.append(text[at : found.start()])
        at, mark = found.end(), found[0]
        if mark.startswith("{{"):
            stack.append(_Open(len(out), len(mark), False))
            out.append(mark)
        elif mark.endswith("{|"):
            stack.append(_Open(len(out), 0, True))
            out.append(mark)
            tables += 1
        elif mark.endswith("|}"):
            tables -= _close_table(out, stack) if tables else 0
        else:
            tables -= _close_braces(out, stack, len(mark), len(stack) - tables)
    out.append(text[at:])
    return "".join(out)


def _close_table(out: list[str], stack: list[_Open]) -> int:
    while not stack[-1].table:
        stack.pop()
    del out[stack.pop().at :]
    return 1


def _close_braces(out: list[str], stack: list[_Open], count: int, open_braces: int) -> int:
    """Close as many braces as are open; returns how many open tables lay within and are gone."""
    gone = 0
    while count >= 2 and open_braces:
        while stack[-1].table:
            stack.pop()
            gone += 1
        top = stack[-1]
        taken = min(count, top.count)
        count, top.count = count - taken, top.count - taken
        del out[top.at :]
        if top.count:
            out.append("{" * top.count)
        if top.count < 2:
            stack.pop()
            open_braces -= 1
    out.append("}" * count)
    return gone


def _bare_links(text: str, unseen: Collection[str]) -> str:
    """Put a link's words in its place."""
    out: list[str] = []
    starts: list[int] = []
    at = 0
    for found in _BRACKETS.finditer(text):
        out.append(text[at : found.start()])
        at = found.end()
        if found[0] == "[[":
            if len(starts) < LINK_DEPTH:
                starts.append(len(out))
            out.append("[[")
        elif starts:
            start = starts.pop()
            words = _words("".join(out[start + 1 :]), unseen)
            del out[start:]
            out.append(words)
        else:
            out.append("]]")
    out.append(text[at:])
    return "".join(out)


def _words(link: str, unseen: Collection[str]) -> str:
    """Return what a link shows: its label, or its target; nothing for pictures and categories."""
    target, bar, label = link.partition("|")
    space, colon, rest = target.partition(":")
    if colon and space.strip():
        if space.strip().lower().replace("_", " ") in unseen or _MEDIA.search(target):
            return ""
        if not bar and rest[:1] != " ":
            return ""  # A category, or the page in another language: a title has a blank there.
    return label.rpartition("|")[2] if bar else target.lstrip(":")


def _outside(text: str) -> str:
    """Put the words of links to other places in their place."""
    out: list[str] = []
    at, end = 0, -1
    for found in _OUTSIDE.finditer(text):
        if found.start() < at:
            continue
        if end < found.end() and (end := text.find("]", found.end())) < 0:
            break
        if text.find("\n", found.end(), end) >= 0:
            continue
        out.append(text[at : found.start()])
        out.append(text[found.end() : end].partition(" ")[2].strip())
        at = end + 1
    out.append(text[at:])
    return "".join(out)


def _line(line: str) -> str:
    words = " ".join(line.split())
    if words.startswith("=") and words.endswith("=") and len(words) > 1:
        words = words.strip("=").strip()
    return words.lstrip("*#:;").lstrip()
