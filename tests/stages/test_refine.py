"""The stage `refine`: ledger, kinds, splits, decontamination, refusals, equal bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.core.errors import ArtifactError, CheckFailed, Resumable
from stages.core.log import Log
from stages.refine import ledger as ledgers
from stages.refine.contamination import HeldOut
from stages.refine.output import assign, split_value
from stages.refine.settings import Decontaminate, RefineParams, Split
from stages.refine.stage import refine
from tests.stages.refine_material import Refined, jsonl, raw_folder

ROOT = Path(__file__).resolve().parents[2]
NOUNS = ["domo", "kato", "hundo", "libro", "urbo", "arbo", "viro", "filo", "tablo", "maro"]
VERBS = ["vidas", "amas", "trovas", "serĉas", "memoras", "havas", "portas", "vendas"]


def sentence(number):
    subject, verb = NOUNS[number % 10], VERBS[number // 10 % 8]
    return (
        f"La {number}-a {subject} {verb} la {NOUNS[number * 7 % 10]}n en la {number % 13}-a horo."
    )


def documents(count):
    return {
        f"d{number}": " ".join(sentence(50 * number + i) for i in range(12))
        for number in range(count)
    }


def test_every_document_is_accounted_for(tmp_path):
    texts = documents(40) | {
        "empty": "   ",
        "english": "The old man reads a long letter in the city, and his friends buy a new book.",
        "spam": "Menuo\n© 2024 Ĉiuj rajtoj rezervitaj.",
        "twin": "  " + documents(40)["d3"].upper(),
        "bom": "\ufeff" + sentence(9999) + "\r\nCxu sxi venos? Skribu al ni@domo.example.",
    }
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    done = Refined(raw, tmp_path / "corpus", filters={"languages": ["eo"]})
    done.check_accounts()
    assert done.reasons() == {
        "empty": "empty",
        "english": "language",
        "spam": "boilerplate",
        "twin": "exact_duplicate",
    }
    assert done.duplicates["twin"]["representative"] == "d3"
    assert done.rows["bom"]["text"].endswith("horo.\nĈu ŝi venos? Skribu al [email].")
    assert done.ledger["read"]["documents_in"] == 45
    assert done.ledger["x_system"]["documents_changed"] == 1
    assert {row["source"] for row in done.rows.values()} == {"a.jsonl"}
    assert done.manifest["languages"] == ["eo"]
    assert done.log.metrics["documents_kept"] == 41
    assert done.statistics["documents"] == 41
    assert sorted(path.name for path in done.folder.iterdir()) == [
        "associations.parquet", "corpus.json", "dropped.parquet", "duplicates.json",
        "duplicates.parquet", "examples.json", "ledger.json", "related.parquet", "statistics.json",
        "test-00000.parquet", "topics.json", "topics.safetensors", "train-00000.parquet",
        "valid-00000.parquet", "words.parquet",
    ]  # fmt: skip


def test_ledger_check_has_teeth():
    book = ledgers.Ledger(lambda *_: None)
    one, two = book.rule("one"), book.rule("two")
    size = ledgers.measure("du vortoj")
    one.pass_on(size, size)
    with pytest.raises(AssertionError, match="one left 1 documents, two took 0"):
        book.as_json("documents")
    two.pass_on(size, size)
    assert book.as_json("documents")["rules"][1]["tokens_out"] == 2


@pytest.mark.parametrize(("kind", "count"), [("record", 1), ("paragraph", 3), ("line", 4)])
def test_documents_are_records_paragraphs_or_lines(tmp_path, kind, count):
    text = f"{sentence(1)}\n{sentence(2)}\n\n{sentence(3)}\n\n{sentence(4)}\n"
    raw = raw_folder(tmp_path / "raw", {"a.txt": text})
    split = {"train": 1.0, "valid": 0.0, "test": 0.0}
    done = Refined(raw, tmp_path / "corpus", documents=kind, split=split)
    done.check_accounts()
    assert len(done.rows) == count
    assert sorted(done.rows)[0] == ("a.txt" if kind == "record" else "a.txt#1")


def test_the_licence_or_the_reason_for_none_is_told(tmp_path):
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(documents(20))})
    assert Refined(raw, tmp_path / "licensed").manifest["licences"] == ["CC0-1.0"]
    manifest = json.loads((raw / "manifest.json").read_text("utf-8"))
    manifest |= {"licence": None, "licence_reason": "my own diary"}
    (raw / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    assert Refined(raw, tmp_path / "reasoned").manifest["licences"] == ["my own diary"]


def test_second_raw_folder_and_its_ids(tmp_path):
    first = raw_folder(tmp_path / "one", {"a.jsonl": jsonl(documents(5))})
    later = {name: text.replace("La", "Unu") for name, text in documents(5).items()}
    second = raw_folder(tmp_path / "two", {"a.jsonl": jsonl(later)})
    params = RefineParams(raw="one", second="raw/two")
    refine(params, first, second, *[tmp_path] * 8, tmp_path / "corpus", Log())
    ids = [
        name
        for split in ("train", "valid", "test")
        for name in pq.read_table(tmp_path / "corpus" / f"{split}-00000.parquet")["id"].to_pylist()
    ]
    assert sorted(ids) == sorted(
        [*(f"d{i}" for i in range(5)), *(f"second/d{i}" for i in range(5))]
    )


CONLLU = """# doc_id = {doc}
# sent_id = {doc}-{n}
1\tLa\tla\tDET\t_\t_\t2\tdet\t_\t_
2\t{noun}\t{noun}\tNOUN\t_\tNumber=Sing\t3\tnsubj\t_\t_
3\tsxatas\tŝati\tVERB\t_\t_\t0\troot\t_\t_
4\t{n}\t{n}\tNUM\t_\t_\t3\tobj\t_\t_

