"""dvc.yaml: ours is rendered anew, what a user wrote there stays, and DVC's own schema takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core import dvcfile, yamlfile
from stages.core.errors import ParamsError
from stages.core.imports import Closure
from tests.core import toys

OWN = """# mine: kept
vars:
- {source: {}, gone: {}}
- own.yaml
stages:
  source:
    foreach: ${source}
    do:
      cmd: python -m stages execute source ${key}
      frozen: true
      outs: ["data/elsewhere/${key}"]
  gone:
    foreach: ${gone}
    do: {cmd: "python -m stages execute gone ${key}", outs: ["data/gone/${key}"]}
  mine:
    cmd: ./count.sh  # of my own
    deps: [data/raw/a]
    outs: [data/count.txt]
plots:
- data/count.csv
"""


@pytest.fixture
def rendered(tmp_path, monkeypatch) -> tuple[Path, str]:
    toys.install(monkeypatch)
    path = tmp_path / "dvc.yaml"
    path.write_text(OWN)
    closures = {name: Closure((f"stages/{name}/stage.py",), ("torch",)) for name in toys.TOYS}
    text = dvcfile._merged(path, closures)
    path.write_text(text)
    assert dvcfile._merged(path, closures) == text  # and then it is in step
    return path, text


def test_what_a_user_owns_stays(rendered):
    path, text = rendered
    assert text.startswith("# mine: kept\n")
    assert "./count.sh  # of my own" in text
    document = yamlfile.read(path)
    assert document["plots"] == ["data/count.csv"]
    assert document["vars"] == [{name: {} for name in toys.TOYS}, "own.yaml"]
    assert document["stages"]["source"]["do"]["frozen"] is True
    assert "frozen" not in document["stages"]["copy"]["do"]


def test_what_is_ours_is_rendered_and_a_stage_without_code_goes(rendered):
    stages = yamlfile.read(rendered[0])["stages"]
    assert set(stages) == {*toys.TOYS, "mine"}
    assert stages["source"]["do"]["outs"] == ["data/raw/${key}"]
    copy = stages["copy"]["do"]
    assert copy["deps"] == ["stages/copy/stage.py", "data/${item.base}"]
    assert copy["params"] == ["copy.${key}", {"environment.yaml": ["torch"]}]
    assert copy["plots"][0]["plots/copy/${key}.csv"]["y"] == "loss_nats"
    assert stages["gather"]["do"]["params"][:2] == ["gather.${key}", "copy"]


def test_dvcs_own_schema_takes_it_and_not_frozen_beside_foreach(rendered):
    from dvc.schema import COMPILED_MULTI_STAGE_SCHEMA
    from voluptuous import Invalid

    dvc_takes, document = COMPILED_MULTI_STAGE_SCHEMA, yamlfile.read(rendered[0])
    dvc_takes(document)
    document["stages"]["copy"]["frozen"] = True
    with pytest.raises(Invalid):
        dvc_takes(document)


def test_a_dvc_yaml_that_is_not_yaml_is_named(tmp_path, monkeypatch):
    toys.install(monkeypatch)
    (tmp_path / "dvc.yaml").write_text("stages: [\n")
    with pytest.raises(ParamsError, match=r"dvc\.yaml is not YAML"):
        dvcfile._merged(tmp_path / "dvc.yaml", {})
