"""The planner's page: what a size of text costs on some machines, and from what that is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stages.core.forecast import Cost
from stages.report.markup import Markup, code, element, join, table
from stages.report.page import STYLE

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
    sections = [
        element(
            "section",
            element("h2", f"{size} of raw text"),
            element("p", captions[size], ", on ", machines, ".", _class="lead"),
            table(list(heads), rows(costs), left=1),
            element("h3", "Where the hours go"),
            _bars(costs),
        )
        for size, costs in found.items()
    ]
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("title", "Forecast"),
            element("style", Markup(STYLE.read_text(encoding="utf-8"))),
        ),
        element(
            "body",
            element("main", element("h1", "Forecast"), _lead(), sections, _measured(rates)),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _lead() -> Markup:
    return element(
        "p",
        "Every figure is measured on two sizes of generated text and continued along the straight"
        " line through both. Hours are a range: from everything overlapping to nothing. What the"
        " driver does alone (reading, joining duplicates, writing) no second machine makes"
        " shorter. Where a corpus does not fit into the driver's memory it is cut into that many"
        " corpora, and copies in different ones are found only if the second is refined beside"
        " the first.",
        _class="lead",
    )


def _bars(costs: Sequence[Cost]) -> Markup:
    """Return the hours of each stage as bars: workers, driver, network."""
    longest = max(cost.most for cost in costs) or 1.0
    drawn = []
    for cost in costs:
        pieces = [
            element(
                "span",
                title=f"{name}: {getattr(cost, field):,.3g} hours",
                style=f"display:inline-block;height:1em;background:{SHADES[name]};"
                f"width:{60 * getattr(cost, field) / longest:.2f}%",
            )
            for field, name in PARTS
        ]
        drawn.append(
            element(
                "p",
                element("span", cost.stage, style="display:inline-block;width:7em"),
                pieces,
                f" {cost.most:,.3g} h",
                style="margin:.2em 0;white-space:nowrap",
            )
        )
    key = [element("span", f"■ {name}  ", style=f"color:{SHADES[name]}") for _, name in PARTS]
    return element("div", drawn, element("p", key))


def _measured(rates: Mapping[str, Any]) -> Markup:
    """Return what the forecast stands on."""
    machine = rates["machine"]
    heads = ["stage", "text", "CPU s", "of it for workers", "there", "back", "memory", "written"]
    rows = []
    for run in rates["runs"]:
        for stage, cost in run["stages"].items():
            sizes = ("bytes_there", "bytes_back", "memory_bytes", "written_bytes")
            rows.append(
                [
                    stage,
                    f"{run['bytes'] / 1e6:,.3g} MB",
                    f"{cost['cpu_s']:.2f}",
                    f"{cost['work_s']:.2f}",
                    *(f"{cost[name] / 1e6:,.3g} MB" for name in sizes),
                ]  # fmt: skip
            )
    return element(
        "section",
        element("h2", "Measured"),
        element(
            "p",
            join(
                [
                    code(str(rates["command"])),
                    f" on {machine['cpu']}, {machine['cores']} cores, at a load of"
                    f" {rates['load_average_before']} when it began.",
                ]
            ),
        ),
        table(heads, rows, left=1),
    )
