"""Translators and summarisers: what is asked, how it is chosen, and what a folder holds."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from stages.core.errors import ArtifactError, CheckFailed, ParamsError, Resumable
from stages.core.log import Log
from stages.finetune import pairs, writing
from stages.finetune.composition import compose, set_specials
from stages.finetune.stage import FinetuneParams
from stages.lm import models, objectives, seq2seq
from stages.lm.decoding.settings import Beam
from stages.lm.writer import Writer
from tests.stages import evaluate_material
from tests.stages import writing_material as material

SHARED = material.params({"warm_start": "shared"})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.roberta(tmp_path_factory.mktemp("base") / "m")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.corpus(tmp_path_factory.mktemp("pairs") / "c", (64, 12, 12))


@pytest.fixture(scope="module")
def shared(base: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shared") / "model"
    material.run(SHARED, base, corpus, out)
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def model_of(base: Path, start: str = "bert2bert") -> torch.nn.Module:
    made = compose(base, base, start, seed=1, dropout=0.0)
    tokenizer = models.open_tokenizer(base)
    set_specials(made.model, tokenizer, tokenizer)
    return made.model.eval()


def test_the_folder_is_whole_tied_and_says_what_it_is(shared: Path, base: Path):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    assert set(digests(shared)) == {
        "config.json", "decoding.json", "generation_config.json", "model.safetensors",
        "seq2seq.json", "tokenizer.json", "tokenizer_config.json", "training.json",
    }  # fmt: skip
    assert str(base) not in (shared / "config.json").read_text()
    facts, told = (
        json.loads((shared / f"{name}.json").read_text()) for name in ("seq2seq", "training")
    )
    assert facts["tied"] is True
    assert len(facts["new_tensors"]) == 20
    assert told["task"] == "translation"
    assert told["contract"] == [
        "encoder is bidirectional", "decoder is causal", "padding changes nothing",
        "encoder runs once per batch", "steps obey the chain rule", "greedy search is generate's",
        "cache changes no token",
    ]  # fmt: skip
    assert [row["side"] for row in told["lengths"]] == ["source", "target"]
    assert json.loads((shared / "decoding.json").read_text())["kind"] == "beam"
    model = AutoModelForSeq2SeqLM.from_pretrained(shared, use_safetensors=True).eval()
    assert models.parameter_count(model) == facts["parameters_untied"]
    ours = seq2seq.load(shared)
    assert seq2seq.is_tied(ours), "training kept both copies equal"
    assert models.parameter_count(ours) == facts["parameters"] == told["parameters"]
    tokenizer = AutoTokenizer.from_pretrained(shared)
    said = model.generate(**tokenizer("ba be do", return_tensors="pt"), max_length=12)
    assert said[0, 0] == tokenizer.cls_token_id


def test_the_labels_have_no_opening_token_and_the_loss_is_transformers_own(base: Path):
    tokenizer = models.open_tokenizer(base)
    model = model_of(base)
    sources = seq2seq.encode_sources(tokenizer, ["ba be", "do"])
    labels = seq2seq.encode_targets(tokenizer, ["fa", "ga ge go"])
    assert all(row[-1] == tokenizer.sep_token_id for row in labels)
    assert not any(tokenizer.cls_token_id in row for row in labels)
    question = pairs.ask(sources, labels, tokenizer.cls_token_id, (1, 1))
    first = question.prefix[:, :2].tolist()
    assert [row[0] for row in first] == [0, 0]
    assert 0 not in [row[1] for row in first], "one start token, not two"
    width = max(map(len, labels))
    padded = torch.tensor([[*row, *[-100] * (width - len(row))] for row in labels])
    with torch.inference_mode():
        theirs = model(input_ids=question.ids, attention_mask=question.mask, labels=padded).loss
        ours = objectives.summed_nats(model, question) / len(question.answers)
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)
    assert len(question.answers) == sum(map(len, labels)), "padding is not asked"
    assert question.tokens == sum(map(len, sources)) + sum(map(len, labels))


def test_padding_that_is_asked_would_change_the_loss(base: Path):
    """A planted fault: labels of padding that are its id and not -100."""
    model = model_of(base)
    question = pairs.ask([[0, 9, 2], [0, 8, 2]], [[5, 2], [6, 7, 8, 9, 2]], 0, (1, 1))
    wrong = torch.tensor([[5, 2, 1, 1, 1], [6, 7, 8, 9, 2]])
    with torch.inference_mode():
        theirs = model(input_ids=question.ids, attention_mask=question.mask, labels=wrong).loss
        ours = objectives.summed_nats(model, question) / len(question.answers)
    assert abs(float(ours) - float(theirs)) > 1e-3


def test_text_that_spells_a_special_token_ends_nothing(base: Path):
    tokenizer = models.open_tokenizer(base)
    (row,) = seq2seq.encode_targets(tokenizer, ["ba </s> be"])
    assert row.count(2) == 1
    assert row[-1] == 2


def test_an_epoch_has_every_pair_once_and_another_order_than_the_next():
    encoded = pairs.Encoded(
        [[0] * (n % 7 + 3) for n in range(103)], [[5] * (n % 5 + 1) for n in range(103)], 0, 0
    )
    batches = pairs.Batches(encoded, 0, (1, 1), size=8, parts=2, seed=3)
    orders = [batches.order(epoch) for epoch in (0, 1)]
    for order in orders:
        assert sorted(sum(order, [])) == list(range(103))
        assert len(order) == batches.per_epoch == 13
        assert max(map(len, order)) == 8
    assert orders[0] != orders[1]
    assert orders[0] == pairs.Batches(encoded, 0, (1, 1), size=8, parts=1, seed=3).order(0)
    parts = batches.tasks(2)
    assert sum(len(part.ids) for part in parts) == len(orders[0][2])
    waste = sum(int((task.mask == 0).sum()) for n in range(13) for task in batches.tasks(n))
    assert waste < 60, "pairs of a batch are of like lengths"


def test_what_is_too_long_is_cut_and_told(base: Path, tmp_path: Path):
    tokenizer = models.open_tokenizer(base)
    long = pairs.Pairs(["a", "b"], ["ba be bo " * 20, "ba"], [["da de do " * 9], ["da"]])
    limits = pairs.Limits(12, 6)
    cut = pairs.encode(long, tokenizer, tokenizer, limits)
    assert [len(row) for row in cut.sources][0] == 12
    assert cut.sources[0][-1] == 2, "a source that is cut keeps its closing token"
    assert len(cut.labels[0]) == 6
    assert 2 not in cut.labels[0], "a target that is cut did not end there"
    assert (cut.cut_sources, cut.cut_targets) == (1, 1)
    table = pairs.lengths(long, tokenizer, tokenizer, limits)
    assert [row["cut_share"] for row in table] == [0.5, 0.5]
    assert table[0]["above_32_share"] == 0.5
    texts = seq2seq.Texts(tokenizer, tokenizer, 12)
    assert texts.encode(long.sources[0]) == cut.sources[0]
    assert texts.cut == 1


def test_fresh_processes_give_the_same_bytes(
    root: Path, base: Path, corpus: Path, shared: Path, tmp_path: Path
):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from tests.stages.test_finetune_writing import SHARED, material;"
        "material.run(SHARED, Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))"
    )
    out = tmp_path / "other/folder"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(root), str(base), str(corpus), str(out)],
        env=os.environ | {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        check=True,
    )
    assert digests(out) == digests(shared)


def test_stopped_and_resumed_is_byte_identical(
    base: Path, corpus: Path, shared: Path, tmp_path: Path
):
    class StopAt(Log):
        def metric(self, name: str, value: float, *, step: int | None = None) -> None:
            super().metric(name, value, step=step)
            if step == 5:
                self.request_stop()

    with pytest.raises(Resumable, match="stopped after step 5 of 8"):
        material.run(SHARED, base, corpus, tmp_path / "m", log=StopAt(scratch=tmp_path / "s"))
    material.run(SHARED, base, corpus, tmp_path / "m", log=Log(scratch=tmp_path / "s"))
    assert digests(tmp_path / "m") == digests(shared)


def one_for_all(folder: Path) -> None:
    """Make `</s>` begin, end and padding of a tokenizer at once, as GPT-2's token is."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    for role in ("cls_token", "sep_token", "mask_token"):
        config.pop(role, None)
    path.write_text(json.dumps(config | dict.fromkeys(("bos_token", "pad_token"), "</s>")))


