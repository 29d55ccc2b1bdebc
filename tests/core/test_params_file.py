"""params.yaml through DVC's own writer: what `-S` leaves is read by us as DVC reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.core import recipes, references, yamlfile

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, recipe: str) -> Path:
    """Write a recipe's params.yaml as `deveno use` does."""
    sections = recipes.complete(recipes.read(ROOT, recipe), recipe)
    path = folder / "params.yaml"
    path.write_text(f"# Recipe: {recipe}\n" + yamlfile.dump(sections), encoding="utf-8")
    return path


def override(path: Path, *overrides: str) -> None:
    """Change a file as `dvc exp run -S` does, and read it as DVC does."""
    from dvc.utils.hydra import apply_overrides
    from dvc.utils.serialize import load_yaml

    apply_overrides(path, list(overrides))
    assert load_yaml(str(path)) == yamlfile.plain(yamlfile.read(path))


NUMBERS = (("encode", "sequence_length"), ("evaluate", "batch_size"))
"""Stage and field of a number to change, of which every recipe has one."""


@pytest.mark.parametrize("recipe", recipes.names(ROOT))
def test_an_override_changes_one_value_and_the_file_stays_as_it_is(tmp_path, recipe):
    path = written(tmp_path, recipe)
    before = yamlfile.plain(yamlfile.read(path))
    stage, field = next(place for place in NUMBERS if before.get(place[0]))
    key, item = next(iter(before[stage].items()))
    length = item[field]
    override(path, f"{stage}.{key}.{field}={length + 32}")
    after = yamlfile.plain(yamlfile.read(path))
    item[field] += 32
    assert after == before
    assert recipes.complete(after, "params.yaml") == after
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# Recipe: {recipe}\n")
    flow = [row for row in text.splitlines() if "{" in row and "{}" not in row and "'" not in row]
    assert flow == []  # DVC drops quotes: flow style with a colon inside would break
    override(path, f"{stage}.{key}.{field}={length}")
    item[field] -= 32
    assert yamlfile.plain(yamlfile.read(path)) == before


def test_values_that_two_yamls_read_differently_survive(tmp_path):
    path = written(tmp_path, "smoke")
    override(path, "pretrain.eo.learning_rate=2e-3")
    override(path, "pretrain.eo.probes=['ne: <mask>.','no']", "acquire.translator.origin='1e-3: x'")
    override(path, "pretrain.eo.seed=3")  # a third time, over what the second wrote
    params = yamlfile.plain(yamlfile.read(path))
    assert params["pretrain"]["eo"]["learning_rate"] == 0.002
    assert params["pretrain"]["eo"]["probes"] == ["ne: <mask>.", "no"]
    assert params["acquire"]["translator"]["origin"] == "1e-3: x"
    assert references.build(params, ROOT)


def test_an_entry_can_be_added_and_removed(tmp_path):
    path = written(tmp_path, "smoke")
    override(
        path, "+evaluate.two={model: pretrained/eo, data: eo, task: {kind: language-modelling}}"
    )
    graph = references.build(yamlfile.plain(yamlfile.read(path)), ROOT)
    assert graph["evaluate@two"].upstream == ("pretrain@eo", "refine@eo")
    override(path, "~evaluate.two")
    assert "evaluate@two" not in references.build(yamlfile.plain(yamlfile.read(path)), ROOT)
