"""The graph of what was made from what, lying for wide pages and standing for narrow ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stages.report.markup import Markup, element
from stages.report.sources import Artifact, Sources

LAYERS = (
    ("acquire",),
    ("identify",),
    ("refine",),
    ("label",),
    ("tokenizer",),
    ("encode",),
    ("pretrain", "port"),
    ("finetune",),
    ("export",),
    ("evaluate", "benchmark"),
)
"""Sections that share a column; entries of a column are ordered to cross few lines."""
SWEEPS = 8


@dataclass(frozen=True)
class Box:
    """A drawn entry."""

    artifact: Artifact
    x: float
    y: float
    width: float
    height: float


def lineage(sources: Sources) -> Markup:
    """Return the graph twice: one lies, one stands; the style sheet shows the one that fits."""
    columns = [[one for one in sources if one.section in layer] for layer in LAYERS]
    filled = [column for column in columns if column]
    if not filled:
        return Markup("")
    ordered = _uncrossed(filled, sources)
    return element(
        "div",
        element("div", _lying(ordered, sources), _class="lying"),
        element("div", _standing(ordered, sources), _class="standing"),
        _class="lineage",
    )


def _lying(columns: Sequence[Sequence[Artifact]], sources: Sources) -> Markup:
    width, height, gap, row, top = 104.0, 32.0, 22.0, 46.0, 26.0
    deepest = max(map(len, columns))
    boxes, heads = [], []
    for place, column in enumerate(columns):
        x = place * (width + gap)
        names = " \u00b7 ".join(dict.fromkeys(one.section for one in column))
        heads.append(_head(x + width / 2, 12, names, "mid"))
        start = top + (deepest - len(column)) * row / 2
        boxes += [
            Box(one, x, start + number * row, width, height) for number, one in enumerate(column)
        ]
    size = (len(columns) * (width + gap) - gap, top + deepest * row)
    return _drawn(boxes, heads, size, sources, lying=True)


def _standing(columns: Sequence[Sequence[Artifact]], sources: Sources) -> Markup:
    total, height, row, gap = 360.0, 30.0, 78.0, 8.0
    boxes, heads = [], []
    for place, column in enumerate(columns):
        y = place * row + 18
        names = " \u00b7 ".join(dict.fromkeys(one.section for one in column))
        heads.append(_head(0, y - 6, names, "start"))
        width = min(170.0, (total - gap * (len(column) - 1)) / len(column))
        start = (total - width * len(column) - gap * (len(column) - 1)) / 2
        boxes += [
            Box(one, start + number * (width + gap), y, width, height)
            for number, one in enumerate(column)
        ]
    return _drawn(boxes, heads, (total, len(columns) * row - 24), sources, lying=False)


def _drawn(
    boxes: Sequence[Box],
    heads: Sequence[Markup],
    size: tuple[float, float],
    sources: Sources,
    *,
    lying: bool,
) -> Markup:
    by_address = {box.artifact.address: box for box in boxes}
    lines = [
        _edge(by_address[parent], box, lying)
        for box in boxes
        for parent in sources.parents[box.artifact.address]
    ]
    drawn = [_box(box, sources.synthetic(box.artifact)) for box in boxes]
    return element(
        "svg",
        lines,
        drawn,
        heads,
        viewBox=f"-1 0 {size[0] + 2:g} {size[1]:g}",
        role="img",
        aria_label="lineage of the entries",
    )


def _box(box: Box, synthetic: bool) -> Markup:
    one = box.artifact
    room = int((box.width - 14) / 6.4)
    name = one.key if len(one.key) <= room else one.key[: room - 1] + "\u2026"
    kind = "synthetic" if synthetic else "real"
    return element(
        "a",
        element("title", f"{one.address} \u2192 {one.place}"),
        element(
            "rect", x=f"{box.x:g}", y=f"{box.y:g}", width=f"{box.width:g}",
            height=f"{box.height:g}", rx=5, _class=f"box {kind}",
        ),
        element(
            "text", name, x=f"{box.x + box.width / 2:g}", y=f"{box.y + box.height / 2 + 4:g}",
            _class="name mid",
        ),
        href=f"#{one.section}-{one.key}",
    )  # fmt: skip


def _edge(parent: Box, child: Box, lying: bool) -> Markup:
    if lying:
        x1, y1 = parent.x + parent.width, parent.y + parent.height / 2
        x2, y2 = child.x, child.y + child.height / 2
        if x2 < x1:
            return _arc(parent, child)
        bend = min(60.0, (x2 - x1) / 2)
        path = f"M{x1:g},{y1:g}C{x1 + bend:g},{y1:g} {x2 - bend:g},{y2:g} {x2:g},{y2:g}"
    else:
        x1, y1 = parent.x + parent.width / 2, parent.y + parent.height
        x2, y2 = child.x + child.width / 2, child.y
        if y2 < y1:
            return _arc(parent, child)
        bend = (y2 - y1) / 2
        path = f"M{x1:g},{y1:g}C{x1:g},{y1 + bend:g} {x2:g},{y2 - bend:g} {x2:g},{y2:g}"
    return element("path", d=path, _class="edge")


def _arc(parent: Box, child: Box) -> Markup:
    """Join two entries of one column (a chain inside a stage) by their facing sides."""
    x = parent.x + parent.width / 2
    y1, y2 = parent.y + parent.height, child.y
    return element("path", d=f"M{x:g},{y1:g}L{child.x + child.width / 2:g},{y2:g}", _class="edge")


def _head(x: float, y: float, names: str, anchor: str) -> Markup:
    return element("text", names, x=f"{x:g}", y=f"{y:g}", _class=f"head {anchor}")


def _uncrossed(columns: Sequence[Sequence[Artifact]], sources: Sources) -> list[list[Artifact]]:
    """Order each column by the mean place of its neighbours, back and forth (barycentre)."""
    ordered = [list(column) for column in columns]
    neighbours: dict[str, list[str]] = {
        one.address: list(sources.parents[one.address]) for one in sources
    }
    for child, parents in sources.parents.items():
        for parent in parents:
            neighbours[parent].append(child)
    for sweep in range(SWEEPS):
        places = {
            one.address: (number + 0.5) / len(column)
            for column in ordered
            for number, one in enumerate(column)
        }
        steps = ordered if sweep % 2 == 0 else ordered[::-1]
        for column in steps:
            column.sort(key=lambda one: (_mean(neighbours[one.address], places), one.address))
            for number, one in enumerate(column):
                places[one.address] = (number + 0.5) / len(column)
    return ordered


def _mean(names: Sequence[str], places: dict[str, float]) -> float:
    return sum(places[name] for name in names) / len(names) if names else 0.5
