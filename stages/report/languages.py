"""Panels of language identifiers and of what they said of a corpus."""

from __future__ import annotations

from stages.report.markup import Child, Markup, element, figure, table
from stages.report.panels import grid, name, panel, section
from stages.report.sources import Artifact, Node, Sources


def identifiers(sources: Sources) -> Markup:
    """Return the section of identifiers."""
    found = [_identifier(sources, one) for one in sources.of("identify")]
    return section(
        "identifiers",
        "Language identifiers",
        "Learned here from labelled text. A language has an accuracy where text of it was held "
        "out, with its interval; of the others nothing is said.",
        [grid(*found)] if found else [],
    )


def _identifier(sources: Sources, one: Artifact) -> Markup:
    report = one.json("report.json")
    rows: list[list[Child]] = []
    for label, row in report["languages"].items():
        held = row.get("held_out")
        rows.append(
            [
                name(label),
                figure(row["pieces_trained"]),
                figure(held["count"]) if held else "\u2013",
                figure(held["share"], "%1") if held else "not measured",
                figure(held["interval_95"][0], "%1") if held else "",
                figure(held["interval_95"][1], "%1") if held else "",
            ]
        )
    heads = ["Label", "Pieces learned", "Held out", "Right", "from", "to"]
    lengths: list[list[Child]] = [
        [figure(row["characters"]), figure(row["count"]), figure(row["share"], "%1")]
        for row in report["by_characters"]
    ]
    told = element("p", "Held-out pieces cut to so many characters: short texts tell little.")
    return panel(
        sources, one, name(one.key), table(heads, rows),
        told if lengths else None,
        table(["Characters", "Pieces", "Right"], lengths, left=0) if lengths else None,
        files=["report.json"], anchor=True, _class="wide",
    )  # fmt: skip


def spoken(sources: Sources, one: Artifact, statistics: Node) -> Markup:
    """Return the panel of what an identifier said of a corpus and rejected, by label."""
    found = statistics.get("identified")
    if found is None or not found.value:
        return Markup("")
    rows: list[list[Child]] = [
        [
            name(label), figure(row["documents"]), figure(row["rejected_documents"]),
            figure(row["rejected_fraction"], "%1"), figure(row["characters"]),
        ]
        for label, row in found.items()
    ]  # fmt: skip
    heads = ["Language", "Documents", "Rejected", "Share rejected", "Characters"]
    return panel(
        sources, one, "Languages identified", table(heads, rows), files=["statistics.json"]
    )
