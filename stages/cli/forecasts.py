"""The planner's page: what a size of text costs on some machines, and from what that is known."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.forecast import Cost

STYLE = Path(__file__).resolve().parents[1] / "report" / "style.css"
LEAD = """
Every figure is measured on two small sizes of generated text and continued along the straight line
through both: an order of magnitude, not a promise. Hours are a range: from everything overlapping
to nothing. What the driver does alone (reading, joining duplicates, writing) no second machine
makes shorter. Where a corpus does not fit into the driver's memory it is cut into that many
corpora, and copies in different ones are found only if the second is refined beside the first.
"""
PARTS = (("work_hours", "workers"), ("driver_hours", "driver"), ("travel_hours", "network"))
SHADES = {"workers": "#3b6ea5", "driver": "#c8553d", "network": "#7a9e57"}


def render(
    rates: Mapping[str, Any],
    machines: str,
    found: Mapping[str, Sequence[Cost]],
    captions: Mapping[str, str],
    rows: Callable[[Sequence[Cost]], list[list[str]]],
    heads: Sequence[str],
) -> str:
    """Return the whole page."""
    sections = "".join(
        f"<section><h2>{_text(size)} of raw text</h2>"
        f'<p class="lead">{_text(captions[size])}, on {_text(machines)}.</p>'
        f"{_table(heads, rows(costs))}<h3>Where the hours go</h3>{_bars(costs)}</section>"
        for size, costs in found.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>Forecast</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f'<body><main><h1>Forecast</h1><p class="lead">{_text(LEAD)}</p>{sections}'
        f"{_measured(rates)}</main></body></html>\n"
    )


def _bars(costs: Sequence[Cost]) -> str:
    """Return the hours of each stage as bars: workers, driver, network."""
    longest = max(cost.most for cost in costs) or 1.0
    drawn = []
    for cost in costs:
        pieces = "".join(
            f'<span title="{name}: {getattr(cost, field):,.3g} hours"'
            f' style="display:inline-block;height:1em;background:{SHADES[name]};'
            f'width:{60 * getattr(cost, field) / longest:.2f}%"></span>'
            for field, name in PARTS
        )
        drawn.append(
            '<p style="margin:.2em 0;white-space:nowrap">'
            f'<span style="display:inline-block;width:7em">{_text(cost.stage)}</span>{pieces}'
            f" {cost.most:,.3g} h</p>"
        )
    key = " ".join(f'<span style="color:{SHADES[name]}">■ {name}</span>' for _, name in PARTS)
    return f"<div>{''.join(drawn)}<p>{key}</p></div>"


def _measured(rates: Mapping[str, Any]) -> str:
    """Return what the forecast stands on."""
    machine = rates["machine"]
    heads = ["stage", "text", "CPU s", "of it for workers", "there", "back", "memory", "written"]
    sizes = ("bytes_there", "bytes_back", "memory_bytes", "written_bytes")
    rows = [
        [
            stage, f"{run['bytes'] / 1e6:,.3g} MB", f"{cost['cpu_s']:.2f}",
            f"{cost['work_s']:.2f}", *(f"{cost[name] / 1e6:,.3g} MB" for name in sizes),
        ]
        for run in rates["runs"] for stage, cost in run["stages"].items()
    ]  # fmt: skip
    return (
        f"<section><h2>Measured</h2><p><code>{_text(rates['command'])}</code> on"
        f" {_text(machine['cpu'])}, {machine['cores']} cores, at a load of"
        f" {rates['load_average_before']} when it began.</p>{_table(heads, rows)}</section>"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose others are numbers."""
    kinds = ["", *[' class="n"'] * (len(heads) - 1)]
    head = "".join(
        f'<th scope="col"{kind}>{_text(one)}</th>' for kind, one in zip(kinds, heads, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{_text(one)}</td>" for kind, one in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def _text(value: object) -> str:
    return html.escape(str(value).strip(), quote=False)