"""


def labelled(count):
    return "".join(CONLLU.format(doc=f"doc{n // 4}", n=n, noun=NOUNS[n % 10]) for n in range(count))


def test_labelled_sentences_keep_their_alignment_and_documents(tmp_path):
    raw = raw_folder(tmp_path / "raw", {"a.conllu": labelled(200) + labelled(1)})
    done = Refined(raw, tmp_path / "corpus", kind="labelled")
    done.check_accounts()
    assert done.manifest["labels"] == ["DET", "NOUN", "NUM", "VERB"]
    for row in done.rows.values():
        assert len(row["tokens"]) == len(row["tags"]) == len(row["lemmas"]) == len(row["feats"])
        assert row["tokens"][2] == "ŝatas"
    assert list(done.reasons().values()) == ["exact_duplicate"]
    split_of = {}
    for name, split in done.split.items():
        split_of.setdefault(name.split("-")[0], set()).add(split)
    assert all(len(splits) == 1 for splits in split_of.values())
    assert set(done.split.values()) == {"train", "valid", "test"}
    assert done.statistics["labels"]["NOUN"] == {"count": 200, "fraction": 0.25}


def test_labelled_filters(tmp_path):
    rows = "".join(
        f'{{"id": "{name}", "tokens": {tokens}, "tags": {tags}}}\n'
        for name, tokens, tags in (
            ("good", '["La", "kato"]', '["DET", "NOUN"]'),
            ("other", '["La", "hundo"]', '["DET", "NOUN"]'),
            ("last", '["La", "birdo"]', '["DET", "NOUN"]'),
            ("bare", '["La", "domo"]', '["DET", "_"]'),
            ("blank", '["La", "\\ufeff"]', '["DET", "NOUN"]'),
            ("short", '["La"]', '["DET"]'),
        )
    )
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": rows}, reading={"yields": "labelled"})
    done = Refined(raw, tmp_path / "corpus", kind="labelled", filters={"min_words": 2})
    done.check_accounts()
    assert done.reasons() == {"bare": "unlabelled", "blank": "empty_token", "short": "too_short"}


def test_pairs_are_dropped_whole(tmp_path):
    good = [
        (
            "La maljuna viro legas longan leteron en la urbo.",
            "The old man reads a long letter here.",
        ),
        ("La knabo vidis belan domon apud la rivero.", "The boy saw a nice house by the river."),
        ("Mia amiko venos morgaŭ kun sia patro.", "My friend will come tomorrow with his father."),
    ]
    bad = {
        "empty_side": ("Jes.", " "),
        "identical": ("Tokio 2024", "tokio 2024"),
        "length_ratio": ("Jes.", "Yes, that is what I wanted to say to you yesterday, friend, "
                         "when we were all together in the old house by the river"),
        "too_long": ("vorto " * 300, "word " * 300),
        "language": ("The old man reads a long letter in the city.", "The old man reads a letter."),
        "exact_duplicate": good[0],
    }  # fmt: skip
    rows = [*good, *bad.values()]
    text = "".join(f"{source}\t{target}\n" for source, target in rows)
    raw = raw_folder(tmp_path / "raw", {"a.tsv": text})
    sides = {"source_language": "eo", "target_language": "en"}
    done = Refined(raw, tmp_path / "corpus", kind="parallel", pairs=sides)
    done.check_accounts()
    assert done.reasons() == {f"a.tsv:{at}": name for at, name in enumerate(bad, start=4)}
    kept = {(row["source_text"], row["target_text"]) for row in done.rows.values()}
    assert kept == set(good)
    assert done.manifest["languages"] == ["eo", "en"]


def test_split_depends_on_text_and_seed_alone(tmp_path):
    texts = documents(60)
    first = raw_folder(tmp_path / "one", {"a.jsonl": jsonl(texts)})
    turned = dict(reversed(texts.items()))
    second = raw_folder(tmp_path / "two", {"b.jsonl": jsonl(turned)})
    shares = {"train": 0.6, "valid": 0.2, "test": 0.2}
    one = Refined(first, tmp_path / "c1", split=shares)
    two = Refined(second, tmp_path / "c2", split=shares)
    other = Refined(first, tmp_path / "c3", split=shares | {"seed": 1})
    assert one.split == two.split
    assert one.split != other.split
    digest = hashlib.sha256(f"0\n{texts['d7']}".encode()).digest()
    assert split_value(texts["d7"], 0) == int.from_bytes(digest[:8], "big")


def test_shares_are_met_and_small_corpora_have_all_splits():
    import numpy as np

    split = Split(train=0.8, valid=0.15, test=0.05)
    values = np.array([split_value(str(n), 0) for n in range(4000)], dtype=np.uint64)
    counts = np.bincount(assign(values, split)) / 4000
    assert np.abs(counts - [0.8, 0.15, 0.05]).max() < 0.03
    assert sorted(assign(values[:3], split).tolist()) == [0, 1, 2]
    none = assign(values[:50], Split(train=1.0, valid=0.0, test=0.0))
    assert set(none.tolist()) == {0}


def test_split_by_document_agrees_between_kinds(tmp_path):
    texts = {f"doc{n}": f"{sentence(n)} {sentence(n + 500)}" for n in range(50)}
    text = Refined(
        raw_folder(tmp_path / "one", {"a.jsonl": jsonl(texts)}), tmp_path / "c1",
        split={"by": "document"}, duplicates={"near": False},
    )  # fmt: skip
    tags = Refined(
        raw_folder(tmp_path / "two", {"a.conllu": labelled(200)}), tmp_path / "c2", kind="labelled"
    )
    for name, split in tags.split.items():
        assert text.split[name.split("-")[0]] == split


def test_held_out_text_is_cut_and_reported(tmp_path):
    texts = documents(20)
    long = "unu du tri kvar kvin ses sep ok naŭ dek dek unu dek du dek tri"
    held = raw_folder(
        tmp_path / "held",
        {
            "h.jsonl": jsonl(
                {"whole": sentence(1003), "run": f"Jen {long} finita.", "far": "Neniam."}
            )
        },
    )
    texts["run"] = f"{sentence(7001)} Li diris {long} kaj iris. {sentence(7002)}"
    texts["only"] = sentence(1003).upper()
    texts["near"] = f"{sentence(1003)[:-6]} tago."
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts | {"d20": documents(21)["d20"]})})
    done = Refined(raw, tmp_path / "corpus", held)
    done.check_accounts()
    assert done.rows["run"]["text"] == f"{sentence(7001)} {sentence(7002)}"
    assert done.reasons() == {"only": "held_out"}
    assert sentence(1003) not in done.rows["d20"]["text"]
    assert done.rows["near"]["text"] == texts["near"]
    report = done.json("contamination.json")["sets"][0]
    assert (report["items"], report["items_found"], report["documents_changed"]) == (3, 2, 2)
    dropped = Refined(raw, tmp_path / "c2", held, decontaminate={"action": "drop"})
    assert dropped.reasons() == {"only": "held_out", "run": "held_out", "d20": "held_out"}


def test_held_out_corpus_gives_valid_and_test(tmp_path):
    texts = documents(30)
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    first = Refined(raw, tmp_path / "first", split={"train": 0.5, "valid": 0.25, "test": 0.25})
    again = Refined(raw, tmp_path / "again", first.folder)
    assert set(again.reasons()) == {n for n, split in first.split.items() if split != "train"}


def test_decontamination_finds_runs_only_at_their_length():
    held = HeldOut(Decontaminate(ngram=5, min_sentence_words=8))
    held.add("unu du tri kvar kvin ses")
    assert held.spans("A. Jen unu du tri kvar kvin! B.") == [(2, 28)]
    assert held.spans("unu du tri kvar. kvin ses") == [(0, 16), (16, 25)]
    assert held.spans("unu du tri kvar ses") == []
    assert held.hit == {0}


def test_max_documents(tmp_path):
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(documents(10))})
    done = Refined(raw, tmp_path / "corpus", max_documents=4)
    done.check_accounts()
    assert sorted(done.rows) == ["d0", "d1", "d2", "d3"]
    assert done.dropped["d9"] == ("max_documents", "after the first 4")


def refuse(error, tmp_path, raw, held_out=None, **params):
    with pytest.raises(error) as caught:
        Refined(raw, tmp_path / "corpus", held_out, **params)
    return caught.value


def test_empty_corpus_names_the_worst_rule(tmp_path):
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl({"a": "Jes.", "b": "Ne.", "c": " "})})
    fault = refuse(CheckFailed, tmp_path, raw, filters={"min_characters": 100})
    assert fault.what == "no document is left of 3: the rule too_short dropped 2"
    assert "too_short" in fault.todo
    assert not (tmp_path / "corpus").exists()


def test_raw_without_documents(tmp_path):
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": ""})
    assert "holds no document" in refuse(CheckFailed, tmp_path, raw).what


@pytest.mark.parametrize("copies", [1, 40])
def test_one_document_and_its_copies_fill_one_split_only(tmp_path, copies):
    texts = {f"d{number}": sentence(1) for number in range(copies)}
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    fault = refuse(CheckFailed, tmp_path, raw)
    assert fault.what == "1 different document(s) cannot fill the splits train, valid, test"
    assert "`documents: paragraph`" in fault.todo
    whole = Refined(raw, tmp_path / "whole", split={"train": 1.0, "valid": 0.0, "test": 0.0})
    whole.check_accounts()
    assert whole.split == {"d0": "train"}
    assert len(whole.dropped) == copies - 1


def test_labels_missing(tmp_path):
    raw = raw_folder(tmp_path / "raw", {"a.txt": sentence(1)})
    fault = refuse(ArtifactError, tmp_path, raw, kind="labelled")
    assert "no labelled sentences, only documents" in fault.what


def test_held_out_missing(tmp_path):
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(documents(3))})
    (tmp_path / "held").mkdir()
    fault = refuse(ArtifactError, tmp_path, raw, tmp_path / "held")
    assert "neither corpus.json nor manifest.json" in fault.what


def test_unknown_format_and_missing_manifest(tmp_path):
    raw = raw_folder(tmp_path / "raw", {"a.xyz": "x"}, formats={"a.xyz": None})
    assert "does not tell its format" in refuse(ArtifactError, tmp_path, raw).what
    (raw / "manifest.json").unlink()
    assert "no manifest.json" in refuse(ArtifactError, tmp_path, raw).what


def test_stop_on_request_leaves_nothing(tmp_path):
    raw = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(documents(3))})
    log = Log(scratch=tmp_path / "scratch")
    log.scratch.mkdir()
    log.request_stop()
    none = tmp_path / "none"
    with pytest.raises(Resumable, match="stopped on request after reading 1 documents"):
        refine(RefineParams(raw="raw"), raw, *[none] * 9, tmp_path / "corpus", log)
    assert not (tmp_path / "corpus").exists()
    assert list(log.scratch.iterdir()) == []


PROGRAM = """
import sys
from pathlib import Path
from tests.stages.refine_material import Refined
Refined(Path(sys.argv[1]), Path(sys.argv[2]), filters={"languages": ["eo"]})
"""


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_two_processes_write_equal_bytes(tmp_path):
    texts = documents(30)
    texts["copy"] = texts["d4"].replace("urbo", "vilaĝo")
    found = []
    for seed in ("1", "77"):
        raw = raw_folder(tmp_path / seed / "raw", {"a.jsonl": jsonl(texts)})
        corpus = tmp_path / seed / "deep" / "corpus"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(raw), str(corpus)],
            check=True, env=environment, cwd=tmp_path,
        )  # fmt: skip
        found.append(digests(corpus))
    assert found[0] == found[1]
