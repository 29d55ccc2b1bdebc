"""Settings of fairseq's many architectures: each ported right, or refused by the field's name."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.port import pickles
from stages.port.fairseq import architecture
from stages.port.stage import Fairseq, PortParams, port
from tests.stages import fairseq_material as material

TRAINED_ONLY: dict[str, object] = {
    "encoder_layerdrop": 0.2,
    "decoder_layerdrop": 0.1,
    "offload_activations": True,
    "checkpoint_activations": True,
    "tie_adaptive_weights": True,
    "tie_adaptive_proj": True,
    "adaptive_softmax_dropout": 0.2,
    "adaptive_softmax_factor": 4,
    "alignment_heads": 2,
    "alignment_layer": 1,
    "full_context_alignment": True,
    "min_params_to_wrap": 100000,
    "left_pad_source": True,
    "load_alignments": True,
    "relu_dropout": 0.1,
    "base_sublayers": 1,
    "quant_noise_pq_block_size": 8,
}
"""Options that change nothing of what a trained model computes."""


def read(any_name: bool = False, **changed: object) -> architecture.Architecture:
    return architecture.read({"args": {**material.SHAPE, **changed}}, any_name)


@pytest.mark.parametrize(
    "arch",
    [
        "transformer_wmt_en_de_big",
        "transformer_wmt_en_de_big_t2t",
        "transformer_vaswani_wmt_en_fr_big",
        "transformer_iwslt_de_en",
        "transformer_align",
        "transformer_wmt_en_de_big_align",
        "transformer_from_pretrained_xlm",
        "transformer_tiny_xyz",
        "my-transformer.tiny",
        "Tiny_Transformer2",
        "bart_large",
        "mbart_base_wmt20",
    ],
)
def test_names_of_transformers_are_known(arch: str) -> None:
    assert read(arch=arch) == read()


@pytest.mark.parametrize(
    "arch",
    [
        "lstm_wiseman_iwslt_de_en",
        "fconv_wmt_en_de",
        "lightconv_wmt_en_de",
        "transformer_lm_big",
        "levenshtein_transformer",
        "cmlm_transformer_wmt_en_de",
        "iterative_nonautoregressive_transformer",
        "gru_transformer",
        "latent_multilingual_transformer",
        "transformer_monotonic_iwslt_de_en",
        "transformer_pointer_generator",
        "s2t_transformer_s",
        "convtransformer",
        "wav2vec2",
        "my_own_tiny",
        None,
    ],
)
def test_other_families_are_refused_by_name(arch: str | None) -> None:
    with pytest.raises(ArtifactError) as caught:
        read(arch=arch)
    assert f"arch = {arch}:" in caught.value.what
    assert len(caught.value.lines()) == 3


def test_a_name_of_ones_own_is_taken_when_it_is_said_to_be_a_transformer(tmp_path: Path) -> None:
    assert read(any_name=True, arch="my_own_tiny") == read()
    with pytest.raises(ArtifactError, match="encoder_layers is None"):
        read(any_name=True, arch="my_own_tiny", encoder_layers=None)
    with pytest.raises(ArtifactError, match="arch = fconv_tiny: .* another family"):
        read(any_name=True, arch="fconv_tiny")
    raw = material.release(tmp_path / "raw", arch="my_own_tiny")
    with pytest.raises(ArtifactError) as caught:
        ported(raw, tmp_path / "refused")
    assert "source.architecture: transformer" in caught.value.todo
    assert ported(raw, tmp_path / "model", architecture="transformer")["passed"]


@pytest.mark.parametrize("name", architecture.ANOTHER)
def test_options_of_other_models_are_refused_whatever_the_name(name: str) -> None:
    with pytest.raises(ArtifactError, match=f"{name} = 1: .* another family"):
        read(any_name=True, **{name: 1})


@pytest.mark.parametrize("name", architecture.REFUSED)
def test_what_no_class_computes_is_refused_by_its_field(name: str) -> None:
    with pytest.raises(ArtifactError, match=f"^.*{name} = 1: transformers cannot hold"):
        read(**{name: 1})
    for absent in (None, False, 0, 0.0, "", []):
        assert read(**{name: absent}) == read()


def test_old_settings_without_newer_fields_mean_fairseqs_defaults() -> None:
    kept = (
        "arch", "source_lang", "target_lang", "encoder_embed_dim", "encoder_layers",
        "decoder_layers", "encoder_ffn_embed_dim", "decoder_ffn_embed_dim",
        "encoder_attention_heads", "decoder_attention_heads",
    )  # fmt: skip
    found = architecture.read({"args": {name: material.SHAPE[name] for name in kept}})
    assert (found.activation, found.tying, found.max_positions) == ("relu", "none", 1024)
    assert found.scale_embedding
    assert found.positions
    assert not found.pre_norm


def ported(raw: Path, model: Path, **options: Any) -> dict[str, Any]:
    port(PortParams(raw="x", source=Fairseq(**options)), raw, raw, raw, model, Log())
    found: dict[str, Any] = json.loads((model / "verification.json").read_text(encoding="utf-8"))
    return found


def weights_of(model: Path) -> bytes:
    return (model / "model.safetensors").read_bytes()


def test_what_only_training_knew_changes_nothing(tmp_path: Path) -> None:
    plain = material.release(tmp_path / "plain", layout="old")
    told = material.release(tmp_path / "told", layout="old", **TRAINED_ONLY)
    assert ported(told, tmp_path / "b")["passed"]
    assert ported(plain, tmp_path / "a")["passed"]
    assert weights_of(tmp_path / "a") == weights_of(tmp_path / "b")


def test_an_ensemble_archive_of_wmt19s_kind(tmp_path: Path) -> None:
    """Old settings, two files of one joined dictionary with fillers, three checkpoints, 16 bits."""
    top = tmp_path / "wmt19.de-en.joined-dict.ensemble"
    symbols = [*material.JOINED, *(f"madeupword{at:04}" for at in range(3))]
    raw = material.release(
        tmp_path / "made",
        layout="old",
        half=True,
        symbols={"en": symbols, "eo": symbols},
        tying="all",
    )
    top.mkdir()
    shape = material.SHAPE | {
        "arch": "transformer_wmt_en_de_big",
        "source_lang": "de",
        "target_lang": "en",
        "share_all_embeddings": True,
    }
    for number in range(1, 4):
        state = material.weights(shape, len(symbols) + 4, len(symbols) + 4, seed=number)
        old = {key: value.half() for key, value in material.old_layout(state).items()}
        material.save(top / f"model{number}.pt", old, shape, "old")
    for name, there in (("en", "de"), ("eo", "en")):
        shutil.copyfile(raw / "files" / f"dict.{name}.txt", top / f"dict.{there}.txt")
    shutil.copyfile(raw / "files" / "bpecodes", top / "code")
    place = tmp_path / "raw" / "files"
    place.mkdir(parents=True)
    shutil.make_archive(str(place / top.name), "gztar", tmp_path, top.name)
    found = ported(tmp_path / "raw", tmp_path / "model", combine="ensemble")
    assert found["checkpoints"] == [f"model{number}.pt" for number in range(1, 4)]
    assert found["tying"] == "all"
    assert "float16" in found["source_dtypes"]
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["langs"] == ["de", "en"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("checkpoint_best.pt", "dict"), ("averaged.pt", "namespace"), ("checkpoint_last.pt", "dict")],
)
def test_settings_as_a_dict_or_a_namespace_under_any_file_name(
    tmp_path: Path, name: str, settings: str
) -> None:
    raw = material.release(tmp_path / "raw", no_scale_embedding=True)
    path = raw / "files" / "model.pt"
    shape = {**material.SHAPE, "no_scale_embedding": True}
    model = shape if settings == "dict" else argparse.Namespace(**shape)
    task = {"_name": "translation", "source_lang": "en", "target_lang": "eo"}
    tree = {"args": None, "cfg": {"model": model, "task": task}, "model": _state(path)}
    torch.save(tree, raw / "files" / name)
    path.unlink()
    found = ported(raw, tmp_path / "model")
    assert found["checkpoint"] == name
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["scale_embedding"] is False


def _state(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = pickles.load(path)["model"]
    return state


def test_languages_the_other_way_round(tmp_path: Path) -> None:
    swapped = {"source_lang": "eo", "target_lang": "en"}
    symbols = {"en": material.SYMBOLS["eo"], "eo": material.SYMBOLS["en"]}
    raw = material.release(tmp_path / "raw", layout="old", symbols=symbols, **swapped)
    state = material.weights(material.SHAPE, 16, 14)
    shape = {**material.SHAPE, **swapped}
    material.save(raw / "files" / "model.pt", material.old_layout(state), shape, "old")
    assert ported(raw, tmp_path / "model")["passed"]
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["langs"] == ["eo", "en"]
    assert (config["src_vocab_size"], config["tgt_vocab_size"]) == (16, 14)