def test_a_gpt2_decoder_with_its_own_tokenizer_is_written_beside(
    base: Path, corpus: Path, tmp_path: Path
):
    gpt = evaluate_material.write_gpt(tmp_path / "g", ["ba be bo do da"] * 4)
    one_for_all(gpt)
    params = material.params({"warm_start": "bert2gpt2"}, decoder="pretrained/g", epochs=1)
    log = material.run(params, base, corpus, tmp_path / "m", gpt)
    assert (tmp_path / "m/target_tokenizer/tokenizer.json").is_file()
    assert not json.loads((tmp_path / "m/seq2seq.json").read_text())["tied"]
    texts = seq2seq.Texts.load(tmp_path / "m", 34)
    target = models.open_tokenizer(gpt)
    assert texts.decode([*target("do da")["input_ids"], 2]) == "do da"
    assert log.metrics["valid_loss_nats"] > 0
    config = json.loads((tmp_path / "m/config.json").read_text())
    names = ("decoder_start_token_id", "eos_token_id", "pad_token_id")
    assert [config[name] for name in names] == [2, 2, 2]
    writer = Writer.load(tmp_path / "m")
    short = Beam(num_beams=3, max_tokens=6)
    assert writer.decoded(["ba be", "do"], short) == [
        *writer.decoded(["ba be"], short), *writer.decoded(["do"], short)
    ]  # fmt: skip


