"""The page of the nights: one HTML file that needs nothing else, drawn anew after every night."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import history
from stages.core import canonical

PAGE = "index.html"
WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 16, 30
SHOWN = 60
"""Nights in a plot; the table has all."""
STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --ink: #1d1f21; --soft: #5d6166;
  --rule: #e4e2dd; --band: #dcebe4; --same: #17694f; --slower: #b3412e; --faster: #3a5fa0; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181a; --ink: #e6e4df; --soft: #a5a8ab;
  --rule: #313539; --band: #1d3a31; --same: #62c4a0; --slower: #ec8a76; --faster: #8eb0ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 1.5rem 1.1rem 3rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 ui-sans-serif, system-ui, "Noto Sans", sans-serif; }
h1 { font-size: 2rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2rem 0 .2rem; }
p { color: var(--soft); max-width: 72ch; margin: .2rem 0 .7rem; }
code { font: .88em ui-monospace, monospace; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .86rem; color: var(--soft); }
svg { width: 100%; height: auto; display: block; }
svg text { font: 11px ui-sans-serif, sans-serif; fill: var(--soft); }
.grid { stroke: var(--rule); } .one { stroke: var(--soft); stroke-dasharray: 3 3; }
.band { fill: var(--band); } .trend { fill: none; stroke: var(--soft); stroke-width: 1.5; }
.same { fill: var(--same); stroke: var(--same); } .slower { fill: var(--slower);
  stroke: var(--slower); } .faster { fill: var(--faster); stroke: var(--faster); }
.blind { fill: var(--paper); }
.table { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th { text-align: left; font-weight: 600; } th, td { padding: .35rem .7rem .35rem 0;
  border-bottom: 1px solid var(--rule); vertical-align: top; }
td.what { min-width: 260px; } td b, td:first-child { white-space: nowrap; }
b.slower, b.failed { color: var(--slower); } b.faster { color: var(--faster); }
b.same { color: var(--same); } b.skipped, b.cancelled, b.begun { color: var(--soft); }
"""


def write(home: Path, running: str = "") -> Path:
    """Draw the page from the history; return where it is."""
    nights, torn = history.settled(home, running)
    path = history.folder(home) / PAGE
    canonical.write_text(path, drawn(nights, torn))
    return path


def drawn(nights: Sequence[Mapping[str, Any]], torn: int = 0) -> str:
    """Return the page of some nights, oldest first."""
    measured = [night for night in nights if night.get("metrics")]
    artifacts = sorted({row["artifact"] for night in measured for row in night["metrics"]})
    note = f"<p>{torn} lines of the history could not be read: a crash tore them.</p>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Nights \u2013 Deveno</title><style>{STYLE}</style></head><body>"
        f"<h1>Nights</h1>{_summary(nights, measured)}{note if torn else ''}"
        + "".join(_artifact(name, measured) for name in artifacts)
        + _table(nights)
        + "</body></html>\n"
    )


def _summary(nights: Sequence[Mapping[str, Any]], measured: Sequence[Mapping[str, Any]]) -> str:
    if not measured:
        return f"<p>{len(nights)} nights so far, none of them measured.</p>"
    last = measured[-1]
    rule = last["rule"]
    return (
        f"<p>{len(nights)} nights, {len(measured)} measured. The last measured one is"
        f" <b class='{last['verdict']}'>{last['verdict']}</b>:"
        f" {_text(last['candidate_title'])}, against the last good"
        f" {_text(last['baseline_title'])}.</p>"
        "<p>A ratio is the candidate over the last good commit, both measured at once on one core;"
        f" above 1 is slower or larger. Within {100 * rule['margin']:g} % is called same (the"
        f" band). At most {100 * rule['alpha']:g} % of nights may cry wolf. A hollow point is"
        " blind: its interval is too wide to rule out 5 %. A slowdown that is wanted is accepted"
        f" by <code>git update-ref {history.GOOD} HEAD</code>.</p>"
    )


def _artifact(name: str, measured: Sequence[Mapping[str, Any]]) -> str:
    points: list[dict[str, Any]] = []
    levels: dict[str, float] = {}  # of commits, as logarithms: the first baseline's is 0
    for number, night in enumerate(measured, 1):
        found = [row for row in night["metrics"] if row["artifact"] == name and row["primary"]]
        if not found:
            continue
        row = found[0]
        start = levels.setdefault(night["baseline"], points[-1]["since"] if points else 0.0)
        since = start + math.log(row["ratio"])
        points.append({**row, "night": number, "since": since, "day": night["time"][5:10]})
        levels.setdefault(night["candidate"], since)
    points = points[-SHOWN:]
    metric, margin = points[-1]["metric"], measured[-1]["rule"]["margin"]
    return (
        f"<h2>{_text(name)}</h2><div class='plots'>"
        + _figure(
            _ratios(points, margin), f"{metric}: ratio to the last good commit, with its interval"
        )
        + _figure(_trend(points), f"{metric}: from commit to commit, so that slow creep shows")
        + "</div>"
    )


def _figure(svg: str, caption: str) -> str:
    return f"<figure><figcaption>{_text(caption)}</figcaption>{svg}</figure>"


