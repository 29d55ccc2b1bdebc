"""What stage `port` refuses, and that it says which file, field, key or line it was."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.errors import ArtifactError, ParamsError
from stages.core.log import Log
from stages.port import handles, pickles
from stages.port.fairseq import source, vocabulary
from stages.port.stage import Fairseq, PortParams, port
from tests.stages import fairseq_material as material

State = dict[str, torch.Tensor]
KINDS = (
    "fairseq", "llama", "transformers", "delta", "bert", "gpt2", "roberta", "megatron-gpt2", "rwkv",
    "bloom",
)  # fmt: skip


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def refused(raw: Path, **params: object) -> ArtifactError:
    """Return the error; the output is not published by the runner when a stage raises."""
    with pytest.raises(ArtifactError) as caught:
        port(
            PortParams(raw="x", source=Fairseq(**params)),
            raw,
            raw,
            raw,
            raw.parent / "model",
            Log(),
        )
    assert len(caught.value.lines()) == 3
    return caught.value


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("where", ["top", "settings"])
def test_code_in_a_pickle_does_nothing_and_is_named(
    tmp_path: Path, zipped: bool, where: str
) -> None:
    marker = tmp_path / "executed"
    evil = Call(os.system, f"touch {marker}")
    tree = {"model": {}, "args": evil if where == "settings" else None, "evil": evil}
    path = tmp_path / "model.pt"
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ArtifactError) as caught:
        pickles.load(path)
    assert f"{os.system.__module__}.system" in caught.value.what
    assert not marker.exists()


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (eval, "builtin__.eval"),
        (getattr, "builtin__.getattr"),
        (bytearray, "builtin__.bytearray"),
        (torch.load, "torch.serialization.load"),
        (pickle.loads, "pickle.loads"),
    ],
)
def test_only_tensors_and_plain_containers_pass(
    tmp_path: Path, function: Callable[..., Any], name: str
) -> None:
    path = tmp_path / "model.pt"
    torch.save({"model": Call(function, "1")}, path)
    with pytest.raises(ArtifactError) as caught:
        pickles.load(path)
    assert name in caught.value.what


def test_settings_objects_become_inert_records(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    tree = pickles.load(raw / "files" / "model.pt")
    namespace = tree["cfg"]["model"]
    assert isinstance(namespace, pickles.Record)
    assert namespace.type_name == "argparse.Namespace"
    assert pickles.plain(namespace)["encoder_layers"] == 3


def test_shared_tensors_stay_shared_and_all_types_load(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    kinds = [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8]
    tree = {
        "base": base,
        "view": base.t(),
        "part": base[1:, 2],
        "empty": torch.empty(0, 3),
        "kinds": [base.to(kind) for kind in kinds],
        "parameter": torch.nn.Parameter(base.clone()),
    }
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pt"
        torch.save(tree, path, _use_new_zipfile_serialization=zipped)
        found = pickles.load(path)
        for name in ("base", "view", "part", "empty", "parameter"):
            assert torch.equal(found[name], tree[name])
        for one, other in zip(found["kinds"], tree["kinds"], strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
        assert found["base"].data_ptr() == found["view"].data_ptr()


@pytest.mark.parametrize("keep", [0, 10, 5000, -200])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_checkpoint_is_named(tmp_path: Path, keep: int, zipped: bool) -> None:
    raw = material.release(tmp_path / "raw", layout="new" if zipped else "old")
    path = raw / "files" / "model.pt"
    path.write_bytes(path.read_bytes()[:keep])
    error = refused(raw)
    assert "damaged or no torch.save file" in error.what
    assert "model.pt" in error.where


def test_tensor_reaching_outside_its_storage_is_refused() -> None:
    builder = pickles.REBUILDERS["torch._utils", "_rebuild_tensor_v2"]
    with pytest.raises(ValueError, match="outside its storage"):
        builder(handles.Storage(Path("model.pt"), "F32", 5, 0), 2, (2, 2), (2, 1))
    with pytest.raises(AttributeError):
        builder.anything = 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder_normalize_before", True),
        ("decoder_normalize_before", True),
        ("activation_fn", "gelu_new"),
        ("adaptive_softmax_cutoff", "100,200"),
        ("cross_self_attention", True),
        ("no_decoder_final_norm", True),
        ("quant_noise_pq", 0.1),
        ("decoder_embed_dim", 24),
        ("decoder_output_dim", 8),
        ("encoder_layers_to_keep", "0,2"),
        ("arch", "lstm"),
        ("arch", "transformer_lm"),
        ("arch", "nonautoregressive_transformer"),
        ("arch", "transformer_monotonic"),
        ("task", "language_modeling"),
        ("task", "translation_from_pretrained_bart"),
        ("bpe", "gpt2"),
        ("tokenizer", "space"),
        ("moses_no_escape", True),
        ("bpe_separator", "__"),
        ("encoder_layers", "three"),
        ("dropout", "some"),
        ("max_source_positions", 0),
        ("activation_fn", ["relu"]),
        ("encoder_attention_heads", 3),
        ("source_lang", None),
    ],
)
def test_what_no_class_can_hold_is_refused_by_its_field(
    tmp_path: Path, field: str, value: object
) -> None:
    raw = material.release(tmp_path / "raw", layout="old", **{field: 3})
    tree = pickles.load(raw / "files" / "model.pt")
    settings = {**pickles.plain(tree["args"]), field: value}
    material.save(raw / "files" / "model.pt", tree["model"], settings, "old")
    error = refused(raw)
    assert field in error.what or field.replace("encoder", "decoder") in error.what
    assert str(value) in error.what


def drop(key: str) -> Callable[[State], None]:
    def change(state: State) -> None:
        del state[key]

    return change


def put(key: Any, value: torch.Tensor) -> Callable[[State], None]:
    return lambda state: state.update({key: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("encoder.layers.1.fc2.bias"), "1 missing: encoder.layers.1.fc2.bias"),
        (drop("encoder.embed_tokens.weight"), "1 missing: encoder.embed_tokens.weight"),
        (put("decoder.layer_norm.weight", torch.ones(16)), "1 unexpected: decoder.layer_norm"),
        (put(5, torch.ones(16)), "a tensor's name is 5"),
        (put("encoder.layers.0.layer_norms.5.bias", torch.ones(16)), "1 unexpected"),
        (
            put("encoder.embed_tokens.weight", torch.zeros(20, 16)),
            "encoder.embed_tokens.weight has 20 rows, the source dictionary has 16 symbols",
        ),
        (
            put("decoder.layers.0.fc1.weight", torch.zeros(21, 16)),
            "decoder.layers.0.fc1.weight has shape [21, 16], the settings say [20, 16]",
        ),
        (
            put("decoder.output_projection.weight", torch.zeros(14, 16)),
            "differ, the settings say that they are shared",
        ),
        (
            put("encoder.layers.0.fc1.bias", torch.full((24,), float("nan"))),
            "encoder.layers.0.fc1.bias holds NaN",
        ),
    ],
)
def test_wrong_state_dicts_are_named(
    tmp_path: Path, change: Callable[[State], None], words: str
) -> None:
    raw = material.release(tmp_path / "raw")
    state = material.weights(dict(material.SHAPE), 16, 14)
    change(state)
    material.save(raw / "files" / "model.pt", state, dict(material.SHAPE))
    assert words in refused(raw).what
    material.record(raw)  # what fairseq translated is looked at only after the tensors
    assert words in refused(raw).what


def test_a_dictionary_longer_than_its_table_is_named_beside_recordings(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    material.record(raw)
    path = raw / "files" / "dict.en.txt"
    words = "".join(f"new{at} {9999 - at}\n" for at in range(99))
    path.write_text(words + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert "16 rows, the source dictionary has 115 symbols" in refused(raw).what


def write(raw: Path, name: str, data: bytes) -> None:
    (raw / "files" / name).write_bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "words", "where"),
    [
        ("dict.en.txt", b"a 3\nb 2\na 1\n", "'a' is there a second time", "dict.en.txt, line 3"),
        ("dict.en.txt", b"a 3\nb\n", "is not `token count`", "dict.en.txt, line 2"),
        ("dict.eo.txt", b"a 3\n\xff\xfe 2\n", "byte 4 is not UTF-8", "dict.eo.txt"),
        ("dict.eo.txt", b"a 3\n", "the target dictionary has 5 symbols", "model"),
        ("bpecodes", b"a b\n", "2 columns, fastBPE has 3", "bpecodes, line 1"),
        ("bpecodes", b"\xef\xbb\xbfa b 3\n", "a byte order mark", "bpecodes, line 1"),
        ("bpecodes", b"a b 3\na b 2\n", "'a b' is there a second time", "bpecodes, line 2"),
        ("bpecodes", b"#version: 0.1\na b\n", "subword-nmt 0.1", "bpecodes, line 1"),
        ("fairseq-beam5.jsonl", b'{"source": "a"}\n', "not a recording", "fairseq-beam5.jsonl"),
        ("fairseq-beam5.jsonl", b"", "it holds no row", "fairseq-beam5.jsonl"),
        (
            "fairseq-beam5.jsonl",
            b'{"source": "a", "source_bpe": "a", "hyps": []}\n',
            "row 1 holds no hypothesis",
            "fairseq-beam5.jsonl",
        ),
        (
            "fairseq-beam5.jsonl",
            b'{"source": 7, "source_bpe": "a", "hyps": [{"tokens_bpe": "a", "text": "a",'
            b' "score_log2": -1.0, "positional_log2": [-1.0]}]}\n',
            "row 1 holds something that is no text",
            "fairseq-beam5.jsonl",
        ),
        (
            "fairseq-beam5.jsonl",
            b'{"source": "a", "source_bpe": "a", "hyps": [{"tokens_bpe": "a", "text": "a",'
            b' "score_log2": -1.0, "positional_log2": [-1.0, NaN]}]}\n',
            "row 1 holds a score that is no finite number",
            "fairseq-beam5.jsonl",
        ),
        ("model.pt", b"PK\x03\x04 no archive", "damaged", "model.pt"),
    ],
)
def test_bad_files_are_named(
    tmp_path: Path, name: str, data: bytes, words: str, where: str
) -> None:
    raw = material.release(tmp_path / "raw")
    write(raw, name, data)
    error = refused(raw)
    assert words in error.what
    assert where in error.where


@pytest.mark.parametrize("name", ["dict.en.txt", "dict.eo.txt", "bpecodes", "model.pt"])
def test_absent_files_are_named(tmp_path: Path, name: str) -> None:
    raw = material.release(tmp_path / "raw")
    (raw / "files" / name).unlink()
    assert name in refused(raw).what


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    assert "looked for model9.pt" in refused(raw, checkpoint="model9.pt").what


def test_trees_without_model_or_settings_are_named(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    path = raw / "files" / "model.pt"
    for tree, words in (
        ([1, 2], "no state dict under `model`"),
        ({"model": {}}, "neither args nor cfg.model"),
        (
            {"args": material.argparse.Namespace(**material.SHAPE), "model": {"a": 1}},
            "a is a int, not a tensor",
        ),
    ):
        torch.save(tree, path)
        assert words in refused(raw).what


def test_one_moses_language_is_refused(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    params = PortParams(raw="x", source=Fairseq(moses_languages=["en"]))
    with pytest.raises(ParamsError) as caught:
        port(params, raw, raw, raw, tmp_path / "model", Log())
    assert "names one language" in caught.value.what


def test_dictionary_ids_start_at_four_and_tokens_may_hold_spaces(tmp_path: Path) -> None:
    path = tmp_path / "dict.en.txt"
    path.write_text(
        "the 9\nNew York 8\nle@@ 5\ntt@@ 4\nthe 1 #fairseq:overwrite\n", encoding="utf-8"
    )
    symbols = vocabulary.read_dictionary(path)
    assert (symbols["<s>"], symbols["New York"], symbols["le@@"]) == (0, 5, 6)
    assert symbols["the"] == 8
    keys = vocabulary.transformers_vocabulary({"le@@": 5, "tt@@": 6, "er": 7}, "dict")
    assert keys == {"le": 5, "tt": 6, "er</w>": 7}


def test_two_symbols_of_one_key_are_refused() -> None:
    with pytest.raises(ArtifactError) as caught:
        vocabulary.transformers_vocabulary({"er": 4, "er</w>@@": 5}, "dict.en.txt")
    assert "already id 4" in caught.value.what


def test_subword_nmt_codes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "codes"
    path.write_text("#version: 0.2\ne n</w>\ne r\n", encoding="utf-8")
    assert vocabulary.read_codes(path) == ([("e", "n</w>"), ("e", "r")], "subword-nmt")


def test_release_is_found_below_a_subfolder(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    inner = raw / "files" / "wmt" / "model"
    inner.mkdir(parents=True)
    for path in list((raw / "files").glob("*.*")):
        path.rename(inner / path.name)
    assert source.read(raw / "files", Fairseq()).checkpoint == "model.pt"


def test_a_checkpoint_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        pickles.load(tmp_path / "absent.pt")
    assert "cannot be opened: No such file or directory" in caught.value.what
    assert "absent.pt" in caught.value.where


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("folder", ["absent", "empty", "of other files"])
def test_every_kind_names_what_it_looked_for(tmp_path: Path, kind: str, folder: str) -> None:
    base, files = tmp_path / "base", tmp_path / "files"
    base.mkdir()
    (base / "model.safetensors").write_bytes(b"")
    if folder != "absent":
        files.mkdir()
    if folder == "of other files":
        (files / "readme.txt").write_text("x", encoding="utf-8")
    params = PortParams.model_validate({"raw": "x", "base": "x/base", "source": {"kind": kind}})
    with pytest.raises(ArtifactError) as caught:
        port(params, tmp_path, base, tmp_path, tmp_path / "model", Log())
    assert caught.value.where.startswith("files of the raw entry")
    assert not (tmp_path / "model").exists()
