"""What `deveno try` does with a language model: fill a mask, complete a text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, RobertaConfig

from stages.core.errors import ArtifactError, DevenoError, ParamsError
from stages.core.log import Log
from stages.lm import classify, models, tokenizers
from stages.lm.completer import Completer
from stages.lm.decoding.settings import Greedy
from stages.tokenizer.stage import TokenizerParams, tokenizer
from tests import training


def make_folder(root: Path, objective: str) -> Path:
    """A language model with random weights and a real tokenizer."""
    (root / "none").mkdir(parents=True)
    tokenizer(
        params=TokenizerParams(corpus="x", vocab_size=300, objective=objective),
        corpus=training.text_corpus(root / "corpus", 60, held_out=4),
        reference=root / "none",
        tokenizer=root / "tokenizer",
        log=Log(),
    )
    if objective == "masked":
        config = RobertaConfig(
            vocab_size=300,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=26,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
        )
        model = models.create(config, "mlm", 1)
    else:
        config = GPT2Config(
            vocab_size=300,
            n_embd=16,
            n_layer=1,
            n_head=2,
            n_positions=24,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
        model = models.create(config, "causal", 1)
    models.save(model, root / "model")
    tokenizers.copy(root / "tokenizer", root / "model", 24)
    return root / "model"


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("masked") / "m", "masked")


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("causal") / "m", "causal")


def test_fillings_are_the_best_of_the_whole_distribution(masked: Path):
    (found,) = classify.fill_mask(masked, ["la <mask> ."], top_k=3)
    model, backend = models.load(masked, "mlm").eval(), models.open_tokenizer(masked)
    given = backend("la <mask> .", return_tensors="pt")
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        logits = model(**given).logits[0]
    place = given["input_ids"][0].tolist().index(backend.mask_token_id)
    shares, best = logits[place].softmax(-1).topk(3)
    assert [row["score"] for row in found] == pytest.approx(shares.tolist(), abs=1e-4)
    assert {row["token"] for row in found} <= {
        backend.convert_ids_to_tokens(int(token))
        for token in logits[place].topk(12).indices.tolist()
    }
    assert found[0]["text"].startswith("la ")
    assert "<mask>" not in found[0]["text"]
    assert len(best) == 3


@pytest.mark.parametrize("text", ["la suno", "<mask> <mask>"])
def test_a_text_without_one_mask_is_refused(masked: Path, text: str):
    with pytest.raises(ParamsError, match="does not hold exactly one <mask>") as caught:
        classify.fill_mask(masked, [text])
    assert len(caught.value.lines()) == 3


def test_a_text_longer_than_the_model_is_refused(masked: Path, causal: Path):
    with pytest.raises(ArtifactError, match="the model reads 24"):
        classify.fill_mask(masked, ["<mask>" + " la" * 40])
    with pytest.raises(ArtifactError, match="the model reads 24"):
        Completer.load(causal).complete(["la " * 40])


def test_a_completion_is_the_greedy_one_token_by_token(causal: Path):
    ((found,),) = Completer.load(causal).complete(["la "], Greedy(max_tokens=5))
    model, backend = models.load(causal, "causal").eval(), models.open_tokenizer(causal)
    ids = [backend.bos_token_id, *backend("la ", add_special_tokens=False)["input_ids"]]
    with torch.inference_mode():
        for _ in range(5):
            states = models.hidden_states(model, models.from_lists([ids]))
            ids.append(int(models.head_logits(model, states[-1:])[0].argmax()))
            if ids[-1] == backend.eos_token_id:
                break
    assert found.text == backend.decode(ids[1:], skip_special_tokens=True)
    assert found.text.startswith("la ")


def test_a_completion_never_outgrows_the_model(causal: Path):
    """24 positions: a 25th would be an index error in the table of positions."""
    ((found,),) = Completer.load(causal).complete(["la suno brilas"], Greedy(max_tokens=400))
    assert found.text.startswith("la suno brilas")
    assert len(found.text) > len("la suno brilas")


def test_the_wrong_kind_of_model_is_refused(causal: Path):
    with pytest.raises(DevenoError):
        classify.load(causal)
