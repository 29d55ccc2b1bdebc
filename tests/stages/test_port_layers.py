"""Models that do not fit in memory: every family is proved layer by layer, faults by their layer.

`compare_below_mb: 0` stands for a memory that holds nothing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.lm import offload
from stages.lm.layouts import bloom, gpt2, megatron, rwkv
from stages.lm.layouts.plan import Plan, Rule
from stages.port.families import choices, greedy, reading
from stages.port.references import pieces
from tests.stages import families_material as material

LARGE: dict[str, Any] = {"compare_below_mb": 0}
FAMILIES: dict[str, tuple[Any, Callable[[Path], Path]]] = {
    "gpt2": (choices.Gpt2(**LARGE), lambda at: material.release("gpt2", at)),
    "rwkv": (choices.Rwkv(**LARGE), lambda at: material.rwkv(at, material.rwkv_model())),
    "bloom": (choices.Bloom(**LARGE), lambda at: material.bloom(at, material.bloom_model())),
    "bloom of ranks": (
        choices.Bloom(**LARGE), lambda at: material.bloom_training(at, material.bloom_model(), 2),
    ),
    "megatron 0 of ranks": (
        choices.MegatronGpt2(**LARGE),
        lambda at: material.megatron(at, material.gpt2_model(heads=6, width=18), 0, 2),
    ),
    "megatron 1": (
        choices.MegatronGpt2(**LARGE), lambda at: material.megatron(at, material.gpt2_model(), 1),
    ),
    "megatron 2 of ranks": (
        choices.MegatronGpt2(**LARGE),
        lambda at: material.megatron(at, material.gpt2_model(), 2, 2),
    ),
    "megatron 3 of three ranks with heads of seven": (
        choices.MegatronGpt2(**LARGE),
        lambda at: material.megatron(at, material.gpt2_model(layers=3, heads=3, width=21), 3, 3),
    ),
    "megatron 1 with one head, in 16 bits": (
        choices.MegatronGpt2(**LARGE),
        lambda at: material.megatron(at, material.gpt2_model(heads=1, width=7).bfloat16(), 1),
    ),
    "bloom with seven heads": (
        choices.Bloom(**LARGE),
        lambda at: material.bloom(at, material.bloom_model(heads=7, width=35)),
    ),
    "bloom of four ranks": (
        choices.Bloom(**LARGE),
        lambda at: material.bloom_training(at, material.bloom_model(heads=12), 4),
    ),
    "bert": (
        choices.Bert(**LARGE, activation="gelu_new"), lambda at: material.release("bert", at),
    ),
    "roberta": (
        choices.Roberta(**LARGE), lambda at: material.roberta(at, material.roberta_model()),
    ),
}  # fmt: skip


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and matrices of these small models come in several pieces, too."""
    monkeypatch.setattr(pieces, "PIECE_ELEMENTS", 2000)
    torch.set_num_threads(1)
    monkeypatch.setattr(offload, "CHUNK_BYTES", 8000)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_proved_layer_by_layer(tmp_path: Path, family: str) -> None:
    source, write = FAMILIES[family]
    files = write(tmp_path / "files")
    found = reading.port_family(source, files, tmp_path / "model", Log())
    assert not found["loaded_whole"]
    names = {check["name"] for check in found["checks"]}
    assert {"tensors that no layer reads", "tensors lead back to equal bytes"} <= names
    if family in ("bert", "roberta"):
        assert {name for name in names if "logits in fp64" in name}
    else:
        assert {"logits in fp32", "logits in fp64"} <= names
        assert found["generation"] == "a small twin"
        assert "greedy continuations without cache of a small twin" in names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "model"]
    if family == "megatron 1":
        again = source.model_copy(update={"compare_below_mb": 1.0})
        assert reading.port_family(again, files, tmp_path / "whole", Log())["loaded_whole"]
        for path in (tmp_path / "whole").iterdir():
            assert path.read_bytes() == (tmp_path / "model" / path.name).read_bytes()


