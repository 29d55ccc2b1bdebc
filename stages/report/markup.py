"""HTML and SVG elements as values: text is escaped, figures carry their source."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from stages.report.sources import Node

VOID = frozenset({"br", "col", "hr", "img", "meta", "path", "line", "rect", "circle", "polyline"})
THIN = "\u202f"
"""A narrow space that does not break, between groups of digits and before units."""
MINUS = "\u2212"


class Markup(str):
    """Text that is markup already and is not escaped again."""

    __slots__ = ()


Child = str | Markup | Sequence[Any] | None


def element(name: str, /, *children: Child, **attributes: Any) -> Markup:
    """Return an element; `_class`, `data_from` become `class`, `data-from`; None is left out."""
    pairs = "".join(
        f' {key.lstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID and not children:
        return Markup(f"<{name}{pairs}/>")
    return Markup(f"<{name}{pairs}>{join(children)}</{name}>")


def join(children: Child) -> Markup:
    """Return children as one piece of markup, plain text escaped."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(html.escape(children, quote=False))
    return Markup("".join(join(child) for child in children))


def text_of(value: float | int, style: str = "") -> str:
    """Return a number as people read it.

    Styles: empty (as it is), `.3f` and the like, `%1` (percent with one digit), `+%1` and `+.2f`
    (with sign), `bytes` (in kB or MB, decimal).
    """
    if style == "bytes":
        return _size(value)
    sign = "+" if style.startswith("+") else ""
    style = style.removeprefix("+")
    if style.startswith("%"):
        shown = f"{100 * value:{sign}.{style[1:]}f}{THIN}%"
    elif style:
        shown = f"{value:{sign}{style}}"
        if style.endswith("f"):
            shown = _grouped(shown)
    else:
        shown = _grouped(f"{value:{sign}}" if isinstance(value, int) else f"{value:{sign}.6g}")
    return shown.replace("-", MINUS)


def figure(node: Node, style: str = "") -> Markup:
    """Return a number of a tracked file: what is read, the whole value, and where it is."""
    return element(
        "data", text_of(node.value, style), value=_plain(node.value), data_from=node.source
    )


def derived(value: float, style: str, how: str, *nodes: Node) -> Markup:
    """Return a number computed from tracked ones: `ratio` a/b, `difference` a-b, `share` a/(a+b).

    Also `lost` 1 - a/b and `sum`. The operation is written down so that it can be checked.
    """
    return element(
        "data",
        text_of(value, style),
        value=_plain(value),
        data_how=how,
        data_from=" ".join(node.source for node in nodes),
    )


def interval(node: Node, style: str = "") -> Markup:
    """Return an interval: a dash between its ends, or `to` where they carry signs."""
    signed = style.startswith("+") or min(node[0].value, node[1].value) < 0
    return join([figure(node[0], style), " to " if signed else "\u2013", figure(node[1], style)])


def ratio(above: Node, below: Node, style: str) -> Markup:
    """Return a quotient of two tracked numbers."""
    return derived(above.value / below.value, style, "ratio", above, below)


def table(
    heads: Sequence[Child], rows: Sequence[Sequence[Child]], *, left: int = 1, _class: str = ""
) -> Markup:
    """Return a table; the first `left` columns are text, the others numbers, set to the right."""

    stacked = "stack" in _class

    def cell(name: str, place: int, child: Child) -> Markup:
        return element(
            name,
            element("span", child) if stacked and name == "td" else child,
            _class=None if place < left else "n",
            scope="col" if name == "th" else None,
            data_label=heads[place] if stacked and name == "td" else None,
        )

    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", [cell("th", i, head) for i, head in enumerate(heads)])),
            element(
                "tbody",
                [
                    element("tr", [cell("td", i, child) for i, child in enumerate(row)])
                    for row in rows
                ],
            ),
        ),
        _class=f"table {_class}".strip(),
    )


def code(text: str) -> Markup:
    """Return a name of a file or a command."""
    return element("code", text)


def _plain(value: float | int) -> str:
    return repr(value)


def _grouped(shown: str) -> str:
    whole, point, rest = shown.partition(".")
    sign, digits = (whole[0], whole[1:]) if whole[:1] in "+-" else ("", whole)
    if len(digits) > 4 and digits.isdigit():
        digits = f"{int(digits):,}".replace(",", THIN)
    return sign + digits + point + rest


def _size(value: float) -> str:
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= limit:
            return (
                f"{value / limit:.3g}{THIN}{unit}"
                if value < 1000 * limit
                else f"{value / limit:.0f}{THIN}{unit}"
            )
    return f"{value}{THIN}B"
