"""The panel of who and what was let into a corpus: licences, opt-outs, lists of words."""

from __future__ import annotations

from stages.report.markup import Child, Markup, figure, table
from stages.report.panels import name, panel
from stages.report.sources import Artifact, Node, Sources

REASONS = ("licence_not_allowed", "licence_not_stated", "opted_out")


def permitted(sources: Sources, one: Artifact) -> Markup:
    """Return the panel, empty where nothing was asked."""
    found = one.find("permissions.json")
    if found is None:
        return Markup("")
    licences, words = found.get("licences"), found.get("words")
    parts: list[Child] = []
    if licences is not None:
        heads = ["Licence", "Documents", "Not allowed", "Not stated", "Opted out"]
        rows: list[list[Child]] = [
            [
                name(str(row["licence"].value)),
                figure(row["documents"]),
                *(_count(row, reason) for reason in REASONS),
            ]
            for row in licences
        ]
        parts.append(table(heads, rows))
    out = found.get("opted_out")
    if out is not None:
        told: list[list[Child]] = [
            [name(str(row["entry"].value)), figure(row["documents"])] for row in out["met"]
        ]
        parts.append(table(["Opted out", "Documents"], told))
    if words is not None:
        rows = [
            [
                name(str(row["file"].value)), name(str(row["action"].value)),
                figure(row["documents_with_hits"]),
                figure(row["hits"]), figure(row["documents_with_enough"]),
            ]
            for row in words
        ]  # fmt: skip
        heads = ["Words", "Then", "Documents with hits", "Hits", "Documents with enough"]
        parts.append(table(heads, rows, left=2))
    return panel(sources, one, "Permissions", *parts, files=["permissions.json"], _class="wide")


def _count(row: Node, reason: str) -> Child:
    found = row.get(reason)
    return figure(found) if found is not None else "\u2013"
