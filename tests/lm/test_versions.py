"""A diff of two corpora lists exactly the changes that were made to it."""

from __future__ import annotations

import json
import re

import pytest

from stages.cli import versions as shown
from stages.core.errors import ArtifactError
from stages.lm import versions
from tests.stages.refine_material import Refined, jsonl, raw_folder

LOOSE = {"duplicates": {"near": False, "containment": 0, "related": 0},
         "measure": {"topics": 0, "perplexity_order": 0}}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions")
    texts = {f"d{n}": f"jen la teksto numero {n} pri io alia" for n in range(60)}
    other = dict(texts)
    other["d7"] = "jen la teksto numero 7 pri io tute nova"
    del other["d8"], other["d9"]
    other["d10"] = "mallonga"  # dropped by min_words in b
    other["d11"] = other["d12"].upper()  # an exact duplicate in b
    other |= {"n1": "teksto kiu venis poste kaj diras zumzum", "n2": "zumzum denove venas tien ĉi"}
    made = []
    for name, given, least in (("a", texts, 1), ("b", other, 3)):
        raw = raw_folder(folder / f"raw-{name}", {"a.jsonl": jsonl(given)})
        filters = {"min_words": least, "min_alphabetic_fraction": 0.0}
        split = {"train": 0.8, "valid": 0.1, "test": 0.1, "by": "document"}
        made.append(Refined(raw, folder / name, filters=filters, split=split, **LOOSE))
    return made


def test_exactly_the_injected_changes(pair):
    a, b = pair
    found = versions.compare(versions.of_folder(a.folder), versions.of_folder(b.folder))
    gone = "d12" if "d12" in b.dropped else "d11"
    assert found["documents"]["changed"] == len(found["examples"]["changed"])
    assert found["examples"]["removed"] == sorted(["d10", gone, "d8", "d9"])
    assert found["examples"]["added"] == ["n1", "n2"]
    # d11 stays as the first of the two, with the text of d12.
    assert found["examples"]["changed"] == ["d11", "d7"]
    assert found["documents"] == {
        "same": 60 - 4 - 2, "changed": 2, "moved": 0, "added": 2, "removed": 4,
    }  # fmt: skip
    assert found["reasons"] == {
        "removed": {"exact_duplicate": 1, "too_short": 1, "not read there": 2},
        "added": {"not read there": 2},
    }
    assert found["sources"] == [{"source": "a.jsonl", **found["documents"]}]
    rules = {row["rule"]: row for row in found["rules"]}
    assert rules["too_short"]["a"]["documents_dropped"] == 0
    assert rules["too_short"]["b"]["documents_dropped"] == 1
    numbers = {row["name"]: row for row in found["statistics"]}
    assert numbers["documents"] == {
        "name": "documents", "a": 60, "b": 58, "difference": -2, "ratio": round(58 / 60, 6),
    }  # fmt: skip
    assert "zumzum" in found["words"]["new"]
    assert {"8", "9", "10"} <= set(found["words"]["lost"])
    assert 0 < found["words"]["js_bits"] < 0.1


def test_a_version_beside_itself_is_the_same(pair):
    files = versions.of_folder(pair[0].folder)
    found = versions.compare(files, files)
    assert found["documents"] == {"same": 60, "changed": 0, "moved": 0, "added": 0, "removed": 0}
    assert found["statistics"] == []
    assert found["words"]["js_bits"] == 0


def test_another_split_moves_documents(pair, tmp_path):
    a = pair[0]
    raw = a.folder.parent / "raw-a"
    filters = {"min_words": 1, "min_alphabetic_fraction": 0.0}
    split = {"train": 0.8, "valid": 0.1, "test": 0.1, "by": "document", "seed": 5}
    c = Refined(raw, tmp_path / "c", filters=filters, split=split, **LOOSE)
    found = versions.compare(versions.of_folder(a.folder), versions.of_folder(c.folder))
    wanted = sum(a.split[name] != c.split[name] for name in a.split)
    assert found["documents"]["moved"] == wanted > 0
    assert found["documents"]["same"] == 60 - wanted


def test_as_text_and_refusals(pair, tmp_path):
    a, b = (str(one.folder) for one in pair)
    text = "\n".join(shown.drawn(shown.folders(a, b)))
    assert "documents  54 same, 2 changed, 0 moved, 2 added, 4 removed" in text
    assert "1 removed: dropped in b by too_short" in text
    assert re.search(r"too_short +0 -> 1\n", text + "\n")
    with pytest.raises(ArtifactError, match="holds no corpus.json"):
        shown.folders(a, str(tmp_path))
    files = versions.of_folder(pair[0].folder)
    other = tmp_path / "corpus.json"
    other.write_text(json.dumps({"kind": "parallel"}))
    with pytest.raises(ArtifactError, match="one corpus is text, the other parallel"):
        versions.compare(files, files | {"corpus.json": other})
