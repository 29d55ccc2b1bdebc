"""The references compute what the original software computed, and the formulas say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.log import Log
from stages.lm.tensors import bundle
from stages.lm.tensors.bridge import tensor_of
from stages.lm.tensors.nodes import whole
from stages.port.families import choices, reading
from stages.port.references import bert, bloom, gpt2, megatron, roberta, rwkv
from tests.stages import families_material as material

RELEASES = Path(__file__).parent / "releases"


def _release(name: str, prefix: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with bundle.opened(bundle.read(RELEASES / name / prefix)) as checkpoint:
        tensors = {
            key: tensor_of(node.spec, whole(node)) for key, node in checkpoint.nodes().items()
        }
    return tensors, json.loads((RELEASES / name / "recorded.json").read_text(encoding="utf-8"))


def test_bert_repeats_googles_code() -> None:
    tensors, recorded = _release("bert", "bert_model.ckpt")
    model = bert.Reference(tensors, layers=2, heads=3, activation="tanh")
    ids, mask, types = (
        torch.tensor(recorded[name]) for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    states = model.states(ids, types, mask.bool())
    wanted = torch.tensor(recorded["logits"])
    torch.testing.assert_close(model.logits(states)[:, :2, :8], wanted, atol=3e-5, rtol=0)
    found = model.next_sentence(model.pooled(states))
    torch.testing.assert_close(found, torch.tensor(recorded["next_sentence"]), atol=3e-5, rtol=0)
    erf = bert.Reference(tensors, layers=2, heads=3).states(ids, types, mask.bool())
    assert (states - erf).abs().max() > 1e-4  # the two activations can be told apart here


def test_gpt2_repeats_openais_code() -> None:
    tensors, recorded = _release("gpt2", "model.ckpt")
    model = gpt2.Reference(tensors, layers=2, heads=4)
    ids = torch.tensor(recorded["input_ids"])
    logits = model.logits(ids, torch.ones_like(ids, dtype=torch.bool))
    found = logits[:, recorded["positions"], :8]
    torch.testing.assert_close(found, torch.tensor(recorded["logits"]), atol=3e-5, rtol=0)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_megatron_is_gpt2_with_other_rows(version: int) -> None:
    """The same weights in Megatron's three layouts give GPT-2's logits."""
    tensors, _ = _release("gpt2", "model.ckpt")
    tensors = {name.removeprefix("model/"): tensor for name, tensor in tensors.items()}
    found = {
        "embedding/word_embeddings.weight": torch.cat([tensors["wte"], torch.ones(5, 16)]),
        "embedding/position_embeddings.weight": tensors["wpe"],
        "transformer/final_layernorm.weight": tensors["ln_f/g"],
        "transformer/final_layernorm.bias": tensors["ln_f/b"],
    }
    names = {
        "attn/c_attn": "attention.query_key_value",
        "attn/c_proj": "attention.dense",
        "mlp/c_fc": "mlp.dense_h_to_4h",
        "mlp/c_proj": "mlp.dense_4h_to_h",
    }
    axes = {0: (0, 1, 2), 1: (1, 2, 0), 2: (1, 0, 2)}[version]
    for layer in range(2):
        for theirs, ours in names.items():
            weight = tensors[f"h{layer}/{theirs}/w"][0].T
            bias = tensors[f"h{layer}/{theirs}/b"]
            if theirs == "attn/c_attn":
                weight = weight.reshape(3, 4, 4, 16).permute(*axes, 3).reshape(48, 16)
                bias = bias.reshape(3, 4, 4).permute(*axes).reshape(48)
            found[f"transformer/layers.{layer}.{ours}.weight"] = weight
            found[f"transformer/layers.{layer}.{ours}.bias"] = bias
        for theirs, ours in (("ln_1", "input_layernorm"), ("ln_2", "post_attention_layernorm")):
            found[f"transformer/layers.{layer}.{ours}.weight"] = tensors[f"h{layer}/{theirs}/g"]
            found[f"transformer/layers.{layer}.{ours}.bias"] = tensors[f"h{layer}/{theirs}/b"]
    ids = torch.arange(24).reshape(2, 12) * 11 % 331
    real = torch.ones_like(ids, dtype=torch.bool)
    ours = megatron.Reference(found, 2, 4, version, "tanh", 1e-5, 331, torch.float64)
    original = {f"model/{name}": tensor for name, tensor in tensors.items()}
    wanted = gpt2.Reference(original, 2, 4, torch.float64).logits(ids, real)
    torch.testing.assert_close(ours.logits(ids, real), wanted, atol=1e-12, rtol=0)


def test_padding_on_the_left_changes_nothing() -> None:
    tensors, _ = _release("gpt2", "model.ckpt")
    model = gpt2.Reference(tensors, 2, 4, torch.float64)
    ids = torch.arange(14).reshape(2, 7)
    alone = model.logits(ids, torch.ones_like(ids, dtype=torch.bool))
    padded = torch.cat([torch.full((2, 3), 9), ids], dim=1)
    real = torch.cat([torch.zeros(2, 3), torch.ones(2, 7)], dim=1).bool()
    assert (model.logits(padded, real)[:, 3:] - alone).abs().max() < 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_rwkv_recurrence_is_the_sum(seed: int) -> None:
    """Equation 16 of the paper and the recurrence with a running maximum agree in fp64."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale

    w, u = torch.exp(random(6)), random(6)
    key, value = random(2, 40, 6, scale=20.0), random(2, 40, 6)
    zeros = torch.zeros(2, 6, dtype=torch.float64)
    carried = [zeros, zeros, zeros + rwkv.LOWEST]
    summed = rwkv.by_sum(w, u, key, value)
    assert (rwkv.by_steps(w, u, key, value, carried) - summed).abs().max() <= 1e-12
    # The formula as it is written, where nothing overflows.
    key = key / 20
    t = 13
    ages = torch.arange(t - 1, -1, -1, dtype=torch.float64)[None, :, None]
    terms = torch.exp(-ages * w + key[:, :t])
    last = torch.exp(u + key[:, t])
    numerator = (terms * value[:, :t]).sum(dim=1) + last * value[:, t]
    wanted = numerator / (terms.sum(dim=1) + last)
    assert (rwkv.by_sum(w, u, key, value)[:, t] - wanted).abs().max() <= 1e-12


