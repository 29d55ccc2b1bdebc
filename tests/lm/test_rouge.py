"""ROUGE and its stemmer against the reference implementation's own numbers.

Goldens: rouge_score 0.1.2 with NLTK 3.10.4 on the files named, and ROUGE-1.5.5 where its own tests
give that program's values.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from stages.lm import porter, resample, rouge

STEMS = {
    "skies": "sky", "dying": "die", "news": "news", "innings": "inning", "dies": "die",
    "tied": "tie", "flies": "fli", "cried": "cri", "spied": "spi", "say": "say",
    "enjoy": "enjoy", "happy": "happi", "feed": "feed", "agreed": "agre", "bled": "bled",
    "hopping": "hop", "hissing": "hiss", "fizzed": "fizz", "filing": "file", "oed": "o",
    "conflated": "conflat", "sized": "size", "relational": "relat", "rationally": "ration",
    "totally": "total", "possibly": "possibl", "hopefully": "hope", "geology": "geolog",
    "logi": "logi", "radically": "radic", "fulli": "fulli", "adoption": "adopt",
    "region": "region", "controll": "control", "roll": "roll", "cease": "ceas", "rate": "rate",
    "electriciti": "electr", "callousness": "callous", "replacement": "replac",
}  # fmt: skip
LEADS = {
    # (stemmed, lead): precision, recall, F of rouge1, rouge2, rougeL, rougeLsum over 619 abstracts
    (True, 1): [
        [0.314993122, 0.318326991, 0.301093601], [0.117974096, 0.12532137, 0.114506504],
        [0.247464081, 0.250699338, 0.237241364], [0.247631203, 0.25088166, 0.237415101],
    ],
    (True, 3): [
        [0.203330741, 0.568378473, 0.290701244], [0.07889006, 0.259439344, 0.116784939],
        [0.141827969, 0.425801177, 0.20576885], [0.164789201, 0.484288516, 0.238204035],
    ],
    (False, 1): [
        [0.286033255, 0.286588667, 0.272129325], [0.107727991, 0.114387642, 0.104671976],
        [0.227210149, 0.230089256, 0.217570452], [0.22737727, 0.230250807, 0.217734741],
    ],
    (False, 3): [
        [0.185106555, 0.522675138, 0.265226929], [0.073000437, 0.241099148, 0.108181879],
        [0.132197069, 0.395441809, 0.19171109], [0.15264745, 0.451073986, 0.220919027],
    ],
}  # fmt: skip


def abstracts(shared_data: Path, split: str) -> list[dict]:
    with gzip.open(shared_data / f"scitldr_a/{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("word", STEMS)
def test_stems_are_nltks(word: str):
    assert porter.stem(word) == STEMS[word]


def test_every_word_of_the_abstracts_has_nltks_stem(shared_data: Path):
    found: set[str] = set()
    for split in ("train", "dev"):
        for row in abstracts(shared_data, split):
            for text in [*row["source"], *row["target"]]:
                found.update(re.findall("[a-z0-9]+", text.lower()))
    said = "".join(f"{word} {porter.stem(word)}\n" for word in sorted(found))
    assert len(found) == 13973
    assert hashlib.sha256(said.encode()).hexdigest() == (
        "f3d8bbc7d6fa131043751861f5c092b1a990cf0fbaa3b7dac57179708bbe0c5c"
    )


@pytest.mark.parametrize("line", [0, 1])
@pytest.mark.parametrize("stemmed", [False, True])
def test_scores_are_those_of_rouge_1_5_5(shared_data: Path, line: int, stemmed: bool):
    folder = shared_data / "metrics/rouge_score_testdata"
    target, prediction = (
        (folder / f"{name}.txt").read_text().splitlines()[line] for name in ("target", "prediction")
    )
    golden = json.loads((shared_data / "metrics/expected_scores.json").read_text())["rouge"]
    rows = golden["rouge_score_testdata"][f"line {line} stemmer={stemmed}"]
    assert set(rows) == {"rouge1", "rouge2", "rougeL"}
    for kind, row in rows.items():
        found = rouge.score(target, prediction, kind, stemmed=stemmed)
        assert [round(value, 5) for value in found] == [row["precision"], row["recall"], row["f"]]


def test_the_summary_score_is_that_of_rouge_1_5_5(shared_data: Path):
    folder = shared_data / "metrics/rouge_score_testdata"
    target, prediction = (
        (folder / f"{name}_multi.0.txt").read_text() for name in ("target", "prediction")
    )
    found = rouge.score(target, prediction, "rougeLsum")
    assert [round(value, 5) for value in found] == [0.66667, 0.36538, 0.47205]


@pytest.mark.parametrize(("stemmed", "lead"), LEADS)
def test_lead_sentences_of_the_abstracts_score_as_the_reference_says(
    shared_data: Path, stemmed: bool, lead: int
):
    rows = abstracts(shared_data, "dev")
    for kind, golden in zip(rouge.KINDS, LEADS[stemmed, lead], strict=True):
        found = [
            rouge.best(row["target"], "\n".join(row["source"][:lead]), kind, stemmed=stemmed)
            for row in rows
        ]
        assert np.mean(found, axis=0).round(9).tolist() == golden


def test_one_target_for_all_kinds_gives_the_published_lead(shared_data: Path):
    """SciTLDR's custom: the target with the highest ROUGE-1 is used for every kind."""
    golden = json.loads((shared_data / "metrics/expected_scores.json").read_text())["rouge"]
    golden = golden["scitldr_a dev lead-1"]
    total = dict.fromkeys(rouge.KINDS, 0.0)
    rows = abstracts(shared_data, "dev")
    for row in rows:
        said = row["source"][0]
        target = max(row["target"], key=lambda one, said=said: rouge.score(one, said, "rouge1").f)
        for kind in total:
            total[kind] += rouge.score(target, said, kind).f
    assert {kind: round(value / len(rows), 6) for kind, value in total.items()} == {
        kind: golden[kind] for kind in rouge.KINDS
    }


