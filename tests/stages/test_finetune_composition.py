"""Encoder-decoders of pretrained parts: what is copied, what is new, what is one and the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.errors import ArtifactError, CheckFailed, ParamsError
from stages.finetune import composition
from stages.finetune.composition import compose
from stages.lm import models, seq2seq
from tests.stages import writing_material as material

COUNT = 247_363_386
"""Parameters of two bert-base-uncased and the cross-attention between them."""
SHARED = 137_298_244
"""Parameters of bert-base-cased shared with itself, its head and the cross-attention."""


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.roberta(tmp_path_factory.mktemp("roberta") / "m")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.bert(tmp_path_factory.mktemp("bert") / "m")


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.gpt(tmp_path_factory.mktemp("gpt") / "m")


def made(base: Path, start: str, decoder: Path | None = None, seed: int = 1) -> Any:
    return compose(base, decoder or base, start, seed=seed, dropout=0.0)


def base_sized(config: Any) -> Any:
    from transformers import EncoderDecoderConfig, EncoderDecoderModel

    decoder = config.__class__(**config.to_dict())
    decoder.is_decoder = decoder.add_cross_attention = True
    with torch.device("meta"):
        return EncoderDecoderModel(
            EncoderDecoderConfig.from_encoder_decoder_configs(config, decoder)
        )


def test_the_counts_of_the_post_are_exact():
    from transformers import BertConfig

    unshared = base_sized(BertConfig(vocab_size=30522))
    assert models.parameter_count(unshared) == COUNT
    cross = [p.numel() for n, p in unshared.named_parameters() if composition.is_cross(n)]
    assert (len(cross), sum(cross)) == (120, 28_366_848)
    shared = seq2seq.tie(base_sized(BertConfig(vocab_size=28996)))
    assert models.parameter_count(shared) == SHARED
    assert models.parameter_count(seq2seq.untie(shared)) > SHARED
    lone = models.parameter_count(base_sized(BertConfig(vocab_size=28996)))
    assert models.parameter_count(shared) == lone


@pytest.mark.parametrize("kind", ["roberta", "bert"])
@pytest.mark.parametrize("start", ["bert2bert", "shared"])
def test_only_cross_attention_is_new_ten_tensors_a_layer(
    kind: str, start: str, request: pytest.FixtureRequest
):
    base = request.getfixturevalue(kind)
    composite = made(base, start)
    assert len(composite.new) == 2 * 10
    assert all("crossattention" in name for name in composite.new)
    assert composition.check_sources(composite, base, base)["tensors_copied"] > 40
    names = {name for name, _ in composite.model.named_parameters(remove_duplicate=False)}
    assert set(composite.new) <= names
    assert not any("seq_relationship" in name for name in names)


def test_the_encoder_says_what_the_original_says(roberta: Path, bert: Path):
    from transformers import AutoModel

    for base in (roberta, bert):
        ids = torch.tensor([[0, 7, 9, 12, 2], [0, 8, 2, 1, 1]])
        mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
        original = AutoModel.from_pretrained(base, use_safetensors=True).eval()
        for start in ("bert2bert", "shared", "bert2rnd"):
            encoder = made(base, start).model.eval().get_encoder()
            with torch.inference_mode():
                one = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                two = original(input_ids=ids, attention_mask=mask).last_hidden_state
            assert float((one - two).abs().max()) == 0.0


def test_berts_pooler_is_kept_and_robertas_is_new_but_unused(roberta: Path, bert: Path):
    given = composition.read_tensors(bert)
    pooler = made(bert, "bert2bert").model.encoder.pooler.dense.weight
    assert torch.equal(pooler, given["bert.pooler.dense.weight"])
    composite = made(roberta, "bert2bert")
    assert composite.unused == ["encoder.pooler.dense.bias", "encoder.pooler.dense.weight"]
    assert set(composite.unused) <= composite.frozen(False)


def test_a_random_side_takes_nothing(roberta: Path):
    given = composition.read_tensors(roberta)
    name = "encoder.layer.0.attention.self.query.weight"
    source = given[f"roberta.{name}"]
    for start, sides in composition.STARTS.items():
        if start.endswith("gpt2"):
            continue
        model = made(roberta, start).model
        assert torch.equal(model.encoder.get_parameter(name), source) is sides.encoder
        assert torch.equal(model.decoder.roberta.get_parameter(name), source) is sides.decoder
    random = made(roberta, "rnd2rnd")
    assert len(random.new) + len(random.unused) == len(list(random.model.named_parameters()))
    one = random.model.encoder.get_parameter(name)
    assert not torch.equal(one, random.model.decoder.roberta.get_parameter(name))


def test_new_weights_follow_the_seed_alone(roberta: Path):
    name = "decoder.roberta.encoder.layer.1.crossattention.self.key.weight"
    weights = [made(roberta, "bert2bert", seed=n).model.get_parameter(name) for n in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_gpt2_decoder_keeps_its_weights_and_gets_eight_tensors_a_layer(roberta: Path, gpt: Path):
    composite = made(roberta, "bert2gpt2", gpt)
    assert len(composite.new) == 2 * 8
    assert composition.check_sources(composite, roberta, gpt)["tensors_new"] == 16
    given = composition.read_tensors(gpt)
    name = "h.0.attn.c_attn.weight"
    assert torch.equal(composite.model.decoder.transformer.get_parameter(name),
                       given[f"transformer.{name}"])  # fmt: skip


def test_sharing_makes_the_twins_one_parameter_and_gradients_add(roberta: Path):
    composite = made(roberta, "shared")
    model, apart = composite.model, made(roberta, "bert2bert").model
    assert seq2seq.is_tied(model)
    assert not seq2seq.is_tied(apart)
    twins = seq2seq.twins(model)
    assert "embeddings.word_embeddings.weight" in twins
    assert "encoder.layer.1.output.dense.bias" in twins
    shared = sum(model.encoder.get_parameter(name).numel() for name in twins)
    assert models.parameter_count(apart) - models.parameter_count(model) == shared
    apart.load_state_dict(model.state_dict())
    ids = torch.tensor([[0, 7, 9, 12, 2]])
    labels = torch.tensor([[5, 6, 2]])
    for one in (model, apart):
        one.config.decoder_start_token_id, one.config.pad_token_id = 0, 1
        one.eval()
        one(input_ids=ids, labels=labels).loss.backward()
    for name in twins:
        total = (
            apart.encoder.get_parameter(name).grad + apart.decoder.roberta.get_parameter(name).grad
        )
        assert torch.allclose(model.encoder.get_parameter(name).grad, total, atol=1e-6), name


def test_a_plain_loader_counts_both_copies_and_says_the_same(roberta: Path, tmp_path: Path):
    from transformers import AutoModelForSeq2SeqLM

    composite = made(roberta, "shared")
    tokenizer = models.open_tokenizer(roberta)
    composition.set_specials(composite.model, tokenizer, tokenizer)
    seq2seq.save(composite.model.eval(), tmp_path / "m", {})
    facts = json.loads((tmp_path / "m/seq2seq.json").read_text())
    assert facts["tied"] is True
    plain, info = AutoModelForSeq2SeqLM.from_pretrained(
        tmp_path / "m", use_safetensors=True, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours = seq2seq.load(tmp_path / "m")
    assert models.parameter_count(plain) == facts["parameters_untied"]
    assert models.parameter_count(ours) == facts["parameters"] < facts["parameters_untied"]
    given = {"input_ids": torch.tensor([[0, 7, 9, 2]]), "decoder_input_ids": torch.tensor([[0, 5]])}
    with torch.inference_mode():
        said = [model.eval()(**given).logits for model in (plain, ours, composite.model)]
    assert torch.equal(said[0], said[1])
    assert torch.equal(said[0], said[2])
    stored = composition.read_tensors(tmp_path / "m")
    for name in seq2seq.twins(ours):
        one, two = stored[f"encoder.{name}"], stored[f"decoder.roberta.{name}"]
        assert one.numpy().tobytes() == two.numpy().tobytes()
    assert seq2seq.is_tied(composite.model), "saving leaves the model as it was"


def test_copies_that_differ_are_refused_and_a_lost_tie_is_seen(roberta: Path, tmp_path: Path):
    from safetensors.torch import save_file

    composite = made(roberta, "shared")
    folder = tmp_path / "m"
    seq2seq.save(composite.model, folder, {})
    facts = json.loads((folder / "seq2seq.json").read_text())
    (folder / "seq2seq.json").write_text(json.dumps(facts | {"tied": False}))
    assert models.parameter_count(seq2seq.load(folder)) == facts["parameters_untied"]
    (folder / "seq2seq.json").write_text(json.dumps(facts))
    stored = composition.read_tensors(folder)
    name = "decoder.roberta.encoder.layer.0.output.dense.bias"
    stored[name] = stored[name] + 1
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ArtifactError, match=r"says tied, and encoder and decoder differ in encoder"
    ):
        seq2seq.load(folder)
    (folder / "seq2seq.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"seq2seq\.json cannot be read"):
        seq2seq.load(folder)


def test_special_ids_stand_on_the_top_configuration(roberta: Path, bert: Path):
    for base, ids in ((roberta, (0, 2, 1)), (bert, None)):
        tokenizer = models.open_tokenizer(base)
        model = made(base, "bert2bert").model
        composition.set_specials(model, tokenizer, tokenizer)
        found = (model.config.decoder_start_token_id, model.config.eos_token_id,
                 model.config.pad_token_id)  # fmt: skip
        wanted = ids or (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
        assert found == wanted
        assert model.config.vocab_size == len(tokenizer)
        told = model.generation_config
        assert (told.decoder_start_token_id, told.eos_token_id, told.pad_token_id) == wanted
        config = json.loads(model.config.to_json_string())
        assert config["model_type"] == "encoder-decoder"
        assert config["decoder"]["is_decoder"]
        assert config["decoder"]["add_cross_attention"]
        assert not config["encoder"].get("is_decoder", False)


def test_a_model_without_special_ids_is_refused(roberta: Path):
    with pytest.raises(ArtifactError, match="pad, eos and decoder_start are"):
        seq2seq.specials(made(roberta, "bert2bert").model)


# --- refusals and planted faults -----------------------------------------------------------------


def test_parts_that_do_not_fit_are_refused(roberta: Path, bert: Path, gpt: Path, tmp_path: Path):
    with pytest.raises(ParamsError, match="'gpt2' is no encoder"):
        made(gpt, "bert2bert")
    with pytest.raises(ParamsError, match="'gpt2' is no decoder"):
        made(roberta, "bert2bert", gpt)
    with pytest.raises(ParamsError, match="'bert' is no decoder"):
        made(roberta, "bert2gpt2", bert)
    with pytest.raises(ParamsError, match="shall be one and are two"):
        made(roberta, "shared", bert)
    from transformers import RobertaConfig, RobertaForMaskedLM

    wide = RobertaConfig(vocab_size=300, hidden_size=48, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=64, max_position_embeddings=34)  # fmt: skip
    RobertaForMaskedLM(wide).save_pretrained(tmp_path / "wide")
    with pytest.raises(ParamsError, match="the encoder is 32 wide and the decoder 48"):
        made(roberta, "bert2bert", tmp_path / "wide")


def test_a_tensor_that_is_not_its_sources_is_caught(roberta: Path):
    composite = made(roberta, "bert2bert")
    with torch.no_grad():
        composite.model.decoder.roberta.encoder.layer[0].attention.self.query.weight[0, 0] += 1e-3
    with pytest.raises(CheckFailed, match=r"decoder\.roberta\.encoder\.layer\.0\.attention\.self"):
        composition.check_sources(composite, roberta, roberta)


def test_an_incomplete_checkpoint_is_refused(roberta: Path, tmp_path: Path):
    import shutil

    from safetensors.torch import save_file

    other = tmp_path / "m"
    shutil.copytree(roberta, other)
    stored = composition.read_tensors(other)
    del stored["roberta.encoder.layer.1.output.dense.weight"]
    save_file(stored, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="the encoder's checkpoint lacks encoder.layer.1"):
        made(other, "bert2rnd")
    with pytest.raises(CheckFailed, match="new in the decoder beyond its cross-attention: roberta"):
        made(other, "rnd2bert")
