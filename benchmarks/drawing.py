"""Small SVG plots of benchmarks, by themselves readable on a light page and on a dark one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

COLOURS = ("#2166ac", "#4393c3", "#b2182b", "#8c8c8c", "#1b7837")
WIDTH, LEFT, RIGHT, ROW = 720, 150, 70, 17
Point = tuple[float, float]


def bars(
    path: Path, title: str, unit: str, groups: Mapping[str, Mapping[str, float]], log: bool = True
) -> None:
    """Draw groups of bars, a colour for each name within the groups, over a common scale."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    values = [value for group in groups.values() for value in group.values() if value > 0]
    low, high = _decades(values) if log else (0.0, max(values) * 1.05)
    parts, y = _head(title, names), 58.0

    def across(value: float) -> float:
        share = (math.log10(value) if log else value) - low
        return LEFT + share / (high - low) * (WIDTH - LEFT - RIGHT)

    bottom = y + sum(ROW * len(group) + 10 for group in groups.values())
    ticks = [10.0**at for at in range(int(low), int(high) + 1)] if log else _round(0, high)
    for tick in ticks:
        parts.append(_line(across(tick), y - 6, across(tick), bottom, "#dddddd"))
        parts.append(_text(across(tick), bottom + 14, f"{tick:g}", "middle"))
    for label, group in groups.items():
        parts.append(_text(LEFT - 8, y + ROW * len(group) / 2 + 4, label, "end"))
        for name, value in group.items():
            width = max(1.0, across(value) - LEFT) if value > 0 else 1.0
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(
                f'<rect x="{LEFT}" y="{y + 2:.0f}" width="{width:.1f}" height="{ROW - 4}"'
                f' fill="{colour}"/>'
            )
            parts.append(_text(LEFT + width + 5, y + ROW - 5, f"{value:.3g}", "start"))
            y += ROW
        y += 10
    parts.append(_text(WIDTH - RIGHT, bottom + 30, unit, "end"))
    _write(path, bottom + 40, parts)


def lines(
    path: Path, title: str, axes: tuple[str, str], series: Mapping[str, Sequence[Point]],
    roof: tuple[str, float] | None = None,
) -> None:  # fmt: skip
    """Draw lines over a logarithmic x from zero up; `roof` is a named bound across."""
    every = [point for points in series.values() for point in points]
    top = max([y for _, y in every] + ([roof[1]] if roof else [])) * 1.1 or 1.0
    low, high = (math.log10(edge([x for x, _ in every])) for edge in (min, max))
    high = max(high, low + 0.1)
    parts, above, below = _head(title, list(series)), 74.0, 330.0

    def place(x: float, y: float) -> Point:
        share = (math.log10(x) - low) / (high - low)
        return 60 + share * (WIDTH - 90), below - y / top * (below - above)

    for tick in _round(0, top):
        parts.append(_line(60, place(10**low, tick)[1], WIDTH - 30, place(10**low, tick)[1]))
        parts.append(_text(54, place(10**low, tick)[1] + 4, f"{tick:g}", "end"))
    for at in sorted({x for x, _ in every}):
        parts.append(_text(place(at, 0)[0], below + 16, f"{at:g}", "middle"))
    for number, points in enumerate(series.values()):
        colour = COLOURS[number % len(COLOURS)]
        places = [place(*point) for point in points]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
    if roof:
        y = place(10**low, roof[1])[1]
        parts.append(_line(60, y, WIDTH - 30, y, "#b2182b"))
        parts.append(_text(WIDTH - 32, y - 5, roof[0], "end"))
    parts.append(_text(60, above - 8, axes[1], "start"))
    parts.append(_text(WIDTH - 30, below + 34, axes[0], "end"))
    _write(path, below + 44, parts)


def _decades(values: Sequence[float]) -> tuple[float, float]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return float(low), float(max(high, low + 1))


def _round(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * by for by in (1, 2, 5, 10) if size * by >= rough * 0.999)
    return [round(step * at, 9) for at in range(math.ceil(low / step), int(high / step) + 1)]


def _head(title: str, names: Sequence[str]) -> list[str]:
    parts = [f'<text x="12" y="20" font-size="14" font-weight="bold">{escape(title)}</text>']
    x = 12.0
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<rect x="{x:.0f}" y="30" width="11" height="11" fill="{colour}"/>')
        parts.append(_text(x + 16, 40, name, "start"))
        x += 34 + 6.4 * len(name)
    return parts


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "#dddddd") -> str:
    places = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {places} stroke="{colour}"/>'


def _write(path: Path, height: float, parts: Sequence[str]) -> None:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img"'
        ' font-family="sans-serif" font-size="12" fill="#222222">'
    )
    sheet = f'<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>'
    path.write_text("\n".join([head, sheet, *parts, "</svg>"]) + "\n", "utf-8")
