"""Exports open in onnxruntime with nothing of ours, equal the model, and are the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stages.core.errors import ArtifactError, CheckFailed, ParamsError
from stages.core.log import Log
from stages.export.stage import DynamicInt8, ExportParams, export

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Make a tiny random tagger and a tiny random masked language model."""
    import torch
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaForTokenClassification

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=142, type_vocab_size=1, pad_token_id=1,
        bos_token_id=0, eos_token_id=2, num_labels=5, initializer_range=0.3,
    )  # fmt: skip
    RobertaForTokenClassification(config).save_pretrained(folder / "tagger")
    RobertaForMaskedLM(config).save_pretrained(folder / "lm")
    return folder


def run(models, tmp_path, model="tagger", name="out", **changes):
    log = Log()
    export(
        ExportParams(model=f"x/{model}", **changes),
        models / model,
        tmp_path / "none",
        tmp_path / "none",
        tmp_path / name,
        log,
    )
    return tmp_path / name, log


def test_a_tagger_exports_and_opens_with_onnxruntime_alone(models, tmp_path):
    folder, log = run(models, tmp_path)
    facts = json.loads((folder / "export.json").read_text())
    assert facts["task"] == "token-classification"
    lengths = {row["case"]: row["lengths"] for row in facts["parity"]}
    assert lengths["one token"] == [1]
    assert lengths["odd length"] == [7]
    assert lengths["longest"] == [140], "every position that the model has, not a round number"
    assert lengths["padded batch"] == [140, 46, 1]
    assert log.observed["parity_relative_difference"] < 1e-4
    code = (
        "import onnxruntime, numpy, sys;"
        f"s=onnxruntime.InferenceSession({str(folder / 'model.onnx')!r});"
        "i=numpy.full((3,11),9);"
        "print(s.run(None,{'input_ids':i,'attention_mask':i*0+1})[0].shape,'torch' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "(3, 11, 5) False"


def test_int8_is_smaller_and_keeps_the_best_answers(models, tmp_path):
    plain, _ = run(models, tmp_path, name="plain")
    small, log = run(models, tmp_path, name="small", quantize=DynamicInt8())
    sizes = [(folder / "model.onnx").stat().st_size for folder in (plain, small)]
    assert sizes[1] < 0.6 * sizes[0]
    facts = json.loads((small / "export.json").read_text())
    assert facts["weight_bytes"]["int8"] > facts["weight_bytes"]["float"]
    assert facts["operators"]["MatMulInteger"] >= 12
    assert log.observed["parity_agreement_fraction"] > 0.9


def test_an_encoder_and_a_fill_mask_graph(models, tmp_path):
    folder, _ = run(models, tmp_path, "lm", "features", task="features")
    assert json.loads((folder / "export.json").read_text())["output"] == "last_hidden_state"
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["RobertaModel"]
    folder, _ = run(models, tmp_path, "lm", "fill")
    assert json.loads((folder / "export.json").read_text())["task"] == "fill-mask"


def test_two_processes_write_the_same_bytes(models, tmp_path):
    digests = []
    for seed in ("1", "2"):
        out = tmp_path / f"folder-{seed}" / "deeper" / "out"
        out.parent.mkdir(parents=True)
        code = (
            "from pathlib import Path; from stages.core.log import Log;"
            "from stages.export.stage import *;"
            "export(ExportParams(model='x', quantize=DynamicInt8()),"
            f" Path({str(models / 'tagger')!r}), *2 * [Path('none')], Path({str(out)!r}), Log())"
        )
        environment = {"PYTHONHASHSEED": seed, "PATH": "", "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
        digests.append((out / "model.onnx").read_bytes())
        assert str(ROOT).encode() not in digests[-1]
    assert digests[0] == digests[1]


def test_a_graph_that_is_not_the_model_is_refused(models, tmp_path, monkeypatch):
    from stages.lm import onnx

    real = onnx.OnnxModel.answers
    monkeypatch.setattr(
        onnx.OnnxModel, "answers", lambda self, ids, mask: real(self, ids, mask * 0 + 1)
    )
    with pytest.raises(CheckFailed, match="padded batch: the graph differs"):
        run(models, tmp_path)


def test_a_quantized_graph_that_forgets_answers_is_refused(models, tmp_path):
    with pytest.raises(CheckFailed, match="of the best answers, fewer than 100%"):
        run(models, tmp_path, quantize=DynamicInt8(per_channel=False), parity_agreement=1.0)


def test_bad_models_are_named(models, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="no config.json"):
        run(tmp_path, tmp_path, "empty")
    with pytest.raises(ParamsError, match="needs another head"):
        run(models, tmp_path, task="fill-mask")
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "model.safetensors"):
        data = (models / "tagger" / name).read_bytes()
        (broken / name).write_bytes(data if name == "config.json" else data[:100])
    with pytest.raises(ArtifactError, match="cannot be opened"):
        run(tmp_path, tmp_path, "broken")
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(
        json.dumps(config | {"architectures": ["FSMTForConditionalGeneration"]})
    )
    with pytest.raises(ParamsError, match="cannot be exported"):
        run(tmp_path, tmp_path, "broken")
