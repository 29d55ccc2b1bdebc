"""Evaluation sets kept out: several at once, told one by one, cut, dropped or refused."""

from __future__ import annotations

import random
import re

import pytest

from stages.core.errors import CheckFailed
from stages.refine.contamination import HeldOut
from stages.refine.settings import Decontaminate
from tests.stages.refine_material import Refined, jsonl, raw_folder

STEMS = [a + b for a in "bcdfgk" for b in ("al", "en", "iv", "or", "un")]


def sentence(number: int) -> str:
    """Return twelve words that no other number has in a row."""
    draw = random.Random(number)
    return " ".join(f"{draw.choice(STEMS)}{draw.choice(STEMS)}o" for _ in range(12)) + "."


def documents(count: int) -> dict[str, str]:
    return {f"d{n}": " ".join(sentence(50 * n + i) for i in range(12)) for n in range(count)}


def reference(held: list[str], text: str, ngram: int, least: int) -> list[str]:
    """Return the sentences that share a run of words or are held out whole, by Python sets."""
    runs, whole = set(), set()
    for one in held:
        words = re.findall(r"\w+", one.lower())
        runs |= {tuple(words[at : at + ngram]) for at in range(len(words) - ngram + 1)}
        for part in re.split(r"[.!?…\n]", one.lower()):
            if len(own := re.findall(r"\w+", part)) >= least:
                whole.add(tuple(own))
    places = [(one.start(), one.end()) for one in re.finditer(r"\w+", text)]
    words = [text[a:b].lower() for a, b in places]
    hit = [
        (places[at][0], places[at + ngram - 1][1])
        for at in range(len(words) - ngram + 1)
        if tuple(words[at : at + ngram]) in runs
    ]
    found = []
    for one in re.finditer(r"[^.!?…\n]+(?:[.!?…]+|\n|$)", text):
        own = tuple(re.findall(r"\w+", one[0].lower()))
        if one[0].strip() and (
            own in whole or any(a < one.end() and one.start() < b for a, b in hit)
        ):
            found.append(one[0])
    return found


def test_sentences_found_are_those_of_sets_of_words():
    draw = random.Random(2)
    hits = 0
    for _ in range(60):
        pool = draw.choice(["unu du tri", "Ĉu ĉi tiu Ŝi iras 3 4 _ ß İĝ kaj"]).split()

        def text(size: int, pool: list[str] = pool) -> str:
            marks = draw.choices([" ", ". ", "! ", "\n", ", ", "… "], [9, 1, 1, 1, 1, 1], k=size)
            return "".join(f"{draw.choice(pool)}{mark}" for mark in marks)

        given, own = [text(20) for _ in range(2)], text(30)
        held = HeldOut(Decontaminate(ngram=5, min_sentence_words=3))
        for one in given:
            held.add(one)
        found = [own[a:b] for a, b in held.spans(own)]
        assert found == reference(given, own, 5, 3), (given, own)
        hits += len(found)
    assert hits > 50


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Training text with 20 planted benchmark items, and two sets of 40 and 30 items."""
    folder = tmp_path_factory.mktemp("held")
    texts = documents(30)
    one = {f"q{n}": f"Demando: {sentence(5000 + n)}" for n in range(40)}
    other = documents(30)
    for n in range(20):
        texts[f"d{n}"] += f" {sentence(5000 + n)} {sentence(8000 + n)}"
    raw = raw_folder(folder / "raw", {"a.jsonl": jsonl(texts)})
    first = raw_folder(folder / "one", {"h.jsonl": jsonl(one)})
    second = Refined(
        raw_folder(folder / "two", {"a.jsonl": jsonl(other)}), folder / "corpus", split={"seed": 4}
    )
    return raw, first, second


def test_sets_are_told_one_by_one_and_planted_items_are_all_found(material, tmp_path):
    raw, first, second = material
    done = Refined(raw, tmp_path / "c", first, further=second.folder,
                   decontaminate={"ngram": 6, "min_sentence_words": 3})  # fmt: skip
    done.check_accounts()
    one, other = done.json("contamination.json")["sets"]
    assert (one["held_out"], one["items"], one["items_found"]) == ("raw/held-out", 40, 20)
    assert one["share_found"] == 0.5
    assert one["examples"] == [f"q{n}" for n in range(10)]
    test_and_valid = {name for name, split in second.split.items() if split != "train"}
    assert (other["held_out"], other["items"]) == ("corpora/further", len(test_and_valid))
    assert other["items_found"] == len(test_and_valid)
    assert set(other["examples"]) <= test_and_valid
    left = " ".join(done.texts().values())
    for n in range(20):
        assert sentence(5000 + n) not in left
        assert sentence(8000 + n) in left


def test_an_item_counts_for_every_set_that_holds_it(material, tmp_path):
    raw, first, _ = material
    held = HeldOut(Decontaminate(ngram=4, min_sentence_words=3))
    for name in ("one", "two"):
        held.begin(name)
        held.add("Unu du tri kvar.", name=f"{name}-a")
        held.add("Neniam dirita.", name=f"{name}-b")
    held.spans("Jen: unu, du, tri, kvar!")
    assert [(row["held_out"], row["examples"]) for row in held.report()] == [
        ("one", ["one-a"]), ("two", ["two-a"]),
    ]  # fmt: skip


def test_the_stage_fails_where_it_is_told_to(material, tmp_path):
    raw, first, _ = material
    with pytest.raises(CheckFailed, match="20 of 40 items of raw/held-out") as caught:
        Refined(raw, tmp_path / "c", first, decontaminate={"ngram": 6, "action": "fail"})
    assert "q0, q1, q2" in caught.value.what
    assert not (tmp_path / "c").exists()
    clean = raw_folder(tmp_path / "clean", {"a.jsonl": jsonl({"a": sentence(9100) + " Jes."})})
    done = Refined(
        clean, tmp_path / "ok", first, decontaminate={"ngram": 6, "action": "fail"},
        split={"train": 1.0, "valid": 0.0, "test": 0.0},
    )  # fmt: skip
    assert done.json("contamination.json")["sets"][0]["items_found"] == 0
