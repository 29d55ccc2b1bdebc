"""Translation scores: sacrebleu's own numbers, the beam's lead, the copied source."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import sacrebleu

from stages.core.log import Log
from stages.evaluate import translation
from stages.evaluate.stage import EvaluateParams, evaluate
from tests.stages import evaluate_material as material

PAIRS = [
    {
        "id": str(place),
        "source_text": f"La {root}o estas bela, kaj mi vidas ĝin nun.",
        "target_text": text,
    }
    for place, (root, text) in enumerate(
        (root, f"The {root} is beautiful, and I see it now.") for root in material.ROOTS
    )
]


class Parrot:
    """A translator that knows every answer; greedily it forgets the last two words."""

    def __init__(self, pairs):
        self.answers = dict(pairs)

    def decoded(self, texts, settings, batch_size, before=0):
        cut = None if getattr(settings, "num_beams", 1) > 1 else -2
        return [" ".join(self.answers[text].split()[:cut]) for text in texts]


@pytest.fixture
def run(tmp_path, monkeypatch):
    def score(column_from="source_text", column_to="target_text", **task):
        answers = [(row[column_from], row[column_to]) for row in PAIRS]
        monkeypatch.setattr(
            translation, "Translator", SimpleNamespace(load=lambda *_: Parrot(answers))
        )
        corpus = tmp_path / "corpus"
        if not corpus.exists():
            material.write_corpus(corpus, "parallel", {"train": PAIRS, "test": PAIRS})
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        none = tmp_path / "none"
        none.mkdir(exist_ok=True)
        settings = EvaluateParams(
            model="ported/x", data="pairs", task={"kind": "translation", **task}, resamples=200
        )
        log = Log()
        evaluate(settings, none, corpus, none, none, out, log)
        return json.loads((out / "scores.json").read_text()), log, out

    return score


def by_name(scores):
    return {(row["name"], row.get("baseline")): row for row in scores["scores"]}


def test_scores_are_sacrebleus_with_its_signature(run):
    scores, log, _ = run()
    rows = by_name(scores)
    cut = [" ".join(row["target_text"].split()[:-2]) for row in PAIRS]
    expected = sacrebleu.corpus_bleu(cut, [[row["target_text"] for row in PAIRS]]).score
    greedy = rows["bleu_greedy", None]
    assert greedy["value"] == expected  # to the last digit
    assert "case:mixed" in greedy["signature"]
    assert "tok:13a|smooth:exp|version:" in greedy["signature"]
    assert rows["bleu_beam", None]["value"] == pytest.approx(100.0, abs=1e-5)
    assert "beam:5" in rows["bleu_beam", None]["signature"]
    assert rows["chrf_beam", None]["value"] == pytest.approx(100.0, abs=1e-5)
    assert rows["bleu_beam", "copied-source"]["value"] < 10
    assert log.metrics["bleu_greedy_points"] == greedy["value"]


def test_the_beams_lead_is_a_paired_comparison(run):
    scores, _, _ = run()
    lead = next(
        row for row in scores["comparisons"] if row["name"] == "bleu_beam" and "greedy" in row["b"]
    )
    assert lead["difference"] > 5
    assert lead["interval"][0] > 0
    assert lead["reversed_share"] == 0.0


def test_reverse_translates_the_second_language(run):
    scores, _, out = run("target_text", "source_text", reverse=True)
    assert scores["direction"] == "reverse"
    first = json.loads((out / "samples.jsonl").read_text().splitlines()[0])
    assert first["source"].startswith("The ")
    assert first["beam"] == first["reference"]


def test_another_sample_has_another_digest(run):
    whole, few = run()[0], run(max_sentences=5)[0]
    digests = [by_name(scores)["bleu_beam", None]["signature"] for scores in (whole, few)]
    assert digests[0] != digests[1]
    assert by_name(few)["bleu_beam", None]["n"] == 5
