"""Stage `export` on every class that a fairseq release may need, and the mistakes it must catch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.core.errors import CheckFailed, DevenoError
from stages.core.log import Log
from stages.export import translations
from stages.export import translator as exporter
from stages.export.stage import ExportParams, export
from stages.lm import blueprint
from stages.lm.blueprint import Blueprint
from stages.lm.decoding.settings import Beam, Greedy
from stages.lm.translator import Translator
from stages.port.stage import PortParams, port
from tests.stages import fairseq_material as material

FORMATS = ("onnx-translator", "ctranslate2", "runner")
RELEASES: dict[str, dict[str, Any]] = {
    "marian": {"tying": "decoder", "activation_fn": "swish"},
    "pegasus": {"tying": "all", "activation_fn": "gelu_accurate"},
    "bart": {"tying": "none"},
    "mbart": {"tying": "none", "activation_fn": "tanh"},
}
TEXTS = ["ab ca bc", "c", "", "a b c ab cab abc . , bc", "ab " * 20]


def ported(folder: Path, **changed: Any) -> Path:
    """Port a release of these settings; return the model's folder."""
    raw = material.release(folder / "raw", **changed)
    port(PortParams(raw="x"), raw, raw, raw, folder / "model", Log())
    return folder / "model"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small port to every class but FSMT."""
    return {
        family: ported(tmp_path_factory.mktemp(family), **material.FAMILIES[family], **changed)
        for family, changed in RELEASES.items()
    }


def run(model: Path, out: Path, **params: Any) -> dict[str, Any]:
    """Export; return export.json."""
    settings = ExportParams.model_validate({"model": "ported/x", **params})
    none = out.parent / "none"
    export(settings, model, none, none, out, Log())
    return dict(json.loads((out / "export.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("family", RELEASES)
def test_every_class_translates_as_the_model(
    form: str, family: str, models: dict[str, Path], tmp_path: Path
) -> None:
    facts = run(models[family], tmp_path / "out", format=form)
    assert [row["case"] for row in facts["parity"]] == ["greedy", "beam 5"]
    assert facts["parity"][0]["equal"] == facts["parity"][0]["sentences"] > 12
    model, exported = Translator.load(models[family]), Translator.load(tmp_path / "out")
    for settings in (Greedy(max_tokens=9), Beam(num_beams=3, length_penalty=0.6, max_tokens=9)):
        if form != "ctranslate2" or isinstance(settings, Greedy):
            assert exported.decoded(TEXTS, settings) == model.decoded(TEXTS, settings)


@pytest.mark.parametrize("form", FORMATS)
def test_int8_of_a_class_stays_near(form: str, models: dict[str, Path], tmp_path: Path) -> None:
    facts = run(models["pegasus"], tmp_path / "out", format=form, quantize={"kind": "dynamic-int8"})
    assert [row["agreement_limit"] for row in facts["parity"]] == [0.7, 0.7]


def test_equal_texts_are_alike_even_when_they_are_blank() -> None:
    params = ExportParams(model="ported/x")
    assert translations._close(params, ["", ""], ["", ""], [], 1, Log())["agreement_limit"] == 0.7
    with pytest.raises(CheckFailed, match="like the float model's to 0.000"):
        translations._close(params, ["", "o"], ["", ""], [], 1, Log())


def turned(**changed: Any) -> Callable[[Blueprint], Blueprint]:
    return lambda source: dataclasses.replace(source, **changed)


def late(source: Blueprint) -> Blueprint:
    places = {side: np.roll(one, -1, axis=0) for side, one in source.positions.items()}
    return dataclasses.replace(source, positions=places)


def biased(source: Blueprint) -> Blueprint:
    bias = source.output_bias.copy()
    bias[4] += 0.5
    return dataclasses.replace(source, output_bias=bias)


def short(source: Blueprint) -> Blueprint:
    return dataclasses.replace(source, layers={**source.layers, "decoder": 1})


def exchanged(source: Blueprint) -> Blueprint:
    """Return the blueprint with the last norm of the decoder exchanged for the first."""
    tensors = dict(source.tensors)
    one, other = "model.decoder.layer_norm", "model.decoder.layers.0.self_attn_layer_norm"
    for part in ("weight", "bias"):
        tensors[f"{one}.{part}"] = source.tensors[f"{other}.{part}"]
    return dataclasses.replace(source, tensors=tensors)


@pytest.mark.parametrize(
    ("form", "family", "fault"),
    [
        ("ctranslate2", "pegasus", turned(pre_norm=False)),
        ("runner", "pegasus", exchanged),
        ("onnx-translator", "mbart", turned(embedding_norm=False)),
        ("ctranslate2", "mbart", turned(activation="gelu")),
        ("runner", "marian", turned(scale=1.0)),
        ("onnx-translator", "marian", short),
        ("ctranslate2", "bart", late),
        ("runner", "bart", biased),
        ("ctranslate2", "bart", biased),
    ],
)
def test_a_wrong_blueprint_is_caught(
    form: str,
    family: str,
    fault: Callable[[Blueprint], Blueprint],
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = exporter.blueprint.read
    monkeypatch.setattr(blueprint, "read", lambda *given: fault(read(*given)))
    with pytest.raises(CheckFailed, match="the export (says|scores)"):
        run(models[family], tmp_path / "out", format=form)


def test_the_fillers_of_a_vocabulary_are_left_out(models: dict[str, Path]) -> None:
    """BART holds one vocabulary; the smaller one's fillers need no column in an export."""
    config = json.loads((models["bart"] / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == 16
    assert len(blueprint.read(models["bart"]).output) == 16
    found = exporter._blueprint(models["bart"], models["bart"])
    assert (len(found.output), len(found.tokens["decoder"])) == (14, 14)
    assert len(found.tokens["encoder"]) == 16
    assert np.isfinite(found.output_bias).all()


@pytest.mark.parametrize("form", FORMATS)
def test_outputs_end_where_few_positions_do(form: str, tmp_path: Path) -> None:
    """Twelve positions: eleven words and `</s>`, though fairseq's usual longest output is 200."""
    model = ported(tmp_path, max_source_positions=12)
    run(model, tmp_path / "out", format=form)
    exported, asked = Translator.load(tmp_path / "out"), Beam(num_beams=2, min_tokens=11)
    said = exported.outputs(["ab ca"], asked)[0][0]
    assert said.text == Translator.load(model).outputs(["ab ca"], asked)[0][0].text
    with pytest.raises(DevenoError, match="13 source tokens, the model takes at most 12"):
        exported.decoded(["c " * 12], Greedy())


def test_what_a_format_lacks_is_named(tmp_path: Path) -> None:
    model = ported(tmp_path, activation_fn="relu_squared", **material.PRE)
    run(model, tmp_path / "runner", format="runner")
    run(model, tmp_path / "onnx", format="onnx-translator")
    with pytest.raises(DevenoError, match="CTranslate2 has no activation 'relu2'"):
        run(model, tmp_path / "ct2", format="ctranslate2")
