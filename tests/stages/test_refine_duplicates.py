"""Exact, near and contained duplicates through the stage, on planted and real documents."""

from __future__ import annotations

import random

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks import duplicate_pairs
from stages.refine import duplicates
from stages.refine.settings import Duplicates
from tests.stages.refine_material import Refined, jsonl, raw_folder

WORDS = [f"{a}{b}o" for a in ("dom", "kat", "hund", "libr", "urb", "arb", "vir", "fil", "mar")
         for b in ("", "et", "eg", "ar", "ej", "ul", "in", "ist", "aĵ", "ec")]  # fmt: skip


def words(seed, count):
    draw = random.Random(seed)
    return [draw.choice(WORDS) for _ in range(count)]


def text(tokens):
    return " ".join(tokens).capitalize() + "."


def edited(tokens, places, word="alia"):
    changed = list(tokens)
    for place in places:
        changed[place] = word
    return changed


@pytest.fixture
def planted():
    one, two, three = words(1, 300), words(2, 400), words(3, 3000)
    return {
        "first": text(one),
        "other": text(two),
        "long": text(three),
        "near": text(edited(one, (50, 200))),
        "same": f"  {text(one).lower()}\n",
        "far": text(edited(two, range(0, 400, 6))),
        "part": text(three[1000:1600]),
        "half": text(three[2000:2300] + words(4, 300)),
        "tiny-a": "Jes ja.",
        "tiny-b": "Ne nun.",
    }


def run(tmp_path, texts, **settings):
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    filters = {"max_mean_word_characters": 0, "min_alphabetic_fraction": 0}
    return Refined(raw, tmp_path / "corpus", duplicates=settings, filters=filters)


def test_each_kind_of_duplicate_goes_with_its_reason(tmp_path, planted):
    done = run(tmp_path, planted)
    done.check_accounts()
    assert done.reasons() == {
        "same": "exact_duplicate",
        "near": "near_duplicate",
        "part": "contained",
    }
    near = done.duplicates["near"]
    assert near["representative"] == "first"
    # Two words changed touch ten 5-grams of 296: 286 shared, 306 in all.
    assert near["exact_jaccard"] == pytest.approx(286 / 306)
    assert abs(near["estimated_jaccard"] - near["exact_jaccard"]) < 0.08
    assert done.duplicates["part"]["representative"] == "long"
    assert done.duplicates["part"]["containment"] == 1.0
    related = done.table("related")
    assert [(row["id"], row["representative"]) for row in related] == [("half", "long")]
    assert 0.45 < related[0]["containment"] < 0.55


def test_tiny_documents_do_not_collapse(tmp_path, planted):
    done = run(tmp_path, planted, verify="none")
    assert {"tiny-a", "tiny-b"} <= set(done.rows)


def test_switches(tmp_path, planted):
    off = {"exact": False, "near": False, "containment": 0.0, "related": 0.0}
    assert run(tmp_path / "off", planted, **off).reasons() == {}
    kept = run(tmp_path / "kept", planted, containment=0.0)
    assert "part" in kept.rows
    assert {row["id"] for row in kept.table("related")} == {"part", "half"}


def test_order_decides_who_stays(tmp_path, planted):
    done = run(tmp_path, dict(reversed(planted.items())))
    assert done.reasons()["first"] in ("near_duplicate", "exact_duplicate")
    assert done.duplicates["first"]["representative"] in ("near", "same")


def test_verification_drops_false_candidates(tmp_path):
    base = words(9, 200)
    draw = random.Random(5)
    texts = {"a": text(base)} | {
        f"v{n}": text(edited(base, draw.sample(range(10, 190, 10), 3), f"n{n}")) for n in range(30)
    }
    settings = {"permutations": 64, "threshold": 0.9, "containment": 0.0, "related": 0.0}
    trusted = run(tmp_path / "t", texts, verify="none", **settings)
    checked = run(tmp_path / "c", texts, **settings)
    # Three words changed leave 181 of 211 5-grams: 0.86, under the threshold.
    assert checked.duplicates == {}
    assert len(trusted.duplicates) >= 2
    assert all(row["exact_jaccard"] is None for row in trusted.duplicates.values())


def test_exact_matching_ignores_case_and_blanks_only():
    found = duplicates.exact(["La domo.", "la  DOMO.\n", "La domo", "La domo."])
    assert [(match.document, match.representative) for match in found] == [(1, 0), (3, 0)]
    assert duplicates.exact([]) == []


def test_cache_is_bounded_and_changes_nothing(tmp_path, monkeypatch):
    texts = [text(words(seed, 100)) for seed in range(20)]

    def measures():
        made = duplicates.Shingled(
            range(20), texts.__getitem__, Duplicates(permutations=8), tmp_path / "signatures"
        )
        found = [made.compare(i, (i * 7 + 1) % 20, "near").exact_jaccard for i in range(20)]
        held = made._cached
        made.close()
        return found, held

    wide, _ = measures()
    monkeypatch.setattr(duplicates, "CACHED_SHINGLES", 200)
    monkeypatch.setattr(duplicates, "SIGN_SHINGLES", 150)
    narrow, held = measures()
    assert wide == narrow
    assert held <= 300


def test_same_work_pairs_of_real_books(shared_data):
    rows = duplicate_pairs.judge(shared_data, Duplicates())
    assert len(rows) == 22
    assert duplicate_pairs.summary(rows, 0.7) == {
        "same_work_at_threshold": 11,
        "same_work_at_threshold_found_near": 11,
        "same_work_below": 5,
        "same_work_below_found_by_containment": 5,
        "different_work": 6,
        "different_work_found": 0,
    }
    for row in rows:
        # Refine cuts frames, plates and markers that the table counts, so a few shingles differ.
        assert abs(row["exact_jaccard"] - row["jaccard_of_table"]) < 0.005
        assert abs(row["estimated_jaccard"] - row["exact_jaccard"]) < 0.1


def test_the_stage_itself_finds_the_pairs_among_files_as_they_are(shared_data, tmp_path):
    table = duplicate_pairs.table_of(shared_data)
    names = sorted({row[side] for row in table for side in ("file_a", "file_b")})
    files = {name: duplicate_pairs.read(shared_data, name) for name in names}
    done = Refined(
        raw_folder(tmp_path / "raw", files), tmp_path / "corpus", filters={"languages": ["eo"]}
    )
    done.check_accounts()
    found = duplicate_pairs.summary(duplicate_pairs.by_stage(table, done.folder), 0.7)
    assert found == {
        "same_work_at_threshold": 11,
        "same_work_at_threshold_found_near": 11,
        "same_work_below": 5,
        "same_work_below_found_by_containment": 5,
        "different_work": 6,
        "different_work_found": 0,
    }
    for name, kind in (("duplicates.parquet", "near"), ("related.parquet", "related")):
        rows = pq.read_table(done.folder / name)
        pq.write_table(rows.filter(pc.field("kind") != kind), done.folder / name)
    blind = duplicate_pairs.summary(duplicate_pairs.by_stage(table, done.folder), 0.7)
    assert blind["same_work_at_threshold_found_near"] == 1
    assert blind["same_work_below_found_by_containment"] == 3
