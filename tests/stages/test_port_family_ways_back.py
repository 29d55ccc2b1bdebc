"""Ported families go back to their original layout: equal bytes of every tensor, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.export.stage import ExportParams, export
from stages.lm.layouts import originals
from stages.lm.tensors import bundle
from stages.lm.tensors.checkpoint import open_safetensors
from stages.lm.tensors.nodes import whole
from stages.port.families import choices, reading
from tests.stages import families_material as material
from tests.stages.test_port_families import names, run


def same_tensors(one: Any, other: Any) -> None:
    """Assert that two checkpoints hold the same tensors, bit for bit."""
    assert one.specs == other.specs
    for name in one.specs:
        assert np.array_equal(whole(one.node(name)), whole(other.node(name))), name


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_tensorflow_checkpoints_go_back_to_the_same_files(tmp_path: Path, name: str) -> None:
    """A -> B -> A: the shard of weights has equal bytes, the rest of the release is there."""
    prefix = {"bert": "bert_model.ckpt", "gpt2": "model.ckpt"}[name]
    source = {"bert": choices.Bert(), "gpt2": choices.Gpt2()}[name]
    files = material.release(name, tmp_path / name)
    run(source, files, tmp_path / "model")
    log = Log()
    params = ExportParams(model="ported/x", format="original")
    export(params, tmp_path / "model", tmp_path, tmp_path, tmp_path / "back", log)
    facts = json.loads((tmp_path / "back" / "export.json").read_text(encoding="utf-8"))
    made = facts["files"]
    assert facts["layout"] == name
    with bundle.opened(bundle.read(files / prefix)) as before:
        before.entries.pop("global_step", None)  # state of the training run
        with bundle.opened(bundle.read(tmp_path / "back" / prefix)) as after:
            same_tensors(before, after)
    for file in made:
        if not file.startswith(prefix) and file.endswith((".txt", "encoder.json", ".bpe")):
            assert (tmp_path / "back" / file).read_bytes() == (files / file).read_bytes()
    run(source, tmp_path / "back", tmp_path / "again")  # and can be ported again
    weights = "model.safetensors"
    again = (tmp_path / "again" / weights).read_bytes()
    assert again == (tmp_path / "model" / weights).read_bytes()


def test_every_other_family_goes_back_to_the_same_tensors(tmp_path: Path) -> None:
    made: dict[str, tuple[Any, Path]] = {
        "megatron": (
            choices.MegatronGpt2(),
            material.megatron(tmp_path / "m", material.gpt2_model(), 1, 2),
        ),
        "rwkv": (choices.Rwkv(), material.rwkv(tmp_path / "r", material.rwkv_model())),
        "bloom": (choices.Bloom(), material.bloom(tmp_path / "b", material.bloom_model())),
        "training": (
            choices.Bloom(), material.bloom_training(tmp_path / "t", material.bloom_model())
        ),
        "roberta": (
            choices.Roberta(),
            material.roberta(
                tmp_path / "f", material.roberta_model(), fused=True, heads={"mnli": 3}
            ),
        ),
    }  # fmt: skip
    for name, (source, files) in made.items():
        model = tmp_path / f"model-{name}"
        reading.port_family(source, files, model, Log())
        originals.write_back(model, tmp_path / f"back-{name}")
        with (
            reading.read(source, files).checkpoint as before,
            open_safetensors(tmp_path / f"back-{name}") as after,
        ):
            same_tensors(before, after)


@pytest.mark.parametrize("kind", ["gpt2", "bert", "bloom", "rwkv"])
def test_a_model_of_transformers_goes_out_and_comes_back(tmp_path: Path, kind: str) -> None:
    """B -> A -> B: equal bytes of every tensor, and equal logits, verified on the way in."""
    from transformers import BertConfig, BertForPreTraining

    model = {
        "gpt2": material.gpt2_model,
        "bloom": material.bloom_model,
        "rwkv": material.rwkv_model,
        "bert": lambda: material.drawn(
            BertForPreTraining(
                BertConfig(
                    vocab_size=77, hidden_size=12, num_hidden_layers=2, num_attention_heads=3,
                    intermediate_size=24, max_position_embeddings=24,
                )
            )
        ),
    }[kind]()  # fmt: skip
    model.save_pretrained(tmp_path / "model")
    if kind == "gpt2":
        material.byte_pairs(tmp_path / "model", "vocab.json", "merges.txt")
    if kind == "bert":
        vocabulary = (material.RELEASES / "bert" / "vocab.txt").read_bytes()
        (tmp_path / "model" / "vocab.txt").write_bytes(vocabulary)
    originals.write_back(tmp_path / "model", tmp_path / "original")
    source = {
        "gpt2": choices.Gpt2(), "bert": choices.Bert(), "bloom": choices.Bloom(),
        "rwkv": choices.Rwkv(),
    }[kind]  # fmt: skip
    run(source, tmp_path / "original", tmp_path / "back")
    with (
        open_safetensors(tmp_path / "model") as before,
        open_safetensors(tmp_path / "back") as after,
    ):
        same_tensors(before, after)


def test_a_folder_that_was_not_ported_has_no_way_back(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
    with pytest.raises(ArtifactError, match="a t5 model has no original layout that we write"):
        originals.write_back(tmp_path, tmp_path / "back")
    config = json.dumps({"model_type": "gpt2", "activation_function": "relu"})
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(save({"a": torch.zeros(1)}))
    with pytest.raises(ArtifactError, match="activation_function is 'relu', and the original"):
        originals.write_back(tmp_path, tmp_path / "back")
    (tmp_path / "original.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ArtifactError, match="it does not say what it was ported from"):
        originals.write_back(tmp_path, tmp_path / "back")
    (tmp_path / "original.json").write_text('{"layout": "other"}', encoding="utf-8")
    with pytest.raises(ArtifactError, match="its layout is 'other'; the known ones are bert"):
        originals.write_back(tmp_path, tmp_path / "back")


def test_roberta_of_a_dictionary_that_lacks_tokens(tmp_path: Path) -> None:
    """fairseq-preprocess keeps what it saw: absent tokens are read as unknown, never written."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    kept = material.shuffled_ids()[:200]
    model = material.roberta_model(rows=200 + 8)
    lines = [f"{number} 7" for number in kept] + [f"madeupword{at:04d} 0" for at in range(3)]
    files = material.roberta(tmp_path / "roberta", model, lines=lines)
    found = run(choices.Roberta(), files, tmp_path / "model")
    assert found["tokens_that_the_dictionary_lacks"] == 131 - (330 not in kept)
    assert "absent tokens are never written in fp64" in names(found)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    ported = AutoModelForMaskedLM.from_pretrained(tmp_path / "model", local_files_only=True)
    ids = tokenizer("Unu, du: tri!", return_tensors="pt")["input_ids"]
    unknown = ids.where(ids < 208, 3)
    assert (ids >= 208).any()
    with torch.inference_mode():
        out = ported(ids).logits
        torch.testing.assert_close(out[..., :208], model(unknown).logits, atol=1e-5, rtol=0)
        assert out.argmax(dim=-1).max() < 208
    with reading.read(choices.Roberta(), files).checkpoint as before:
        originals.write_back(tmp_path / "model", tmp_path / "back")
        with open_safetensors(tmp_path / "back") as after:
            same_tensors(before, after)
