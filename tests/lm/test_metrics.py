"""Scores against outside tools: scikit-learn, sacrebleu, the pass@k paper's own example."""

from __future__ import annotations

import gzip
import json
import math

import numpy as np
import pytest

from stages.lm.metrics import (
    CorpusScore,
    accuracy,
    bits_per_byte,
    confusion,
    f1_by_label,
    macro_f1,
    micro_f1,
    parses_python,
    pass_at_k,
    perplexity,
    tag_counts,
)

GOLD = [["NOUN", "VERB", "NOUN", "ADJ"], ["NOUN", "VERB", "ADJ", "ADP"]]
SAID = [["NOUN", "NOUN", "NOUN", "ADJ"], ["VERB", "VERB", "NOUN", "X"]]
LABELS = ["ADJ", "ADP", "NOUN", "VERB"]


def sums(gold=GOLD, said=SAID, labels=LABELS):
    return tag_counts(gold, said, labels).sum(axis=0, keepdims=True)


def test_tag_scores_equal_those_of_scikit_learn():
    # scikit-learn 1.9.1: accuracy_score; f1_score(labels=LABELS, average="macro"|"micro"|None)
    assert accuracy(sums())[0] == 0.5
    assert macro_f1(sums())[0] == pytest.approx(0.4345238095238095, abs=1e-15)
    assert micro_f1(sums())[0] == pytest.approx(0.5333333333333333, abs=1e-15)
    expected = [0.66666667, 0.0, 0.57142857, 0.5]
    assert f1_by_label(sums())[0] == pytest.approx(expected, abs=1e-8)


def test_macro_f1_averages_only_labels_of_the_gold_standard():
    with_unused = sums(labels=[*LABELS, "PUNCT"])
    assert macro_f1(with_unused)[0] == macro_f1(sums())[0]
    assert math.isnan(f1_by_label(with_unused)[0][4])


def test_a_word_without_a_prediction_is_an_error():
    short = sums(said=[SAID[0][:1], []])
    assert accuracy(short)[0] == 1 / 8


def test_a_gold_label_outside_the_list_is_refused():
    with pytest.raises(ValueError, match="'ADJ' is not among"):
        tag_counts(GOLD, SAID, LABELS[1:])


def test_confusion_rows_are_gold_and_columns_predictions():
    matrix = confusion(GOLD, SAID, LABELS)
    assert matrix == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 2, 1], [0, 0, 1, 1]]


def test_perplexity_of_a_uniform_guess_is_the_vocabulary_size():
    assert perplexity(10 * math.log(1500), 10) == pytest.approx(1500)
    assert perplexity(1e6, 1) == math.inf


def test_bits_per_byte_of_a_uniform_byte_is_eight():
    assert bits_per_byte(5 * math.log(256), 5) == pytest.approx(8.0)


def test_a_text_parses_or_not():
    assert parses_python("def f(x):\n    return x\n")
    assert not parses_python("def f(x):\nreturn x")
    assert not parses_python("a\x00b")
    assert not parses_python("(" * 100_000)


def test_pass_at_k_is_that_of_the_paper():
    # The example of code_eval: candidates a*b and a+b against add(2, 3) == 5.
    assert pass_at_k(2, 1, 1) == 0.5
    assert pass_at_k(2, 1, 2) == 1.0
    assert pass_at_k(200, 0, 100) == 0.0
    expected = 1 - math.comb(197, 10) / math.comb(200, 10)
    assert pass_at_k(200, 3, 10) == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_agrees_with_drawing_k_samples():
    generator = np.random.default_rng(3)
    correct = np.array([1] * 3 + [0] * 7)
    hits = [generator.permutation(correct)[:4].any() for _ in range(20_000)]
    assert pass_at_k(10, 3, 4) == pytest.approx(np.mean(hits), abs=0.01)


def test_pass_at_k_with_more_draws_than_samples_is_refused():
    with pytest.raises(ValueError, match="pass@3 of 1 correct among 2"):
        pass_at_k(2, 1, 3)


def lines(path):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="\n") as stream:
        return [text.rstrip("\n") for text in stream]


@pytest.mark.parametrize(
    "system",
    [
        "wmt17 newstest2017.KIT.4950.en-de",
        "ntrex por-BR vs por",
        "flores copy of English as Esperanto",
    ],
)
def test_bleu_and_chrf_are_sacrebleus_to_the_last_digit(shared_data, system):
    # metrics/expected_scores.json: sacrebleu 2.6.0, checked there against its own test.sh
    expected = json.loads((shared_data / "metrics/expected_scores.json").read_text())["mt"][system]

    def read(name):
        path = shared_data / name
        return lines(path if path.exists() else path.with_name(path.name + ".gz"))

    hypotheses, references = read(expected["hyp"]), read(expected["refs"][0])
    for name, key in (("bleu", "BLEU|tok:13a"), ("chrf", "chrF2")):
        metric = CorpusScore(name)
        table = metric.statistics(hypotheses, references)
        assert len(table) == expected["segments"]
        score = metric(table.sum(axis=0, keepdims=True))[0]
        assert score == pytest.approx(expected[key]["score"], abs=1e-6)
        assert metric.signature == expected[key]["signature"]


def test_bleu_of_fairseqs_own_translations_is_the_recorded_one(test_data):
    # fairseq-scores.json: sacrebleu 2.6.0 on fairseq-generate 0.12.2's output, 500 sentences
    folder = test_data / "checkpoints/fairseq-en-eo"
    expected = json.loads((folder / "fairseq-scores.json").read_text())["b5"]
    rows = [json.loads(text) for text in lines(folder / "fairseq-beam5-nbest5.jsonl")]
    hypotheses, references = [r["hyps"][0]["text"] for r in rows], [r["reference"] for r in rows]
    for name in ("bleu", "chrf"):
        metric = CorpusScore(name)
        score = metric(metric.statistics(hypotheses, references).sum(axis=0, keepdims=True))[0]
        assert score == pytest.approx(expected[name], abs=1e-9)
        assert metric.signature == expected[f"{name}_signature"]
