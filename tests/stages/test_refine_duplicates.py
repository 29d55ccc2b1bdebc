"""Exact, near and contained duplicates through the stage, on planted and real documents."""

from __future__ import annotations

import random

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks import duplicate_pairs
from stages.lm import neighbours
from stages.lm.kernels.text import of_strings
from stages.refine import clusters, duplicates, shingled
from stages.refine.settings import Duplicates
from stages.refine.shingled import Shingled
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


def run(tmp_path, texts, threads=1, **settings):
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    filters = {"max_mean_word_characters": 0, "min_alphabetic_fraction": 0}
    more = {"duplicates": settings, "filters": filters, "threads": threads}
    return Refined(raw, tmp_path / "corpus", **more)


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
    texts = {"a": text(base), "b": text(words(7, 50)), "c": text(words(8, 50))} | {
        f"v{n}": text(edited(base, draw.sample(range(10, 190, 10), 3), f"n{n}")) for n in range(30)
    }
    settings = {
        "permutations": 64, "bands": 8, "threshold": 0.9, "containment": 0.0, "related": 0.0,
    }  # fmt: skip
    trusted = run(tmp_path / "t", texts, verify="none", **settings)
    checked = run(tmp_path / "c", texts, **settings)
    # Three words changed leave 181 of 211 5-grams: 0.86, under the threshold.
    assert checked.duplicates == {}
    # They share a band of 8 rows with probability 0.94.
    assert len(trusted.duplicates) >= 20
    assert all(row["exact_jaccard"] is None for row in trusted.duplicates.values())


def test_exact_matching_ignores_case_and_blanks_only():
    given = ["La domo.", "la  DOMO.\n", "La domo", "La domo."]
    for cut in (1, 4):
        batches = [of_strings(given[:cut]), of_strings(given[cut:])]
        found = duplicates.exact(batches)
        assert [(match.document, match.representative) for match in found] == [(1, 0), (3, 0)]
        last = duplicates.exact(batches, "last")
        assert [(match.document, match.representative) for match in last] == [(0, 3), (1, 3)]
        assert {match.cluster for match in last} == {0}
    assert duplicates.exact([]) == []


def test_batches_and_threads_change_nothing(planted, monkeypatch, tmp_path):
    draw = random.Random(3)
    texts = list(planted.values())
    texts += [text(edited(words(seed % 7, 120), draw.sample(range(120), 2))) for seed in range(60)]
    lengths = [len(one.encode()) for one in texts]

    def found(threads=1):
        settings = Duplicates(permutations=64, hash="fast")
        made = Shingled(
            range(len(texts)), lambda rows: of_strings([texts[row] for row in rows]), lengths,
            settings, tmp_path / "signatures", threads=threads,
        )  # fmt: skip
        gone: set[int] = set()
        matches = duplicates.near(made, settings).matches
        matches += duplicates.contained(made, settings, gone).matches
        made.close()
        return matches

    whole = found()
    assert {match.kind for match in whole} >= {"near", "contained", "related"}
    assert found(threads=3) == whole
    monkeypatch.setattr(shingled, "SIGN_DOCUMENTS", 7)
    monkeypatch.setattr(shingled, "SIGN_BYTES", 5000)
    assert len(list(shingled.batches(np.arange(len(texts)), np.array(lengths)))) > 5
    monkeypatch.setattr(neighbours, "ROOM", 60)
    monkeypatch.setattr(neighbours, "BATCH_BYTES", 3000)
    assert found() == found(threads=2) == whole


@pytest.mark.parametrize("form", ["fast", "stack"])
def test_both_forms_find_the_same_and_threads_change_no_byte(tmp_path, planted, form):
    plain = run(tmp_path / "plain", planted)
    other = run(tmp_path / "other", planted, hash=form, threads=3)
    assert other.reasons() == plain.reasons()
    assert other.duplicates["near"]["exact_jaccard"] == plain.duplicates["near"]["exact_jaccard"]
    if form == "fast":
        names = [path.name for path in plain.folder.iterdir() if path.is_file()]
        assert len(names) > 6
        for name in names:
            assert (plain.folder / name).read_bytes() == (other.folder / name).read_bytes(), name


def test_keep_says_who_stays(tmp_path, planted):
    base = words(11, 200)
    texts = {"short": text(base), "long": text([*base, *words(12, 12)]), "mid": text(base[:196])}
    texts |= {"other": planted["other"], "twin": planted["other"].upper()}
    texts |= {"tiny": planted["tiny-a"]}
    gone = {
        keep: run(tmp_path / keep, texts, keep=keep, containment=0.0).reasons()
        for keep in ("first", "last", "longest")
    }
    near, exact = "near_duplicate", "exact_duplicate"
    assert gone["first"] == {"long": near, "mid": near, "twin": exact}
    assert gone["last"] == {"short": near, "long": near, "other": exact}
    assert gone["longest"] == {"short": near, "mid": near, "twin": exact}
    rows = run(tmp_path / "again", texts, keep="longest").duplicates
    assert {row["representative"] for row in rows.values()} == {"long", "other"}
    assert {row["cluster"] for row in rows.values()} == {"short", "other"}


def test_report_of_clusters(tmp_path, planted):
    done = run(tmp_path, planted, permutations=128, missed_weight=0.5)
    told = done.json("duplicates.json")
    assert told["documents"] == len(planted)
    assert (told["method"]["bands"], told["method"]["rows"]) == (14, 9)
    assert {kind: row["documents"] for kind, row in told["dropped"].items()} == {
        "exact": 1, "near": 1, "contained": 1,
    }  # fmt: skip
    assert told["dropped"]["near"]["characters"] == len(planted["near"])
    assert told["related"] == 1
    assert told["cluster_sizes"] == {"2": 1, "3": 1}
    assert told["largest_clusters"][0] == {"representative": "first", "documents": 3}
    assert told["across"] == [{"dropped_from": "raw", "kept_in": "raw", "documents": 3}]
    assert told["concentration"] == {
        "top_0.1_percent": 0.3, "top_1_percent": 0.3, "top_10_percent": 0.3,
    }  # fmt: skip
    assert done.duplicates["near"]["bands"] > 3
    ledger = done.ledger
    assert ledger["near_duplicate"]["documents_in"] - ledger["near_duplicate"]["documents_out"] == 1


def test_concentration_counts_unique_documents():
    # 1000 unique ones, of which one has 500 copies and one 11: 1509 in all.
    assert clusters.concentration([501, 11], 1510) == {
        "top_0.1_percent": round(501 / 1510, 6),
        "top_1_percent": round((501 + 11 + 8) / 1510, 6),
        "top_10_percent": round((501 + 11 + 98) / 1510, 6),
    }
    assert clusters.concentration([], 0)["top_1_percent"] == 0.0


def test_wrong_bands_are_refused():
    with pytest.raises(ValueError, match="bands is 300, must be at most the 256 permutations"):
        Duplicates(bands=300)


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
