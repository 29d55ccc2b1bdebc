"""Mistakes a converter can make, planted one by one: each fails the port, and by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.lm.layouts import bert, bloom, gpt2, megatron, roberta, rwkv
from stages.lm.layouts.plan import Plan, Rule
from stages.lm.layouts.steps import Permute, Split, Transpose
from stages.port.families import choices, dictionary, reading
from tests.stages import families_material as material

Patch = pytest.MonkeyPatch
Change = Callable[[Rule], Rule]


def _refused(source: Any, files: Path, tmp_path: Path) -> str:
    """Port and return what the failed verification says."""
    with pytest.raises(CheckFailed) as refusal:
        reading.port_family(source, files, tmp_path / "model", Log())
    return refusal.value.what


def _changed(monkeypatch: Patch, layout: type, change: Change) -> None:
    """Let the plans of a layout have their rules changed."""
    plan: Callable[[Any], Plan] = vars(layout)["plan"]

    def wrong(self: Any) -> Plan:
        right = plan(self)
        return Plan([change(rule) for rule in right.rules], right.ignored)

    monkeypatch.setattr(layout, "plan", wrong)


def _exchanged(one: str, other: str) -> Change:
    """Return the change that exchanges two parts of the sources' names."""

    def change(rule: Rule) -> Rule:
        names = [
            name.replace(one, "\0").replace(other, one).replace("\0", other)
            for name in rule.sources
        ]
        return dataclasses.replace(rule, sources=names)

    return change


def test_megatron_not_regrouped(tmp_path: Path, monkeypatch: Patch) -> None:
    files = material.megatron(tmp_path / "gpt", material.gpt2_model(), 2)
    monkeypatch.setattr(megatron, "regrouped", lambda *_: [])
    assert "exactly as if: query, key and value not regrouped" in _refused(
        choices.MegatronGpt2(), files, tmp_path
    )


@pytest.mark.parametrize(("version", "read_as"), [(1, 2), (2, 1)])
def test_megatron_read_as_another_version(
    tmp_path: Path, monkeypatch: Patch, version: int, read_as: int
) -> None:
    files = material.megatron(tmp_path / "gpt", material.gpt2_model(), version)
    regrouped = megatron.regrouped
    monkeypatch.setattr(megatron, "regrouped", lambda _, *rest: regrouped(read_as, *rest))
    told = f"exactly as if: layout of version {version} read as version {read_as}"
    assert told in _refused(choices.MegatronGpt2(), files, tmp_path)


def test_megatron_ranks_in_the_wrong_order(tmp_path: Path, monkeypatch: Patch) -> None:
    files = material.megatron(tmp_path / "gpt", material.gpt2_model(), 2, 2)
    name = megatron.rank_name
    monkeypatch.setattr(megatron, "rank_name", lambda rank, one: name(1 - rank, one))
    assert "logits in fp32" in _refused(choices.MegatronGpt2(), files, tmp_path)


def test_gpt2_transposed_twice(tmp_path: Path, monkeypatch: Patch) -> None:
    def change(rule: Rule) -> Rule:
        square = rule.targets[0].endswith("attn.c_proj.weight")
        return dataclasses.replace(rule, steps=[*rule.steps, Transpose()]) if square else rule

    _changed(monkeypatch, gpt2.Gpt2Layout, change)
    files = material.release("gpt2", tmp_path / "gpt2")
    told = _refused(choices.Gpt2(), files, tmp_path)
    assert "exactly as if: kernel of attn/c_proj transposed" in told


def test_gpt2_every_matrix_transposed(tmp_path: Path, monkeypatch: Patch) -> None:
    """Matrices that are not square do not even load: their names are told."""

    def change(rule: Rule) -> Rule:
        matrix = rule.sources[0].endswith("/w")
        return dataclasses.replace(rule, steps=[*rule.steps, Transpose()]) if matrix else rule

    _changed(monkeypatch, gpt2.Gpt2Layout, change)
    files = material.release("gpt2", tmp_path / "gpt2")
    told = _refused(choices.Gpt2(), files, tmp_path)
    assert "weights load" in told
    assert "mismatched transformer.h.0.attn.c_attn.weight" in told


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("att.time_first", "att.time_decay", "time_first and time_decay exchanged"),
        ("att.key", "att.receptance", "key and receptance exchanged"),
        ("att.key", "att.value", "key and value exchanged"),
        ("time_mix_k", "time_mix_r", "mixes of key and receptance exchanged"),
    ],
)
def test_rwkv_renamed_wrongly(
    tmp_path: Path, monkeypatch: Patch, one: str, other: str, told: str
) -> None:
    _changed(monkeypatch, rwkv.RwkvLayout, _exchanged(one, other))
    files = material.rwkv(tmp_path / "rwkv", material.rwkv_model())
    assert f"exactly as if: {told}" in _refused(choices.Rwkv(), files, tmp_path)


