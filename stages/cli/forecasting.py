"""The verb forecast: hours, memory and travelling bytes of more text on more machines."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.cli import forecasts
from stages.cli.inspection import Add, table
from stages.core import canonical, forecast, workspace
from stages.core.errors import ArtifactError, ParamsError
from stages.core.forecast import Cost, Machines

RATES = "benchmarks/rates.json"
PAGE = "reports/forecast.html"
UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
HEADS = (
    "stage", "core hours", "hours", "bound by", "travels", "driver's memory", "written", "corpora",
)  # fmt: skip


def add_verbs(add: Add) -> None:
    """Register the verb."""
    verb = add("forecast", forecast_sizes, "what more text costs on more machines, from measures")
    verb.add_argument("sizes", nargs="*", metavar="SIZE", help="raw text: 1TB 100TB (the default)")
    verb.add_argument("--machines", default="10", metavar="N", help="equal machines (10)")
    verb.add_argument("--cores", default="32", metavar="N", help="cores of each (32)")
    verb.add_argument("--memory", default="256GB", metavar="SIZE", help="of each (256GB)")
    verb.add_argument("--network", default="25Gbit", metavar="RATE", help="of each (25Gbit)")
    verb.add_argument("--speed", default="1", metavar="X", help="a core, measured one = 1 (1)")
    verb.add_argument("--rates", default=RATES, metavar="FILE", help=f"measures ({RATES})")


def forecast_sizes(options: argparse.Namespace) -> int:
    """Print the table of each size and write the page."""
    root = workspace.root()
    rates = _rates(root / options.rates, options.rates)
    machines = Machines(
        int(_number(options.machines, "--machines", 1, 1e6)),
        int(_number(options.cores, "--cores", 1, 4096)),
        _bytes(options.memory, "--memory"),
        _bytes(re.sub(r"(?i)/s$|ps$", "", options.network), "--network"),
        _number(options.speed, "--speed", 0.01, 100),
    )
    sizes = {size: _bytes(size, "SIZE") for size in options.sizes or ("1TB", "100TB")}
    found = {size: forecast.forecast(rates, value, machines) for size, value in sizes.items()}
    for size, costs in found.items():
        print(f"\n{size} of raw text, {_documents(rates, sizes[size])}, {told(machines)}:")
        print(table([HEADS, *rows(costs)]))
        print(f"  in all {hours(costs)}")
    page = root / PAGE
    page.parent.mkdir(exist_ok=True)
    captions = {size: _documents(rates, value) for size, value in sizes.items()}
    canonical.write_text(
        page, forecasts.render(rates, told(machines), found, captions, rows, HEADS)
    )
    print(f"\nreport: {PAGE}")
    return 0


def rows(costs: Sequence[Cost]) -> list[list[str]]:
    """Return the table's rows as they are read."""
    return [
        [
            cost.stage, f"{cost.core_hours:,.4g}", span(cost.least, cost.most), cost.bound,
            size_of(cost.travel_bytes), size_of(cost.memory), size_of(cost.written),
            f"{cost.pieces:,}",
        ]
        for cost in costs
    ]  # fmt: skip


def hours(costs: Sequence[Cost]) -> str:
    """Return the hours of all stages one after the other."""
    least, most = sum(cost.least for cost in costs), sum(cost.most for cost in costs)
    core = sum(cost.core_hours for cost in costs)
    return f"{span(least, most)} hours, {core:,.4g} core hours"


def span(least: float, most: float) -> str:
    """Return a range of hours."""
    return f"{least:,.3g} to {most:,.3g}"


def told(machines: Machines) -> str:
    """Return the machines in words."""
    return (
        f"{machines.count:,} machines of {machines.cores} cores, {size_of(machines.memory)} memory,"
        f" {size_of(machines.network)}/s network"
    )


def size_of(value: float) -> str:
    """Return bytes as people read them."""
    for unit in ("T", "G", "M", "k"):
        limit = UNITS[unit.upper()]
        if value >= limit:
            return f"{value / limit:,.3g} {unit}B"
    return f"{value:.0f} B"


def _documents(rates: Mapping[str, Any], size: float) -> str:
    return f"about {forecast.documents(rates, size):,.3g} documents"


def _bytes(text: str, where: str) -> float:
    match = re.fullmatch(r"(?i)\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGTP]?)(I?)(B|BYTES?|BIT)?\s*", text)
    if match is None or not float(match[1]):
        raise ParamsError(
            f"{text!r} is no size", f"deveno forecast {where}", "write 500GB, 1TB, 256GiB or 25Gbit"
        )
    unit = UNITS[match[2].upper()]
    if match[3] and match[2]:
        unit = 1024.0 ** list(UNITS).index(match[2].upper())
    return float(match[1]) * unit / (8 if (match[4] or "").upper() == "BIT" else 1)


def _number(text: str, where: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise ParamsError(
            f"{text!r} is not a number from {least:g} to {most:g}",
            f"deveno forecast {where}",
            "give one in that range",
        )
    return value


def _rates(path: Path, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        runs = found["runs"]
        if len({run["bytes"] for run in runs}) < 2 or not all(run["stages"] for run in runs):
            raise ValueError("it has no two sizes")
    except FileNotFoundError as fault:
        raise ArtifactError(
            f"there is no {name}", "deveno forecast", "measure: `python -m benchmarks.rates`"
        ) from fault
    except (ValueError, KeyError, TypeError, OSError) as fault:
        raise ArtifactError(
            f"{name} is no table of measured rates: {fault}",
            "deveno forecast",
            "measure again: `python -m benchmarks.rates`",
        ) from fault
    return found
