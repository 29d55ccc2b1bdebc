"""Tagger scores: hand-counted points, baselines, labels unseen in training, real treebanks."""

from __future__ import annotations

import gzip
import json
import shutil
import warnings

import pytest

from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.evaluate import tagging
from stages.evaluate.rules import MajorityTagger, SuffixTagger
from stages.evaluate.stage import EvaluateParams, evaluate
from stages.lm import statistics
from stages.lm.classify import Tagger
from stages.lm.onnx import OnnxTagger
from tests.stages import evaluate_material as material

TRAIN = material.labelled_rows(80, seed=1)
TEST = material.labelled_rows(30, seed=2)
LABELS = ["ADJ", "DET", "NOUN", "PUNCT", "VERB"]


class Scripted:
    """A tagger with labels and a fault to plant: `wrong` sentences get all nouns."""

    labels = LABELS

    def __init__(self, rows=TEST, wrong=0, cut=None):
        self.answers = {tuple(row["tokens"]): row["tags"] for row in rows}
        self.wrong, self.cut = wrong, cut

    def tag(self, sentences):
        found = [self.answers[tuple(words)][: self.cut] for words in sentences]
        return [["NOUN"] * len(tags) for tags in found[: self.wrong]] + found[self.wrong :]


@pytest.fixture
def run(tmp_path, monkeypatch):
    def score(taggers=None, train=TRAIN, test=TEST, **settings):
        made = {"model": Scripted(), **(taggers or {})}
        monkeypatch.setattr(tagging, "open_tagger", lambda folder, *_: made[folder.name])
        material.write_corpus(tmp_path / "corpus", "labelled", {"train": train, "test": test})
        params = EvaluateParams(
            model="finetuned/pos",
            data="pos",
            task={"kind": "token-classification"},
            resamples=200,
            **settings,
        )
        log, out = Log(), tmp_path / "out"
        paths = [tmp_path / name for name in ("model", "corpus", "baseline", "against", "out")]
        evaluate(params, *paths, log)
        return json.loads((out / "scores.json").read_text()), log, out

    return score


def by_name(scores):
    return {(row["name"], row.get("baseline")): row for row in scores["scores"]}


def test_a_perfect_tagger_scores_one_and_beats_its_baselines(run):
    scores, log, out = run()
    rows = by_name(scores)
    words = sum(len(row["tags"]) for row in TEST)
    nouns = sum(tag == "NOUN" for row in TEST for tag in row["tags"])
    assert rows["accuracy", None]["value"] == 1.0
    assert rows["accuracy", None]["interval"] == [1.0, 1.0]
    assert rows["accuracy", None]["n"] == words
    assert rows["accuracy", "majority-tag"]["value"] == pytest.approx(nouns / words, abs=1e-6)
    assert rows["macro_f1", "majority-tag"]["value"] < 0.2
    assert rows["accuracy", "suffix-5"]["value"] > 0.95
    assert log.metrics["accuracy_fraction"] == 1.0
    assert log.metrics["macro_f1_fraction"] == 1.0
    lead = next(row for row in scores["comparisons"] if row["b"] == "majority-tag")
    assert lead["a"] == "finetuned/pos"
    assert lead["interval"][0] > 0.4
    matrix = json.loads((out / "confusion.json").read_text())
    assert matrix["labels"] == LABELS
    assert sum(map(sum, matrix["matrix"])) == words
    assert sum(matrix["matrix"][place][place] for place in range(5)) == words


def test_counts_per_sentence_are_kept_and_give_the_scores_again(run):
    scores, _, out = run({"model": Scripted(wrong=3)})
    units = statistics.parse((out / "units.jsonl").read_bytes())
    assert [one.name for one in units] == ["accuracy", "macro_f1"]
    for one in units:
        row = by_name(scores)[one.name, None]
        assert len(one.counts) == len(TEST)
        assert one.signature == row["signature"]
        again = statistics.named(one.statistic)(one.counts.sum(axis=0, keepdims=True))
        assert float(again[0]) == pytest.approx(row["value"], abs=1e-6)
    assert len((out / "units.jsonl").read_text().splitlines()) == 3, "one table serves both"