def test_rwkv_recurrence_with_a_wrong_decay(tmp_path: Path, monkeypatch: Patch) -> None:
    """A class whose recurrence forgets differently is found, weights or not."""
    from transformers.models.rwkv import modeling_rwkv

    right = modeling_rwkv.rwkv_linear_attention_cpu
    monkeypatch.setattr(
        modeling_rwkv,
        "rwkv_linear_attention_cpu",
        lambda decay, *rest, **named: right(decay * 0.9, *rest, **named),
    )
    files = material.rwkv(tmp_path / "rwkv", material.rwkv_model())
    assert "logits in fp32" in _refused(choices.Rwkv(), files, tmp_path)


def test_bloom_slopes_of_another_rule(tmp_path: Path, monkeypatch: Patch) -> None:
    """2^(-8h/H) for six heads, where the interpolated slopes are right."""
    from transformers.models.bloom import modeling_bloom

    monkeypatch.setattr(
        modeling_bloom,
        "_get_alibi_slopes",
        lambda heads, device: 2 ** (-8 * torch.arange(1, heads + 1).float() / heads),
    )
    files = material.bloom(tmp_path / "bloom", material.bloom_model(6))
    told = _refused(choices.Bloom(), files, tmp_path)
    assert "exactly as if: slopes 2^(-8h/H) for a number of heads that is no power of two" in told


def test_bloom_interleaved_wrongly(tmp_path: Path, monkeypatch: Patch) -> None:
    """Rows taken for [3, H, K] and put as [H, 3, K], which the class reads."""

    def change(rule: Rule) -> Rule:
        if not rule.targets[0].endswith("query_key_value.weight"):
            return rule
        wrong = Permute((72, 24), (3, 6, 4, 24), (1, 0, 2, 3), (72, 24))
        return dataclasses.replace(rule, steps=[wrong])

    _changed(monkeypatch, bloom.BloomLayout, change)
    model = material.bloom_model(6)
    with torch.no_grad():  # biases would need the same mistake to be named
        for block in model.transformer.h:
            block.self_attention.query_key_value.bias.zero_()
    files = material.bloom(tmp_path / "bloom", model)
    told = _refused(choices.Bloom(), files, tmp_path)
    assert "exactly as if: query, key and value read as [3, H, K]" in told


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("/gamma", "/beta", "gamma and beta exchanged"),
        ("/self/query", "/self/value", "q and v swapped"),
        ("attention/output/LayerNorm", "output/LayerNorm", "norms of a layer exchanged"),
    ],
)
def test_bert_renamed_wrongly(
    tmp_path: Path, monkeypatch: Patch, one: str, other: str, told: str
) -> None:
    change = _norms_exchanged if told.startswith("norms") else _exchanged(one, other)
    _changed(monkeypatch, bert.BertLayout, change)
    files = material.release("bert", tmp_path / "bert")
    assert f"exactly as if: {told}" in _refused(choices.Bert(), files, tmp_path)


def _norms_exchanged(rule: Rule) -> Rule:
    """Exchange a layer's two norms, whose names end alike."""
    first, second = "/attention/output/LayerNorm", "/output/LayerNorm"
    names = []
    for name in rule.sources:
        if first in name:
            names.append(name.replace(first, second))
        elif "/layer_" in name and second in name:
            names.append(name.replace(second, first))
        else:
            names.append(name)
    return dataclasses.replace(rule, sources=names)


def test_bert_kernels_not_transposed(tmp_path: Path, monkeypatch: Patch) -> None:
    def change(rule: Rule) -> Rule:
        inside = "/attention/self/" in rule.sources[0]
        return dataclasses.replace(rule, steps=[]) if inside else rule

    _changed(monkeypatch, bert.BertLayout, change)
    files = material.release("bert", tmp_path / "bert")
    told = _refused(choices.Bert(), files, tmp_path)
    assert "exactly as if: kernels of query, key and value not transposed" in told


