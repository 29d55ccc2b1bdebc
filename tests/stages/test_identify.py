"""Language identifiers: whole numbers as the reference has them, accuracy only where held out."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages.cli import command, trying
from stages.core import yamlfile
from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.identify import material
from stages.identify.stage import IdentifyParams, identify
from stages.lm.identifiers import Identifier
from stages.lm.kernels import languages
from stages.lm.kernels.text import of_bytes, of_strings
from stages.lm.proportions import share, wilson
from tests.stages.refine_material import Refined, jsonl, raw_folder

WORDS = {
    "eo": "la kaj de en estas mi ne al ke por pri vi sed kun ĝi kiu ankaŭ ĉiuj antaŭ homo bona",
    "en": "the of and to in is that he was it for on with his they this have from what we",
    "ru": "и в не на я быть он с что а по это она этот к но они мы весь который",
}
EXTRA = {"cy": "y yr a i o yn mae ei eu ac wedi gan bod nid oes oedd hyn gyda wrth rhwng"}


def sentences(words: str, count: int, seed: int = 0) -> list[str]:
    rng = random.Random(f"{seed} {words[:9]}")
    return [" ".join(rng.choices(words.split(), k=rng.randint(4, 12))) for _ in range(count)]


def folder_of(path: Path, texts: dict[str, list[str]]) -> Path:
    return raw_folder(path, {f"{k}/a.txt": "\n".join(v) + "\n" for k, v in texts.items()})


def trained(out: Path, raw: Path, held_out: Path | None = None, **params) -> dict:
    given = {"raw": "raw", "bucket_bits": 10} | params
    if held_out is not None:
        given["held_out"] = "raw/held"
    none = raw.parent / "none"
    log = Log()
    identify(IdentifyParams(**given), raw, none, none, held_out or none, out, log)
    return json.loads((out / "report.json").read_text("utf-8")) | {"metrics": log.metrics}


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    texts = {label: sentences(words, 200) for label, words in WORDS.items()}
    return folder_of(tmp_path_factory.mktemp("identify") / "raw", texts)


@pytest.fixture(scope="module")
def model(raw, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("identifiers") / "all"
    trained(out, raw)
    return out


HOSTILE = [
    "Hello, world! Don’t’ stop Ĉiŭ ".encode(), b"", b"123 !!", 
    "Σίσυφος ΣΑΣ İstanbul 東京 ไทย́".encode(),
    np.random.default_rng(1).integers(0, 256, 700, np.uint8).tobytes(),
    ("eĥoŝanĝo " * 900).encode(), "\ud800abc".encode("utf-8", "surrogatepass"), b"a" * 9000,
    "ß'’x".encode(), b"\xc4", b"\x00a\x00",
]  # fmt: skip


def test_the_kernels_are_their_references_on_hostile_text():
    texts, labels = of_bytes(HOSTILE), [n % 3 for n in range(len(HOSTILE))]
    order = [*range(len(HOSTILE)), 4, 2, 0]
    weights = languages.train(
        texts, np.array(labels, np.int32), np.array(order, np.int64), 3, 9, 1.0
    )
    assert weights.tolist() == languages.reference_train(HOSTILE, labels, order, 3, 9, 1.0)
    assert weights.any()
    table, shift = languages.quantised(weights)
    found = languages.score(texts, table, 3, shift, threads=2)
    assert found.logits.tolist() == [
        languages.reference_logits(one, table.tolist(), 3, shift) for one in HOSTILE
    ]
    assert found.features.tolist() == [len(languages.reference_features(o, 9)) for o in HOSTILE]
    assert abs(int(table.max()) << shift) <= np.abs(weights).max() + (1 << shift)


def test_probabilities_are_a_softmax():
    logits = np.array([[0, 0], [65536, 0], [-(10**9), 10**9]], np.int64)
    found = languages.probabilities(logits) / languages.ONE
    assert found[0].tolist() == [0.5, 0.5]
    assert found[1][0] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-4)
    assert found[2].tolist() == [0.0, 1.0]


def test_an_accuracy_is_told_of_each_language_with_held_out_text_and_of_no_other(raw, tmp_path):
    told = trained(tmp_path / "a", raw)
    assert set(told["languages"]) == set(WORDS)
    for label, row in told["languages"].items():
        assert row["held_out"]["count"] == row["pieces_read"] // 10 or row["pieces_read"] < 200
        assert row["held_out"]["share"] > 0.9
        assert told["metrics"][f"accuracy_{label}"] == row["held_out"]["share"]
    held = folder_of(
        tmp_path / "held", {"eo": sentences(WORDS["eo"], 30, 9), "cy": sentences(EXTRA["cy"], 7)}
    )
    told = trained(tmp_path / "b", raw, held)
    assert {k for k, row in told["languages"].items() if "held_out" in row} == {"eo"}
    assert told["without_held_out"] == ["en", "ru"]
    assert told["untrained"] == {"cy": 7}
    assert [k for k in told["metrics"] if k.startswith("accuracy_")] == ["accuracy_eo"]
    told = trained(tmp_path / "c", raw, held_out_fraction=0.0)
    assert told["without_held_out"] == ["en", "eo", "ru"]
    assert told["all"] == {"count": 0, "right": 0}
    assert "mean_of_languages" not in told


def test_held_out_text_that_is_learned_from_is_left_out(raw, tmp_path):
    known = sentences(WORDS["eo"], 200)[:20]
    held = folder_of(tmp_path / "held", {"eo": [*known, *sentences(WORDS["eo"], 10, 5)]})
    told = trained(tmp_path / "a", raw, held)
    assert told["held_out_pieces_left_out"] >= 20
    assert told["languages"]["eo"]["held_out"]["count"] <= 10


def test_labels_are_learned_not_guessed_from_names(raw, tmp_path):
    """Teeth: with labels swapped at random in training, held-out accuracy falls to chance."""
    mixed = [text for words in WORDS.values() for text in sentences(words, 200)]
    random.Random(3).shuffle(mixed)
    swapped = folder_of(
        tmp_path / "raw", {k: mixed[n * 200 : n * 200 + 200] for n, k in enumerate(WORDS)}
    )
    held = {k: sentences(words, 60, 4) for k, words in WORDS.items()}
    told = trained(tmp_path / "a", swapped, folder_of(tmp_path / "held", held))
    assert told["all"]["interval_95"][0] < 0.5


def test_equal_bytes_with_any_number_of_threads(raw, model, tmp_path):
    trained(tmp_path / "b", raw, threads=4)
    for file in sorted(model.iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    texts = of_strings(sentences(WORDS["eo"], 300))
    one = Identifier.load(model)
    assert (one.judge(texts, 1).probabilities == one.judge(texts, 3).probabilities).all()


def test_labels_by_field_prefix_and_glob(tmp_path):
    rows = [
        {"id": f"{k}{n}", "text": text, "language": k}
        for k, words in WORDS.items()
        for n, text in enumerate(sentences(words, 60))
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    treebank = "# text = La suno\n1\tLa\tla\tDET\t_\t_\t0\troot\t_\t_\n\n"
    by_field = raw_folder(tmp_path / "f", {"a.conllu": treebank, "all.jsonl": lines})
    first = trained(tmp_path / "a", by_field, label="field")
    texts = "".join(f"__label__{row['language']} {row['text']}\n" for row in rows)
    prefixed = raw_folder(tmp_path / "p", {"all.txt": texts}, reading={"documents": "line"})
    second = trained(tmp_path / "b", prefixed, label="prefix")
    files = {
        f"x/{k}.part.txt": "\n".join(row["text"] for row in rows if row["language"] == k)
        for k in WORDS
    }
    globs = {f"*/{k}.*": k for k in WORDS}
    third = trained(tmp_path / "c", raw_folder(tmp_path / "g", files), paths=globs)
    assert first["languages"] == second["languages"] == third["languages"]
    for name in ("identifier.safetensors", "identifier.json"):
        made = {(tmp_path / out / name).read_bytes() for out in "abc"}
        assert len(made) == 1


def test_a_text_under_two_labels_teaches_neither(tmp_path):
    both = ["nomo nomo nomo"] * 3
    texts = {k: [*sentences(words, 50), *both] for k, words in WORDS.items()}
    told = trained(tmp_path / "a", folder_of(tmp_path / "raw", texts), held_out_fraction=0.0)
    assert told["ambiguous_pieces"] == 1
    plain = {k: sentences(words, 50) for k, words in WORDS.items()}
    trained(tmp_path / "b", folder_of(tmp_path / "plain", plain), held_out_fraction=0.0)
    name = "identifier.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("files", "params", "what"),
    [
        ({"eo/a.txt": "la kato"}, {}, "only eo"),
        ({"eo/a.txt": "123"}, {}, "nothing"),
        ({"a.txt": "la kato"}, {}, "tells no label"),
        ({"e o/a.txt": "la kato"}, {}, "is no label"),
        ({"a.txt": "la kato"}, {"label": "prefix"}, "begins with no __label__"),
        ({"a.txt": "la kato"}, {"label": "field"}, "has no field"),
        ({"a.jsonl": jsonl({"a": "x"})}, {"label": "field"}, "no field 'language'"),
        ({"eo/a.txt": "la", "en/a.txt": "the"}, {"labels": ["eo", "fr"]}, "no text is labelled fr"),
        ({"a.conllu": ""}, {"label": "field"}, "has no field"),
    ],
)  # fmt: skip
def test_material_that_cannot_be_learned_from_is_refused_in_three_lines(
    tmp_path, files, params, what
):
    raw = raw_folder(tmp_path / "raw", files)
    with pytest.raises(ArtifactError, match=what) as caught:
        trained(tmp_path / "out", raw, **params)
    assert len(caught.value.lines()) == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["torn", "labels", "features", "missing"])
def test_a_damaged_identifier_is_refused(model, tmp_path, damage):
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    about = json.loads((model / "identifier.json").read_text())
    if damage == "torn":
        (tmp_path / "identifier.safetensors").write_bytes(b"\x00" * 9)
    elif damage == "missing":
        (tmp_path / "identifier.json").unlink()
    else:
        about[damage] = ["eo"] if damage == "labels" else "words"
        (tmp_path / "identifier.json").write_text(json.dumps(about))
    with pytest.raises(ArtifactError) as caught:
        Identifier.load(tmp_path)
    assert len(caught.value.lines()) == 3


def test_cutting_loses_no_letter_and_keeps_the_bound():
    text = "a" * 50 + " bc\n\n " + "dé " * 40 + "\n123 456\n" + "x y"
    pieces = list(material.cut(text, 20))
    assert max(map(len, pieces)) <= 20
    letters = [one for one in text if one.isalpha()]
    assert [one for one in "".join(pieces) if one.isalpha()] == letters
    assert "123 456" not in pieces


def test_refine_keeps_labels_as_columns_and_rejects_by_threshold(raw, model, tmp_path):
    texts = {f"{k}{n}": t for k, w in WORDS.items() for n, t in enumerate(sentences(w, 40, 7))}
    texts |= {"none": "123 456 !", "mixed": "the of and la kaj de"}
    given = raw_folder(tmp_path / "raw", {"a.jsonl": jsonl(texts)})
    found = Refined(
        given, tmp_path / "eo", identifier=model, identified={"languages": ["eo"]},
        duplicates={"exact": False, "near": False, "containment": 0.0, "related": 0.0},
        filters={"min_alphabetic_fraction": 0.0},
    )  # fmt: skip
    rows = {row["id"]: row for row in found.table("languages")}
    assert set(rows) == set(texts)
    gone = {name for name, (rule, _) in found.dropped.items() if rule == "identified"}
    assert gone == {name for name, row in rows.items() if not row["kept"]}
    assert gone == {name for name, row in rows.items() if row["wanted_probability"] < 0.5}
    assert {f"en{n}" for n in range(40)} | {f"ru{n}" for n in range(40)} | {"none"} <= gone
    assert rows["none"]["language"] == "und"
    told = found.statistics["identified"]
    assert told["ru"]["rejected_fraction"] == 1.0
    assert sum(row["documents"] for row in told.values()) == len(texts)
    assert sum(row["rejected_documents"] for row in told.values()) == len(gone)
    assert found.log.metrics["rejected_fraction_ru"] == 1.0
    assert found.ledger["identified"]["documents_out"] == len(texts) - len(gone)
    # A threshold applied later to the columns decides as the stage would have.
    strict = Refined(
        given, tmp_path / "strict", identifier=model,
        identified={"languages": ["eo"], "min_probability": 0.99},
        duplicates={"exact": False, "near": False, "containment": 0.0, "related": 0.0},
        filters={"min_alphabetic_fraction": 0.0},
    )  # fmt: skip
    later = {name for name, row in rows.items() if row["wanted_probability"] < 0.99}
    assert {n for n, (rule, _) in strict.dropped.items() if rule == "identified"} == later > gone


def test_refine_without_languages_only_tells(model, tmp_path):
    given = raw_folder(
        tmp_path / "raw", {"a.jsonl": jsonl({"a": "the of and to", "b": "и в не на"})}
    )
    found = Refined(
        given, tmp_path / "eo", identifier=model, split={"valid": 0.0, "test": 0.0, "train": 1.0}
    )
    assert set(found.rows) == {"a", "b"}
    assert {row["language"] for row in found.table("languages")} == {"en", "ru"}
    with pytest.raises(ArtifactError, match="knows no 'eo-x'") as caught:
        Refined(given, tmp_path / "x", identifier=model, identified={"languages": ["eo-x"]})
    assert len(caught.value.lines()) == 3


def test_try_names_the_language(model, tmp_path, capsys, monkeypatch):
    (tmp_path / "stages").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    sections = {"acquire": {"eo": {}}, "identify": {"all": {"raw": "eo"}, "later": {"raw": "eo"}}}
    yamlfile.write(tmp_path / "params.yaml", sections)
    shutil.copytree(model, tmp_path / "models/identifiers/all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(trying.kernels, "pin", lambda threads: None)
    out = tmp_path / "out.jsonl"
    assert command.main(["try", "all", "--out", str(out), "the of and to in", "123"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[0]["result"][0]["language"] == "en"
    assert rows[0]["result"][0]["probability"] > 0.9
    assert rows[1]["result"] == [{"language": "und", "probability": 0.0}]
    capsys.readouterr()
    for words, what in (
        (["all", "x", "--decoding", "greedy"], "writes no text"),
        (["later", "x"], "has not been made yet"),
    ):
        assert command.main(["try", *words]) == 2
        told = capsys.readouterr().err
        assert what in told
        assert len(told.strip().splitlines()) == 3


def test_wilson_interval():
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(9, 10)  # 0.5958 to 0.9821: Newcombe 1998, method 3
    assert (round(low, 4), round(high, 4)) == (0.5958, 0.9821)
    assert "share" not in share(0, 0)


@pytest.mark.skipif("DEVENO_TEST_DATA" not in os.environ, reason="needs the shared data")
def test_real_languages_are_told_apart(tmp_path):
    data = Path(os.environ["DEVENO_TEST_DATA"]) / "data"
    files: dict[str, str | bytes] = {}
    for label in ("cy", "en", "eo", "es", "ia", "it"):
        place = data / (
            "eo_raw_commonvoice" if label == "eo" else f"multilingual_raw_commonvoice/{label}"
        )
        path = next(p for p in sorted(place.iterdir()) if p.name.startswith("sentence-collector"))
        whole = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        files[f"{label}/a.txt"] = "\n".join(whole.decode("utf-8").splitlines()[:4000])
    told = trained(tmp_path / "all", raw_folder(tmp_path / "raw", files), bucket_bits=16)
    for label, row in told["languages"].items():
        assert row["held_out"]["share"] > 0.96, label
    one = Identifier.load(tmp_path / "all")
    lines = (data / "flores200/devtest/epo_Latn.devtest").read_text("utf-8").splitlines()[:300]
    right = sum(best[0][0] == "eo" for best in one.best(lines))
    assert right / len(lines) > 0.98
