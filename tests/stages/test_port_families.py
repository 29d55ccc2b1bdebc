"""Stage `port` on releases of six families: loaded by Auto classes, equal to what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.log import Log
from stages.lm.layouts import conversion
from stages.port.families import choices, reading
from stages.port.stage import PortParams, port
from tests.stages import families_material as material

IDS = torch.tensor([[5, 6, 7, 8, 20, 3]])


def run(source: Any, files: Path, model: Path) -> dict[str, Any]:
    """Port a folder of files by the stage; return verification.json."""
    raw = files.parent / f"raw-of-{files.name}"
    raw.mkdir()
    (raw / "files").symlink_to(files)
    port(PortParams(raw="release", source=source), raw, raw, raw, model, Log())
    found: dict[str, Any] = json.loads((model / "verification.json").read_text(encoding="utf-8"))
    assert found["passed"]
    assert all(check["passed"] for check in found["checks"])
    return found


def logits(folder: Path, auto: str = "AutoModelForCausalLM", ids: torch.Tensor = IDS) -> Any:
    """Return what the ported folder computes, opened as a user opens it."""
    import transformers

    model = getattr(transformers, auto).from_pretrained(folder, local_files_only=True)
    with torch.inference_mode():
        return model(input_ids=ids)


def names(found: dict[str, Any]) -> set[str]:
    """Return the names of the checks."""
    return {check["name"] for check in found["checks"]}


def test_bert_as_google_released_it(tmp_path: Path) -> None:
    """The ported folder gives what Google's own code computed and tokenised."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    files = material.release("bert", tmp_path / "bert")
    found = run(choices.Bert(activation="gelu_new"), files, tmp_path / "model")
    assert found["lower_case"]
    assert {"prediction_logits in fp64", "seq_relationship_logits in fp32"} <= names(found)
    recorded = json.loads((files / "recorded.json").read_text(encoding="utf-8"))
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "model", local_files_only=True)
    given = {
        name: torch.tensor(recorded[name])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    with torch.inference_mode():
        here = model(**given).logits[:, :2, :8]
    torch.testing.assert_close(here, torch.tensor(recorded["logits"]), atol=3e-5, rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    for text, tokens in zip(recorded["texts"], recorded["tokens"], strict=True):
        assert tokenizer(text)["input_ids"] == tokens


def test_bert_of_another_activation_and_a_classifier(tmp_path: Path) -> None:
    files = material.bert_classifier(tmp_path / "bert", classes=3)
    found = run(choices.Bert(), files, tmp_path / "model")
    assert found["heads"] == ["masked-language", "next-sentence", "classes"]
    out = logits(tmp_path / "model", "AutoModelForSequenceClassification")
    assert out.logits.shape == (1, 3)
    kept = conversion.open_converted(tmp_path / "model").specs
    assert "kept:cls.predictions.bias" in kept  # nothing is lost


def test_gpt2_as_openai_released_it(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    files = material.release("gpt2", tmp_path / "gpt2")
    found = run(choices.Gpt2(), files, tmp_path / "model")
    assert "greedy continuations without cache" in names(found)
    recorded = json.loads((files / "recorded.json").read_text(encoding="utf-8"))
    here = logits(tmp_path / "model", ids=torch.tensor(recorded["input_ids"])).logits
    here = here[:, recorded["positions"], :8]
    torch.testing.assert_close(here, torch.tensor(recorded["logits"]), atol=3e-5, rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    for text, tokens in zip(recorded["texts"], recorded["tokens"], strict=True):
        assert tokenizer(text)["input_ids"] == tokens
    for name, ours in (("encoder.json", "vocab.json"), ("vocab.bpe", "merges.txt")):
        assert (tmp_path / "model" / ours).read_bytes() == (files / name).read_bytes()


@pytest.mark.parametrize(
    ("version", "ranks", "stack", "attention"),
    [
        (0, 1, "transformer", "attention"),
        (0, 2, "transformer", "attention"),
        (1, 1, "encoder", "attention"),
        (1, 2, "encoder", "self_attention"),
        (2, 1, "encoder", "self_attention"),
        (3, 2, "encoder", "self_attention"),
    ],
)
def test_megatron_of_every_version(
    tmp_path: Path, version: int, ranks: int, stack: str, attention: str
) -> None:
    """The model that was laid out comes back: equal logits, no padded rows, its own vocabulary."""
    model = material.gpt2_model()
    files = material.megatron(
        tmp_path / "gpt", model, version, ranks, stack=stack, attention=attention
    )
    found = run(choices.MegatronGpt2(), files, tmp_path / "model")
    assert found["checkpoint_version"] == version
    assert found["padded_rows_cut"] == -(-331 // (128 * ranks)) * 128 * ranks - 331
    out = logits(tmp_path / "model").logits
    assert torch.equal(out, model(IDS).logits)
    assert out.shape[-1] == material.VOCAB
    merges = (tmp_path / "model" / "merges.txt").read_bytes()
    assert merges == (files / "merges.txt").read_bytes()


@pytest.mark.parametrize("activation", ["gelu_fast", "gelu_new", "gelu"])
def test_megatrons_flags_say_the_activation(tmp_path: Path, activation: str) -> None:
    model = material.gpt2_model(activation_function=activation)
    files = material.megatron(tmp_path / "gpt", model)
    assert run(choices.MegatronGpt2(), files, tmp_path / "model")["activation"] == activation
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["activation_function"] == activation
    assert config["vocab_size"] == material.VOCAB


def test_megatron_without_arguments_and_the_latest_iteration(tmp_path: Path) -> None:
    model = material.gpt2_model(activation_function="gelu_new")
    material.megatron(tmp_path / "gpt", material.gpt2_model(layers=1), iteration="iter_0000100")
    files = material.megatron(tmp_path / "gpt", model, 0, with_args=False, iteration="iter_0000200")
    (files / "latest_checkpointed_iteration.txt").write_text("200", encoding="utf-8")
    found = run(choices.MegatronGpt2(heads=4), files, tmp_path / "model")
    assert found["checkpoint"] == "iter_0000200"
    assert torch.equal(logits(tmp_path / "model").logits, model(IDS).logits)


@pytest.mark.parametrize("vocab_size", [0, 331])
def test_megatron_without_a_tokenizer(tmp_path: Path, vocab_size: int) -> None:
    """A checkpoint holds none: without the files all rows are words, or as many as are told."""
    model = material.gpt2_model()
    files = material.megatron(tmp_path / "gpt", model)
    (files / "vocab.json").unlink()
    (files / "merges.txt").unlink()
    found = run(choices.MegatronGpt2(vocab_size=vocab_size), files, tmp_path / "model")
    assert not found["tokenizer_given"]
    assert found["task"] == "text-generation"
    out = logits(tmp_path / "model").logits
    assert out.shape[-1] == (vocab_size or 384)
    assert torch.equal(out[..., :331], model(IDS).logits)


def test_rwkv_and_its_two_forms(tmp_path: Path) -> None:
    model = material.rwkv_model()
    files = material.rwkv(tmp_path / "rwkv", model)
    material.word_level(files, 60)
    found = run(choices.Rwkv(), files, tmp_path / "model")
    assert {
        "recurrence is the sum in fp64",
        "a whole sequence is the sum in fp32",
        "token by token is the whole sequence",
        "a state that was saved goes on the same",
        "token ids are the original's",
    } <= names(found)
    assert not found["plain_generate_takes_several_rows"]  # of transformers 5.23
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert (config["context_length"], config["rescale_every"]) == (64, 0)
    assert torch.equal(logits(tmp_path / "model").logits, model(IDS).logits)


@pytest.mark.parametrize("heads", [4, 6])
def test_bloom_as_released_for_transformers(tmp_path: Path, heads: int) -> None:
    model = material.bloom_model(heads)
    files = material.bloom(tmp_path / "bloom", model)
    material.word_level(files, 60)
    found = run(choices.Bloom(), files, tmp_path / "model")
    assert found["alibi_slopes"] == ("interpolated" if heads == 6 else "2^(-8h/H)")
    long = torch.arange(3 * found["trained_tokens"]).reshape(1, -1) % 60
    for ids in (IDS, long):  # longer than it was trained on, too
        assert torch.equal(logits(tmp_path / "model", ids=ids).logits, model(ids).logits)
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert [config[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [1, 2, 3]


def test_a_continuation_through_the_end_of_a_text(tmp_path: Path) -> None:
    """A vocabulary of seven: continuations meet the end token, and greedy parity goes on."""
    model = material.bloom_model(heads=1, layers=1, width=8, vocab_size=7)
    run(choices.Bloom(), material.bloom(tmp_path / "bloom", model), tmp_path / "model")


@pytest.mark.parametrize("kind", ["rwkv", "bloom", "roberta", "megatron"])
def test_half_precision_stays_what_it_is(tmp_path: Path, kind: str) -> None:
    """Bits are not cast: the ported tensors have the source's type, and the settings say it."""
    half = torch.bfloat16 if kind in ("rwkv", "bloom") else torch.float16
    made: dict[str, Any] = {
        "rwkv": lambda at: (choices.Rwkv(), material.rwkv(at, material.rwkv_model(9).to(half))),
        "bloom": lambda at: (choices.Bloom(), material.bloom(at, material.bloom_model().to(half))),
        "roberta": lambda at: (
            choices.Roberta(), material.roberta(at, material.roberta_model().to(half))
        ),
        "megatron": lambda at: (
            choices.MegatronGpt2(), material.megatron(at, material.gpt2_model().to(half), 1)
        ),
    }  # fmt: skip
    source, files = made[kind](tmp_path / "files")
    found = run(source, files, tmp_path / "model")
    told = str(half).removeprefix("torch.")
    assert found["source_dtypes"] == [{"bfloat16": "BF16", "float16": "F16"}[told]]
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert config["dtype"] == told


@pytest.mark.parametrize("ranks", [1, 2])
def test_bloom_as_its_training_wrote_it(tmp_path: Path, ranks: int) -> None:
    model = material.bloom_model()
    files = material.bloom_training(tmp_path / "bloom", model, ranks)
    assert run(choices.Bloom(), files, tmp_path / "model")["ranks"] == ranks
    assert torch.equal(logits(tmp_path / "model").logits, model(IDS).logits)


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"stack": "decoder.sentence_encoder.", "norm": "emb_layer_norm", "fused": True,
         "new": False},
    ],
)  # fmt: skip
def test_roberta_of_old_and_new_fairseq(tmp_path: Path, layout: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    model = material.roberta_model()
    files = material.roberta(tmp_path / "roberta", model, **layout)
    found = run(choices.Roberta(), files, tmp_path / "model")
    assert found["fused_projections"] == bool(layout)
    out = logits(tmp_path / "model", "AutoModelForMaskedLM").logits
    assert torch.equal(out, model(IDS).logits)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    at = material.shuffled_ids().index(tokens_of("!")[0])
    assert tokenizer("!")["input_ids"] == [0, at + 4, 2]
    assert tokenizer.mask_token_id == material.VOCAB + 7


def tokens_of(text: str) -> list[int]:
    """Return GPT-2's ids of single characters."""
    ids = json.loads((material.RELEASES / "gpt2" / "encoder.json").read_text(encoding="utf-8"))
    return [ids[letter] for letter in text]


def test_a_roberta_whose_head_is_not_tied(tmp_path: Path) -> None:
    model = material.roberta_model()
    files = material.roberta(tmp_path / "roberta", model)
    tree = torch.load(files / "model.pt", weights_only=False)
    own = torch.randn(339, 16, generator=torch.Generator().manual_seed(8))
    tree["model"]["encoder.lm_head.weight"] = own
    torch.save(tree, files / "model.pt")
    assert not run(choices.Roberta(), files, tmp_path / "model")["tied"]
    ported = logits(tmp_path / "model", "AutoModelForMaskedLM")
    with torch.inference_mode():
        model.config.tie_word_embeddings = False
        model.lm_head.decoder.weight = torch.nn.Parameter(own)
        torch.testing.assert_close(ported.logits, model(IDS).logits, atol=1e-6, rtol=0)


def test_robertas_classification_head(tmp_path: Path) -> None:
    files = material.roberta(tmp_path / "roberta", material.roberta_model(), heads={"mnli": 3})
    run(choices.Roberta(classification_head="mnli"), files, tmp_path / "model")
    out = logits(tmp_path / "model", "AutoModelForSequenceClassification")
    assert out.logits.shape == (1, 3)


def test_two_ports_write_equal_bytes(tmp_path: Path) -> None:
    files = material.megatron(tmp_path / "gpt", material.gpt2_model(), 1)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        reading.port_family(choices.MegatronGpt2(), files, folder, Log())
    one, two = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert one == two