def test_errors_show_in_score_table_confusion_and_samples(run):
    scores, _, out = run({"model": Scripted(wrong=3)})
    words = sum(len(row["tags"]) for row in TEST)
    lost = sum(tag != "NOUN" for row in TEST[:3] for tag in row["tags"])
    assert by_name(scores)["accuracy", None]["value"] == pytest.approx(1 - lost / words, abs=1e-6)
    table = {row["label"]: row for row in scores["labels"]}
    assert table["NOUN"]["predicted"] == table["NOUN"]["words"] + lost
    assert table["VERB"]["precision"] == 1.0
    matrix = json.loads((out / "confusion.json").read_text())["matrix"]
    assert matrix[LABELS.index("VERB")][LABELS.index("NOUN")] == 3
    first = json.loads((out / "samples.jsonl").read_text().splitlines()[0])
    assert first["errors"] > 0
    assert first["gold"] != first["predicted"]


def test_labels_unseen_in_training_count_as_errors_and_are_named(run):
    strange = [{**row, "tags": [*row["tags"][:-1], "SYM"]} for row in TEST[:4]] + TEST[4:]
    scores, log, _ = run({"model": Scripted()}, test=strange)
    words = sum(len(row["tags"]) for row in TEST)
    row = by_name(scores)["accuracy", None]
    assert row["value"] == pytest.approx(1 - 4 / words, abs=1e-6)
    assert "unseen:4|" in row["signature"]
    assert scores["notes"] == [
        f"4 of {words} words bear labels that finetuned/pos was not taught (SYM); "
        "they count as errors."
    ]
    assert log.metrics["words_unseen_label"] == 4
    assert by_name(scores)["macro_f1", None]["value"] < 5 / 6


def test_words_without_a_tag_count_as_errors(run):
    scores, log, _ = run({"model": Scripted(cut=4)})
    words = sum(len(row["tags"]) for row in TEST)
    cut = sum(max(0, len(row["tags"]) - 4) for row in TEST)
    assert by_name(scores)["accuracy", None]["value"] == pytest.approx(1 - cut / words, abs=1e-6)
    assert log.metrics["words_untagged"] == cut
    assert f"{cut} of {words} words got no tag" in scores["notes"][0]


def test_the_quantized_tagger_is_compared_on_the_same_sentences(run):
    taggers = {"model": Scripted(wrong=2), "against": Scripted(), "baseline": Scripted(wrong=30)}
    scores, _, _ = run(taggers, against="finetuned/fp32", baseline="finetuned/random")
    pairs = {(row["name"], row["b"]): row for row in scores["comparisons"]}
    loss = pairs["accuracy", "finetuned/fp32"]
    words = sum(len(row["tags"]) for row in TEST)
    lost = sum(tag != "NOUN" for row in TEST[:2] for tag in row["tags"])
    assert loss["difference"] == pytest.approx(-lost / words, abs=1e-6)
    assert loss["interval"][0] < loss["difference"] < loss["interval"][1] <= 0
    assert loss["words_alike"] == words - lost
    assert pairs["accuracy", "finetuned/random"]["interval"][0] > 0


def test_the_signature_tells_other_sentences_apart(run, tmp_path):
    first = by_name(run()[0])["accuracy", None]["signature"]
    assert "unit:word|missing:error|unseen:0|data:" in first
    assert first.endswith("|split:test|boot:sentence/200|seed:0|deveno:1")


def test_the_majority_tag_of_equals_is_the_first_by_name():
    rows = [{"tokens": ["a", "b"], "tags": ["X", "B"]}]
    assert MajorityTagger(rows).tag([["q"]]) == [["B"]]


def test_the_suffix_rule_prefers_known_words_then_long_endings():
    rows = [
        {"tokens": ["domo", "kato", "bela", "la", "Bela"], "tags": ["N", "N", "A", "D", "A"]},
        {"tokens": ["vidas", "kuras", "gras"], "tags": ["V", "V", "N"]},
    ]
    tagger = SuffixTagger(rows, characters=3)
    words = ["hundo", "ruĝa", "LA", "legas", "xyz", "gras"]
    assert tagger.tag([words])[0][:4] == ["N", "A", "D", "V"]
    assert tagger.tag([["gras"]]) == [["N"]]
    assert tagger.tag([["qqq"]]) == [["N"]]


