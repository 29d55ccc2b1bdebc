"""Panels of a corpus before and after its rules."""

from __future__ import annotations

from collections.abc import Iterator

from stages.report.charts import Series, line_chart
from stages.report.markup import Child, Markup, element, figure, join, ratio, table
from stages.report.panels import facts, grid, name, panel
from stages.report.sources import Artifact, Node, Sources

FILE = "filtering.json"


def filtering(sources: Sources, one: Artifact, rules: Node) -> Iterator[Markup]:
    """Yield the panels, none where the entry asked for no samples."""
    found = one.find(FILE)
    if found is None:
        return
    yield _sides(sources, one, rules, found["private"])
    if len(found["biases"]):
        yield _biases(sources, one, found["biases"])
    if len(found["scores"]):
        yield _scores(sources, one, found["scores"])
    if len(found["samples"]):
        yield _samples(sources, one, found["samples"])


def _sides(sources: Sources, one: Artifact, rules: Node, private: Node) -> Markup:
    first, last = rules[0], rules[len(rules) - 1]
    rows: list[list[Child]] = [
        [
            unit,
            figure(first[f"{unit}_in"]),
            figure(last[f"{unit}_out"]),
            ratio(last[f"{unit}_out"], first[f"{unit}_in"], "%1"),
        ]
        for unit in ("documents", "characters", "tokens")
    ]
    spans: list[tuple[str, Child]] = [(kind, figure(count)) for kind, count in private.items()]
    said = element("p", "Placeholders of personal data in what is kept:", _class="say")
    return panel(
        sources, one, "Before and after", table(["", "Before", "After", "Kept"], rows),
        said if spans else None, facts(spans) if spans else None,
        files=["ledger.json", FILE],
    )  # fmt: skip


def _biases(sources: Sources, one: Artifact, found: Node) -> Markup:
    """Return how the words of pairs of terms leaned before each rule, and lean now."""
    steps = [str(step["before"].value) for step in found[0]["steps"]]
    rows: list[list[Child]] = [
        [
            name(f"{row['first'].value}/{row['second'].value}"),
            name(str(row["word"].value)),
            *(_bias(step.get("bias")) for step in row["steps"]),
            figure(row["bias"], ".3f"),
        ]
        for row in found
    ]
    heads: list[Child] = ["Pair", "Word", *(name(f"before {one}") for one in steps), "now"]
    said = element(
        "p", "nPMI with the first term less nPMI with the second, before each rule that dropped "
        "something: what a filter does to the company of words.", _class="say",
    )  # fmt: skip
    return panel(
        sources, one, "Company of terms, rule by rule", said, table(heads, rows, left=2),
        files=[FILE], _class="wide",
    )  # fmt: skip


def _bias(found: Node | None) -> Child:
    return figure(found, ".3f") if found is not None else "\u2013"


def _scores(sources: Sources, one: Artifact, found: Node) -> Markup:
    charts: list[Child] = []
    for row in found:
        series = [
            Series(side, [(bin["from"], bin[side]) for bin in row["bins"]])
            for side in ("kept", "dropped")
        ]
        over = "over" if row["side"].value == "over" else "under"
        charts.append(
            element(
                "div",
                element("h4", name(str(row["rule"].value))),
                element(
                    "p", f"dropped {over} ", figure(row["threshold"], ".4g"), ": ",
                    figure(row["documents_dropped"]), _class="say",
                ),
                line_chart(series, "score", "documents", zero=True),
            )
        )  # fmt: skip
    said = element("p", "What each rule compares, of documents it dropped and of those kept.")
    return panel(
        sources, one, "Scores of kept and dropped documents", said, grid(*charts), files=[FILE],
        _class="wide",
    )  # fmt: skip


def _samples(sources: Sources, one: Artifact, found: Node) -> Markup:
    rows: list[list[Child]] = [
        [
            name(str(row["rule"].value).replace("_", " ")),
            join([element("p", name(str(text.value))) for text in row["texts"]]),
            figure(row["documents"]),
        ]
        for row in found
    ]
    return panel(
        sources, one, "Dropped texts by rule", table(["Rule", "Such as", "Dropped"], rows, left=2),
        files=[FILE], _class="wide",
    )  # fmt: skip