def _ratios(points: Sequence[Mapping[str, Any]], margin: float) -> str:
    ends = [value for one in points for value in (one["low"], one["high"])]
    place, parts = _frame(points, [*ends, 0.97, 1.03], margin)
    for one in points:
        x, y = place(one["night"], one["ratio"])
        low, high = place(one["night"], one["low"])[1], place(one["night"], one["high"])[1]
        blind = _blind(one)
        title = (
            f"{one['day']}: {one['ratio']:.4f} ({one['low']:.4f} to {one['high']:.4f}),"
            f" {one['verdict']}{blind}; {one['baseline']:g} and {one['candidate']:g}"
        )
        parts.append(
            f"<g class='{one['verdict']}'><title>{_text(title)}</title>"
            f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{low:.1f}' y2='{high:.1f}' stroke-width='2'/>"
            f"<circle class='{one['verdict']}{blind}' cx='{x:.1f}' cy='{y:.1f}' r='4'/></g>"
        )
    return _svg(parts)


def _trend(points: Sequence[Mapping[str, Any]]) -> str:
    values = [math.exp(one["since"]) for one in points]
    place, parts = _frame(points, [*values, 0.97, 1.03], 0.0)
    places = [place(one["night"], value) for one, value in zip(points, values, strict=True)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f"<polyline class='trend' points='{path}'/>")
    for (x, y), one, value in zip(places, points, values, strict=True):
        parts.append(
            f"<circle class='{one['verdict']}' cx='{x:.1f}' cy='{y:.1f}' r='3'>"
            f"<title>{_text(one['day'])}: {value:.4f}</title></circle>"
        )
    return _svg(parts)


def _frame(points: Sequence[Mapping[str, Any]], values: Sequence[float], margin: float) -> Any:
    """Return a function from (night, ratio) to a place, and the frame around the plot."""
    first, last = points[0]["night"], max(points[-1]["night"], points[0]["night"] + 1)
    low, high = min(values), max(values)
    step = next(size for size in (0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 1e9) if (high - low) / size < 7)
    low, high = step * math.floor(low / step), step * math.ceil(high / step)

    def place(night: float, ratio: float) -> tuple[float, float]:
        across = (night - first + 0.5) / (last - first + 1)
        up = (ratio - low) / (high - low)
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )

    parts = []
    if margin:
        upper, lower = place(first, 1 + margin)[1], place(first, 1 / (1 + margin))[1]
        width = WIDTH - LEFT - RIGHT
        parts.append(
            f"<rect class='band' x='{LEFT}' y='{upper:.1f}' width='{width}'"
            f" height='{lower - upper:.1f}'/>"
        )
    for number in range(round((high - low) / step) + 1):
        ratio = low + number * step
        y = place(first, ratio)[1]
        kind = "one" if abs(ratio - 1) < 1e-9 else "grid"
        parts.append(f"<line class='{kind}' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}'"
                     f" y2='{y:.1f}'/>")  # fmt: skip
        parts.append(f"<text x='{LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{ratio:.2f}</text>")
    for one in points[:: math.ceil(len(points) / 9)]:
        x, day = place(one["night"], low)[0], _text(one["day"])
        parts.append(f"<text x='{x:.1f}' y='{HEIGHT - 12}' text-anchor='middle'>{day}</text>")
    return place, parts


def _svg(parts: Sequence[str]) -> str:
    return f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>{''.join(parts)}</svg>"


def _table(nights: Sequence[Mapping[str, Any]]) -> str:
    told = sorted(nights, key=lambda night: str(night.get("time", "")))
    rows = "".join(_row(night) for night in reversed(told))
    return (
        "<h2>Every night</h2><div class='table'><table><tr><th>when (UTC)</th><th></th>"
        f"<th>last good \u2192 candidate</th><th>what was found</th><th>min</th></tr>{rows}"
        "</table></div>"
    )


def _row(night: Mapping[str, Any]) -> str:
    word = night.get("verdict") if night["state"] == history.MEASURED else night["state"]
    commits = " \u2192 ".join(
        f"<code title='{_text(night.get(f'{side}_title', ''))}'>{_text(night[side][:9])}</code>"
        for side in ("baseline", "candidate")
        if night.get(side)
    )
    called = [row for row in night.get("metrics", ()) if row["primary"] or row["verdict"] != "same"]
    found = "<br>".join(
        f"{_text(row['artifact'])} {_text(row['metric'])}"
        f" <b class='{row['verdict']}'>{row['verdict']}</b> {row['ratio']:.3f}"
        f" ({row['low']:.3f} to {row['high']:.3f}){_blind(row)}"
        for row in called
    )
    if night.get("uncompared"):
        found += f"<br>not on both sides: {_text(', '.join(night['uncompared']))}"
    when = _text(str(night.get("time", ""))[:16].replace("T", " "))
    return (
        f"<tr><td>{when}</td><td><b class='{word}'>{word}</b></td><td>{commits}</td>"
        f"<td class='what'>{_text(night.get('reason', ''))}{found}</td>"
        f"<td>{night.get('minutes', '')}</td></tr>"
    )


def _blind(row: Mapping[str, Any]) -> str:
    return " blind" if row["blind"] and row["verdict"] == "same" else ""


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)
