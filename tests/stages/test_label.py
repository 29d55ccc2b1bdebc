"""Labelling in rounds: the fixed test set, what is asked, whose answers count, what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from stages.core import references
from stages.core.errors import ArtifactError, CheckFailed, ParamsError
from stages.core.log import Log
from stages.label import agreement, choice
from stages.label.sentences import Sentence
from stages.label.stage import LabelParams, label
from stages.lm import tables
from tests import training

LABELS = ["ADJ", "ADV", "DET", "NOUN", "PUNCT", "VERB"]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pool of 60 sentences, three of them (nearly) the test set's, and the test set of 20."""
    root = tmp_path_factory.mktemp("label")
    rows = list(
        {" ".join(words): (words, tags) for words, tags in training.sentences(120)}.values()
    )
    gold, pool = rows[:20], rows[20:77]
    long = max(gold, key=lambda row: len(row[0]))
    near = (["tamen", *long[0][:-1], "!"], ["ADV", *long[1]])
    pool[10:10] = [gold[0], ([word.upper() for word in gold[1][0]], gold[1][1]), near]
    training.write_labelled(root / "pool", {"train": pool, "valid": [], "test": []})
    training.write_labelled(root / "test", {"train": [], "valid": [], "test": gold})
    return root / "pool", root / "test"


