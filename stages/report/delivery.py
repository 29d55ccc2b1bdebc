"""Panels of what leaves the house: ported models, exports, and how fast they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stages.report.charts import Bar, Series, bar_chart, interval_chart, line_chart
from stages.report.markup import (
    Child,
    Markup,
    code,
    element,
    figure,
    interval,
    join,
    ratio,
    table,
)
from stages.report.panels import badge, caption, facts, grid, more, name, panel, section
from stages.report.ports import passed, port
from stages.report.scores import style_of, title_of
from stages.report.sources import Artifact, Node, Sources

CELLS = (
    "Variant",
    "Threads",
    "Batch",
    "Tokens",
    "n",
    "p50, ms",
    "Quartiles",
    "p95",
    "p99",
    "Ratio",
    "Interval",
    "Load",
)
"""Columns of the table of timings; the ratio is to the first variant in the same round."""


def delivery(sources: Sources) -> Markup:
    """Return the sections of ports, exports and benchmarks."""
    panels = [port(sources, one) for one in sources.of("port")]
    benchmarks = [_benchmark(sources, one) for one in sources.of("benchmark")]
    exports = sources.of("export")
    return join(
        [
            section(
                "ports",
                "Ported checkpoints",
                "Foreign weights in our layout, proved equal before they are published.",
                [grid(*panels)] if panels else [],
            ),
            section(
                "exports",
                "Exports",
                "What an export costs and saves: size beside the float model, parity over shapes, "
                "and the change of the score on the same sentences.",
                [_ladder(sources, exports)] if exports else [],
            ),
            section(
                "benchmarks",
                "Speed on this machine",
                "Times belong to one machine; variants were timed in turn within one run.",
                benchmarks,
            ),
        ]
    )


def _ladder(sources: Sources, exports: Sequence[Artifact]) -> Markup:
    """Return sizes as bars, and what each export keeps of its model."""
    by_source: dict[str, list[Artifact]] = {}
    for one in exports:
        by_source.setdefault(str(one.params["model"]), []).append(one)
    sizes = [_weights(sources, source, group) for source, group in by_source.items()]
    heads = ["Export", "Of", "Weights", "Size", "Of float", "Parity", "Score change"]
    judges = [one for export in exports for one in _judges(sources, export)]
    keeps = element(
        "figure",
        element(
            "h3",
            element("span", "What each export keeps"),
            badge() if any(map(sources.synthetic, exports)) else None,
        ),
        table(heads, [_rung(sources, one) for one in exports], left=3, _class="stack"),
        more("Parity, case by case", *[_parity(one) for one in exports]),
        caption(
            [(one, ["export.json"]) for one in exports] + [(one, ["scores.json"]) for one in judges]
        ),
        _class="panel wide",
    )
    return join([grid(*sizes), keeps])


def _weights(sources: Sources, source: str, group: Sequence[Artifact]) -> Markup:
    plain = group[0].json("export.json").get("fp32_size_bytes")
    bars = [Bar("float weights", plain)] if plain else []
    bars += [Bar(one.key, one.json("export.json")["size_bytes"], own=True) for one in group]
    return element(
        "figure",
        element(
            "h3",
            element("span", "Size of ", code(source)),
            badge() if any(map(sources.synthetic, group)) else None,
        ),
        bar_chart(bars, "bytes"),
        caption([(one, ["export.json"]) for one in group]),
        _class="panel",
    )


def _rung(sources: Sources, one: Artifact) -> list[Child]:
    told = one.json("export.json")
    kind = str(told["quantize"]["kind"].value)
    size, plain = told["size_bytes"], told.get("fp32_size_bytes")
    return [
        element("span", name(one.key), id=f"export-{one.key}"),
        code(str(told["source"].value)),
        name(kind if kind != "none" else "float"),
        figure(size, "bytes"),
        ratio(size, plain, "%0") if plain else "\u2013",
        passed(told["parity"], "pass"),
        _change(sources, one),
    ]


def _judges(sources: Sources, export: Artifact) -> list[Artifact]:
    """Return the evaluations that hold an export beside the model it was made of."""
    model = export.params["model"]
    return [
        one
        for one in sources.of("evaluate")
        if one.params.get("model") == export.reference
        and any(row["b"].value == model for row in one.json("scores.json")["comparisons"])
    ]


def _change(sources: Sources, export: Artifact) -> Child:
    """Return the paired changes of the scores against the model that was exported."""
    changes = []
    for one in _judges(sources, export):
        for row in one.json("scores.json")["comparisons"]:
            if row["b"].value != export.params["model"]:
                continue
            style = "+" + style_of(str(row["unit"].value))
            title = title_of(str(row["name"].value))
            title = title[0].lower() + title[1:]
            changes.append(
                element(
                    "span",
                    figure(row["difference"], style),
                    element("small", " [", interval(row["interval"], style), "]"),
                    element("small", f" {title}", _class="name"),
                    _class="line",
                )
            )
    return changes or "not scored"


def _parity(one: Artifact) -> Markup:
    rows: list[list[Child]] = []
    for case in one.json("export.json")["parity"]:
        limit = case.get("relative_limit") or case.get("agreement_limit")
        rows.append(
            [
                name(str(case["case"].value)),
                figure(case["positions"]),
                figure(limit, ".2g") if limit else "\u2013",
                "passed" if case["pass"].value else "failed",
            ]
        )
    return join([element("h4", name(one.key)), table(["Case", "Positions", "Limit", ""], rows)])


def _benchmark(sources: Sources, one: Artifact) -> Markup:
    latency, machine = one.json("latency.json"), one.json("machine.json")
    rows = list(latency["rows"])
    charts = [
        _timed(sources, one, threads, batch, group)
        for (threads, batch), group in _grouped(rows).items()
    ]
    cells = panel(
        sources,
        one,
        "Cell by cell",
        element("p", str(latency["protocol"].value), _class="say name"),
        more(
            "All cells",
            table(CELLS, [_cell(row) for row in rows], left=1),
        ),
        files=["latency.json"],
        _class="wide",
    )
    where = panel(
        sources, one, "Machine", facts(_machine(machine)), files=["machine.json"], _class="wide"
    )
    return element(
        "div",
        element("h3", name(one.key), _class="entry"),
        grid(*charts),
        cells,
        where,
        id=f"benchmark-{one.key}",
        _class="group",
    )


def _timed(
    sources: Sources,
    one: Artifact,
    threads: Node,
    batch: Node,
    group: Mapping[str, Sequence[Node]],
) -> Markup:
    """Return medians over length; at a single length, medians with their quartiles."""
    count = " thread" if threads.value == 1 else " threads"
    title: list[Child] = ["Batch ", figure(batch), ", ", figure(threads), count]
    points = [row for rows in group.values() for row in rows]
    if len({row["length"].value for row in points}) == 1:
        bars = [
            Bar(
                str(row["variant"].value),
                row["latency_ms_p50"],
                (row["latency_ms_q25"], row["latency_ms_q75"]),
                own=row["variant"].value != points[0]["variant"].value,
            )
            for row in points
        ]
        say = element(
            "p", "Milliseconds at ", figure(points[0]["length"]), " tokens: median and quartiles.",
            _class="say",
        )  # fmt: skip
        return panel(
            sources, one, title, say, interval_chart(bars, ".3g", reference=0.0),
            files=["latency.json"],
        )  # fmt: skip
    series = [
        Series(variant, [(row["length"], row["latency_ms_p50"]) for row in rows])
        for variant, rows in group.items()
    ]
    chart = line_chart(series, "tokens", "ms, median", zero=True)
    return panel(sources, one, title, chart, files=["latency.json"])


def _cell(row: Node) -> list[Child]:
    few = {str(one.value) for one in row.get("too_few_for") or []}
    return [
        name(str(row["variant"].value)),
        *[figure(row[field]) for field in ("threads", "batch", "length", "n")],
        figure(row["latency_ms_p50"], ".3g"),
        join(
            [figure(row["latency_ms_q25"], ".3g"), "\u2013", figure(row["latency_ms_q75"], ".3g")]
        ),
        *[
            "\u2013" if quantile in few else figure(row[f"latency_ms_{quantile}"], ".3g")
            for quantile in ("p95", "p99")
        ],
        figure(row["latency_ratio_p50"], ".3f"),
        join(
            [
                figure(row["latency_ratio_low"], ".3f"),
                "\u2013",
                figure(row["latency_ratio_high"], ".3f"),
            ]
        ),
        figure(row["load_average_before"], ".2f"),
    ]


def _grouped(rows: list[Node]) -> dict[tuple[Node, Node], dict[str, list[Node]]]:
    """Return rows by threads and batch, then by variant, in order of length."""
    found: dict[tuple[Node, Node], dict[str, list[Node]]] = {}
    keys: dict[tuple[int, int], tuple[Node, Node]] = {}
    ordered = sorted(rows, key=lambda row: row["length"].value)
    for row in sorted(ordered, key=lambda row: (row["threads"].value, row["batch"].value)):
        pair = (row["threads"].value, row["batch"].value)
        key = keys.setdefault(pair, (row["threads"], row["batch"]))
        found.setdefault(key, {}).setdefault(str(row["variant"].value), []).append(row)
    return found


def _machine(machine: Node) -> list[tuple[str, Child]]:
    """Return what was declared of the machine, what was found beyond it, and what was left out."""
    told = [*machine["declared"].items()]
    told += [(field, machine["facts"][field]) for field in ("cpu_model", "cores_usable", "python")]
    told += [(field, machine[field]) for field in ("torch_capability", "skipped")]
    return [(key.replace("_", " "), _fact(node)) for key, node in told]


def _fact(node: Node) -> Child:
    if isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return figure(node)
    if isinstance(node.value, list):
        return name("; ".join(_words(one.value) for one in node))
    return name(_words(node.value))


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {value[key]}" for key in sorted(value))
    return str(value)
