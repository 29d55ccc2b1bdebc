"""Releases that cannot be ported are refused in three lines: what, where and what to do."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.errors import DevenoError, ParamsError
from stages.core.log import Log
from stages.port.families import choices, reading
from tests.stages import families_material as material


def _refused(source: Any, files: Path, model: Path, words: str) -> DevenoError:
    with pytest.raises(DevenoError) as refusal:
        reading.port_family(source, files, model, Log())
    error = refusal.value
    assert words in error.what, error
    assert all(line.strip() for line in (error.what, error.where, error.todo))
    assert not (model / "verification.json").exists()
    return error


def _edited(path: Path, **changes: Any) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(found | changes), encoding="utf-8")


RELEASED = {"bert": choices.Bert(), "gpt2": choices.Gpt2()}
MISSING = [
    ("bert", "bert_config.json"),
    ("bert", "vocab.txt"),
    ("bert", "bert_model.ckpt.index"),
    ("bert", "bert_model.ckpt.data-00000-of-00001"),
    ("gpt2", "hparams.json"),
    ("gpt2", "encoder.json"),
    ("gpt2", "vocab.bpe"),
    ("gpt2", "model.ckpt.index"),
    ("gpt2", "model.ckpt.data-00000-of-00001"),
]


@pytest.mark.parametrize(("name", "file"), MISSING)
def test_missing_files_are_named(tmp_path: Path, name: str, file: str) -> None:
    files = material.release(name, tmp_path / name)
    (files / file).unlink()
    told = "index is missing" if file.endswith(".index") else f"{file} is missing"
    _refused(RELEASED[name], files, tmp_path / "model", told)


@pytest.mark.parametrize(
    ("name", "file", "changes", "told"),
    [
        ("bert", "bert_config.json", {"vocab_size": 78}, "vocab_size is 78 in the settings and 77"),
        ("bert", "bert_config.json", {"num_hidden_layers": 3}, "num_hidden_layers is 3"),
        ("bert", "bert_config.json", {"hidden_act": "swish"}, "hidden_act is 'swish'"),
        ("bert", "bert_config.json", {"num_attention_heads": 0}, "num_attention_heads is 0"),
        ("bert", "bert_config.json", {"num_attention_heads": 5}, "5 heads do not share a width"),
        ("gpt2", "hparams.json", {"n_head": 5}, "5 heads do not share a width of 16"),
        ("gpt2", "hparams.json", {"n_ctx": 64}, "n_ctx is 64 in the settings and 32"),
        ("gpt2", "hparams.json", {"n_layer": "two"}, "n_layer is 'two'"),
    ],
)
def test_settings_of_another_checkpoint(
    tmp_path: Path, name: str, file: str, changes: dict[str, Any], told: str
) -> None:
    files = material.release(name, tmp_path / name)
    _edited(files / file, **changes)
    _refused(RELEASED[name], files, tmp_path / "model", told)


def test_vocabularies_of_another_size(tmp_path: Path) -> None:
    files = material.release("bert", tmp_path / "bert")
    with (files / "vocab.txt").open("a", encoding="utf-8") as stream:
        stream.write("more\n")
    told = "vocab.txt holds 78 tokens and the checkpoint 77 rows"
    _refused(choices.Bert(), files, tmp_path / "model", told)
    files = material.release("gpt2", tmp_path / "gpt2")
    _edited(files / "encoder.json", more=331)
    told = "encoder.json holds 332 tokens and the checkpoint 331 rows"
    _refused(choices.Gpt2(), files, tmp_path / "model", told)
    files = material.bloom(tmp_path / "bloom", material.bloom_model())
    material.word_level(files, 61)
    told = "its tokens have ids up to 60 and the checkpoint 60 rows"
    _refused(choices.Bloom(), files, tmp_path / "model", told)
    lines = [f"{number} 1" for number in material.shuffled_ids()]
    files = material.roberta(tmp_path / "roberta", material.roberta_model(), lines=lines)
    told = "the dictionary makes 336 ids with the special ones and the checkpoint has 339 rows"
    _refused(choices.Roberta(), files, tmp_path / "model", told)


def test_a_truncated_shard(tmp_path: Path) -> None:
    files = material.release("bert", tmp_path / "bert")
    shard = files / "bert_model.ckpt.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-100])
    told = "has 16976 bytes and cls/seq_relationship/output_weights ends at"
    _refused(choices.Bert(), files, tmp_path / "model", told)


def test_two_checkpoints_without_a_word_which(tmp_path: Path) -> None:
    files = material.release("gpt2", tmp_path / "gpt2")
    for end in ("index", "data-00000-of-00001"):
        shutil.copy(files / f"model.ckpt.{end}", files / f"model.ckpt-9.{end}")
    error = _refused(choices.Gpt2(), files, tmp_path / "one", "2 checkpoints")
    assert "checkpoint: model.ckpt-9" in error.todo
    wrong = choices.Gpt2(checkpoint="model.ckpt-8")
    _refused(wrong, files, tmp_path / "two", "there is no checkpoint model.ckpt-8")
    reading.port_family(choices.Gpt2(checkpoint="model.ckpt-9"), files, tmp_path / "three", Log())


@pytest.mark.parametrize("version", [4, 2.5, "2", True, None])
def test_an_unknown_version_of_megatron(tmp_path: Path, version: Any) -> None:
    files = material.megatron(tmp_path / "gpt", material.gpt2_model())
    path = next(files.rglob("model_optim_rng.pt"))
    tree = torch.load(path, weights_only=False)
    tree["checkpoint_version"] = version
    torch.save(tree, path)
    told = f"checkpoint_version is {version!r}"
    error = _refused(choices.MegatronGpt2(), files, tmp_path / "model", told)
    assert "0, 1, 2, 3" in error.todo


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_layers": 3}, "num_layers is 3 in the settings and 2"),
        ({"hidden_size": 32}, "hidden_size is 32 in the settings and 16"),
        ({"num_attention_heads": 5}, "5 heads"),
        ({"kv_channels": 8}, "4 heads of 8 do not make 16"),
        ({"padded_vocab_size": 512}, "padded_vocab_size is 512 in the settings and 384"),
        ({"max_position_embeddings": 41}, "max_position_embeddings is 41"),
        ({"tensor_model_parallel_size": 2}, "tensor_model_parallel_size is 2"),
        ({"apply_residual_connection_post_layernorm": True}, "apply_residual_connection_post"),
        ({"swiglu": True}, "swiglu is True"),
        ({"position_embedding_type": "rope"}, "position_embedding_type is 'rope'"),
        ({"normalization": "RMSNorm"}, "normalization is 'RMSNorm'"),
    ],
)
def test_arguments_that_are_of_another_model(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    files = material.megatron(tmp_path / "gpt", material.gpt2_model(), **changes)
    _refused(choices.MegatronGpt2(), files, tmp_path / "model", told)


def test_ranks_that_are_missing_or_differ(tmp_path: Path) -> None:
    files = material.megatron(tmp_path / "gpt", material.gpt2_model(), 2, 2)
    path = files / "iter_0150000" / "mp_rank_01" / "model_optim_rng.pt"
    tree = torch.load(path, weights_only=False)
    tree["model"]["language_model"]["encoder"]["final_layernorm.bias"] += 1
    torch.save(tree, path)
    _refused(choices.MegatronGpt2(), files, tmp_path / "one", "equal copies differ")
    shutil.rmtree(files / "iter_0150000" / "mp_rank_00")
    _refused(choices.MegatronGpt2(), files, tmp_path / "two", "mp_rank_00 is missing")
    (files / "iter_0150000" / "mp_rank_01").rename(files / "iter_0150000" / "mp_rank_00_001")
    told = "mp_rank_00_001 is a stage of a pipeline-parallel checkpoint"
    _refused(choices.MegatronGpt2(), files, tmp_path / "three", told)


def test_two_iterations_without_a_word_which(tmp_path: Path) -> None:
    model = material.gpt2_model(layers=1)
    material.megatron(tmp_path / "gpt", model, iteration="iter_0000100")
    files = material.megatron(tmp_path / "gpt", model, iteration="iter_0000200")
    error = _refused(choices.MegatronGpt2(), files, tmp_path / "one", "2 iterations")
    assert "checkpoint: iter_0000200" in error.todo
    wrong = choices.MegatronGpt2(checkpoint="iter_3")
    _refused(wrong, files, tmp_path / "two", "there is no iteration iter_3")


def test_no_arguments_and_no_heads(tmp_path: Path) -> None:
    files = material.megatron(tmp_path / "gpt", material.gpt2_model(), 0, with_args=False)
    error = _refused(
        choices.MegatronGpt2(), files, tmp_path / "model", "number of heads is unknown"
    )
    assert "source.heads" in error.todo


@pytest.mark.parametrize(
    ("drop", "told"),
    [
        ("blocks.1.ln1.bias", "1 missing: blocks.1.ln1.bias"),
        ("blocks.2.", "1 missing"),
        ("emb.weight", "1 missing: emb.weight"),
    ],
)
def test_tensors_that_are_missing(tmp_path: Path, drop: str, told: str) -> None:
    files = material.rwkv(tmp_path / "rwkv", material.rwkv_model())
    path = next(files.glob("*.pth"))
    state = torch.load(path)
    if drop.endswith("."):
        first = next(name for name in state if name.startswith(drop))
        state = {name: one for name, one in state.items() if name != first}
    else:
        del state[drop]
    torch.save(state, path)
    _refused(choices.Rwkv(), files, tmp_path / "model", told)


def test_tensors_that_have_no_place(tmp_path: Path) -> None:
    more = {"blocks.0.att.extra": torch.zeros(2)}
    files = material.rwkv(tmp_path / "rwkv", material.rwkv_model(), **more)
    told = "1 unexpected: blocks.0.att.extra"
    _refused(choices.Rwkv(), files, tmp_path / "model", told)


def test_a_later_rwkv_and_a_wrong_size(tmp_path: Path) -> None:
    model = material.rwkv_model()
    later = {"blocks.0.att.ln_x.weight": torch.zeros(16)}
    files = material.rwkv(tmp_path / "later", model, **later)
    _refused(choices.Rwkv(), files, tmp_path / "one", "is a tensor of RWKV-5 or later")
    files = material.rwkv(tmp_path / "size", model, "RWKV-4-Pile-169M-20220807-8023.pth")
    told = "3 layers of width 16 are no 169M, which has 12 of 768"
    _refused(choices.Rwkv(), files, tmp_path / "two", told)
    files = material.rwkv(tmp_path / "asked", model)
    _refused(choices.Rwkv(size="430M"), files, tmp_path / "three", "are no 430M")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["0 5", "0 4"], "0 stands twice"),
        (["999 5"], "'999' is no id of encoder.json"),
        (["5"], "the line '5' is no symbol with its count"),
    ],
)
def test_dictionaries_that_are_none(tmp_path: Path, lines: list[str], told: str) -> None:
    files = material.roberta(tmp_path / "roberta", material.roberta_model(), lines=lines)
    _refused(choices.Roberta(), files, tmp_path / "model", told)


def test_settings_of_roberta_that_its_class_cannot_hold(tmp_path: Path) -> None:
    model = material.roberta_model()
    for number, (name, value) in enumerate(
        {"encoder_normalize_before": True, "activation_fn": "linear",
         "encoder_attention_heads": 5, "encoder_layers": 3}.items()
    ):  # fmt: skip
        files = material.roberta(tmp_path / str(number), model, **{name: value})
        _refused(choices.Roberta(), files, tmp_path / f"model{number}", f"{name} is {value!r}")
    files = material.roberta(tmp_path / "heads", model, heads={"mnli": 3})
    wrong = choices.Roberta(classification_head="cola")
    with pytest.raises(ParamsError, match="there is no classification head 'cola'"):
        reading.port_family(wrong, files, tmp_path / "model", Log())


Make = Callable[[Path], Path]
MADE: dict[str, Make] = {
    "bert": lambda folder: material.release("bert", folder),
    "gpt2": lambda folder: material.release("gpt2", folder),
    "roberta": lambda folder: material.roberta(folder, material.roberta_model()),
    "megatron-gpt2": lambda folder: material.megatron(folder, material.gpt2_model()),
    "rwkv": lambda folder: material.rwkv(folder, material.rwkv_model()),
    "bloom": lambda folder: material.bloom_training(folder, material.bloom_model()),
}
KINDS: dict[str, Any] = {
    "bert": choices.Bert(),
    "gpt2": choices.Gpt2(),
    "roberta": choices.Roberta(),
    "megatron-gpt2": choices.MegatronGpt2(),
    "rwkv": choices.Rwkv(),
    "bloom": choices.Bloom(),
}


@pytest.mark.parametrize("found", sorted(MADE))
def test_files_of_another_kind_are_told_which(tmp_path: Path, found: str) -> None:
    files = MADE[found](tmp_path / found)
    for wanted, source in KINDS.items():
        if wanted == found:
            continue
        with pytest.raises(ParamsError) as refusal:
            reading.read(source, files)
        assert f"set kind: {found}" in str(refusal.value), wanted


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/tmp/never"),))


def test_a_pickle_that_runs_something_is_named(tmp_path: Path) -> None:
    files = material.megatron(tmp_path / "gpt", material.gpt2_model())
    path = next(files.rglob("model_optim_rng.pt"))
    tree = torch.load(path, weights_only=False)
    tree["args"] = _Evil()
    torch.save(tree, path)
    error = _refused(choices.MegatronGpt2(), files, tmp_path / "model", "the pickle asks for")
    assert "do not trust this file" in error.todo
    path.write_bytes(pickle.dumps({"model": 1}))
    _refused(choices.MegatronGpt2(), files, tmp_path / "model", "is damaged or no torch.save file")


@pytest.mark.parametrize("name", ["layer_norm_epsilon", "seq_length", "initializer_range"])
def test_a_setting_of_bloom_that_is_no_number(tmp_path: Path, name: str) -> None:
    files = material.bloom(tmp_path / "bloom", material.bloom_model())
    _edited(files / "config.json", **{name: "much"})
    _refused(choices.Bloom(), files, tmp_path / "model", f"{name} is 'much', not a number")


def test_a_table_of_rwkv_that_is_no_matrix(tmp_path: Path) -> None:
    files = material.rwkv(tmp_path / "rwkv", material.rwkv_model())
    path = next(files.glob("*.pth"))
    state = torch.load(path, weights_only=True)
    torch.save(state | {"emb.weight": state["emb.weight"].flatten()}, path)
    _refused(choices.Rwkv(), files, tmp_path / "model", "emb.weight is F32 [960], no matrix")
