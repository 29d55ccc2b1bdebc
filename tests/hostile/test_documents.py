"""Hostile documents through the whole line: each meets its fate, and nothing is silently lost."""

from __future__ import annotations

import pytest

from tests.hostile import line
from tests.hostile.documents import KEPT, MENDED, documents


@pytest.fixture(scope="module")
def passed(tmp_path_factory):
    """The raw folder, the corpus and what came in."""
    home = tmp_path_factory.mktemp("hostile")
    given = documents()
    return home, given, line.refined(_line(home, given), home / "corpus")


def test_there_are_two_hundred_and_all_fates():
    given = documents()
    assert len(given) >= 200
    assert len({one.name for one in given}) == len(given)
    fates = {one.fate for one in given}
    assert {KEPT, MENDED, "empty", "few_letters", "exact_duplicate", "near_duplicate"} <= fates


def test_every_document_meets_its_fate_and_the_accounts_add_up(passed):
    _, given, corpus = passed
    assert line.account({one.name: (one.text, one.fate) for one in given}, line.read(corpus)) == []


def test_what_is_mended_becomes_what_the_case_says(passed):
    _, given, corpus = passed
    texts = {name: text for rows in line.read(corpus).kept.values() for name, text in rows}
    told = {one.name: one.becomes for one in given if one.becomes is not None}
    assert {name: texts[name] for name in told} == told


def test_every_byte_that_is_kept_comes_back_from_the_tokens(passed):
    home, _, corpus = passed
    learned, tokens = line.packed(corpus, home / "packed")
    for split, rows in line.read(corpus).kept.items():
        assert line.unpacked(tokens, learned, split) == [text for _, text in rows]


def test_a_silent_loss_is_seen(passed):
    """Whoever loses a document, its reason, a part of its text or its count is caught."""
    _, given, corpus = passed
    came = {one.name: (one.text, one.fate) for one in given}
    out = line.read(corpus)
    train = out.kept["train"]
    first = train[0]
    shorter = [(first[0], first[1][:-1]), *train[1:]]
    ledger = [{**out.ledger[0], "documents_in": len(given) - 1}, *out.ledger[1:]]
    for planted, told in (
        (out._replace(kept={**out.kept, "train": train[1:]}), f"{first[0]}: came and is nowhere"),
        (out._replace(kept={**out.kept, "train": [*train, first]}), "came from nowhere"),
        (out._replace(kept={**out.kept, "train": shorter}), "characters that left"),
        (out._replace(lost=out.lost[1:]), f"{out.lost[0][0]}: came and is nowhere"),
        (out._replace(lost=[(out.lost[0][0], "other", ""), *out.lost[1:]]), "nothing says why"),
        (out._replace(ledger=ledger), "documents that entered"),
    ):
        assert any(told in one for one in line.account(came, planted)), told


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The same with the short documents alone, for what is run again and again."""
    home = tmp_path_factory.mktemp("small")
    given = [one for one in documents() if len(one.text) <= 5000]
    return home, given, _line(home, given)


def _line(home, given, order=(0, 1, 2), **source):
    (home / "in").mkdir()
    third = len(given) // 3
    for number in order:
        part = given[number * third : (number + 1) * third if number < 2 else None]
        line.write_lines(home / "in" / f"part-{number}.jsonl", part)
    return line.acquired(home / "in", home / "raw", **source)


def test_a_stage_that_loses_a_document_is_seen(small, monkeypatch, tmp_path):
    """The fault is in the stage itself: its own accounts still agree with each other."""
    from stages.lm import records

    _, given, raw = small
    came = {one.name: (one.text, one.fate) for one in given}
    assert line.account(came, line.read(line.refined(raw, tmp_path / "fair"))) == []
    real = records.read_file
    monkeypatch.setattr(
        records, "read_file", lambda file: (one for one in real(file) if one.id != "arabic")
    )
    wrong = line.account(came, line.read(line.refined(raw, tmp_path / "foul")))
    assert "arabic: came and is nowhere" in wrong


def test_threads_and_the_order_of_files_on_disk_change_no_byte(small, tmp_path):
    _, given, raw = small
    (tmp_path / "again").mkdir()
    patterns = ["*-2.jsonl", "*-1.jsonl", "*-0.jsonl"]
    again = _line(tmp_path / "again", given, order=(2, 0, 1), patterns=patterns)
    assert line.digests(again / "files") == line.digests(raw / "files")
    corpora = [
        line.refined(
            again if threads == 3 else raw, tmp_path / f"corpus-{threads}", threads=threads
        )
        for threads in (1, 2, 3)
    ]
    want = line.digests(corpora[0])
    assert [line.digests(one) for one in corpora[1:]] == [want, want]
    made = []
    for threads, corpus in zip((1, 3), corpora, strict=False):
        home = tmp_path / f"packed-{threads}"
        line.packed(corpus, home, threads)
        made.append(line.digests(home))
    assert made[0] == made[1]


OPEN = {
    "boilerplate": "keep", "min_alphabetic_fraction": 0, "max_symbol_fraction": 0,
    "max_repeated_line_fraction": 0, "max_mean_word_characters": 0,
}  # fmt: skip
CHOICES = {
    "nothing_normalised": {
        "normalise": {"controls": False, "blanks": False, "unicode_form": "NFKC"},
        "filters": {
            **OPEN, "private": "drop",
            "private_types": ["email", "phone", "ip", "key", "iban", "card"],
        },
    },
    "spans_and_lines_cut": {
        "filters": OPEN,
        "duplicates": {
            "max_line_copies": 1, "max_paragraph_copies": 1, "min_copied_characters": 1,
            "substrings": {"action": "cut", "unit": "bytes", "length": 16},
        },
    },
    "stack_trusted": {
        "filters": OPEN,
        "duplicates": {"hash": "stack", "words": "ascii", "keep": "longest", "verify": "none"},
    },
    "held_out": {"filters": OPEN, "held_out": "raw/held", "decontaminate": {"ngram": 2}},
    "perplexity": {"filters": OPEN, "perplexity": {"max": 500}},
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_whatever_refine_is_told_to_do_no_document_is_nowhere(small, name, tmp_path):
    """Unlike in the runs above most filters are off, so that hostile texts reach what follows."""
    _, given, raw = small
    held = {"held_out": raw} if name == "held_out" else {}
    out = line.read(line.refined(raw, tmp_path / "corpus", held, **CHOICES[name]))
    came = {one.name: (one.text, one.fate) for one in given}
    wrong = line.account(came, out)
    assert [one for one in wrong if " told, " in one or "nowhere" in one or "says" in one] == []
    assert len({rule for _, rule, _ in out.lost}) > (name == "held_out")
