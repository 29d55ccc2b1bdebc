"""Paragraphs and lines that stood before, and duplicates across raw folders, through the stage."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from stages.core.log import Log
from stages.lm.kernels.text import of_strings
from stages.refine import repeats, shingled
from stages.refine.settings import RefineParams
from stages.refine.stage import refine
from tests.stages.refine_material import Refined, jsonl, raw_folder

LOOSE = {"max_mean_word_characters": 0, "min_alphabetic_fraction": 0}
PLAIN = {"unwrap": False, "markers": False, "repeats": False}


def sentence(seed, count=9):
    draw = random.Random(seed)
    return " ".join("".join(draw.choices("abdefgiklmnoprstuv", k=6)) for _ in range(count)) + "."


def run(tmp_path, texts, **duplicates):
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    return Refined(raw, tmp_path / "corpus", filters=LOOSE, normalise=PLAIN, duplicates=duplicates)


@pytest.fixture
def texts():
    notice = sentence(0)
    return {
        "a": f"{notice}\n\n{sentence(1)}\n\nJes!",
        "b": f"{sentence(2)}\n{sentence(3)}\n\n{notice.upper()}\n\nJes!",
        "c": f"{sentence(4)}\n{sentence(3)}\n\n{sentence(5)}\n\nJes!",
        "d": notice,
        "e": f"{sentence(6)}\n\n{notice}\n\n{notice}\n{sentence(7)}",
    }


def test_off_by_default(tmp_path, texts):
    done = run(tmp_path, texts)
    assert done.reasons() == {}
    assert "duplicate_lines" not in done.ledger


def test_later_copies_of_a_paragraph_go(tmp_path, texts):
    done = run(tmp_path, texts, max_paragraph_copies=1)
    done.check_accounts()
    kept = done.texts()
    assert kept["a"] == texts["a"]
    assert kept["b"] == f"{sentence(2)}\n{sentence(3)}\n\nJes!"
    assert kept["c"] == texts["c"]
    # The last paragraph of e holds the notice and more, so it is another one.
    assert kept["e"] == f"{sentence(6)}\n\n{sentence(0)}\n{sentence(7)}"
    assert done.reasons() == {"d": "duplicate_paragraphs"}
    rule = done.ledger["duplicate_paragraphs"]
    assert (rule["documents_changed"], rule["documents_in"], rule["documents_out"]) == (2, 5, 4)


def test_later_copies_of_a_line_go_and_some_may_stand(tmp_path, texts):
    kept = run(tmp_path / "one", texts, max_line_copies=1).texts()
    assert kept["c"] == f"{sentence(4)}\n\n{sentence(5)}\n\nJes!"
    assert kept["e"] == f"{sentence(6)}\n\n\n{sentence(7)}"
    two = run(tmp_path / "two", texts, max_line_copies=2)
    assert two.texts()["c"] == texts["c"]
    assert two.reasons() == {"d": "duplicate_lines"}
    short = run(tmp_path / "short", texts, max_line_copies=1, min_copied_characters=4)
    assert "Jes!" not in short.texts()["b"]


def test_both_rules_in_one_run_and_what_is_left_too_short(tmp_path, texts):
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    done = Refined(
        raw, tmp_path / "corpus", normalise=PLAIN, filters={**LOOSE, "min_words": 9},
        duplicates={"max_paragraph_copies": 1, "max_line_copies": 1},
    )  # fmt: skip
    done.check_accounts()
    names = list(done.ledger)
    assert names.index("contained") < names.index("duplicate_paragraphs")
    assert names.index("duplicate_paragraphs") < names.index("duplicate_lines")
    assert done.reasons() == {"d": "duplicate_paragraphs"}


def test_against_plain_python_in_any_batches(monkeypatch):
    draw = random.Random(1)
    pool = [sentence(n, 6) for n in range(40)] + ["ab", "", "  "]
    given = ["\n".join(draw.choices(pool, k=draw.randint(0, 9))) for _ in range(200)]
    wanted = {}
    seen: Counter[str] = Counter()
    for number, one in enumerate(given):
        left = []
        for line in one.split("\n"):
            key = " ".join(line.split()).casefold()
            seen[key] += 1
            if seen[key] <= 3 or len(key) < 20:
                left.append(line)
        if len(left) < len(one.split("\n")):
            wanted[number] = "\n".join(left).strip("\n")
    lengths = np.array([len(one) for one in given])

    def reader(numbers):
        return of_strings([given[number] for number in numbers])

    for most in (1 << 24, 700):
        monkeypatch.setattr(shingled, "SIGN_BYTES", most)
        for threads in (1, 3):
            got = repeats.without("lines", 3, 20, range(200), lengths, reader, threads)
            assert dict(got) == wanted
    assert len(wanted) > 100


@pytest.fixture
def two_sources(tmp_path):
    base = [sentence(seed, 120) for seed in range(4)]
    near = base[1].split()
    near[40] = "alia"
    first = {"one": base[0], "two": base[1], "same": base[0].upper(), "four": base[3]}
    second = {"near": " ".join(near), "copy": base[0], "copy-2": base[0].title(), "new": base[2]}
    return (
        raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(first)}),
        raw_folder(tmp_path / "second", {"b.jsonl": jsonl(second)}),
    )


class Two(Refined):
    """A run on two raw folders."""

    def __init__(self, folders, corpus, **duplicates):
        self._folders, self._corpus = folders, corpus
        self.params = RefineParams(
            raw="raw", second="raw/second", filters=LOOSE, duplicates=duplicates
        )
        self.folder, self.log = corpus, Log()
        none = corpus.parent / "none"
        refine(self.params, folders[0], folders[1], *[none] * 8, corpus, self.log)
        self.ledger = {row["rule"]: row for row in self.json("ledger.json")["rules"]}
        self.dropped = {row["id"]: (row["rule"], row["detail"]) for row in self.table("dropped")}


def test_duplicates_across_sources_have_their_own_rule(two_sources, tmp_path):
    done = Two(two_sources, tmp_path / "corpus")
    assert done.dropped == {
        "same": ("exact_duplicate", "of one"),
        "second/near": ("across_sources", "near of two"),
        "second/copy": ("across_sources", "exact of one"),
        "second/copy-2": ("across_sources", "exact of one"),
    }
    assert done.ledger["across_sources"]["documents_out"] == 4
    assert done.json("duplicates.json")["across"] == [
        {"dropped_from": "raw", "kept_in": "raw", "documents": 1},
        {"dropped_from": "second", "kept_in": "raw", "documents": 3},
    ]


def test_kept_across_sources_each_is_freed_of_its_own(two_sources, tmp_path):
    done = Two(two_sources, tmp_path / "corpus", across="keep")
    assert done.dropped == {
        "same": ("exact_duplicate", "of one"),
        "second/copy-2": ("exact_duplicate", "of second/copy"),
    }
    assert "across_sources" not in done.ledger