def test_bert_of_another_activation(tmp_path: Path, monkeypatch: Patch) -> None:
    from stages.port.families import bert as reader

    monkeypatch.setitem(reader.ACTIVATIONS, "gelu", "tanh")  # the source means tanh
    files = material.release("bert", tmp_path / "bert")
    told = _refused(choices.Bert(), files, tmp_path)
    assert "exactly as if: gelu of the error function instead of tanh" in told


@pytest.mark.parametrize("start", [0, 1])
def test_roberta_positions_from_elsewhere(tmp_path: Path, monkeypatch: Patch, start: int) -> None:
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    right = RobertaEmbeddings.create_position_ids_from_input_ids
    name = "create_position_ids_from_input_ids"

    def wrong(*given: Any, **named: Any) -> torch.Tensor:
        found = right(*given, **named)
        return (found - 2 + start).clamp(min=0)

    monkeypatch.setattr(RobertaEmbeddings, name, staticmethod(wrong))
    files = material.roberta(tmp_path / "roberta", material.roberta_model())
    told = _refused(choices.Roberta(), files, tmp_path)
    assert f"exactly as if: positions start at {start} instead of 2" in told


def test_roberta_query_and_value_swapped(tmp_path: Path, monkeypatch: Patch) -> None:
    files = material.roberta(tmp_path / "roberta", material.roberta_model(), fused=True)

    def change(rule: Rule) -> Rule:
        if not any(isinstance(step, Split) for step in rule.steps):
            return rule
        return dataclasses.replace(rule, targets=list(reversed(rule.targets)))

    _changed(monkeypatch, roberta.RobertaLayout, change)
    told = _refused(choices.Roberta(), files, tmp_path)
    assert "exactly as if: q and v swapped" in told


def test_roberta_ids_not_mapped_again(tmp_path: Path, monkeypatch: Patch) -> None:
    """GPT-2's ids moved by the four special ones, as if the dictionary kept their order."""
    files = material.roberta(tmp_path / "roberta", material.roberta_model())
    right = dictionary.Dictionary.files

    def wrong(self: dictionary.Dictionary, max_tokens: int) -> dict[str, bytes]:
        moved = {token: number + 4 for token, number in self.pairs.ids.items()}
        special = {one: self.ids[one] for one in (*dictionary.SPECIALS, dictionary.MASK)}
        return right(dataclasses.replace(self, ids=special | moved), max_tokens)

    monkeypatch.setattr(dictionary.Dictionary, "files", wrong)
    told = _refused(choices.Roberta(), files, tmp_path)
    assert "token ids are the original's" in told


def test_a_cache_that_is_off_by_one(tmp_path: Path, monkeypatch: Patch) -> None:
    """Greedy parity catches a cache whose positions lag behind."""
    from transformers import GPT2LMHeadModel

    right = GPT2LMHeadModel.prepare_inputs_for_generation

    @functools.wraps(right)
    def wrong(self: Any, ids: torch.Tensor, **named: Any) -> dict[str, Any]:
        found = right(self, ids, **named)
        if named.get("past_key_values") is not None and found.get("position_ids") is not None:
            found["position_ids"] = (found["position_ids"] - 1).clamp(min=0)
        return found

    monkeypatch.setattr(GPT2LMHeadModel, "prepare_inputs_for_generation", wrong)
    files = material.release("gpt2", tmp_path / "gpt2")
    assert "greedy continuations with cache" in _refused(choices.Gpt2(), files, tmp_path)


def test_a_plan_that_does_not_lead_back(tmp_path: Path, monkeypatch: Patch) -> None:
    """Equal bytes on the way back are checked, not assumed."""
    right = Rule.inverse

    def wrong(self: Rule) -> Rule:
        back = right(self)
        own = [step for step in back.steps if not isinstance(step, Transpose)]
        square = self.targets[0].endswith("attn.c_proj.weight")
        return dataclasses.replace(back, steps=own) if square else back

    monkeypatch.setattr(Rule, "inverse", wrong)
    files = material.megatron(tmp_path / "gpt", material.gpt2_model())
    told = _refused(choices.MegatronGpt2(), files, tmp_path)
    assert "tensors lead back to equal bytes" in told
    assert "attention.dense.weight" in told
