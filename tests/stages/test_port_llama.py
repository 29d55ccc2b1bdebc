"""LLaMA releases port to equal logits and go back to equal bytes; every fault is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.core.errors import ArtifactError, CheckFailed, DevenoError
from stages.core.log import Log
from stages.lm.layouts.plan import Plan, Rule
from stages.port.stage import Llama, PortParams, port
from tests.stages import llama_material as material


def ported(raw: Path, **changes) -> Path:
    source = Llama(kind="llama", verify_tokens=12, **changes)
    model = raw / "model"
    port(PortParams(raw="x", source=source), raw, raw, raw, model, Log())
    return model


def half(tensors):
    return {name: tensor.bfloat16() for name, tensor in tensors.items()}


def tied(tensors, copied: bool):
    found = dict(tensors)
    del found["output.weight"]
    return found | ({"output.weight": found["tok_embeddings.weight"].clone()} if copied else {})


FREQUENCIES = {"rope.freqs": torch.linspace(1, 0.1, 4)}
SHAPES = {
    "plain": (material.state(4), material.params(n_kv_heads=None), {}, "LlamaForCausalLM"),
    "grouped": (material.state(), material.params(), {}, "LlamaForCausalLM"),
    "ranks of 16 bits, table by columns, kept frequencies": (
        half(material.state() | FREQUENCIES), material.params(), {"count": 2, "table_axis": 1},
        "LlamaForCausalLM",
    ),
    "frequencies in every layer": (
        material.state() | {f"layers.{at}.attention.inner_attention.rope.freqs": torch.ones(4)
                            for at in range(2)},
        material.params(), {"count": 2}, "LlamaForCausalLM",
    ),
    "ranks, table by rows": (
        material.state(), material.params(vocab_size=60), {"count": 2}, "LlamaForCausalLM",
    ),
    "tied by a copy": (tied(material.state(), True), material.params(), {}, "LlamaForCausalLM"),
    "tied by absence": (tied(material.state(), False), material.params(), {}, "LlamaForCausalLM"),
    "window": (
        material.state(), material.params(sliding_window=5), {"pickled": False},
        "MistralForCausalLM",
    ),
    "biases of q, k, v": (
        material.state(biases="qkv"), material.params(), {}, "Qwen2ForCausalLM",
    ),
    "biases of all, wide heads": (
        material.state(biases="qkvo", head_size=12), material.params(head_dim=12), {},
        "LlamaForCausalLM",
    ),
    "stretched positions": (
        material.state(), material.params(use_scaled_rope=True, rope_theta=500000.0), {},
        "LlamaForCausalLM",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_release_ports_to_an_equal_model(tmp_path: Path, name: str):
    tensors, settings, written, kind = SHAPES[name]
    model = ported(material.release(tmp_path, tensors, settings, **written))
    config = json.loads((model / "config.json").read_text())
    assert config["architectures"] == [kind]
    assert config["vocab_size"] == material.VOCABULARY
    report = json.loads((model / "verification.json").read_text())
    assert all(row["passed"] for row in report["checks"])
    assert {row["name"] for row in report["checks"]} >= {
        "logits in fp32", "logits in fp64", "greedy tokens", "tensors that do not come back",
        "source tensors without account", "tensors that no layer reads",
    }  # fmt: skip
    assert report["generation"] == {"on": "the model"}
    assert ("lm_head.weight" in load_file(model / "model.safetensors")) != ("tied" in name)


def test_a_large_model_generates_on_a_twin_and_is_written_in_shards(tmp_path: Path):
    raw = material.release(tmp_path, material.state(), material.params())
    model = ported(raw, generate_below_mb=0, shard_mb=0.01)
    report = json.loads((model / "verification.json").read_text())
    assert report["generation"] == {"on": "a small twin", "layers": 2}
    assert "greedy tokens of a small twin" in {row["name"] for row in report["checks"]}
    assert len(list(model.glob("model-*.safetensors"))) > 3
    assert not list(raw.glob(".twin-*"))
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(model)


def swapped(plan: Plan, *pairs: tuple[str, str]) -> Plan:
    """Return a plan whose rules take each other's sources."""
    names = dict([*pairs, *((b, a) for a, b in pairs)])

    def other(source: str) -> str:
        for one, another in names.items():
            if f".{one}." in source:
                return source.replace(f".{one}.", f".{another}.")
        return source

    return Plan(
        [Rule(rule.targets, [other(s) for s in rule.sources], rule.steps) for rule in plan.rules]
    )


def unturned(plan: Plan) -> Plan:
    return Plan([Rule(rule.targets, rule.sources) for rule in plan.rules])


def crossed(plan: Plan) -> Plan:
    """Exchange the sources of query and key, each with the steps of its place."""
    return swapped(plan, ("wq", "wk"))


