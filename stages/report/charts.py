"""Small SVG charts, drawn to be read at 360 px and set side by side where there is room.

Colours come from the page's style sheet (`s0` to `s4`), so that one drawing serves light, dark and
paper. Every point and every printed value carries its source; axis ticks are only a scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stages.report.markup import THIN, Markup, element, text_of
from stages.report.sources import Node

WIDTH = 360
LABEL_LIMIT = 22
"""Characters of a label beside a bar; longer ones are cut, the whole is in the tooltip."""


@dataclass(frozen=True)
class Series:
    """A named line: x and y of every point."""

    name: str
    points: Sequence[tuple[Node, Node]]


@dataclass(frozen=True)
class Bar:
    """A named value, with an interval where it is an estimate; `own` marks the subject."""

    name: str
    value: Node
    interval: Iterable[Node] | None = None
    own: bool = False


def line_chart(
    series: Sequence[Series], x_name: str, y_name: str, *, zero: bool = False, style: str = ".4g"
) -> Markup:
    """Return lines over a common x; `zero` makes the y axis start there."""
    drawn = [one for one in series if one.points]
    height, left, right, top, bottom = 216, 42, 12, 14, 34
    xs = [x.value for one in drawn for x, _ in one.points]
    ys = [y.value for one in drawn for _, y in one.points]
    x_ticks = ticks(min(xs), max(xs), 5)
    y_ticks = ticks(0 if zero else min(ys), max(ys), 4)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return left + across * (WIDTH - left - right), height - bottom - up * (
            height - top - bottom
        )

    parts: list[Markup] = []
    for tick in y_ticks:
        _, y = place(x_ticks[0], tick)
        parts.append(_line(left, y, WIDTH - right, y, "grid"))
        parts.append(_text(left - 6, y + 3.5, _tick(tick), "tick end"))
    for tick in x_ticks:
        x, _ = place(tick, y_ticks[0])
        parts.append(_text(x, height - bottom + 15, _tick(tick), "tick mid"))
    parts.append(_text(left, top - 4, y_name, "axis"))
    parts.append(_text(WIDTH - right, height - 4, x_name, "axis end"))
    for number, one in enumerate(drawn):
        places = [place(x.value, y.value) for x, y in one.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        if len(places) > 1:
            parts.append(element("polyline", points=path, _class=f"line s{number}"))
        marks = list(zip(places, one.points, strict=True))
        parts += [_dot(x, y, number, one.name, node, style) for (x, y), (_, node) in marks]
    return element("div", legend([one.name for one in drawn]), _svg(height, parts), _class="chart")


def interval_chart(bars: Sequence[Bar], style: str, *, reference: float | None = None) -> Markup:
    """Return a dot for each value with its interval as a line, over a common scale.

    The scale shows the values, not zero: differences are what the reader looks for.
    """
    left, right, row = 132, 66, 26
    height = row * len(bars) + 24
    numbers = [number for bar in bars for number in _extent(bar)]
    low, high = min(numbers), max(numbers)
    if reference is not None:
        low, high = min(low, reference), max(high, reference)
    scale = ticks(low, high, 3)

    def across(number: float) -> float:
        return left + (number - scale[0]) / (scale[-1] - scale[0]) * (WIDTH - left - right)

    parts = [_line(across(tick), 4, across(tick), height - 20, "grid") for tick in scale]
    parts += [
        _text(across(tick), height - 6, text_of(tick, _scale_style(style)), "tick mid")
        for tick in scale
    ]
    if reference is not None:
        parts.append(_line(across(reference), 4, across(reference), height - 20, "zero"))
    for number, bar in enumerate(bars):
        y = row * number + row / 2 + 4
        kind = "own" if bar.own else "other"
        parts.append(_label(left - 10, y + 4, bar.name, kind))
        if bar.interval is not None:
            ends = [across(end.value) for end in bar.interval]
            parts.append(_line(ends[0], y, ends[1], y, f"range {kind}"))
        parts.append(
            element("circle", cx=f"{across(bar.value.value):.1f}", cy=y, r=4, _class=f"dot {kind}")
        )
        parts.append(_value(WIDTH, y + 4, bar.value, style, f"value end {kind}"))
    return element("div", _svg(height, parts), _class="chart")


def bar_chart(bars: Sequence[Bar], style: str) -> Markup:
    """Return horizontal bars from zero."""
    left, right, row = 132, 66, 24
    height = row * len(bars) + 6
    top = max(max(bar.value.value for bar in bars), 1e-12)
    parts = []
    for number, bar in enumerate(bars):
        y = row * number + 4
        kind = "own" if bar.own else "other"
        width = max(1.0, bar.value.value / top * (WIDTH - left - right))
        parts.append(_label(left - 10, y + 14, bar.name, kind))
        parts.append(
            element(
                "rect", x=left, y=y + 3, width=f"{width:.1f}", height=14, rx=2, _class=f"bar {kind}"
            )
        )
        parts.append(_value(WIDTH, y + 14, bar.value, style, f"value end {kind}"))
    return element("div", _svg(height, parts), _class="chart")


def legend(names: Sequence[str]) -> Markup:
    """Return the key of a chart's lines; a single line needs none."""
    if len(names) < 2:
        return Markup("")
    keys = [
        element("span", element("i", _class=f"key s{number}"), name, _class="name")
        for number, name in enumerate(names)
    ]
    return element("div", keys, _class="legend")


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` + 1 round numbers that enclose low and high."""
    if high - low < 1e-12 * max(1.0, abs(high)):
        pad = abs(high) * 0.05 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _extent(bar: Bar) -> list[float]:
    ends = [end.value for end in bar.interval] if bar.interval is not None else []
    return [bar.value.value, *ends]


def _scale_style(style: str) -> str:
    if "%" in style:
        return style.rstrip("0123456789") + "0"
    return ".4g"


def _tick(number: float) -> str:
    if abs(number) >= 10_000:
        return f"{number / 1000:g}{THIN}k"
    return text_of(number, ".4g")


def _svg(height: float, parts: Sequence[Markup]) -> Markup:
    return element("svg", parts, viewBox=f"0 0 {WIDTH} {height:g}", role="img")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return element(
        "line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", _class=kind
    )


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", _class=kind)


def _label(x: float, y: float, name: str, kind: str) -> Markup:
    short = name if len(name) <= LABEL_LIMIT else name[: LABEL_LIMIT - 1] + "\u2026"
    return element(
        "text", element("title", name), short, x=f"{x:.1f}", y=f"{y:.1f}", _class=f"name end {kind}"
    )


def _value(x: float, y: float, node: Node, style: str, kind: str) -> Markup:
    return element(
        "text",
        text_of(node.value, style),
        x=f"{x:.1f}",
        y=f"{y:.1f}",
        _class=kind,
        data_value=repr(node.value),
        data_from=node.source,
    )


def _dot(x: float, y: float, number: int, name: str, node: Node, style: str) -> Markup:
    return element(
        "circle",
        element("title", f"{name}: {text_of(node.value, style)}"),
        cx=f"{x:.1f}",
        cy=f"{y:.1f}",
        r=2.6,
        _class=f"point s{number}",
        data_value=repr(node.value),
        data_from=node.source,
    )
