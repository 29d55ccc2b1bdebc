"""The tables of README that are drawn from the code and from tracked results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from stages.core import recipes, registry

README = "README.md"
PROVED = {
    "benchmarks/line.json": "make prove",
    "benchmarks/made-again.json": "make prove-again",
    "benchmarks/port.json": "make prove-port",
    "benchmarks/corpus.json": "make prove-corpus",
}
"""Tracked results by the command that writes them."""


def render(root: Path) -> str:
    """Return README.md with every table between `<!-- name -->` and `<!-- /name -->` drawn anew."""
    text = (root / README).read_text(encoding="utf-8")
    for name, draw in TABLES.items():
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if mark and end:
            text = before + mark + draw(root) + end + after
    return text


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _stages(root: Path) -> str:
    rows = [
        [f"`{name}`", stage.doc, " ".join(f"`{path}`" for path in stage.writes.values())]
        for name, stage in registry.stages().items()
    ]
    return _table(["stage", "what it does", "writes"], rows)


def _recipes(root: Path) -> str:
    return _table(
        ["recipe", "what it is"],
        [[f"`{name}`", recipes.description(root, name)] for name in recipes.names(root)],
    )


def _proved(root: Path, name: str = "benchmarks/line.json") -> str:
    path = root / name
    if not path.exists():
        return f"Not measured yet: `{PROVED[name]}` writes `{name}`.\n"
    rows = [
        [str(row["line"]), row["claim"], f"`{row['command']}`", row["figure"].replace("|", "/"),
         "pass" if row["pass"] else "**fail**"]
        for row in json.loads(path.read_text(encoding="utf-8"))["lines"]
    ]  # fmt: skip
    return _table(["line", "claim", "command", "figure", "result"], rows)


TABLES: dict[str, Callable[[Path], str]] = {
    "stages": _stages,
    "recipes": _recipes,
    "proved": _proved,
    "made-again": lambda root: _proved(root, "benchmarks/made-again.json"),
    "port": lambda root: _proved(root, "benchmarks/port.json"),
    "corpus": lambda root: _proved(root, "benchmarks/corpus.json"),
}
