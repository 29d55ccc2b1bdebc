"""What is derived from the code is in step with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stages.core import dvcfile, recipes, references, registry, yamlfile
from stages.core.errors import ParamsError

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize("name", registry.names())
def test_a_stage_file_imports_in_a_fifth_of_a_second_of_heavy_packages(name):
    """No heavy package is imported until the stage runs: `list` and `sync` stay quick."""
    code = (
        f"import stages.{name}.stage, sys;"
        "heavy={'torch','transformers','pyarrow','numpy','onnx','onnxruntime','mlflow','prefect','dvc',"
        "'numba','datasets','sacrebleu'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("name", registry.names())
def test_an_unknown_parameter_is_refused_by_every_stage(name):
    section = recipes.read(ROOT, "esperanto")[name]
    key, item = next(iter(section.items()))
    with pytest.raises(ParamsError, match="unknown parameter 'surprise'"):
        references.validated(registry.get(name), item | {"surprise": 1}, f"{name}.{key}")