class Round:
    """One run of the stage."""

    def __init__(
        self, material: tuple[Path, Path], folder: Path, answers: Path | None = None,
        before: Path | None = None, model: Path | None = None, **params: Any,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.params = LabelParams(
            pool="corpora/pool", test="corpora/test",
            before="corpora/before" if before else "none",
            model="finetuned/model" if model else "none",
            **{"annotation": {"kind": "gold"}, "size": 12, "leak_jaccard": 0.6} | params,
        )  # fmt: skip
        none = folder.parent / "none"
        label(self.params, *material, before or none, model or none, answers or none, folder, Log())
        self.rounds = json.loads((folder / "rounds.json").read_text())["rounds"]
        self.told = self.rounds[-1]
        self.batch = [json.loads(row) for row in (folder / "batch.jsonl").read_text().splitlines()]
        self.asked = [row["id"] for row in self.batch]

    def rows(self, split: str) -> list[dict[str, Any]]:
        return list(tables.iter_rows(self.folder, split, ["id", "tokens", "tags"]))

    def labels(self) -> dict[str, dict[str, Any]]:
        (table,) = tables.iter_file(
            self.folder / "labels.parquet", ["id", "tags", "state", "round"]
        )
        return {row["id"]: row for row in table.to_pylist()}


def write(folder: Path, rows: list[dict[str, Any]], name: str = "labels/a.jsonl") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


def answer(row: dict[str, Any], tag: str = "NOUN", **more: Any) -> dict[str, Any]:
    return {"id": row["id"], "tags": [tag] * len(row["tokens"])} | more


def test_rounds_grow_beside_a_test_set_that_never_changes_nor_leaks(material, tmp_path):
    first = Round(material, tmp_path / "r0")
    assert first.told["pool"] == {"sentences": 60, "like_test": 3, "left": 57}
    assert not {"train-10", "train-11", "train-12"} & set(first.asked)
    assert len(first.rows("test")) == 20
    second = Round(material, tmp_path / "r1", before=first.folder, by="diversity")
    assert not set(first.asked) & set(second.asked)
    assert [told["labelled"] for told in second.rounds] == [12, 24]
    assert second.rows("test") == first.rows("test")
    learned = {row["id"] for split in ("train", "valid") for row in second.rows(split)}
    assert learned == {*first.asked, *second.asked}
    # Nobody changes sides, and equal inputs give equal bytes.
    assert {r["id"] for r in first.rows("valid")} <= {r["id"] for r in second.rows("valid")}
    again = Round(material, tmp_path / "again", before=first.folder, by="diversity")
    for path in second.folder.iterdir():
        assert path.read_bytes() == (again.folder / path.name).read_bytes()
    other = Round(material, tmp_path / "other", seed=1)
    assert set(other.asked) != set(first.asked)
    with (first.folder / "batch.csv").open(newline="") as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == first.asked


def test_another_test_set_is_refused(material, tmp_path):
    first = Round(material, tmp_path / "r0")
    rows = [(row["tokens"], row["tags"]) for row in first.rows("test")]
    rows[3] = (rows[3][0], ["NOUN"] * len(rows[3][0]))
    changed = training.write_labelled(tmp_path / "t", {"train": [], "valid": [], "test": rows})
    with pytest.raises(CheckFailed, match="the test set is not that of the round before") as caught:
        Round((material[0], changed), tmp_path / "r1", before=first.folder)
    assert len(caught.value.lines()) == 3
    empty = training.write_labelled(tmp_path / "e", {"train": rows, "valid": [], "test": []})
    with pytest.raises(ArtifactError, match="split test holds no labelled sentence"):
        Round((material[0], empty), tmp_path / "r2")
    with pytest.raises(ArtifactError, match="the round before cannot be read"):
        Round(material, tmp_path / "r3", before=material[0])


def test_answers_of_people_are_taken_in(material, tmp_path):
    waiting = Round(material, tmp_path / "r0", annotation={"kind": "files"}, labels=LABELS)
    assert waiting.told["missing"] == 12
    assert waiting.told["labelled"] == 0
    batch = waiting.batch
    given = [
        answer(batch[0], annotator="a"),
        {"meta": {"id": batch[1]["id"]}, "tags": " ".join(["VERB"] * len(batch[1]["tokens"]))},
        answer(batch[2], answer="ignore"),
        answer(batch[3], "OTHER"),
        answer(batch[4]),
        answer(batch[4], "VERB"),  # the same annotator again: the last answer counts
        {"externalId": batch[5]["id"], "tokens": batch[5]["tokens"], "tags": []},
    ]
    answers = write(tmp_path / "answers", given)
    columns = (
        f"id,tags,annotator\n{batch[6]['id']},{' '.join(['ADJ'] * len(batch[6]['tokens']))},b\n"
    )
    (answers / "labels" / "b.csv").write_text("\ufeff" + columns, "utf-8")
    done = Round(
        material, tmp_path / "r0b", answers, annotation={"kind": "files"}, labels=LABELS,
        excluded=["OTHER"],
    )  # fmt: skip
    assert done.asked == waiting.asked
    counts = {name: done.told[name] for name in ("labelled", "skipped", "excluded", "missing")}
    assert counts == {"labelled": 4, "skipped": 2, "excluded": 1, "missing": 5}
    assert done.told["revised"] == 1
    labels = done.labels()
    assert set(labels[batch[4]["id"]]["tags"]) == {"VERB"}
    # In the next round whoever nobody answered may be asked again, and a new answer relabels.
    later = write(tmp_path / "later", [answer(batch[0], "DET")])
    after = Round(
        material, tmp_path / "r1", later, before=done.folder, annotation={"kind": "files"},
        labels=LABELS, size=50,
    )  # fmt: skip
    assert after.told["relabelled"] == [batch[0]["id"]]
    assert after.labels()[batch[0]["id"]]["round"] == 0
    assert {batch[7]["id"], batch[8]["id"]} <= set(after.asked)
    assert after.told["labelled"] == 4


def test_spans_become_b_i_o_and_misaligned_ones_are_told(material, tmp_path):
    files = {"kind": "files"}
    names = ["O", "B-X", "I-X"]
    batch = Round(material, tmp_path / "r0", annotation=files, labels=names).batch
    words = batch[0]["tokens"]
    spans = [{"start": words[0]["start"], "end": words[1]["end"], "label": "X"}]
    whole = {"id": batch[0]["id"], "text": batch[0]["text"], "spans": spans, "answer": "accept"}
    bad = {"id": batch[1]["id"], "spans": [{"start": 0, "end": 1, "label": "X"}]}
    done = Round(
        material, tmp_path / "r1", write(tmp_path / "a", [whole, bad]),
        annotation=files | {"misaligned": "skip"}, labels=names,
    )  # fmt: skip
    row = done.labels()[batch[0]["id"]]
    assert row["tags"] == ["B-X", "I-X", *["O"] * (len(words) - 2)]
    assert done.told["misaligned_spans"] == 1
    assert done.labels()[batch[1]["id"]]["state"] == "skipped"
    with pytest.raises(ArtifactError, match="does not begin and end with words"):
        Round(material, tmp_path / "r2", tmp_path / "a", annotation=files, labels=names)
    twice = write(tmp_path / "b", [whole | {"spans": spans * 2}])
    with pytest.raises(ArtifactError, match="overlap at word 1"):
        Round(material, tmp_path / "r3", twice, annotation=files, labels=names)
    other = write(tmp_path / "c", [whole | {"text": "x" + batch[0]["text"]}])
    with pytest.raises(ArtifactError, match="its spans mean other places"):
        Round(material, tmp_path / "r4", other, annotation=files, labels=names)


REFUSED = {
    "unknown label": (lambda row: answer(row, "NUON"), "the label 'NUON' of .* is unknown"),
    "labels missing": (lambda row: {"id": row["id"], "tags": ["NOUN"]}, "1 labels for the"),
    "unknown id": (lambda row: answer(row, id="train-999"), "no sentence of the pool is called"),
    "no id": (lambda row: answer(row, id=""), "an answer has no id"),
    "test id": (lambda row: answer(row, id="test-3"), "the answer 'test-3' is of the test set"),
    "test text": (lambda row: answer(row, id="train-10"), "is the test set's 'test-0', or nearly"),
    "near test": (lambda row: answer(row, id="train-12"), "is the test set's .*, or nearly"),
    "other words": (
        lambda row: answer(row, tokens=["x", *[one["text"] for one in row["tokens"][1:]]]),
        "differ from the batch's at word 1",
    ),
    "verdict": (lambda row: answer(row, answer="acept"), "the answer 'acept' is unknown"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_answers_are_refused_by_line(material, tmp_path, name):
    files = {"annotation": {"kind": "files"}, "labels": LABELS}
    batch = Round(material, tmp_path / "r0", **files).batch
    make, message = REFUSED[name]
    answers = write(tmp_path / "a", [answer(batch[0]), make(batch[1])])
    with pytest.raises(ArtifactError, match=message) as caught:
        Round(material, tmp_path / "r1", answers, **files)
    assert caught.value.where.endswith("a.jsonl:2")
    assert len(caught.value.lines()) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [("{]", "is no JSON"), ("[1]", "is no object"), ("\udcff", "cannot be read")],
)
def test_damaged_files_are_refused(material, tmp_path, text, message):
    folder = tmp_path / "a" / "labels"
    folder.mkdir(parents=True)
    (folder / "x.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArtifactError, match=message):
        Round(material, tmp_path / "r", tmp_path / "a", annotation={"kind": "files"})


def test_kappas_are_those_of_the_books():
    # Cohen 1960 by hand: 20 of 25 and 10 of 15 agree, p_o = 0.7, p_e = 0.5.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert agreement.cohen(first, second) == pytest.approx(0.4)
    # Fleiss 1971, the worked table of 10 subjects, 14 raters, 5 categories: kappa 0.210.
    table = [
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    items = [[str(at) for at, count in enumerate(row) for _ in range(count)] for row in table]
    assert agreement.fleiss(items) == pytest.approx(0.210, abs=5e-4)
    assert agreement.cohen(["a"], ["a"]) is None
    assert agreement.fleiss([["a"]]) is None


def test_annotators_are_held_against_each_other(material, tmp_path):
    files = {"annotation": {"kind": "files"}, "labels": LABELS}
    batch = Round(material, tmp_path / "r0", **files).batch
    rows = [answer(batch[0], tag, annotator=who) for who, tag in
            (("a", "NOUN"), ("b", "NOUN"), ("c", "VERB"))]  # fmt: skip
    rows += [answer(batch[1], "ADJ", annotator=who) for who in "ab"]
    answers = write(tmp_path / "a", rows)
    latest = Round(material, tmp_path / "r1", answers, **files)
    assert set(latest.labels()[batch[0]["id"]]["tags"]) == {"VERB"}
    told = latest.told["agreement"]
    assert told["annotators"] == ["a", "b", "c"]
    assert told["sentences"] == 2
    assert told["pairs"]["a and b"]["cohen_kappa"] == 1.0
    assert told["pairs"]["a and c"]["agreement"] == 0.0
    most = Round(material, tmp_path / "r2", answers, **files, resolve="majority")
    assert set(most.labels()[batch[0]["id"]]["tags"]) == {"NOUN"}
    with pytest.raises(CheckFailed, match="annotators agree with a kappa of"):
        Round(material, tmp_path / "r3", answers, **files, min_kappa=0.9)


def test_choices_by_doubt_and_distance():
    sure, unsure = np.array([[0.9, 0.05, 0.05]] * 2), np.array([[0.4, 0.3, 0.3], [0.9, 0.1, 0.0]])
    for by in ("entropy", "margin", "least-confidence"):
        assert choice.doubt(sure, by) < choice.doubt(unsure, by)
    assert choice.doubt(unsure, "margin") == pytest.approx((0.9 + 0.2) / 2)
    assert choice.doubt(unsure, "least-confidence") == pytest.approx((0.6 + 0.1) / 2)
    entropy = -sum(p * np.log(p) for p in (0.4, 0.3, 0.3)) - sum(p * np.log(p) for p in (0.9, 0.1))
    assert choice.doubt(unsure, "entropy") == pytest.approx(entropy / 2)
    texts = ["la hundo bojas", "la hundo bojas laŭte", "pluvos morgaŭ sur marbordo"]
    points = choice.vectors([Sentence(text, tuple(text.split()), None, "") for text in texts])
    assert choice.farthest(points, points[:1], 2) == [2, 1]
    assert choice.farthest(points, points[:0], 5) == [0, 2, 1]


def test_noise_is_drawn_and_counted(material, tmp_path):
    clean = Round(material, tmp_path / "r0", size=57)
    noisy = Round(material, tmp_path / "r1", size=57, annotation={"kind": "gold", "noise": 0.3})
    before, after = clean.labels(), noisy.labels()
    pairs = [(a, b) for name in before for a, b in
             zip(before[name]["tags"], after[name]["tags"], strict=True)]  # fmt: skip
    share = sum(a != b for a, b in pairs) / len(pairs)
    assert 0.2 < share < 0.4
    with pytest.raises(CheckFailed, match="nothing is left to ask: of 60 sentences 3 are like"):
        Round(material, tmp_path / "r2", before=clean.folder)


def test_settings_that_do_not_fit_are_refused():
    base = {"pool": "corpora/pool", "test": "corpora/test"}
    with pytest.raises(ValidationError, match="by is entropy, which asks a model"):
        LabelParams(**base, by="entropy")
    with pytest.raises(ValidationError, match="a model is learned from a round before"):
        LabelParams(**base, model="finetuned/x")
    with pytest.raises(ValidationError, match="'X' is both in labels and in excluded"):
        LabelParams(**base, labels=["X"], excluded=["X"])


def test_two_entries_cannot_write_one_corpus(tmp_path):
    sections = {
        "refine": {"a": {"raw": "x", "kind": "labelled"}},
        "acquire": {"x": {}},
        "label": {"a": {"pool": "corpora/a", "test": "corpora/a"}},
    }
    with pytest.raises(ParamsError, match="would both write data/corpora/a"):
        references.build(sections, tmp_path)
