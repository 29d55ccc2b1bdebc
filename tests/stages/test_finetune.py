"""Fine-tuning a tagger: labels, windows, choice by validation, and what is refused."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from stages.core.errors import ArtifactError, CheckFailed, ParamsError, Resumable
from stages.core.log import Log
from stages.finetune import sentences, tagging
from stages.finetune.stage import FinetuneParams, finetune
from stages.lm import models
from stages.lm.classify import Tagger
from stages.lm.words import Encoder, spaced, words
from stages.pretrain.stage import PretrainParams, Roberta, pretrain
from tests import training

PARAMS = FinetuneParams(base="pretrained/x", data="x", epochs=3, batch_sentences=16)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("base")
    tokens, tokenizer = training.tokens(root)
    params = PretrainParams(
        tokens="x",
        tokenizer="x",
        model=Roberta(hidden_size=32, layers=2, heads=2, feed_forward_size=64, positions=32),
        steps=20,
        batch_rows=8,
        learning_rate=3e-3,
    )
    pretrain(
        params=params,
        tokens=tokens,
        tokenizer=tokenizer,
        base=root / "none",
        model=root / "model",
        **training.NO_MORE,
        log=Log(scratch=root / "s"),
    )
    return root / "model"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.labelled_corpus(tmp_path_factory.mktemp("labelled"), (80, 30, 30))


@pytest.fixture(scope="module")
def tagger(base: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tagger") / "model"
    run(PARAMS, base, corpus, out)
    return out


def run(params: FinetuneParams, base: Path, corpus: Path, out: Path, log: Log | None = None) -> Log:
    log = log or Log(scratch=out.parent / f"{out.name}-scratch")
    finetune(params, base, base.parent / "none", corpus, out, log)
    return log


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def test_the_folder_tags_with_transformers_alone(tagger: Path):
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    assert sorted(path.name for path in tagger.iterdir()) == [
        "config.json",
        "merges.txt",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
        "vocab.json",
    ]
    config = json.loads((tagger / "config.json").read_text())
    assert config["architectures"] == ["RobertaForTokenClassification"]
    assert list(config["id2label"].values()) == ["ADJ", "ADV", "DET", "NOUN", "PUNCT", "VERB"]
    sentence = training.sentences(1, seed=9)[0][0]
    tokenizer = AutoTokenizer.from_pretrained(tagger)
    model = AutoModelForTokenClassification.from_pretrained(tagger).eval()
    given = tokenizer(training.text((sentence, [])), return_tensors="pt")
    with torch.inference_mode():
        shares = model(**given).logits[0].softmax(-1)
    encoded = Encoder(tokenizer, 32).encode([sentence])[0]
    assert given["input_ids"][0].tolist() == encoded.ids, "words are spaced as running text is"
    for (tag, score), head in zip(
        Tagger.load(tagger).tag([sentence])[0], encoded.heads, strict=True
    ):
        assert tag == model.config.id2label[int(shares[head].argmax())]
        assert score == pytest.approx(float(shares[head].max()), abs=1e-4)


def test_tags_do_not_depend_on_company(tagger: Path):
    opened = Tagger.load(tagger)
    given = [row for row, _ in training.sentences(12, seed=5)]
    together, small = opened.tag(given), opened.tag(given, batch_size=2)
    for sentence, row, other in zip(given, together, small, strict=True):
        alone = opened.tag([sentence])[0]
        assert [tag for tag, _ in row] == [tag for tag, _ in alone] == [tag for tag, _ in other]
        assert [s for _, s in row] == pytest.approx([s for _, s in alone], abs=1e-5)
    assert opened.tag([[], ["la"]])[0] == []


def test_fresh_processes_give_the_same_bytes(
    root: Path, base: Path, corpus: Path, tagger: Path, tmp_path: Path
):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from tests.stages.test_finetune import run, PARAMS;"
        "run(PARAMS, Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))"
    )
    out = tmp_path / "other/folder"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(root), str(base), str(corpus), str(out)],
        env=os.environ | {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        check=True,
    )
    assert digests(out) == digests(tagger)


def test_stopped_and_resumed_is_byte_identical(
    base: Path, corpus: Path, tagger: Path, tmp_path: Path
):
    class StopAt(Log):
        def metric(self, name: str, value: float, *, step: int | None = None) -> None:
            super().metric(name, value, step=step)
            if step == 7:
                self.request_stop()

    with pytest.raises(Resumable, match="stopped after step 7 of 15"):
        run(PARAMS, base, corpus, tmp_path / "m", StopAt(scratch=tmp_path / "s"))
    run(PARAMS, base, corpus, tmp_path / "m", Log(scratch=tmp_path / "s"))
    assert digests(tmp_path / "m") == digests(tagger)


def test_the_test_split_is_never_opened(base: Path, tagger: Path, corpus: Path, tmp_path: Path):
    blind = tmp_path / "blind"
    shutil.copytree(corpus, blind)
    (blind / "test-00000.parquet").unlink()
    run(PARAMS, base, blind, tmp_path / "m")
    assert digests(tmp_path / "m") == digests(tagger)


def test_the_best_epoch_on_validation_is_kept(base: Path, corpus: Path, tmp_path: Path):
    """With a ruinous end of the run the kept weights are those of the best epoch."""
    log = run(PARAMS.model_copy(update={"epochs": 6}), base, corpus, tmp_path / "m")
    report = json.loads((tmp_path / "m/training.json").read_text())["selection"]
    values = [point["value"] for point in report["curve"]]
    assert len(values) == 6
    assert report["value"] == max(values) == log.metrics["valid_accuracy_fraction"]
    assert report["step"] == report["curve"][values.index(max(values))]["step"]
    valid = sentences.read(corpus, "valid", 500, "valid")
    again = tagging.accuracy(Tagger.load(tmp_path / "m"), valid)
    assert again == report["value"], "the written weights are the chosen ones"


def test_random_weights_keep_the_architecture_and_nothing_else(
    base: Path, corpus: Path, tmp_path: Path
):
    run(PARAMS.model_copy(update={"initial": "random", "epochs": 1}), base, corpus, tmp_path / "m")
    report = json.loads((tmp_path / "m/training.json").read_text())
    assert report["initial"] == "random"
    plain, fresh = (
        tagging.open_model(PARAMS.model_copy(update={"initial": initial}), base, ["A", "B"])
        for initial in ("pretrained", "random")
    )
    old = models.load(base, "mlm").roberta.state_dict()
    name = "encoder.layer.0.attention.self.query.weight"
    assert torch.equal(plain.roberta.get_parameter(name), old[name])
    assert not torch.equal(fresh.roberta.get_parameter(name), old[name])
    assert models.parameter_count(plain) == models.parameter_count(fresh)


def test_frozen_embeddings_stay_as_they_were(base: Path, corpus: Path, tmp_path: Path):
    params = PARAMS.model_copy(update={"freeze_embeddings": True, "epochs": 1})
    run(params, base, corpus, tmp_path / "m")
    before = models.load(base, "mlm").roberta.embeddings.state_dict()
    after = models.load(tmp_path / "m", "token-classification").roberta
    for name, value in after.embeddings.state_dict().items():
        assert torch.equal(value, before[name]), name
    layer = models.load(base, "mlm").roberta.encoder.layer[0].output.dense.weight
    assert not torch.equal(after.encoder.layer[0].output.dense.weight, layer)


def test_fewer_sentences_are_part_of_more_and_follow_the_seed(corpus: Path):
    few, more = (sentences.read(corpus, "train", count, "1") for count in (10, 30))
    other = sentences.read(corpus, "train", 10, "2")
    assert (len(few), len(more)) == (10, 30)
    assert all(row in more.tokens for row in few.tokens)
    assert few.tokens != other.tokens
    assert len(sentences.read(corpus, "train", 0, "1")) == 80


def test_only_the_first_token_of_a_word_is_labelled(base: Path):
    encoder = Encoder(models.open_tokenizer(base), 32)
    rows = sentences.Sentences([["la", "bonegaj", "."]], [["D", "A", "P"]])
    batches = tagging.Batches(PARAMS, rows, encoder, ["A", "D", "P"])
    task = batches.task([0])
    window = encoder.encode(rows.tokens)[0]
    assert task.places.tolist() == window.heads
    assert task.answers.tolist() == [1, 0, 2]
    assert len(window.ids) > 5, "`bonegaj` has several tokens, of which one is asked"


def test_long_sentences_are_cut_between_words_and_lose_nothing(base: Path):
    tokenizer = models.open_tokenizer(base)
    encoder = Encoder(tokenizer, 12)
    sentence = [word for row, _ in training.sentences(6, seed=3) for word in row]
    found = encoder.encode([["la"], sentence, []])
    assert {window.sentence for window in found} == {0, 1}
    mine = [window for window in found if window.sentence == 1]
    assert len(mine) > 3
    assert max(len(window.ids) for window in mine) <= 12
    assert [window.first for window in mine][0] == 0
    covered = [window.first + n for window in mine for n in range(len(window.heads))]
    assert covered == list(range(len(sentence)))
    whole = Encoder(tokenizer, 1000).encode([sentence])[0]
    assert sum((window.ids[1:-1] for window in mine), []) == whole.ids[1:-1]
    assert encoder.split_sentences == 1
    assert encoder.cut_words == 0


def test_a_word_longer_than_the_model_keeps_its_beginning(base: Path):
    encoder = Encoder(models.open_tokenizer(base), 8)
    window = encoder.encode([["xyzwq" * 9, "la"]])
    assert encoder.cut_words == 1
    assert [len(part.heads) for part in window] == [1, 1]
    assert max(len(part.ids) for part in window) <= 8


def test_windows_reach_the_report(base: Path, tmp_path: Path):
    long = [(row * 4, tags * 4) for row, tags in training.sentences(30, seed=4)]
    short = training.sentences(20, seed=6)
    folder = training.write_labelled(tmp_path / "c", {"train": long, "valid": short, "test": short})
    log = run(PARAMS.model_copy(update={"epochs": 1}), base, folder, tmp_path / "m")
    assert log.metrics["sentences_split"] > 10
    assert log.metrics["words_cut"] == 0


def test_words_are_spaced_as_running_text_is():
    given = ["«", "Mi", "amas", "vin", ",", '"', "ĉu", "?", "»"]
    assert "".join(spaced(given)) == '«Mi amas vin, " ĉu?»'
    assert words("La suno brilis, ĉu ne? Jes.") == [
        *["La", "suno", "brilis", ",", "ĉu", "ne", "?", "Jes", "."]
    ]


def test_labels_that_training_does_not_show_are_told_and_count_as_errors(
    base: Path, tmp_path: Path
):
    rows = training.sentences(60, seed=8)
    odd = [(words, ["X" if tag == "DET" else tag for tag in tags]) for words, tags in rows[40:]]
    folder = training.write_labelled(
        tmp_path / "c", {"train": rows[:40], "valid": odd, "test": odd}
    )
    log = run(PARAMS.model_copy(update={"epochs": 2}), base, folder, tmp_path / "m")
    count = sum(tags.count("X") for _, tags in odd)
    assert log.metrics["valid_words_unseen_label"] == count > 0
    assert "training does not show (X)" in log.texts["unseen_labels"]
    report = json.loads((tmp_path / "m/training.json").read_text())
    assert report["valid_unseen_labels"] == {"X": count}
    assert "X" not in report["labels"]
    assert report["selection"]["value"] <= 1 - count / report["valid_words"]


# --- refusals ------------------------------------------------------------------------------------


def test_an_empty_label_set_is_refused(base: Path, tmp_path: Path):
    rows = [(words, ["X"] * len(words)) for words, _ in training.sentences(10)]
    folder = training.write_labelled(tmp_path / "c", {"train": rows, "valid": rows, "test": rows})
    with pytest.raises(ArtifactError, match="the training sentences have 1 label: X"):
        run(PARAMS, base, folder, tmp_path / "m")


@pytest.mark.parametrize("split", ["train", "valid"])
def test_an_empty_split_is_refused(base: Path, tmp_path: Path, split: str):
    rows = training.sentences(10)
    parts = {"train": rows, "valid": rows, "test": rows, split: []}
    folder = training.write_labelled(tmp_path / "c", parts)
    with pytest.raises(ArtifactError, match=f"the split {split} holds no labelled sentence"):
        run(PARAMS, base, folder, tmp_path / "m")


@pytest.mark.parametrize("tags", [["A"], ["A", ""], ["A", "B", "C"]])
def test_a_word_without_a_tag_is_refused(base: Path, tmp_path: Path, tags: list[str]):
    rows = [*training.sentences(3), (["du", "vortoj"], tags)]
    folder = training.write_labelled(tmp_path / "c", {"train": rows, "valid": rows, "test": rows})
    with pytest.raises(ArtifactError, match="the sentence train-3 has 2 words and"):
        run(PARAMS, base, folder, tmp_path / "m")


def test_a_corpus_of_texts_is_refused(base: Path, tmp_path: Path):
    with pytest.raises(ArtifactError, match="the corpus is of the kind 'text'"):
        run(PARAMS, base, training.text_corpus(tmp_path / "c", 5, held_out=2), tmp_path / "m")


def test_inputs_longer_than_the_model_are_refused(base: Path, corpus: Path, tmp_path: Path):
    with pytest.raises(ParamsError, match="64 tokens do not fit a model of 32 positions"):
        run(PARAMS.model_copy(update={"max_length": 64}), base, corpus, tmp_path / "m")


def test_a_base_with_another_tokenizer_is_refused(base: Path, corpus: Path, tmp_path: Path):
    other = tmp_path / "base"
    shutil.copytree(base, other)
    _, tokenizer = training.tokens(tmp_path / "t", documents=300, vocab_size=350)
    for path in tokenizer.iterdir():
        shutil.copy(path, other / path.name)
    with pytest.raises(ArtifactError, match="the model has 400 tokens and the tokenizer 350"):
        run(PARAMS, other, corpus, tmp_path / "m")


def test_a_corrupt_base_is_refused(base: Path, corpus: Path, tmp_path: Path):
    other = tmp_path / "base"
    shutil.copytree(base, other)
    data = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(data[:1000])
    with pytest.raises(ArtifactError, match="the model cannot be opened"):
        run(PARAMS, other, corpus, tmp_path / "m")


def test_labels_that_mean_nothing_are_caught_before_compute(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A planted fault: the loss is asked at places that do not go with the answers."""
    task = tagging.Batches.task

    def stuck(self, numbers):
        right = task(self, numbers)
        return type(right)(right.pieces, right.places * 0, right.answers, right.origins)

    monkeypatch.setattr(tagging.Batches, "task", stuck)
    with pytest.raises(CheckFailed, match="not learnt in"):
        run(PARAMS, base, corpus, tmp_path / "m")


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"learning_rate": 0}, "learning_rate"), ({"task": "ner"}, "task"), ({"epochs": 0}, "epochs")],
)
def test_wrong_parameters_are_refused(changes: dict, said: str):
    with pytest.raises(ValidationError, match=said):
        FinetuneParams(**({"base": "x", "data": "x"} | changes))


def test_the_proof_that_pretraining_pays_runs_at_small_scale(
    root: Path, base: Path, corpus: Path, tmp_path: Path
):
    spec = importlib.util.spec_from_file_location("pays", root / "benchmarks/pretraining_pays.py")
    assert spec
    assert spec.loader
    pays = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pays)
    record = pays.measure(base, corpus, [1], sentences=20, epochs=2)
    (row,) = record["seeds"]
    gain = row["pretrained_accuracy_fraction"] - row["random_accuracy_fraction"]
    assert row["difference_points"] == pytest.approx(100 * gain, abs=1e-3)
    assert record["pass"] is (row["difference_points"] >= 10)
    assert record["test_sentences"] == 30
    arguments = ["--base", str(tmp_path / "nowhere"), "--corpus", str(corpus)]
    assert pays.main([*arguments, "--out", str(tmp_path / "x.json")]) == 2
    assert not (tmp_path / "x.json").exists()