PLANS = {
    "rows of wq and wk not reordered": (unturned, "from block 0 on"),
    "wq and wk exchanged": (crossed, "from block 0 on"),
    "w1 and w3 exchanged": (lambda plan: swapped(plan, ("w1", "w3")), "from block 0 on"),
    "attention_norm and ffn_norm exchanged": (
        lambda plan: swapped(plan, ("attention_norm", "ffn_norm")), "from block 0 on",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", PLANS)
def test_a_planted_fault_of_the_layout_is_named(tmp_path: Path, monkeypatch, fault: str):
    from stages.port.llama import conversion

    change, place = PLANS[fault]
    good = conversion.llama.plan
    monkeypatch.setattr(conversion.llama, "plan", lambda shape: change(good(shape)))
    raw = material.release(tmp_path, material.state(4), material.params(n_kv_heads=4))
    with pytest.raises(CheckFailed) as caught:
        ported(raw)
    assert f"{place}, exactly as if: {fault}" in caught.value.what
    assert "logits in fp64" in caught.value.what
    assert "do not come back" not in caught.value.what


CONFIGS = {
    "rotary theta of config.json": {"rope_parameters": {"rope_type": "default", "rope_theta": 9e4}},
    "norm epsilon of config.json": {"rms_norm_eps": 1e-2},
    "output table taken for the token table": {"tie_word_embeddings": True},
}


@pytest.mark.parametrize("fault", CONFIGS)
def test_a_planted_fault_of_the_configuration_is_named(tmp_path: Path, monkeypatch, fault: str):
    from stages.port.llama import conversion

    good = conversion.configuration

    def bad(given, params):
        config = good(given, params)
        for name, value in CONFIGS[fault].items():
            setattr(config, name, value)
        return config

    monkeypatch.setattr(conversion, "configuration", bad)
    raw = material.release(tmp_path, material.state(), material.params())
    with pytest.raises(CheckFailed) as caught:
        ported(raw)
    assert f"exactly as if: {fault}" in caught.value.what


def test_a_tensor_that_is_lost_or_changed_on_the_way_is_named(tmp_path: Path, monkeypatch):
    from stages.port.llama import conversion

    good = conversion.conversion.convert

    def lossy(plan, checkpoint, folder, where, shard_bytes):
        return [
            row for row in good(plan, checkpoint, folder, where, shard_bytes)
            if "norm.weight" not in row.sources
        ]  # fmt: skip

    monkeypatch.setattr(conversion.conversion, "convert", lossy)
    raw = material.release(tmp_path, material.state(), material.params())
    with pytest.raises(CheckFailed, match=r"source tensors without account: 1.*norm\.weight"):
        ported(raw)


def without(key: str):
    tensors = material.state()
    del tensors[key]
    return tensors


BAD = {
    "unknown setting": (material.state(), material.params(moe={"experts": 8}), "moe = "),
    "heads missing": (material.state(), material.params(n_heads=None), "n_heads is missing"),
    "odd heads": (material.state(), material.params(n_heads=32), "heads of 1 are odd"),
    "no number": (material.state(), material.params(norm_eps=float("nan")), "norm_eps = nan"),
    "heads of another size": (
        material.state() | FREQUENCIES, material.params(n_heads=2), "rope.freqs is for 8",
    ),
    "a text": (material.state(), material.params(dim="wide"), "dim = 'wide'"),
    "a negative size": (material.state(), material.params(n_layers=-2), "n_layers = -2"),
    "another vocabulary": (
        material.state(), material.params(vocab_size=61), "vocab_size is 61 and tok_embeddings has "
        "60 rows",
    ),
    "another width of the layers": (
        material.state(), material.params(hidden_dim=41), "hidden_dim is 41 and w1 has 40",
    ),
    "heads that do not divide": (
        material.state(), material.params(n_kv_heads=3), "4 heads do not share 3",
    ),
    "more layers": (
        material.state(), material.params(n_layers=3), "9 missing: layers.2",
    ),
    "fewer layers": (
        material.state(), material.params(n_layers=1), "9 unexpected: layers.1",
    ),
    "a lost tensor": (
        without("layers.1.ffn_norm.weight"), material.params(), "1 missing: layers.1.ffn_norm",
    ),
    "other heads": (
        material.state(), material.params(n_kv_heads=1), "the settings say [8, 32]",
    ),
    "some biases": (
        material.state(biases="qk"), material.params(), "only q and k of attention have biases",
    ),
    "window and biases": (
        material.state(biases="qkv"), material.params(sliding_window=5), "family = mistral cannot",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_release_is_named_in_three_lines(tmp_path: Path, name: str):
    tensors, settings, told = BAD[name]
    with pytest.raises(DevenoError) as caught:
        ported(material.release(tmp_path, tensors, settings))
    assert told in caught.value.what
    assert len(caught.value.lines()) == 3


def test_a_missing_rank_and_no_release_at_all_are_named(tmp_path: Path):
    raw = material.release(tmp_path / "a", material.state(), material.params(), count=2)
    (raw / "files/consolidated.00.pth").unlink()
    with pytest.raises(ArtifactError, match="rank 00 of 2 is missing"):
        ported(raw)
    (raw / "files/consolidated.01.pth").unlink()
    with pytest.raises(ArtifactError, match="no weights: looked for consolidated"):
        ported(raw)
    (raw / "files/params.json").write_text("{")
    with pytest.raises(ArtifactError, match="it is no JSON"):
        ported(raw)
    (raw / "files/params.json").unlink()
    with pytest.raises(ArtifactError, match=r"no params\.json"):
        ported(raw)
