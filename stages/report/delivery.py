"""Panels of what leaves the house: ported models, exports, and how fast they run."""

from __future__ import annotations

from collections.abc import Sequence

from stages.report.charts import Bar, Series, bar_chart, line_chart
from stages.report.markup import Child, Markup, code, derived, element, figure, interval, join, ratio, table
from stages.report.panels import facts, grid, more, name, panel, section
from stages.report.scores import style_of, title_of
from stages.report.sources import Artifact, Node, Sources


def delivery(sources: Sources) -> Markup:
    """Return the sections of ports, exports and benchmarks."""
    ports = [_port(sources, one) for one in sources.of("port")]
    benchmarks = [_benchmark(sources, one) for one in sources.of("benchmark")]
    exports = sources.of("export")
    return join(
        [
            section(
                "ports",
                "Ported checkpoints",
                "Foreign weights in our layout, proved equal before they are published.",
                [grid(*ports)] if ports else [],
            ),
            section(
                "exports",
                "Exports",
                "What an export costs and saves: size beside the float model, parity over shapes, and "
                "the change of the score on the same sentences.",
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


def _port(sources: Sources, one: Artifact) -> Markup:
    told = one.json("verification.json")
    rows: list[list[Child]] = [
        [
            name(str(row["name"].value).replace("_", " ")),
            figure(row["n"]),
            figure(row["limit"], ".3g"),
            "passed" if row["passed"].value else "failed",
        ]
        for row in told["checks"]
    ]
    searches = [_search(row) for row in told.get("searches") or []]
    tensors = told.get("tensors")
    pairs: list[tuple[str, Child]] = [
        ("checkpoint", code(str(told["checkpoint"].value))),
        ("tied embeddings", name(str(told["tying"].value).replace("_", " "))),
        ("source tensors", derived(len(tensors), "", "count", tensors) if tensors else None),
    ]
    return panel(
        sources,
        one,
        join(["Port ", name(one.key)]),
        facts(pairs),
        searches,
        table(["Check", "n", "Limit", ""], rows),
        files=["verification.json"],
        anchor=True,
        _class="wide",
    )


def _search(row: Node) -> Markup:
    return element(
        "p",
        "With ",
        figure(row["num_beams"]),
        " beams: ",
        figure(row["sentences_equal"]),
        " of ",
        figure(row["sentences"]),
        " recorded translations repeated word for word.",
        _class="say",
    )


def _ladder(sources: Sources, exports: Sequence[Artifact]) -> Markup:
    """Return sizes as bars, and what each export keeps of its model."""
    parts: list[Markup] = []
    rows: list[list[Child]] = []
    for one in exports:
        told = one.json("export.json")
        cases = told["parity"]
        passed = [case for case in cases if case["pass"].value]
        kind = told["quantize"]["kind"].value
        size, plain = told["size_bytes"], told.get("fp32_size_bytes")
        rows.append(
            [
                element("span", name(one.key), id=f"export-{one.key}"),
                code(str(told["source"].value)),
                name(str(kind) if kind != "none" else "float"),
                figure(size, "bytes"),
                ratio(size, plain, "%0") if plain else "\u2013",
                join([derived(len(passed), "", "passed", cases), " of ", derived(len(cases), "", "count", cases)]),
                _change(sources, one),
            ]
        )
    heads = ["Export", "Of", "Weights", "Size", "Of float", "Parity", "Score change"]
    by_source: dict[str, list[Artifact]] = {}
    for one in exports:
        by_source.setdefault(str(one.params["model"]), []).append(one)
    for source, group in by_source.items():
        first = group[0].json("export.json")
        plain = first.get("fp32_size_bytes")
        bars = [Bar("float weights", plain)] if plain else []
        bars += [Bar(one.key, one.json("export.json")["size_bytes"], own=True) for one in group]
        parts.append(
            panel(
                sources, group[0], join(["Size of ", code(source)]), bar_chart(bars, "bytes"),
                files=["export.json"],
            )  # fmt: skip
        )
    first_one = exports[0]
    whole = panel(
        sources, first_one, "What each export keeps", table(heads, rows, left=3),
        more("Parity, case by case", *[_parity(one) for one in exports]),
        files=["export.json"], _class="wide",
    )  # fmt: skip
    return join([grid(*parts), whole])


def _change(sources: Sources, export: Artifact) -> Child:
    """Return the paired change of the score against the model that was exported."""
    for one in sources.of("evaluate"):
        if one.params.get("model") != export.reference:
            continue
        for row in one.json("scores.json")["comparisons"]:
            if row["b"].value == export.params["model"]:
                style = "+" + style_of(str(row["unit"].value))
                return join(
                    [
                        figure(row["difference"], style),
                        element("small", " [", interval(row["interval"], style), "]"),
                        element("small", f" {title_of(str(row['name'].value)).lower()}", _class="name"),
                    ]
                )
    return "not scored"


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
    latency, machine = one.json("latency.json"), one.find("machine.json")
    rows = latency if isinstance(latency.value, list) else latency["rows"]
    charts = []
    for (threads, batch), group in _grouped(list(rows)).items():
        series = [
            Series(variant, [(row["length"], row["latency_ms_p50"]) for row in points])
            for variant, points in group.items()
        ]
        title = join(
            [
                "Batch ",
                figure(batch),
                ", ",
                figure(threads),
                " thread" if threads.value == 1 else " threads",
            ]
        )
        chart = line_chart(series, "tokens", "ms, median", zero=True)
        charts.append(panel(sources, one, title, chart, files=["latency.json"]))
    told = facts(_machine(machine)) if machine else None
    return element(
        "div",
        element("h3", name(one.key), _class="entry"),
        told,
        grid(*charts),
        id=f"benchmark-{one.key}",
        _class="group",
    )


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
    return [
        (key.replace("_", " "), figure(node) if _is_number(node) else name(_words(node)))
        for key, node in machine.items()
        if not isinstance(node.value, dict)
    ]


def _is_number(node: Node) -> bool:
    return isinstance(node.value, int | float) and not isinstance(node.value, bool)


def _words(node: Node) -> str:
    return ", ".join(map(str, node.value)) if isinstance(node.value, list) else str(node.value)