def test_alibi_slopes_are_those_of_the_papers() -> None:
    """A power of two gives 2^(-8h/H); 12 heads give the eight of 8 and four between them."""
    assert bloom.slopes(8) == [2**-h for h in range(1, 9)]
    assert bloom.slopes(16) == [2 ** (-h / 2) for h in range(1, 17)]
    twelve = [*bloom.slopes(8), *(2 ** (-(h + 0.5)) for h in range(4))]
    assert bloom.slopes(12) == pytest.approx(twelve, rel=1e-15)


def _recorded(name: str) -> dict[str, Any]:
    path = RELEASES / "recorded" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_rwkv_repeats_its_authors_code(tmp_path: Path) -> None:
    """Token by token by the author's package, at once and by steps by ours and transformers'."""
    recorded = _recorded("rwkv")
    model = material.drawn(material.rwkv_model(2, 12, 40))
    path = next(material.rwkv(tmp_path, model).glob("*.pth"))
    tensors = torch.load(path)
    ids = torch.tensor([recorded["ids"]])
    wanted = torch.tensor(recorded["steps"])
    for summed in (True, False):
        found = rwkv.Reference(tensors, 2, summed=summed).logits(ids)[0, :, :8]
        torch.testing.assert_close(found, wanted, atol=3e-5, rtol=1e-5)
    with torch.inference_mode():
        found = model(ids).logits[0, :, :8]
    torch.testing.assert_close(found, wanted, atol=3e-5, rtol=1e-5)
    reference = rwkv.Reference(tensors, 2)
    state = reference.start(1)
    steps = [reference.logits(ids[:, at : at + 1], state)[0, 0, :8] for at in range(ids.shape[1])]
    torch.testing.assert_close(torch.stack(steps), wanted, atol=3e-5, rtol=1e-5)


def test_roberta_repeats_fairseq(tmp_path: Path) -> None:
    """Logits and ids of fairseq itself, by the reference and by the ported folder."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    recorded = _recorded("roberta")
    files = material.roberta(tmp_path / "files", material.roberta_drawn())
    ids = torch.tensor(recorded["input_ids"])
    wanted = torch.tensor(recorded["logits"])
    tensors = torch.load(files / "model.pt", weights_only=False)["model"]
    model = roberta.Reference(tensors, 2, 4)
    found = model.logits(model.states(ids))[:, recorded["positions"], :8]
    torch.testing.assert_close(found, wanted, atol=3e-5, rtol=1e-5)
    reading.port_family(choices.Roberta(), files, tmp_path / "model", Log())
    ported = AutoModelForMaskedLM.from_pretrained(tmp_path / "model", local_files_only=True)
    with torch.inference_mode():
        out = ported(ids, attention_mask=ids.ne(1).long()).logits
    found = out[:, recorded["positions"], :8]
    torch.testing.assert_close(found, wanted, atol=3e-5, rtol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    assert [tokenizer(text)["input_ids"] for text in recorded["texts"]] == recorded["tokens"]
