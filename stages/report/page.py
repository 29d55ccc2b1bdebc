"""The page: one HTML file that needs nothing else, on a screen of any width or on paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.report.cards import models
from stages.report.corpora import corpora
from stages.report.delivery import delivery
from stages.report.learning import learning
from stages.report.lineage import lineage
from stages.report.markup import Child, Markup, code, element, figure, interval, join, ratio, table
from stages.report.panels import badge, credit, name, section
from stages.report.rounds import rounds
from stages.report.scores import scores, style_of, title_of
from stages.report.sources import Node, Sources
from stages.report.stage import ReportParams

STYLE = Path(__file__).with_name("style.css")
HEADLINES = (
    "accuracy",
    "bits_per_byte",
    "masked_perplexity",
    "bleu_beam",
    "parsing_completions",
    "perplexity",
)
"""Scores worth a place at the top, the first of them that an evaluation has."""
CHAPTERS = (
    ("descent", "Descent"),
    ("material", "Material"),
    ("identifiers", "Languages"),
    ("corpora", "Corpora"),
    ("rounds", "Rounds"),
    ("tokenizers", "Tokens"),
    ("training", "Training"),
    ("scores", "Scores"),
    ("ports", "Ports"),
    ("exports", "Exports"),
    ("benchmarks", "Speed"),
    ("cards", "Cards"),
)


def render(params: ReportParams, key: str, sources: Sources) -> str:
    """Return the whole page."""
    title = params.title or key or "Report"
    body = join(
        [
            _descent(sources, key),
            corpora(params, sources),
            rounds(sources),
            learning(sources),
            scores(params, sources),
            delivery(sources),
            _cards(sources, key),
        ]
    )
    shown = [(anchor, label) for anchor, label in CHAPTERS if f'<section id="{anchor}"' in body]
    page = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", f"{title} \u2013 Deveno"),
            element("style", Markup(STYLE.read_text(encoding="utf-8"))),
        ),
        element(
            "body",
            _header(title, sources),
            _contents(shown),
            element("main", body),
            _footer(key),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _header(title: str, sources: Sources) -> Markup:
    synthetic = any(sources.synthetic(one) for one in sources)
    warning = (
        element(
            "p",
            badge(),
            " Marked figures rest on text that a generator made. They show that the line works, "
            "not how well a model does on natural language.",
            _class="warning",
        )
        if synthetic
        else None
    )
    return element(
        "header",
        element("p", "Deveno", _class="mark"),
        element("h1", title, _class="name"),
        element(
            "p",
            "From raw text to evaluated models. Every figure is drawn from a tracked file, which "
            "is named beneath it with the command that makes it again.",
            _class="lead",
        ),
        warning,
        element("div", _headlines(sources), _class="tiles"),
    )


def _headlines(sources: Sources) -> list[Markup]:
    tiles = []
    for one in sources.of("evaluate"):
        rows = {
            str(row["name"].value): row
            for row in one.json("scores.json")["scores"]
            if not row.get("baseline")
        }
        chosen = next((rows[score] for score in HEADLINES if score in rows), None)
        if chosen is not None:
            tiles.append(_tile(title_of(str(chosen["name"].value)), one.key, one.section, chosen))
    for one in sources.of("export"):
        told = one.json("export.json")
        size, plain = told.get("size_bytes"), told.get("fp32_size_bytes")
        if size is not None and plain is not None and size.value != plain.value:
            tiles.append(
                element(
                    "a",
                    element("small", "Size of the float model"),
                    element("strong", ratio(size, plain, "%0")),
                    element("span", name(one.key), _class="of"),
                    href=f"#export-{one.key}",
                    _class="tile",
                )
            )
    return tiles


def _tile(title: str, key: str, section_name: str, row: Node) -> Markup:
    style = style_of(str(row["unit"].value)).replace("%2", "%1").replace(".2f", ".1f")
    ends = row.get("interval")
    return element(
        "a",
        element("small", title),
        element("strong", figure(row["value"], style)),
        element("span", interval(ends, style) if ends else None, _class="between"),
        element("span", name(key), _class="of"),
        href=f"#{section_name}-{key}",
        _class="tile",
    )


def _contents(chapters: Sequence[tuple[str, str]]) -> Markup:
    links: list[Child] = [element("a", label, href=f"#{anchor}") for anchor, label in chapters]
    return element("nav", links, aria_label="contents")


def _descent(sources: Sources, key: str) -> Markup:
    swatches = element(
        "p",
        element("span", _class="swatch synthetic"),
        "stands on generated text ",
        element("span", _class="swatch real"),
        "on files as they came",
        _class="say",
    )
    return section(
        "descent",
        "Descent",
        "What was made from what: each box is an entry of params.yaml and the artifact it makes.",
        [
            element(
                "figure",
                lineage(sources),
                swatches,
                credit(["params.yaml"], _own(key)),
                _class="panel wide whole",
            )
        ]
        if list(sources)
        else [],
    )


def _cards(sources: Sources, key: str) -> Markup:
    """Return the models with their cards, which lie beside the page."""
    rows: list[list[Child]] = []
    files = []
    for model in models(sources):
        path = f"cards/{model.artifact.reference}/README.md"
        files += [f"{one.place}/manifest.json" for one in model.material]
        rows.append(
            [
                element(
                    "span", code(model.artifact.place), " ", badge() if model.synthetic else ""
                ),
                name(model.task.replace("-", " ")),
                name(", ".join(model.licences) or "unknown"),
                element("a", "card", href=path),
            ]
        )
    heads = ["Model", "Task", "Licence of its material", "Card"]
    shown = element(
        "figure",
        table(heads, rows, left=4, _class="stack"),
        credit(list(dict.fromkeys(files)), _own(key)),
        _class="panel wide",
    )
    lead = "What each model is for, is made of and scored, in the format of the hub."
    return section("cards", "Model cards", lead, [shown] if rows else [])


def _own(key: str) -> str:
    return f"report@{key}" if key else "report"


def _footer(key: str) -> Markup:
    return element(
        "footer",
        element("p", "Made by ", element("code", f"dvc repro {_own(key)}"), " with Deveno."),
    )