def test_a_summariser_is_scored_by_rouge(base: Path, corpus: Path, tmp_path: Path):
    params = material.params(
        {"kind": "summarisation", "warm_start": "bert2rnd", "max_generated": 1}, epochs=1
    )
    log = material.run(params, base, corpus, tmp_path / "m")
    assert {"valid_rouge1_points", "valid_rouge2_points", "valid_rougeL_points"} <= set(log.metrics)
    told = json.loads((tmp_path / "m/training.json").read_text())
    assert told["selection"]["metric"] == "valid_rougeL_points"
    assert json.loads((tmp_path / "m/decoding.json").read_text())["no_repeat_ngram_size"] == 3


def test_copying_is_learnt_and_with_cross_attention_zeroed_stays_at_chance(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(material, "WORDS", material.WORDS[:10])
    corpus = material.corpus(tmp_path / "c", (400, 24, 12))
    params = material.params(
        {"warm_start": "rnd2rnd", "max_generated": 4}, epochs=12, dropout=0.0, learning_rate=5e-3
    )
    log = material.run(params, base, corpus, tmp_path / "m")
    assert log.metrics["valid_accuracy_fraction"] > 0.95
    chance = 1 / len(material.WORDS)
    model = seq2seq.load(tmp_path / "m")
    texts = seq2seq.Texts.load(tmp_path / "m", 32)
    valid = pairs.read(corpus, "valid", 0, "valid")
    for layer in model.decoder.roberta.encoder.layer:
        with torch.no_grad():
            layer.crossattention.output.dense.weight.zero_()
            layer.crossattention.output.dense.bias.zero_()
    ids = [texts.encode(text) for text in valid.sources]
    said = [texts.decode(row) for row in seq2seq.greedy(model, ids, seq2seq.specials(model), 20)]
    right = sum(
        a == b
        for text, other in zip(said, valid.sources, strict=True)
        for a, b in zip(text.split(), other.split(), strict=False)
    )
    words = sum(len(text.split()) for text in valid.sources)
    assert right / words < 3 * chance


# --- planted faults and refusals -----------------------------------------------------------------


def test_a_decoder_that_sees_the_future_is_caught(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from transformers.models.roberta import modeling_roberta

    blind = modeling_roberta.create_bidirectional_mask

    def open_mask(**given):
        given.pop("past_key_values", None)
        return blind(**given)

    monkeypatch.setattr(modeling_roberta, "create_causal_mask", open_mask)
    attend = modeling_roberta.RobertaSelfAttention.__init__

    def deaf(self, config, is_causal=False, layer_idx=None):
        attend(self, config, False, layer_idx)

    monkeypatch.setattr(modeling_roberta.RobertaSelfAttention, "__init__", deaf)
    with pytest.raises(CheckFailed, match="breaks its contract: .*decoder is causal"):
        material.run(material.params({}, epochs=1), base, corpus, tmp_path / "m")


def test_a_tie_that_is_lost_while_training_is_caught(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A planted fault: what is written of the decoder is not what was trained."""
    untie = seq2seq.untie

    def drifting(model):
        made = untie(model)
        with torch.no_grad():
            made.decoder.roberta.encoder.layer[0].output.dense.bias.add_(1e-3)
        return made

    monkeypatch.setattr(seq2seq, "untie", drifting)
    with pytest.raises(CheckFailed, match="the written model's logits differ"):
        material.run(SHARED, base, corpus, tmp_path / "m")


def test_a_loss_asked_at_one_place_only_is_caught(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ask = pairs.ask

    def stuck(*given):
        right = ask(*given)
        return pairs.Written(right.ids, right.mask, right.prefix, right.places * 0, right.answers)

    monkeypatch.setattr(pairs, "ask", stuck)
    with pytest.raises(CheckFailed, match="no gradient reaches"):
        material.run(material.params({}, epochs=1), base, corpus, tmp_path / "m")


def test_what_cannot_be_is_refused(base: Path, corpus: Path, tmp_path: Path):
    with pytest.raises(ParamsError, match="64 tokens do not fit a model of 32 positions"):
        material.run(material.params({}, max_length=64), base, corpus, tmp_path / "m")
    with pytest.raises(ParamsError, match="99 tokens do not fit a model of 32 positions"):
        material.run(material.params({"max_target_length": 99}), base, corpus, tmp_path / "m")
    empty = material.corpus(tmp_path / "c", (10, 0, 1))
    with pytest.raises(ArtifactError, match="the split valid holds no pair"):
        material.run(material.params({}), base, empty, tmp_path / "m")
    other = evaluate_material.write_corpus(
        tmp_path / "t", "text", {"train": [{"id": "1", "text": "x"}]}
    )
    with pytest.raises(ArtifactError, match="the corpus is of the kind 'text'"):
        material.run(material.params({}), base, other, tmp_path / "m")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": {"kind": "translation"}, "initial": "random"}, "warm_start: rnd2rnd"),
        ({"task": {"kind": "translation", "warm_start": "bert2gpt2"}}, "a causal model in"),
        ({"task": {"kind": "token-classification"}, "decoder": "pretrained/x"}, "has no decoder"),
        ({"task": {"kind": "translation", "warm_start": "bert"}}, "warm_start"),
        ({"task": {"kind": "summarization"}}, "task"),
    ],
)
def test_wrong_parameters_are_refused(changes: dict, said: str):
    with pytest.raises(ValidationError, match=said):
        FinetuneParams.model_validate({"base": "x", "data": "x"} | changes)


def test_the_loss_may_choose_the_weights_and_looks_may_be_rare(
    base: Path, corpus: Path, tmp_path: Path
):
    task = {"selection": "loss", "evaluate_epochs": 2, "max_generated": 1}
    material.run(material.params(task, epochs=3), base, corpus, tmp_path / "m")
    told = json.loads((tmp_path / "m/training.json").read_text())
    assert told["selection"]["metric"] == "valid_probability_fraction"
    losses = dict(told["validation"]["valid_loss_nats"])
    assert list(losses) == [8, 12], "after two epochs, and at the end"
    assert losses[told["selection"]["step"]] == min(losses.values())


def test_validation_pairs_choose_the_weights(shared: Path):
    told = json.loads((shared / "training.json").read_text())
    values = [point["value"] for point in told["selection"]["curve"]]
    assert told["selection"]["value"] == max(values)
    assert writing.SELECTION["translation"] == told["selection"]["metric"]
    assert len(told["validation"]["valid_loss_nats"]) == len(values) == 2
