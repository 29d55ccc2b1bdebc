"""Folders of transformers stream into shards: equal bytes, equal answers, damage named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.core.errors import CheckFailed, DevenoError
from stages.core.log import Log
from stages.lm.tensors.bridge import tensor_of
from stages.lm.tensors.checkpoint import open_safetensors
from stages.lm.tensors.nodes import whole
from stages.port.stage import PortParams, Transformers, port

SIZES = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
KINDS = {
    "llama": ("Llama", "ForCausalLM", {}),
    "llama tied": ("Llama", "ForCausalLM", {"tie_word_embeddings": True}),
    "roberta": ("Roberta", "ForMaskedLM", {"type_vocab_size": 1}),
    "gpt2": ("GPT2", "LMHeadModel", {"n_positions": 64}),
    "rwkv": ("Rwkv", "ForCausalLM", {"num_hidden_layers": 7}),
    "bloom": ("Bloom", "ForCausalLM", {"hidden_size": 21, "num_attention_heads": 3}),
    "bert tagger": ("Bert", "ForTokenClassification", {"num_labels": 4}),
}


def saved(folder: Path, kind: str, size: str = "4KB", pickled: bool = False) -> dict:
    """Save a model as transformers does; return its tensors by the names in the files."""
    import transformers

    name, head, changes = KINDS[kind]
    torch.manual_seed(1)
    config = getattr(transformers, f"{name}Config")(**SIZES | changes)
    model = getattr(transformers, name + head)(config)
    model.save_pretrained(folder / "files", max_shard_size=size)
    files = sorted((folder / "files").glob("*.safetensors"))
    tensors = {key: tensor for file in files for key, tensor in load_file(file).items()}
    if pickled:
        for path in (folder / "files").glob("model*"):
            path.unlink()
        torch.save(tensors, folder / "files/pytorch_model.bin")
    return tensors


def ported(raw: Path, **changes) -> Path:
    source = Transformers(kind="transformers", verify_tokens=8, **changes)
    port(PortParams(raw="x", source=source), raw, raw, raw, raw / "model", Log())
    return raw / "model"


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_keeps_its_bytes_and_the_model_its_answers(
    tmp_path: Path, kind: str, pickled: bool
):
    tensors = saved(tmp_path, kind, pickled=pickled)
    model = ported(tmp_path, shard_mb=0.006)
    index = json.loads((model / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    with open_safetensors(model) as checkpoint:
        assert set(checkpoint.entries) == set(tensors)
        for name, node in checkpoint.nodes().items():
            assert torch.equal(tensor_of(node.spec, whole(node)), tensors[name])
    report = json.loads((model / "verification.json").read_text())
    assert report["loaded_whole_too"]
    assert "logits, weights on disk or in memory" in {row["name"] for row in report["checks"]}


def test_a_tensor_that_the_model_has_no_place_for_is_named(tmp_path: Path):
    tensors = saved(tmp_path, "llama", pickled=True)
    torch.save(tensors | {"spare": torch.ones(2)}, tmp_path / "files/pytorch_model.bin")
    with pytest.raises(CheckFailed, match=r"no layer reads: 1, limit 0 \(spare\)"):
        ported(tmp_path)


BROKEN = {
    "lost": (lambda t: t.pop("model.norm.weight"), r"1 missing: model\.norm\.weight"),
    "shape": (
        lambda t: t.update({"model.norm.weight": torch.ones(9)}),
        r"model\.norm\.weight has shape \[9\], config\.json says \[16\]",
    ),
    "no number": (
        lambda t: t["model.norm.weight"].fill_(float("nan")), "logits that are no numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_is_not_its_configuration_is_named(tmp_path: Path, name: str):
    tensors = saved(tmp_path, "llama", pickled=True)
    change, told = BROKEN[name]
    change(tensors)
    torch.save(tensors, tmp_path / "files/pytorch_model.bin")
    with pytest.raises(DevenoError, match=told):
        ported(tmp_path)


def test_a_class_that_cannot_be_proved_and_no_configuration_are_named(tmp_path: Path):
    saved(tmp_path, "llama")
    config = tmp_path / "files/config.json"
    text = json.loads(config.read_text())
    config.write_text(json.dumps(text | {"architectures": ["ViTModel"]}))
    with pytest.raises(DevenoError, match="architectures = ViTModel is no model"):
        ported(tmp_path)
    for broken in ("{", "[]"):
        config.write_text(broken)
        with pytest.raises(DevenoError, match=r"config\.json is no JSON object"):
            ported(tmp_path)
    config.unlink()
    with pytest.raises(DevenoError, match=r"0 files config\.json"):
        ported(tmp_path)
