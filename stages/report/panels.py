"""Panels: a figure or table with its source, its command and the mark of synthetic material."""

from __future__ import annotations

from collections.abc import Sequence

from stages.report.markup import Child, Markup, code, element, join
from stages.report.sources import Artifact, Node, Sources


def section(name: str, title: str, lead: Child, panels: Sequence[Child]) -> Markup:
    """Return a section of the page; without panels it is left out."""
    held = [panel for panel in panels if panel]
    if not held:
        return Markup("")
    return element(
        "section",
        element("h2", title),
        element("p", lead, _class="lead") if lead else None,
        held,
        id=name,
    )


def panel(
    sources: Sources,
    artifact: Artifact,
    title: Child,
    *body: Child,
    files: Sequence[str],
    anchor: bool = False,
    _class: str = "",
) -> Markup:
    """Return a figure whose caption says what it is drawn from and how to make that again."""
    return element(
        "figure",
        element("h3", element("span", title), badge() if sources.synthetic(artifact) else None),
        body,
        caption([(artifact, files)]),
        id=f"{artifact.section}-{artifact.key}" if anchor else None,
        _class=f"panel {_class}".strip(),
    )


def caption(drawn: Sequence[tuple[Artifact, Sequence[str]]]) -> Markup:
    """Return where a figure comes from and the command that makes it again."""
    files = [f"{one.place}/{name}" for one, names in drawn for name in names]
    return credit(files, " ".join(dict.fromkeys(one.address for one, _ in drawn)))


def credit(files: Sequence[str], addresses: str) -> Markup:
    """Return a caption of files by name and of the entries that make them."""
    named: list[Child] = []
    for place, name in enumerate(files):
        named += [", " if place else "", code(name)]
    return element(
        "figcaption",
        element("span", "from ", named),
        element("span", "again: ", code(f"dvc repro {addresses}")),
    )


def badge() -> Markup:
    """Return the mark of material that a generator made."""
    return element(
        "span", "synthetic", _class="badge", title="from generated text, not natural language"
    )


def grid(*panels: Child, _class: str = "") -> Markup:
    """Return panels side by side where there is room."""
    return element("div", panels, _class=f"grid {_class}".strip())


def more(summary: str, *body: Child) -> Markup:
    """Return something that opens on demand, and is open on paper."""
    return element("details", element("summary", summary), body)


def facts(pairs: Sequence[tuple[str, Child]]) -> Markup:
    """Return a short list of names and values."""
    return element(
        "dl",
        [join([element("dt", name), element("dd", value)]) for name, value in pairs if value],
        _class="facts",
    )


def name(text: str) -> Markup:
    """Return a name that may hold digits which are no figures; nothing where it is empty."""
    return element("span", text, _class="name") if text else Markup("")


def label_of(system: str) -> str:
    """Return how a chart names a baseline or a rival."""
    return system.replace("-", " ") if "/" not in system else system


def own(node: Node) -> str:
    """Return the text of a string node."""
    return str(node.value)