def test_a_folder_without_a_model_is_told(tmp_path):
    material.write_corpus(tmp_path / "c", "labelled", {"train": TRAIN, "test": TEST})
    params = EvaluateParams(model="x", data="y", task={"kind": "token-classification"})
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ArtifactError) as caught:
        evaluate(params, empty, tmp_path / "c", empty, empty, tmp_path / "out", Log())
    assert caught.value.what == "the folder holds neither config.json nor model.onnx"


def treebank(path):
    """Read words and tags of a CoNLL-U file, just enough for a test."""
    rows, words = [], []
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for number, text in enumerate(stream):
            cells = text.rstrip("\n").split("\t")
            if cells[0].isdigit():
                words.append((cells[1], cells[3]))
            elif not text.strip() and words:
                tokens, tags = map(list, zip(*words, strict=True))
                rows.append({"id": str(number), "tokens": tokens, "tags": tags})
                words = []
    return rows


@pytest.mark.parametrize("language", ["Welsh-CCG", "Maltese-MUDT", "Afrikaans-AfriBooms"])
def test_the_suffix_rule_is_a_real_baseline_on_real_treebanks(run, shared_data, language):
    folder = shared_data / "ud" / f"UD_{language}"
    train, test = (
        treebank(next(folder.glob(f"*ud-{part}.conllu.gz"))) for part in ("train", "test")
    )
    known = sorted({tag for row in train for tag in row["tags"]})
    model = Scripted(test)
    model.labels = known
    scores, _, _ = run({"model": model}, train=train, test=test)
    rows = by_name(scores)
    assert rows["accuracy", None]["value"] >= 0.999
    assert 0.8 < rows["accuracy", "suffix-5"]["value"] < 0.97
    assert rows["accuracy", "majority-tag"]["value"] < 0.35
    low, high = rows["accuracy", "suffix-5"]["interval"]
    assert high - low < 0.02


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("taggers") / "fp32"
    texts = [" ".join(row["tokens"]) for row in TRAIN]
    return material.write_tagger(folder, texts, LABELS)


@pytest.fixture(scope="module")
def exported(trained):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return material.export_tagger(trained, trained.parent / "onnx")


def test_the_exported_tagger_tags_as_the_trained_one(trained, exported):
    from stages.evaluate.taggers import ExportedTagger, open_tagger

    long = [word for row in TEST[:6] for word in row["tokens"]]
    words = [*(row["tokens"] for row in TEST), long, ["kato"], []]
    torch_tags = open_tagger(trained, 1, 4).tag(words)
    other = open_tagger(exported, 1, 4)
    assert isinstance(other, ExportedTagger)
    assert other.tag(words) == torch_tags
    assert [len(row) for row in torch_tags] == [len(row) for row in words]
    assert len({tag for row in torch_tags for tag in row}) > 1
    assert open_tagger(exported, 1, 1).tag(words) == torch_tags


def test_the_exported_tagger_is_as_sure_as_the_trained_one(trained, exported):
    words = [row["tokens"] for row in TEST[:8]]
    ours = Tagger.load(trained).tag(words)
    theirs = OnnxTagger(exported).tag(words)
    for mine, other in zip(ours, theirs, strict=True):
        assert [tag for tag, _ in mine] == [tag for tag, _ in other]
        assert [share for _, share in mine] == pytest.approx([p for _, p in other], abs=1e-4)


def test_without_a_training_split_no_rule_pretends_to_be_a_baseline(run):
    scores, _, _ = run(train=[])
    assert not [row for row in scores["scores"] if row.get("baseline")]
    assert any("no training split" in note for note in scores["notes"])


def test_a_graph_with_other_answers_is_told(exported, tmp_path):
    from stages.evaluate.taggers import open_tagger

    other = shutil.copytree(exported, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["id2label"] = {"0": "X", "1": "Y"}
    config["label2id"] = {"X": 0, "Y": 1}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="not a score for each of 2 labels"):
        open_tagger(other, 1, 4).tag([["kato"]])
