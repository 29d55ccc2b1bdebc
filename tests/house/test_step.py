"""What is derived from the code is in step with it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core import dvcfile, environment, recipes, references, registry, yamlfile
from stages.core.errors import ParamsError

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch", "transformers", "pyarrow", "numpy", "onnx", "onnxruntime", "mlflow", "prefect", "dvc",
    "numba", "datasets", "sacrebleu", "psutil",
)  # fmt: skip


def test_generated_files_are_what_the_code_says():
    assert dvcfile.stale(ROOT) == []


def test_a_new_import_makes_dvc_yaml_stale(monkeypatch):
    from stages.core import imports

    real = imports.closure

    def with_more(stage, graph, root):
        found = real(stage, graph, root)
        return imports.Closure((*found.files, "stages/new.py"), found.packages)

    monkeypatch.setattr(imports, "closure", with_more)
    assert dvcfile.DVCFILE in dvcfile.stale(ROOT)


@pytest.mark.parametrize("name", recipes.names(ROOT))
def test_every_recipe_is_short_and_valid(name):
    text = (recipes.folder(ROOT) / f"{name}.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= recipes.MAX_LINES
    assert text.startswith("# ")
    sections = recipes.complete(recipes.read(ROOT, name), name)
    assert references.build(sections, ROOT, name)


def test_params_yaml_is_the_default_recipe_and_complete():
    assert recipes.active(ROOT) in recipes.names(ROOT)
    written = yamlfile.plain(yamlfile.read(ROOT / "params.yaml"))
    assert recipes.complete(written, "params.yaml") == written


def heavy_imports(names: list[str]) -> dict[str, list[str]]:
    """Return which heavy packages each module brings in, imported one after the other."""
    code = (
        "import importlib, json, sys; found = {}; heavy = set(sys.argv[1].split(','))\n"
        "for name in sys.argv[2:]:\n"
        "    before = heavy & set(sys.modules); importlib.import_module(name)\n"
        "    found[name] = sorted((heavy & set(sys.modules)) - before)\n"
        "print(json.dumps(found))"
    )
    command = [sys.executable, "-c", code, ",".join(HEAVY), *names]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(shown.stdout)


def test_a_stage_file_imports_no_heavy_package():
    """None is imported until the stage runs: `list` and `sync` stay quick."""
    light = [f"stages.{name}.stage" for name in registry.names()]
    light += ["stages.core.run", "stages.core.publisher", "stages.cli.command", "flows.walk"]
    assert heavy_imports(light) == {name: [] for name in light}
    assert "numpy" in heavy_imports(["stages.lm.packing"])["stages.lm.packing"]


def test_environment_holds_normalised_names_and_quoted_versions():
    """A dot in a key reads as missing to DVC, and 2.10 without quotes is the number 2.1."""
    rows = (ROOT / "environment.yaml").read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) > 30
    assert [row for row in rows if not re.fullmatch(r'[a-z0-9]+(-[a-z0-9]+)*: "[^"+]+"', row)] == []
    locked = environment.locked(ROOT)
    assert {name: locked[name] for name in environment.recorded(ROOT)} == environment.recorded(ROOT)


def test_every_package_of_a_stage_is_among_the_versions():
    recorded = environment.recorded(ROOT)
    for name, body in dvcfile.instances(ROOT).items():
        rows = [row for row in body["params"] if isinstance(row, dict)]
        wanted = {package for row in rows for package in row.get(environment.ENVIRONMENT, [])}
        assert wanted <= set(recorded), name


def test_a_package_file_holds_nothing_that_could_shape_an_output():
    """An `__init__.py` runs with its modules and is no dependency of any stage."""
    for path in (ROOT / "stages").rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(getattr(node, "value", None), ast.Constant) for node in body), path


@pytest.mark.parametrize("name", registry.names())
def test_no_model_of_parameters_takes_an_unknown_key(name):
    schema = registry.get(name).params.model_json_schema()
    for owner, node in [(name, schema), *schema.get("$defs", {}).items()]:
        if "properties" in node or node.get("type") == "object":
            assert node.get("additionalProperties") is False, f"{name}: {owner}"


@pytest.mark.parametrize("name", registry.names())
def test_an_unknown_parameter_is_refused_by_every_stage(name):
    read = [recipes.read(ROOT, recipe) for recipe in recipes.names(ROOT)]
    section = next(one[name] for one in read if one.get(name))
    key, item = next(iter(section.items()))
    with pytest.raises(ParamsError, match="unknown parameter 'surprise'"):
        references.validated(registry.get(name), item | {"surprise": 1}, f"{name}.{key}")
