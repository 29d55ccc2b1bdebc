"""Markdown of the cards: text of others is escaped, every number says where it was read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from stages.report.markup import text_of
from stages.report.sources import Node

SPECIAL = re.compile(r"([\\`*_{}\[\]#|~!])")
TICKS = re.compile(r"`+")


def plain(text: str) -> str:
    """Return text of others as Markdown that shows it and does nothing else."""
    flat = " ".join(str(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\1", flat)


def code(text: str) -> str:
    """Return inline code, also inside a table and with backticks in it."""
    flat = " ".join(str(text).split()).replace("|", "\\|")
    longest = max((len(run) for run in TICKS.findall(flat)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if flat[:1] == "`" or flat[-1:] == "`" else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def number(node: Node, style: str = "") -> str:
    """Return a tracked number as people read it; its row names the source."""
    return text_of(node.value, style)


def between(node: Node, style: str = "") -> str:
    """Return an interval as `low to high`."""
    return f"{number(node[0], style)} to {number(node[1], style)}"


def source(*nodes: Node) -> str:
    """Return where numbers were read: file and JSON pointer."""
    return ", ".join(code(node.source) for node in nodes)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; without rows nothing."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if not lines:
        return ""
    rule = "|" + " --- |" * len(heads)
    return "\n".join(["| " + " | ".join(heads) + " |", rule, *lines])


def block(text: str, language: str = "") -> str:
    """Return a fenced block whose fence is longer than any inside it."""
    longest = max((len(run) for run in TICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def paragraphs(*parts: str) -> str:
    """Return the parts that hold something, a blank line between them."""
    return "\n\n".join(part for part in parts if part)
