"""Every plant of the embedded generator is found by the rule that is meant for it."""

from __future__ import annotations

import hashlib

import pytest

from stages.acquire.generator.parameters import GeneratorParams, PlantShares
from stages.core import canonical
from tests.stages.generator_material import Corpus
from tests.stages.refine_material import Refined

DENSE = PlantShares(
    exact_duplicate=0.05, near_duplicate=0.1, foreign_document=0.05, foreign_paragraph=0.04,
    boilerplate=0.06, mojibake=0.04, x_system=0.05, email=0.05, phone=0.05, hard_wrapped=0.04,
    line_endings=0.02, byte_order_mark=0.02, decomposed=0.02, markers=0.02, repetition=0.02,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated") / "raw"
    folder.mkdir()
    generated = Corpus(folder, GeneratorParams(size_mb=1.2, plants=DENSE))
    manifest = {**generated.rows, "licence": "CC0-1.0", "synthetic": True, "origin": "generator"}
    canonical.write_json(folder / "manifest.json", manifest)
    refined = Refined(folder, folder.parent / "corpus", filters={"languages": ["eo"]})
    return generated, refined


def cluster(refined, name):
    while name in refined.duplicates:
        name = refined.duplicates[name]["representative"]
    return name


def test_the_ledger_adds_up(made):
    generated, refined = made
    refined.check_accounts()
    assert refined.ledger["read"]["documents_in"] == len(generated.documents)
    assert refined.manifest["synthetic"] is True


def test_nothing_unplanted_is_lost_and_little_is_changed(made):
    generated, refined = made
    planted = {row["id"] for row in generated.plants}
    planted |= {row["original"] for row in generated.plants if "original" in row}
    assert set(refined.dropped) <= planted
    untouched = [n for n in refined.rows if n not in planted]
    changed = [n for n in untouched if refined.rows[n]["text"] != generated.by_id[n]["text"]]
    assert len(untouched) > 200
    assert len(changed) <= 0.01 * len(untouched)


def test_exact_duplicates(made):
    generated, refined = made
    planted = {row["id"] for row in generated.of_kind("exact-duplicate")}
    found = {name for name, rule in refined.reasons().items() if rule == "exact_duplicate"}
    # Two near-duplicates of one original may come out of the same edit: they are equal by chance.
    texts: dict[str, str] = {}
    for row in generated.of_kind("near-duplicate"):
        text = generated.by_id[row["id"]]["text"]
        if texts.setdefault(text, row["id"]) != row["id"]:
            planted.add(row["id"])
    assert found == planted
    assert len(planted) > len(generated.of_kind("exact-duplicate")) * 0.9 > 10


def test_near_duplicates(made):
    generated, refined = made
    rows = generated.of_kind("near-duplicate")
    alike = [row for row in rows if row["jaccard"] >= 0.7]
    found = [
        row for row in alike if cluster(refined, row["id"]) == cluster(refined, row["original"])
    ]
    assert len(found) >= 0.9 * len(alike)
    assert len(alike) >= 20
    known = {row["id"] for row in rows} | {row["original"] for row in rows}
    near = {name for name, rule in refined.reasons().items() if rule == "near_duplicate"}
    assert near <= known
    for row in alike:
        match = refined.duplicates.get(row["id"])
        if match and match["representative"] == row["original"] and match["kind"] == "near":
            assert match["exact_jaccard"] == pytest.approx(row["jaccard"])


def test_other_languages(made):
    generated, refined = made
    planted = {row["id"] for row in generated.of_kind("foreign-document")}
    found = {name for name, rule in refined.reasons().items() if rule == "language"}
    assert found == planted
    for row in generated.of_kind("foreign-paragraph"):
        foreign = generated.by_id[row["id"]]["text"][row["start"] : row["end"]]
        assert row["id"] not in refined.rows or foreign not in refined.rows[row["id"]]["text"]
    assert refined.ledger["foreign_paragraphs"]["documents_changed"] > 5


REPAIRED = (
    "mojibake", "x-system", "decomposed", "line-endings", "hard-wrapped", "byte-order-mark",
)  # fmt: skip


@pytest.mark.parametrize("kind", REPAIRED)
def test_repairs_give_the_text_before_the_plant(made, kind):
    generated, refined = made
    rows = [row for row in generated.of_kind(kind) if row["id"] in refined.rows]
    assert rows
    whole = [
        row
        for row in rows
        if hashlib.sha256(refined.rows[row["id"]]["text"].encode()).hexdigest()
        == row["original_sha256"]
    ]
    # A short document of two lines may not show that it was wrapped.
    assert len(whole) >= (0.9 if kind == "hard-wrapped" else 1.0) * len(rows)


@pytest.mark.parametrize("kind", ["email", "phone"])
def test_private_data_is_gone(made, kind):
    generated, refined = made
    rows = [row for row in generated.of_kind(kind) if row["id"] in refined.rows]
    assert rows
    for row in rows:
        text = refined.rows[row["id"]]["text"]
        assert row["value"] not in text
        assert f"[{kind}]" in text


def test_furniture_markers_and_repeats_are_gone(made):
    generated, refined = made
    for row in generated.of_kind("boilerplate"):
        kept = refined.rows.get(row["id"], {"text": ""})["text"].split("\n")
        assert not set(row["lines"]) & set(kept)
    for row in generated.of_kind("markers"):
        if row["id"] in refined.rows:
            body = generated.by_id[row["id"]]["text"][row["body_start"] : row["body_end"]]
            assert refined.rows[row["id"]]["text"] == body
    for row in generated.of_kind("repetition"):
        if row["id"] in refined.rows:
            assert refined.rows[row["id"]]["text"].count(row["sentence"]) <= 3


def test_checks_have_teeth(made, tmp_path):
    generated, _ = made
    blind = Refined(
        generated.folder,
        tmp_path / "corpus",
        normalise={"mojibake": "keep", "x_system": False},
        filters={"private": "keep", "boilerplate": "keep", "max_symbol_fraction": 0.0},
        duplicates={"near": False, "exact": False, "containment": 0.0, "related": 0.0},
    )
    assert blind.reasons() == {}
    (mojibake, *_), (email, *_) = generated.of_kind("mojibake"), generated.of_kind("email")
    digest = hashlib.sha256(blind.rows[mojibake["id"]]["text"].encode()).hexdigest()
    assert digest != mojibake["original_sha256"]
    assert email["value"] in blind.rows[email["id"]]["text"]


@pytest.mark.parametrize("kind", ["labelled", "parallel"])
def test_gold_and_pairs_pass_whole(made, tmp_path, kind):
    generated, _ = made
    sides = {"source_language": "eo", "target_language": "en"}
    done = Refined(generated.folder, tmp_path / "corpus", kind=kind, pairs=sides)
    done.check_accounts()
    lost = set(done.reasons().values())
    assert lost <= {"exact_duplicate", "identical", "language"}
    assert len(done.rows) > 0.95 * len(generated.sentences)
