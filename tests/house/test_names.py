"""The house keeps its own rules: sizes, names, docstrings, one word per thing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from stages.core import registry

ROOT = Path(__file__).resolve().parents[2]
BANNED = {"utils", "util", "common", "helpers", "helper", "misc", "base", "manager"}
SOURCES = sorted(
    path
    for folder in ("stages", "flows", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
PRODUCT = [path for path in SOURCES if path.parts[len(ROOT.parts)] in ("stages", "flows")]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_are_under_400_lines_and_nouns(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 400
    assert path.stem not in BANNED


@pytest.mark.parametrize("path", PRODUCT, ids=relative)
def test_functions_are_under_60_lines(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 60
    }
    assert not long


@pytest.mark.parametrize("name", registry.names())
def test_every_parameter_says_what_it_is(name):
    schema = registry.get(name).params.model_json_schema()
    for owner, node in [(name, schema), *schema.get("$defs", {}).items()]:
        for field, facts in node.get("properties", {}).items():
            if field != "kind":
                assert facts.get("description"), f"{owner}.{field} has no docstring"


@pytest.mark.parametrize("name", registry.names())
def test_a_stage_has_one_name_everywhere(name):
    stage = registry.get(name)
    assert stage.name == name == stage.function.__name__
    assert stage.doc.endswith(".")
    assert any((ROOT / "tests/stages").glob(f"test_{name}*.py"))


def test_a_function_of_61_lines_would_be_found(tmp_path):
    file = tmp_path / "long.py"
    file.write_text("def f():\n" + "    x = 1\n" * 60, encoding="utf-8")
    with pytest.raises(AssertionError):
        test_functions_are_under_60_lines(file)


def test_no_path_of_a_machine_and_no_registry_address():
    marks = ["/" + "work/", "/" + "root/", "py" + "pi.org", "python" + "hosted", "/opt/" + "wheels"]
    tracked = [
        path for path in (*SOURCES, *ROOT.glob("*.*"), *(ROOT / "docs").rglob("*.md"))
        if path.is_file() and path.suffix in (".py", ".md", ".toml", ".yaml", ".lock", ".sh")
    ]  # fmt: skip
    found = [
        f"{relative(path)}: {mark}"
        for path in tracked
        for mark in marks
        if mark in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert not found
