"""Sharded models: every shard is validated and the index must say what they hold, all of it.

What the safetensors library itself (0.8) refuses of the files in test_weights.py, and what it
opens, is LIBRARY_OPENS below, checked here: it takes a name that stands twice. transformers (5.23)
opens a model whose index tells a wrong total size.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from stages.core.errors import ArtifactError
from stages.lm import models
from stages.lm.tensors.checkpoint import open_safetensors
from tests.lm.test_weights import BAD, file

LIBRARY_OPENS = {"twice"}
NAMES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.mark.parametrize("name", BAD)
def test_what_the_library_refuses_is_recorded(tmp_path: Path, name: str):
    header, data, _ = BAD[name]
    path = file(tmp_path / "model.safetensors", header, data)
    if name in LIBRARY_OPENS:
        load_file(path)
    else:
        with pytest.raises(SafetensorError):
            load_file(path)


def sharded(folder: Path) -> dict:
    """Write two shards; return their index."""
    folder.mkdir(exist_ok=True)
    save_file({"a": torch.ones(3), "b": torch.ones(2, 2)}, folder / NAMES[0])
    save_file({"c": torch.ones(5)}, folder / NAMES[1])
    weight_map = {"a": NAMES[0], "b": NAMES[0], "c": NAMES[1]}
    return {"metadata": {"total_size": 48}, "weight_map": weight_map}


def write(folder: Path, index: object) -> Path:
    text = index if isinstance(index, str) else json.dumps(index)
    (folder / "model.safetensors.index.json").write_text(text)
    return folder


def test_a_true_index_is_opened(tmp_path: Path):
    index = sharded(tmp_path)
    with open_safetensors(write(tmp_path, index)) as checkpoint:
        assert {name: spec.shape for name, spec in checkpoint.specs.items()} == {
            "a": (3,), "b": (2, 2), "c": (5,),
        }  # fmt: skip
    del index["metadata"]
    open_safetensors(write(tmp_path, index)).close()


TWICE = '{"weight_map": {"a": "%s", "b": "%s", "c": "%s", "a": "%s"}}'
WRONG = {
    "shard missing": (lambda index: index["weight_map"].update(d="gone.safetensors"),
                      "shard gone.safetensors is missing"),
    "tensor not there": (lambda index: index["weight_map"].update(d=NAMES[1]),
                         f"{NAMES[1]} lacks the tensor: d"),
    "tensor elsewhere": (lambda index: index["weight_map"].update(a=NAMES[1]),
                         f"{NAMES[0]} holds a tensor that the index puts elsewhere"),
    "tensor not named": (lambda index: index["weight_map"].pop("b"),
                         "puts elsewhere or does not name: b"),
    "total size": (lambda index: index["metadata"].update(total_size=49),
                   "total_size is 49 and the shards hold 48 bytes"),
    "total size is text": (lambda index: index["metadata"].update(total_size="48"),
                           "total_size is 48 and"),
    "empty": (lambda index: index.update(weight_map={}), "weight_map is empty"),
    "a list": (lambda index: index.update(weight_map=[]), "weight_map is empty"),
    "a path outside": (lambda index: index["weight_map"].update(a="../x.safetensors"),
                       "which is no file name"),
    "a number": (lambda index: index["weight_map"].update(a=1), "lies in 1, which is no"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_index_that_lies_is_refused(tmp_path: Path, name: str):
    index = sharded(tmp_path)
    change, told = WRONG[name]
    change(index)
    with pytest.raises(ArtifactError) as caught:
        open_safetensors(write(tmp_path, index))
    assert told in caught.value.what
    assert len(caught.value.lines()) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "it is no index"),
        ("[1]", "it is no index"),
        ("{}", "it is no index"),
        (TWICE % (NAMES[0], NAMES[0], NAMES[1], NAMES[1]), "it names 'a' twice"),
        ('{"a":' + "[" * 100_000, "it is no index"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str, told: str):
    sharded(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        open_safetensors(write(tmp_path, text))
    assert told in caught.value.what


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path):
    index = sharded(tmp_path)
    save_file({"c": torch.ones(5), "a": torch.zeros(3)}, tmp_path / NAMES[1])
    with pytest.raises(ArtifactError, match="puts elsewhere or does not name: a"):
        open_safetensors(write(tmp_path, index))


@pytest.mark.parametrize("name", BAD)
def test_every_shard_is_validated(tmp_path: Path, name: str):
    header, data, told = BAD[name]
    index = sharded(tmp_path)
    file(tmp_path / NAMES[1], header, data)
    with pytest.raises(ArtifactError) as caught:
        open_safetensors(write(tmp_path, index))
    assert told in caught.value.what
    assert NAMES[1] in caught.value.what


def test_a_truncated_shard_is_refused_before_anything_is_loaded(tmp_path: Path):
    index = sharded(tmp_path)
    path = tmp_path / NAMES[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="its tensors end at 28 and its data at 27"):
        open_safetensors(write(tmp_path, index))


def test_a_sharded_model_opens_like_a_whole_one_and_a_lying_one_does_not(tmp_path: Path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    found = models.load(tmp_path, "causal")
    for name, parameter in model.named_parameters():
        assert torch.equal(dict(found.named_parameters())[name], parameter)
    index["metadata"]["total_size"] += 1
    write(tmp_path, index)
    LlamaForCausalLM.from_pretrained(tmp_path)  # nothing is said
    with pytest.raises(ArtifactError, match="total_size is"):
        models.load(tmp_path, "causal")