def test_the_interval_is_the_reference_aggregators(shared_data: Path):
    """BootstrapAggregator (1000 resamples, NumPy seed 0) says 0.28787 to 0.31413 for lead-1."""
    rows = abstracts(shared_data, "dev")
    counts = rouge.f_points(
        [row["target"] for row in rows], [row["source"][0] for row in rows], "rouge1"
    )
    found = resample.bootstrap(resample.ratio, counts, resamples=1000, confidence=0.95, seed=0)
    assert found.value == pytest.approx(30.1093601, abs=1e-6)
    assert [found.low, found.high] == pytest.approx([28.787, 31.413], abs=0.2)


def test_the_papers_example_of_the_union():
    found = rouge.score("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5", "rougeLsum")
    assert found == pytest.approx((0.4, 0.8, 0.53333333), abs=1e-8)
    lines = rouge.score("First sentence.\nSecond Sentence.", "Second sentence.\nFirst Sentence.",
                        "rougeLsum")  # fmt: skip
    assert lines.f == 1.0
    joined = rouge.score("First sentence. Second Sentence.", "Second sentence. First Sentence.",
                         "rougeLsum")  # fmt: skip
    assert joined.f == 0.5


def test_each_kind_chooses_its_own_target():
    targets, said = ["first text", "first something"], "text first"
    found = [rouge.best(targets, said, kind).f for kind in ("rouge1", "rouge2", "rougeL")]
    assert found == [1.0, 0.0, 0.5]


@pytest.mark.parametrize("kind", rouge.KINDS)
@pytest.mark.parametrize("pair", [("testing one two", ""), ("", "w1"), ("w1", "/"), ("", "\n")])
def test_nothing_said_scores_nothing(kind: str, pair: tuple[str, str]):
    assert rouge.score(*pair, kind) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["rougen", "rouge0", "rouge10", "bleu"])
def test_an_unknown_kind_is_refused(kind: str):
    with pytest.raises(ValueError, match="no kind of ROUGE"):
        rouge.score("a", "b", kind)


def test_the_common_subsequence_is_that_of_the_plain_table():
    rng = random.Random(3)
    for _ in range(200):
        a, b = ([rng.choice("abcd") for _ in range(rng.randint(0, 90))] for _ in range(2))
        table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, one in enumerate(a):
            for j, two in enumerate(b):
                above = max(table[i][j + 1], table[i + 1][j])
                table[i + 1][j + 1] = table[i][j] + 1 if one == two else above
        assert rouge.common(a, b) == table[-1][-1]


def test_a_fault_in_the_stemmer_shows(shared_data: Path, monkeypatch: pytest.MonkeyPatch):
    rows = abstracts(shared_data, "dev")[:200]

    def total() -> float:
        return sum(rouge.best(row["target"], row["source"][0], "rouge1").f for row in rows)

    right = total()
    monkeypatch.setattr(rouge, "stem", lambda word: word.removesuffix("s"))
    assert abs(total() - right) > 1e-3
