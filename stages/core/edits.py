"""How code differs between two records: files, lines, functions."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stages.core.contents import Contents
from stages.core.records import Record

Row = dict[str, Any]
Pair = tuple[Record | None, Record | None]
ABSENT = "absent"


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, value, value) where two mappings differ, by name."""
    for name in sorted({*a, *b}):
        if a.get(name, ABSENT) != b.get(name, ABSENT):
            yield name, a.get(name, ABSENT), b.get(name, ABSENT)


def code(contents: Contents, pairs: Sequence[Pair]) -> Iterator[Row]:
    """Yield the files of code that differ, each once, with its changed lines and functions."""
    seen: set[tuple[str, str, str]] = set()
    for a, b in pairs:
        if a is None or b is None:
            continue
        for path, x, y in differing(a.code, b.code):
            if (path, x, y) in seen:
                continue
            seen.add((path, x, y))
            yield {"path": path, "a": x, "b": y, **_changed(contents, a, b, path, x, y)}


def _changed(contents: Contents, a: Record, b: Record, path: str, x: str, y: str) -> Row:
    """Return how many lines a file gained and lost, and in which functions."""
    before = b"" if x == ABSENT else contents.of(a, path, x)
    after = b"" if y == ABSENT else contents.of(b, path, y)
    if before is None or after is None:
        return {"lines": None, "functions": None}
    old, new = (text.decode("utf-8", errors="replace") for text in (before, after))
    rows = list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm=""))[2:]
    added = sum(row.startswith("+") for row in rows)
    removed = sum(row.startswith("-") for row in rows)
    return {"lines": {"added": added, "removed": removed}, "functions": functions(old, new)}


def functions(old: str, new: str) -> list[str]:
    """Return the functions, classes and methods that differ between two texts of a module."""
    left, right = _parts(old), _parts(new)
    return [name for name, _, _ in differing(left, right)]


def _parts(text: str) -> dict[str, str]:
    """Return the source by dotted name of every function, and of what stands outside of them."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {}
    lines = text.splitlines()
    found: dict[str, str] = {}
    outside = dict(enumerate(lines, start=1))

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([child.lineno, *(one.lineno for one in child.decorator_list)])
                span = range(first, (child.end_lineno or first) + 1)
                found[prefix + child.name] = "\n".join(lines[at - 1] for at in span)
                for at in span:
                    outside.pop(at, None)

    visit(tree, "")
    return {**found, "(outside functions)": "\n".join(row for row in outside.values() if row)}