def exchanged(one: str, other: str, layer: str) -> Callable[[Rule], Rule]:
    """Return the change that exchanges two parts of the sources' names, in one layer or in all."""

    def change(rule: Rule) -> Rule:
        if layer not in rule.sources[0]:
            return rule
        names = [
            name.replace(one, "\0").replace(other, one).replace("\0", other)
            for name in rule.sources
        ]
        return dataclasses.replace(rule, sources=names)

    return change


FAULTS: dict[str, tuple[str, type, str, str, str, str]] = {
    "rwkv, one layer": (
        "rwkv", rwkv.RwkvLayout, "att.key", "att.value", "blocks.1.",
        "from block 1 on, exactly as if: key and value exchanged",
    ),
    "rwkv, all layers": (
        "rwkv", rwkv.RwkvLayout, "time_mix_k", "time_mix_r", "blocks.",
        "from block 0 on, exactly as if: mixes of key and receptance exchanged",
    ),
    "bloom, one layer": (
        "bloom of ranks", bloom.BloomLayout, "input_layernorm", "post_attention_layernorm", "h.1.",
        "from block 1 on, exactly as if: norms of a layer exchanged",
    ),
    "megatron, one layer": (
        "megatron 2 of ranks", megatron.MegatronLayout, "input_layernorm",
        "post_attention_layernorm", "layers.1.",
        "from block 1 on, exactly as if: norms of a layer exchanged",
    ),
    "gpt2, all layers": (
        "gpt2", gpt2.Gpt2Layout, "/g", "/b", "/ln_",
        "from block 0 on, exactly as if: gains and biases of the norms exchanged",
    ),
    "gpt2, the last norm": (
        "gpt2", gpt2.Gpt2Layout, "/g", "/b", "model/ln_f",
        "from logits on, exactly as if: gains and biases of the norms exchanged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named_with_its_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    family, layout, one, other, layer, told = FAULTS[fault]
    right: Callable[[Any], Plan] = vars(layout)["plan"]
    change = exchanged(one, other, layer)
    monkeypatch.setattr(
        layout, "plan", lambda self: Plan([change(rule) for rule in right(self).rules])
    )
    source, write = FAMILIES[family]
    with pytest.raises(CheckFailed) as caught:
        reading.port_family(source, write(tmp_path / "files"), tmp_path / "model", Log())
    assert told in caught.value.what
    assert "logits in fp64" in caught.value.what


def test_a_fault_of_a_configuration_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.port.families import megatron as reader

    right = reader.gpt2.configuration
    monkeypatch.setattr(
        reader.gpt2, "configuration", lambda counts, _, *rest: right(counts, "gelu_new", *rest)
    )
    files = material.megatron(tmp_path / "gpt", material.gpt2_model(activation_function="gelu"))
    with pytest.raises(CheckFailed, match="exactly as if: gelu of tanh instead of the error"):
        reading.port_family(choices.MegatronGpt2(**LARGE), files, tmp_path / "model", Log())


def test_what_the_twin_generates_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = greedy._generate
    monkeypatch.setattr(
        greedy, "_generate", lambda *given: [[one + 1 for one in row] for row in right(*given)]
    )
    source, write = FAMILIES["bloom"]
    with pytest.raises(CheckFailed, match="greedy continuations with cache of a small twin: "):
        reading.port_family(source, write(tmp_path / "files"), tmp_path / "model", Log())


def test_the_page_is_told_how_a_model_was_proved(tmp_path: Path) -> None:
    """The stage stores it: one file says that the model was never loaded whole."""
    from stages.port.stage import PortParams, port

    source, write = FAMILIES["rwkv"]
    raw = tmp_path / "raw"
    raw.mkdir()
    write(raw / "files")
    port(PortParams(raw="x", source=source), raw, raw, raw, tmp_path / "model", Log())
    told = json.loads((tmp_path / "model" / "verification.json").read_text(encoding="utf-8"))
    assert (told["loaded_whole"], told["generation"]) == (False, "a small twin")
