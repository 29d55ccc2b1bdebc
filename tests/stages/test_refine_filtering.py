"""Before and after: what each rule dropped, as samples, scores and the company of terms."""

from __future__ import annotations

import json
import random

import pytest

from stages.refine import filtering, rulesets
from tests.stages.refine_material import Refined, jsonl, raw_folder

WORDS = [
    "la",
    "kaj",
    "de",
    "en",
    "estas",
    "mi",
    "ne",
    "al",
    "ke",
    "por",
    "pri",
    "vi",
    "sed",
    "kun",
    "homo",
    "urbo",
    "domo",
    "akvo",
    "libro",
    "tago",
]


@pytest.fixture(scope="module")
def refined(tmp_path_factory):
    rng = random.Random(3)

    def sentence(*first: str) -> str:
        return " ".join([*first, *rng.choices(WORDS, k=10)]) + "."

    texts = {f"k{n}": " ".join(sentence() for _ in range(9)) for n in range(60)}
    texts |= {f"li{n}": " ".join(sentence("li", "forta") for _ in range(9)) for n in range(20)}
    texts |= {f"si{n}": " ".join(sentence("ŝi", "forta") for _ in range(9)) for n in range(20)}
    # Short documents of ŝi alone, with a word that stands with li otherwise: a filter of length
    # drops them, and what it leaves looks different.
    texts |= {f"short{n}": f"Ŝi estas forta \x07{n}, skribu al a{n}@b.example." for n in range(15)}
    texts |= {
        "mail": " ".join(sentence() for _ in range(9))
        + " Skribu al petro@b.example aŭ 2a00:1:2:3:4:5:6:7."
    }
    raw = raw_folder(tmp_path_factory.mktemp("filtering") / "raw", {"a.jsonl": jsonl(texts)})
    return Refined(
        raw, raw.parent / "corpus", languages=["eo"], split={"by": "document"},
        filters={"rule_sets": ["gopher-quality"], "scores": True, "private_types": ["email", "ip"],
                 "thresholds": {"gopher-quality/short_words": -1},
                 "counting": {"stop_words": ["la", "kaj", "de", "en", "estas"]}},
        duplicates={"near": False, "containment": 0.0, "related": 0.0},
        measure={"dropped_samples": 2, "groups": {"li": ["li"], "ŝi": ["ŝi"]}, "topics": 0,
                 "perplexity_order": 0, "min_documents": 3},
    )  # fmt: skip


def test_samples_are_texts_that_the_rule_dropped(refined):
    found = {row["rule"]: row for row in refined.json("filtering.json")["samples"]}
    assert set(found) == {rule for rule, _ in refined.dropped.values()}
    short = found["gopher-quality/few_words"]
    assert short["documents"] == 15
    assert len(short["texts"]) == 2
    assert all(text.startswith("Ŝi estas forta ") and "\x07" not in text for text in short["texts"])


def test_placeholders_are_counted(refined):
    assert refined.json("filtering.json")["private"] == {"email": 1, "ip": 1}


def test_the_company_of_terms_is_told_before_each_rule_and_now(refined):
    rows = refined.json("filtering.json")["biases"]
    assert len(rows) == filtering.MOVED
    known = {row["word"]: row for row in refined.statistics["associations"]["pairs"][0]["words"]}
    for row in rows:
        assert (row["first"], row["second"]) == ("li", "ŝi")
        (step,) = [one for one in row["steps"] if one["before"] == "gopher-quality/few_words"]
        # The short documents hold ŝi and none of these words, so they part from her before.
        assert step["bias"] - row["bias"] > 0.25
        assert row["bias"] == known[row["word"]]["bias"]
    assert "forta" not in {row["word"] for row in rows}  # the short documents hold it too


def test_scores_of_dropped_documents_lie_beyond_the_threshold(refined):
    rows = refined.json("filtering.json")["scores"]
    row = next(one for one in rows if one["rule"] == "gopher-quality/few_words")
    assert sum(one["dropped"] for one in row["bins"]) == row["documents_dropped"] == 15
    assert sum(one["kept"] for one in row["bins"]) == len(refined.rows)
    low = [one for one in row["bins"] if one["from"] < row["threshold"]]
    assert sum(one["dropped"] for one in low) == 15
    assert row["threshold"] == next(
        rule.threshold for rule in rulesets.RULES if rule.reason == row["rule"]
    )


def test_nothing_is_written_unless_asked(tmp_path):
    raw = raw_folder(
        tmp_path / "raw", {"a.jsonl": jsonl({str(n): f"La urbo {n}." for n in (1, 2, 3)})}
    )
    made = Refined(raw, tmp_path / "corpus", duplicates={"near": False})
    assert not (made.folder / "filtering.json").exists()


@pytest.mark.parametrize("text", ["", "\ufeff\x00", "a" * 9999, "\ud800 a\u202eb\n\tc"])
def test_a_sample_can_be_written_and_shown(text):
    shown = filtering._short(text)
    assert len(shown) <= filtering.SHOWN_CHARACTERS
    assert json.loads(json.dumps(shown)).isprintable()
    shown.encode("utf-8")
