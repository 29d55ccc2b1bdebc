"""Models run without padding are the models that transformers runs with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, GPT2Config, LlamaConfig, RobertaConfig

from stages.core.errors import ArtifactError, ParamsError
from stages.lm import models

VOCAB = 90
ROBERTA = RobertaConfig(
    vocab_size=VOCAB,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=48,
    max_position_embeddings=34,
    type_vocab_size=1,
    bos_token_id=0,
    pad_token_id=1,
    eos_token_id=2,
)
GPT2 = GPT2Config(
    vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=0
)
LLAMA = LlamaConfig(
    vocab_size=VOCAB,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=48,
    max_position_embeddings=32,
    bos_token_id=0,
    eos_token_id=2,
    pad_token_id=1,
)
FAMILIES = [(ROBERTA, "mlm"), (GPT2, "causal"), (LLAMA, "causal")]


def rows(*lengths: int, seed: int = 0) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(5, VOCAB, length).tolist() for length in lengths]


@pytest.mark.parametrize(("config", "head"), FAMILIES, ids=["roberta", "gpt2", "llama"])
def test_pieces_give_the_logits_of_the_padded_batch(config, head):
    model = models.create(config, head, seed=1).eval()
    given = rows(7, 1, 12, 7, 3, 20)
    pieces = models.from_lists(given)
    with torch.inference_mode():
        found = models.head_logits(model, models.hidden_states(model, pieces))
        ordered = torch.empty_like(found)
        ordered[pieces.sources] = found
        longest = max(map(len, given))
        ids = torch.tensor([[*row, *[1] * (longest - len(row))] for row in given])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in given])
        model.set_attn_implementation("eager")
        padded = model(input_ids=ids, attention_mask=mask).logits
    start = 0
    for number, row in enumerate(given):
        assert torch.allclose(
            ordered[start : start + len(row)], padded[number, : len(row)], atol=1e-5
        )
        start += len(row)


def test_a_layout_holds_every_token_once_and_nothing_else():
    given = rows(4, 9, 4, 1)
    pieces = models.from_lists(given)
    assert len(pieces.ids) == 18
    assert pieces.groups == ((0, 1, 9), (9, 2, 4), (17, 1, 1))
    assert sorted(pieces.sources.tolist()) == list(range(18))
    assert torch.equal(pieces.ids, torch.tensor(sum(given, []))[pieces.sources])
    assert pieces.positions.tolist() == [*range(9), *range(4), *range(4), 0]
    assert pieces.bounds() == [(0, 9), (9, 13), (13, 17), (17, 18)]


def test_the_number_of_computed_tokens_is_that_of_the_pieces():
    model = models.create(ROBERTA, "mlm", seed=1).eval()
    seen = []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[:-1]))
    pieces = models.from_lists(rows(20, 3, 1))
    models.hidden_states(model, pieces)
    assert set(seen) == {(1, 24)}, "a padded batch would compute 60 tokens"


def test_a_saved_model_opens_with_transformers_alone_and_is_the_same(tmp_path: Path):
    model = models.create(ROBERTA, "mlm", seed=3)
    models.save(model, tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    opened = AutoModelForMaskedLM.from_pretrained(tmp_path / "m")
    for (name, left), (other, right) in zip(
        model.state_dict().items(), opened.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(left, right)
    text = (tmp_path / "m/config.json").read_text()
    assert "deveno" not in text
    assert str(tmp_path) not in text


def test_equal_seeds_give_equal_weights_and_others_do_not():
    first, again, other = (models.create(ROBERTA, "mlm", seed=n) for n in (1, 1, 2))
    name = "roberta.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(first.get_parameter(name), again.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))


def test_a_new_head_on_an_old_body(tmp_path: Path):
    model = models.create(ROBERTA, "mlm", seed=3)
    models.save(model, tmp_path)
    tagger = models.load(tmp_path, "token-classification", ["A", "B"], seed=5)
    again = models.load(tmp_path, "token-classification", ["A", "B"], seed=5)
    assert tagger.config.id2label == {0: "A", 1: "B"}
    assert torch.equal(tagger.classifier.weight, again.classifier.weight)
    name = "roberta.embeddings.word_embeddings.weight"
    assert torch.equal(tagger.get_parameter(name), model.get_parameter(name))


@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_corrupt_safetensors_are_refused(tmp_path: Path, damage: str):
    models.save(models.create(ROBERTA, "mlm", seed=3), tmp_path)
    path = tmp_path / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "noise": b"\xff" * 4096, "empty": b""}[damage])
    with pytest.raises(ArtifactError, match="cannot be opened") as caught:
        models.load(tmp_path, "mlm")
    assert len(caught.value.lines()) == 3
    assert str(tmp_path) in caught.value.where


def test_a_missing_file_and_a_pickle_are_refused(tmp_path: Path):
    models.save(models.create(ROBERTA, "mlm", seed=3), tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"no model\.safetensors"):
        models.load(tmp_path, "mlm")


def test_weights_of_another_kind_are_refused(tmp_path: Path):
    models.save(models.create(ROBERTA, "token-classification", seed=3), tmp_path)
    with pytest.raises(ArtifactError, match="missing or of another shape: lm_head"):
        models.load(tmp_path, "mlm")


def test_a_damaged_tokenizer_is_refused(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match="tokenizer cannot be opened"):
        models.open_tokenizer(tmp_path)
    with pytest.raises(ArtifactError, match=r"no tokenizer\.json"):
        models.open_tokenizer(tmp_path / "nowhere")


def test_a_vocabulary_that_is_not_the_tokenizers_is_refused():
    with pytest.raises(ArtifactError, match="the model has 90 tokens and the tokenizer 7"):
        models.check_vocabulary(ROBERTA, [0] * 7, "here")


def test_sequences_longer_than_the_model_are_refused():
    models.check_length(ROBERTA, 32, "here")
    with pytest.raises(ParamsError, match="33 tokens do not fit a model of 32 positions"):
        models.check_length(ROBERTA, 33, "here")
    assert models.longest(GPT2) == 32
