"""Translation scores: sacrebleu's own numbers, the beam's lead, the copied source."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import sacrebleu

from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.evaluate import translation
from stages.evaluate.stage import EvaluateParams, Translation, evaluate
from stages.lm import recordings
from stages.lm.decoding import settings
from stages.lm.decoding.outputs import Output
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

    def outputs(self, texts, settings, batch_size, before=0):
        cut = None if getattr(settings, "num_beams", 1) > 1 else -2
        said = [" ".join(self.answers[text].split()[:cut]) for text in texts]
        phrases = getattr(settings, "phrases", [])
        return [[Output(one, 0.0, all(phrase in one for phrase in phrases))] for one in said]


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
        params = EvaluateParams(
            model="ported/x", data="pairs", task={"kind": "translation", **task}, resamples=200
        )
        log = Log()
        evaluate(params, none, corpus, none, none, out, log)
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


def test_ways_of_decoding_are_scored_each_under_a_name_of_its_own(tmp_path):
    task = Translation.model_validate(
        {
            "decoding": {"kind": "stored"},
            "beside": [
                {"kind": "beam", "num_beams": 5},
                {"kind": "greedy"},
                {"kind": "beam", "num_beams": 8},
                {"kind": "beam", "num_beams": 8, "length_penalty": 0.6},
                {"kind": "diverse-beam", "num_beams": 4, "groups": 2},
            ],
        }
    )
    plain = [way.label for way in translation.ways_of(task, tmp_path)]
    assert plain == ["beam", "greedy", "beam8", "beam8_a", "diverse_beam"]
    settings.store(tmp_path, settings.Beam(num_beams=2, length_penalty=1.3))
    ways = translation.ways_of(task, tmp_path)
    assert [way.label for way in ways] == [
        "beam", "beam5", "greedy", "beam8", "beam8_a", "diverse_beam",
    ]  # fmt: skip
    assert ways[0].settings == settings.Beam(num_beams=2, length_penalty=1.3)
    assert ways[0].traits == {"beam": 2, "decoding": settings.trait(ways[0].settings)}


def record(folder, changed=(), near=(), count=None):
    """Write a model folder's recordings: the right answers, some of them others."""
    rows = [
        {
            "num_beams": beams,
            "members": 1,
            "source": row["source_text"],
            "text": "Something else." if place in changed else row["target_text"],
            "near_tie": place in near,
        }
        for beams in (1, 5)
        for place, row in enumerate(PAIRS[:count])
    ]
    recordings.write(folder, rows)


def test_outputs_that_miss_a_phrase_are_told(run):
    block = {"kind": "constrained", "phrases": ["beautiful"]}
    scores, log, _ = run(decoding=block, beside=[{**block, "phrases": ["hundo"]}])
    count = len(PAIRS)
    told = {name.split(":")[0]: row for name, row in scores["constraints"].items()}
    assert told["constrained"] == {"met": count, "sentences": count}
    assert told["constrained10"] == {"met": 0, "sentences": count}
    assert [note for note in scores["notes"] if f"{count} of {count} outputs of" in note]
    signatures = {row["signature"] for row in scores["scores"] if "baseline" not in row}
    traits = {part for one in signatures for part in one.split("|") if part.startswith("decoding:")}
    assert len(traits) == 2
    assert all(one.startswith("decoding:constrained(") for one in traits)
    assert scores["decoding"]["constrained"]["phrases"] == ["beautiful"]


def test_translations_are_held_against_what_the_original_recorded(run, tmp_path):
    (tmp_path / "none").mkdir()
    record(tmp_path / "none", changed={2, 3}, near={3})
    scores, log, _ = run(beside=[])
    assert scores["recorded"] == [
        {
            "decoding": "beam",
            "sentences": len(PAIRS),
            "equal": len(PAIRS) - 2,
            "differ": [
                {
                    "source": PAIRS[place]["source_text"],
                    "original": "Something else.",
                    "ours": PAIRS[place]["target_text"],
                    "near_tie": place == 3,
                }
                for place in (2, 3)
            ],
        }
    ]
    assert scores["notes"] == [
        f"1 of {len(PAIRS)} beam translations are not those that the original software recorded, "
        "and its scores of them are no near ties."
    ]
    rows = by_name(scores)
    texts = [row["target_text"] for row in PAIRS]
    said = [text if place not in (2, 3) else "Something else." for place, text in enumerate(texts)]
    expected = sacrebleu.corpus_bleu(said, [texts]).score
    assert rows["bleu_beam", "recorded-original"]["value"] == expected
    assert log.metrics["beam_as_recorded_sentences"] == len(PAIRS) - 2


def test_a_recording_of_some_sentences_gives_no_score_of_all(run, tmp_path):
    (tmp_path / "none").mkdir()
    record(tmp_path / "none", count=4)
    scores, _, _ = run()
    assert [row["sentences"] for row in scores["recorded"]] == [4, 4]
    assert [row["equal"] for row in scores["recorded"]] == [4, 0]  # greedy drops two words
    assert ("bleu_beam", "recorded-original") not in by_name(scores)
    changed = run(decoding={"kind": "beam", "length_penalty": 0.9}, beside=[])[0]
    assert "recorded" not in changed


@pytest.mark.parametrize(
    "text", ["{", '{"num_beams": 1}', '{"num_beams": "1", "members": 1, "source": "", "text": ""}']
)
def test_damaged_recordings_are_named(tmp_path, text):
    (tmp_path / recordings.FILE).write_text(text + "\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"recorded.jsonl cannot be read"):
        recordings.Recordings.load(tmp_path)


def test_recordings_keep_texts_with_odd_line_ends(tmp_path):
    row = {
        "num_beams": 5,
        "members": 1,
        "source": "a\u2028b",
        "text": "c\u0085d",
        "near_tie": False,
    }
    recordings.write(tmp_path, [row])
    kept = recordings.Recordings.load(tmp_path).of(settings.Beam())
    assert kept["a\u2028b"].text == "c\u0085d"
