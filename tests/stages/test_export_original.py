"""LLaMA-family models go out in their original layout and come back, equal to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.core.errors import DevenoError, ParamsError
from stages.core.log import Log
from stages.export.stage import ExportParams, export
from stages.port.stage import Llama, PortParams, port
from tests.stages import llama_material as material


def out(model: Path, folder: Path, **changes) -> Path:
    params = ExportParams.model_validate({"model": "x/y", "format": "original", **changes})
    export(params, model, model, model, folder, Log())
    return folder


def ported(raw: Path, name: str = "model") -> Path:
    source = Llama(kind="llama", verify_tokens=8)
    port(PortParams(raw="x", source=source), raw, raw, raw, raw / name, Log())
    return raw / name


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


def same(found: dict, wanted: dict) -> bool:
    return list(sorted(found)) == list(sorted(wanted)) and all(
        found[name].dtype == wanted[name].dtype
        and found[name].shape == wanted[name].shape
        and torch.equal(bits(found[name]), bits(wanted[name]))
        for name in wanted
    )


FREQUENCIES = {"rope.freqs": torch.linspace(1, 0.1, 4)}
TIED = {k: v for k, v in material.state().items() if k != "output.weight"}
RELEASES = {
    "one rank": (material.state(), {}, material.params()),
    "two ranks, table by columns": (
        {k: v.half() for k, v in (material.state() | FREQUENCIES).items()},
        {"count": 2, "table_axis": 1}, material.params(),
    ),
    "tied by a copy": (
        TIED | {"output.weight": TIED["tok_embeddings.weight"].clone()}, {}, material.params(),
    ),
    "tied by absence": (TIED, {}, material.params()),
    "biases": (material.state(biases="qkv"), {}, material.params()),
    "window": (material.state(), {}, material.params(sliding_window=4)),
    "stretched": (material.state(), {}, material.params(use_scaled_rope=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASES)
def test_a_ported_release_goes_back_to_equal_bytes(tmp_path: Path, name: str):
    tensors, written, settings = RELEASES[name]
    raw = material.release(tmp_path, tensors, settings, **written)
    back = out(ported(raw), tmp_path / "back")
    count = written.get("count", 1)
    wanted = (
        material.ranks(tensors, count, written.get("table_axis", 0)) if count > 1 else [tensors]
    )
    for rank, part in enumerate(wanted):
        assert same(load_file(back / f"consolidated.{rank:02d}.safetensors"), part)
    assert json.loads((back / "params.json").read_text()) == settings
    assert len(list(back.glob("*.safetensors"))) == count


def ours(folder: Path, kind: str, **changes) -> Path:
    """Save a model as `pretrain` does."""
    import transformers

    sizes = {
        "vocab_size": 60, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(**sizes | changes)
    getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(folder)
    return folder


MODELS = {
    "Llama": {},
    "Llama tied": {"tie_word_embeddings": True},
    "Llama with biases": {"attention_bias": True},
    "Llama of wide heads": {"head_dim": 16},
    "Llama stretched": {
        "rope_parameters": {
            "rope_type": "llama3", "rope_theta": 5e5, "factor": 4.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        },
    },
    "Mistral": {"sliding_window": 5},
    "Mistral without a window": {"sliding_window": None},
    "Qwen2": {},
}  # fmt: skip


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_ours_goes_out_and_comes_back_equal(tmp_path: Path, name: str, ranks: int):
    model = ours(tmp_path / "ours", name.split()[0], **MODELS[name])
    raw = tmp_path / "raw"
    raw.mkdir()
    out(model, raw / "files", ranks=ranks)
    again = ported(raw)
    assert same(load_file(again / "model.safetensors"), load_file(model / "model.safetensors"))
    one, other = (json.loads((f / "config.json").read_text()) for f in (model, again))
    kept = ["rms_norm_eps", "rope_parameters", "sliding_window", "max_position_embeddings"]
    if name != "Mistral without a window":  # then nothing in the layout tells it from LLaMA
        kept.append("model_type")
    assert [one.get(key) for key in kept] == [other.get(key) for key in kept]


def test_what_the_layout_cannot_say_is_refused(tmp_path: Path):
    linear = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    model = ours(tmp_path / "a", "Llama", rope_parameters=linear)
    with pytest.raises(DevenoError, match="rope_type linear has no place"):
        out(model, tmp_path / "out-a")
    model = ours(tmp_path / "b", "Llama", hidden_act="gelu")
    with pytest.raises(DevenoError, match="hidden_act gelu has no place"):
        out(model, tmp_path / "out-b")
    some = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    model = ours(tmp_path / "w", "Qwen2", **some)
    with pytest.raises(DevenoError, match="sliding_window 8 of some layers only"):
        out(model, tmp_path / "out-w")
    model = ours(tmp_path / "c", "Llama")
    with pytest.raises(ParamsError, match="ranks = 3 do not share key_value_heads 2"):
        out(model, tmp_path / "out-c", ranks=3)
    (tmp_path / "d").mkdir()
    for text, told in (("{", "config.json is no JSON object"), ("[]", "it holds a list")):
        (tmp_path / "d/config.json").write_text(text)
        for form in ("original", "onnx", "runner"):
            with pytest.raises(DevenoError, match=told):
                out(tmp_path / "d", tmp_path / f"out-{form}", format=form)
    (tmp_path / "d/config.json").write_text('{"model_type": "roberta"}')
    with pytest.raises(ParamsError, match="a roberta model has none"):
        out(tmp_path / "d", tmp_path / "out-d")


def test_two_exports_have_equal_bytes(tmp_path: Path):
    model = ours(tmp_path / "ours", "Llama")
    one, other = (out(model, tmp_path / name) for name in "ab")
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in other.iterdir())
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()
