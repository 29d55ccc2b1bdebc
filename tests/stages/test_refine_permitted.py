"""Licences, opt-out lists and word lists: named reasons, counts of each, columns that stay."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import ValidationError

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.refine import safety, spdx
from stages.refine.settings import RefineParams
from tests.stages.refine_material import Refined, raw_folder

WHOLE = {"duplicates": {"exact": False, "near": False, "containment": 0.0, "related": 0.0},
         "filters": {"min_alphabetic_fraction": 0.0, "boilerplate": "keep", "private": "keep"},
         "split": {"by": "document"}}  # fmt: skip


def lists_of(folder, files):
    """Make a raw folder of lists as `acquire` does, with digests."""
    raw_folder(folder, files, formats=dict.fromkeys(files, "binary"))
    manifest = json.loads((folder / "manifest.json").read_text())
    for row in manifest["files"]:
        row["sha256"] = hashlib.sha256((folder / row["path"]).read_bytes()).hexdigest()
    canonical.write_json(folder / "manifest.json", manifest)
    return folder


def raw_of(folder, rows):
    """Make a raw folder of records with whatever they say of themselves."""
    lines = [
        {"id": name, "text": f"Teksto {name} pri la urbo."} | row for name, row in rows.items()
    ]
    return raw_folder(folder, {"a.jsonl": "".join(json.dumps(one) + "\n" for one in lines)})


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("MIT", True), ("mit", True), ("GPL-3.0-only", False), ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False), ("GPL-3.0-only AND MIT OR Apache-2.0", True),
        ("GPL-3.0-only AND (MIT OR Apache-2.0)", False), ("MIT and apache-2.0", True),
        ("(MIT)", True), ("((MIT OR X) AND Apache-2.0)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("GPL-2.0-only WITH Bison-exception-2.2", False), ("GPL-2.0-only", False),
        ("LicenseRef-own", False), ("MIT-0", False),
    ],
)  # fmt: skip
def test_expressions_are_read_as_spdx_has_them(expression, fits):
    known = {"mit", "apache-2.0", "gpl-2.0-only with classpath-exception-2.0"}
    assert spdx.allowed(expression, known) is fits


@pytest.mark.parametrize(
    "text", ["MIT License", "MIT OR", "AND MIT", "(MIT", "MIT)", "()", "MIT WITH", "", "OR"]
)
def test_what_is_no_expression_is_no_permission(text):
    with pytest.raises(spdx.Unreadable):
        spdx.allowed(text, {"mit", "license"})


def test_licences_are_asked_of_records_then_of_the_source(tmp_path):
    rows = {
        "mit": {"licence": "mit"}, "gpl": {"license": "GPL-3.0-only"},
        "either": {"license": "GPL-3.0-only OR MIT"}, "all": {"licenses": ["MIT", "Apache-2.0"]},
        "some": {"licenses": ["MIT", "GPL-3.0-only"]}, "null": {"licence": None},
        "unknown": {"licence": "unknown"}, "none": {"licenses": []},
        "odd": {"licence": "MIT License"}, "source": {},
    }  # fmt: skip
    raw = raw_of(tmp_path / "raw", rows)  # its manifest says CC0-1.0
    found = Refined(
        raw, tmp_path / "a", permitted={"licences": ["MIT", "Apache-2.0", "CC0-1.0"]}, **WHOLE
    )
    found.check_accounts()
    assert set(found.rows) == {"mit", "either", "all", "source"}
    assert found.reasons() == {
        "gpl": "licence_not_allowed", "some": "licence_not_allowed", "odd": "licence_not_allowed",
        "null": "licence_not_stated", "unknown": "licence_not_stated", "none": "licence_not_stated",
    }  # fmt: skip
    assert found.dropped["some"][1] == "GPL-3.0-only"
    told = found.json("permissions.json")
    assert told["reasons"] == {"licence_not_allowed": 3, "licence_not_stated": 3}
    table = {row["licence"]: row for row in told["licences"]}
    assert table["not stated"]["documents"] == table["not stated"]["licence_not_stated"] == 3
    assert sum(row["documents"] for row in table.values()) == len(rows)
    table = {row["id"]: row for row in found.table("licences")}
    assert table["all"]["licence"] == "MIT AND Apache-2.0"
    assert {name for name, row in table.items() if row["reason"] is None} == set(found.rows)
    kept = Refined(
        raw, tmp_path / "b", permitted={"licences": ["MIT"], "unstated": "keep"}, **WHOLE
    )
    assert set(kept.rows) == {"mit", "either", "null", "unknown", "none"}


OPT_OUT = """# those who asked
repository:Some/Thing
repository:other/*
author:Petro
host:Example.org

id:d9
"""


def test_whoever_opted_out_is_in_no_output(tmp_path):
    rows = {
        "d0": {"repository": "some/thing"}, "d1": {"repo_name": "some/things"},
        "d2": {"url": "https://github.com/Other/any/blob/main/x.py"},
        "d3": {"author": "PETRO"}, "d4": {"url": "https://gitlab.com/petro/x.git"},
        "d5": {"url": "http://www.example.org/a"}, "d6": {"host": "notexample.org"},
        "d7": {"url": "https://example.org.evil.net/"}, "d8": {"url": "http://[bad"}, "d9": {},
        "d10": {"host": "example.org."}, "d11": {"url": "https://nowhere.net/other/any"},
    }  # fmt: skip
    lists = lists_of(tmp_path / "lists", {"opt-out.txt": OPT_OUT})
    found = Refined(
        raw_of(tmp_path / "raw", rows), tmp_path / "a", lists=lists,
        permitted={"opt_out": ["opt-out.txt"]}, **WHOLE,
    )  # fmt: skip
    found.check_accounts()
    gone = {
        "d0": "repository:some/thing", "d2": "repository:other/*", "d3": "author:petro",
        "d4": "author:petro", "d5": "host:example.org", "d9": "id:d9", "d10": "host:example.org",
    }  # fmt: skip
    assert found.dropped == {name: ("opted_out", entry) for name, entry in gone.items()}
    assert set(found.rows) == set(rows) - set(gone)
    written = b"".join(
        path.read_bytes() for path in found.folder.iterdir() if path.name.startswith("train")
    )
    assert b"Teksto d0 " not in written
    told = found.json("permissions.json")
    assert told["opted_out"]["entries"] == 5
    assert {row["entry"]: row["documents"] for row in told["opted_out"]["met"]} == {
        "author:petro": 2, "host:example.org": 2, "id:d9": 1, "repository:other/*": 1,
        "repository:some/thing": 1,
    }  # fmt: skip
    assert told["opted_out"]["documents_that_do_not_say"]["author"] == 11
    digest = hashlib.sha256(OPT_OUT.encode()).hexdigest()
    assert told["lists"] == {"opt-out.txt": digest}


def test_words_are_met_whole_whatever_their_case(tmp_path):
    words = "# bad\nFi\nfia vorto\nSTRASSE\nfia\n"
    texts = {
        "plain": "Ĉio estas bona.", "one": "FI! li diris", "inside": "Filo kaj finoj",
        "phrase": "la fia -- vorto", "across": "fia. Bona vorto", "fold": "die Straße",
        "end": "vorto fia", "two": "fi fi fi",
    }  # fmt: skip
    lists = lists_of(tmp_path / "lists", {"w/eo.txt": words, "ja.txt": "悪い\n"})
    raw = raw_of(tmp_path / "raw", {k: {"text": t} for k, t in texts.items()} | {
        "ja": {"text": "これは悪い言葉です悪い"}})  # fmt: skip
    asked = [
        {"file": "w/eo.txt"},
        {"file": "ja.txt", "match": "anywhere", "action": "count"},
    ]
    found = Refined(raw, tmp_path / "a", lists=lists, permitted={"words": asked}, **WHOLE)
    found.check_accounts()
    hits = {row["id"]: row["hits:w/eo.txt"] for row in found.table("safety")}
    assert hits == {
        "plain": 0, "one": 1, "inside": 0, "phrase": 2, "across": 1, "fold": 1, "end": 1, "two": 3,
        "ja": 0,
    }  # fmt: skip
    assert set(found.rows) == {"plain", "inside", "ja"}
    assert set(found.reasons().values()) == {"safety_words"}
    assert found.dropped["two"][1] == "w/eo.txt: 3 hit(s), first 'fi'"
    told = {row["file"]: row for row in found.json("permissions.json")["words"]}
    assert told["w/eo.txt"]["documents_with_hits"] == told["w/eo.txt"]["documents_with_enough"] == 6
    assert told["ja.txt"]["hits"] == 2
    # A threshold applied later to the columns decides as the stage would have.
    asked[0] = {"file": "w/eo.txt", "min_hits": 2}
    other = Refined(raw, tmp_path / "b", lists=lists, permitted={"words": asked}, **WHOLE)
    assert set(other.dropped) == {name for name, count in hits.items() if count >= 2}


def test_hits_are_those_of_the_reference_on_hostile_text():
    entries = ["a", "a b", "b a b", "ß", "ςσ", "i̇", "_x", "'"]
    texts = [
        "a b a b a", "", "A\x00B", "aß ß", "ΣΣ ςσ σς", "İ i", "\ud800 a", "_x x_ _x", "a'b",
        "b " * 99,
    ]  # fmt: skip
    folded = [text.casefold() for text in texts]
    wanted = [one.casefold() for one in entries if one != "'"]
    found = safety.Words(list(dict.fromkeys(wanted))).hits(folded)
    assert found.counts.tolist() == [safety.reference(dict.fromkeys(wanted), t) for t in folded]
    assert found.counts[0] == 3 + 2 + 1


@pytest.mark.parametrize(
    ("files", "asked", "what"),
    [
        ({"o.txt": "who:x\n"}, {"opt_out": ["o.txt"]}, "'who:x' is no entry"),
        ({"o.txt": "author:\n"}, {"opt_out": ["o.txt"]}, "'author:' is no entry"),
        ({"o.txt": "repository:x\n"}, {"opt_out": ["o.txt"]}, "is no entry"),
        ({"o.txt": "# nothing\n"}, {"opt_out": ["o.txt"]}, "has no entry"),
        ({"o.txt": "a"}, {"opt_out": ["p.txt"]}, "hold no p.txt, only o.txt"),
        ({"w.txt": "!!\n"}, {"words": [{"file": "w.txt"}]}, "has no entry"),
        ({"w.txt": b"\xff\n"}, {"words": [{"file": "w.txt"}]}, "is not UTF-8"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_in_three_lines(tmp_path, files, asked, what):
    raw = raw_of(tmp_path / "raw", {"a": {}})
    with pytest.raises(ArtifactError, match=what) as caught:
        Refined(raw, tmp_path / "a", lists=lists_of(tmp_path / "l", files), permitted=asked)
    assert len(caught.value.lines()) == 3
    assert not (tmp_path / "a").exists()


def test_a_list_that_was_changed_after_it_was_acquired_is_refused(tmp_path):
    lists = lists_of(tmp_path / "lists", {"o.txt": "author:petro\n"})
    (lists / "files/o.txt").write_text("author:paulo\n")
    raw = raw_of(tmp_path / "raw", {"a": {"author": "petro"}})
    with pytest.raises(ArtifactError, match="its manifest says") as caught:
        Refined(raw, tmp_path / "a", lists=lists, permitted={"opt_out": ["o.txt"]})
    assert len(caught.value.lines()) == 3


@pytest.mark.parametrize(
    "entry",
    [
        {"permitted": {"licences": ["MIT License"]}},
        {"permitted": {"opt_out": ["o.txt"]}},
        {"permitted": {"licences": ["MIT"]}, "kind": "parallel"},
        {"permitted": {"licences": ["MIT"]}, "intact": True},
    ],
)
def test_what_cannot_be_asked_is_refused(entry):
    with pytest.raises(ValidationError):
        RefineParams(raw="raw", **entry)
