"""A release as people have it: archives, joined dictionaries, sentencepiece, odd and bad files."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sentencepiece
import torch

from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.lm.translator import Translator
from stages.port.fairseq import combination, moses, source, vocabulary
from stages.port.stage import Fairseq, PortParams, port
from tests.stages import fairseq_material as material

SENTENCES = ["la suno brilas", "la hundo kuras", "mi vidas la hundon", "la domo estas granda"] * 9


def ported(raw: Path, **options: object) -> dict:
    """Port a raw folder; return verification.json."""
    model = raw.parent / "model"
    port(PortParams(raw="x", source=Fairseq(**options)), raw, raw, raw, model, Log())
    return json.loads((model / "verification.json").read_text(encoding="utf-8"))


def refused(raw: Path, **options: object) -> ArtifactError:
    """Return the error of reading a release."""
    with pytest.raises(ArtifactError) as caught:
        ported(raw, **options)
    assert len(caught.value.lines()) == 3
    return caught.value


def pack(files: Path, name: str) -> Path:
    """Pack a folder's files as name, below a folder of its own, and remove them."""
    members = sorted(files.iterdir())
    target = files / name
    if name.endswith(".zip"):
        with zipfile.ZipFile(target, "w") as bundle:
            for path in members:
                bundle.write(path, f"wmt/{path.name}")
    else:
        mode = {".tgz": "w:gz", ".gz": "w:gz", ".bz2": "w:bz2"}[Path(name).suffix]
        with tarfile.open(target, mode) as tar:
            for path in members:
                tar.add(path, f"wmt/{path.name}")
    for path in members:
        path.unlink()
    return target


@pytest.mark.parametrize("name", ["wmt.tar.gz", "wmt.tgz", "wmt.tar.bz2", "wmt.zip"])
def test_an_archive_is_read_as_its_folder(tmp_path: Path, name: str) -> None:
    raw = material.release(tmp_path / "raw")
    wanted = source.read(raw / "files", Fairseq())
    pack(raw / "files", name)
    assert ported(raw)["passed"]
    found = json.loads((tmp_path / "model" / "vocab-src.json").read_text(encoding="utf-8"))
    assert len(found) == len(wanted.source_symbols)
    assert [path.name for path in (raw / "files").iterdir()] == [name]


def evil_member(files: Path) -> None:
    with tarfile.open(files / "wmt.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("../../outside.pt")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))


def evil_link(files: Path) -> None:
    with tarfile.open(files / "wmt.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("model.pt")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)


def bomb(files: Path) -> None:
    with tarfile.open(files / "wmt.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("model.pt")
        info.size = 80 << 20
        tar.addfile(info, io.BytesIO(bytes(info.size)))


def half(files: Path) -> None:
    path = pack(files, "wmt.tar.gz")
    path.write_bytes(path.read_bytes()[:900])


def two(files: Path) -> None:
    path = pack(files, "wmt.tar.gz")
    shutil.copy(path, files / "other.tgz")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (evil_member, "leads outside its folder"),
        (evil_link, "is a link or a device"),
        (bomb, "model.pt is larger than"),
        (half, "the archive wmt.tar.gz is damaged"),
        (two, "2 archives: other.tgz, wmt.tar.gz"),
    ],
)
def test_bad_archives_are_named(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    raw = material.release(tmp_path / "raw")
    if spoil not in (half, two):
        for path in (raw / "files").iterdir():
            path.unlink()
    spoil(raw / "files")
    assert words in refused(raw).what
    assert not (tmp_path / "outside.pt").exists()


def test_one_dictionary_serves_both_sides(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw", tying="all")
    (raw / "files" / "dict.eo.txt").unlink()
    (raw / "files" / "dict.en.txt").rename(raw / "files" / "dict.txt")
    assert ported(raw)["passed"]


def test_wrong_language_names_show_what_is_there(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    (raw / "files" / "dict.en.txt").rename(raw / "files" / "dict.de.txt")
    error = refused(raw)
    assert "looked for dict.en.txt" in error.what
    assert "dict.de.txt" in error.where


def test_the_best_of_a_training_is_taken(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    files = raw / "files"
    (files / "model.pt").rename(files / "checkpoint_best.pt")
    (files / "checkpoint_last.pt").write_bytes(b"never read")
    assert source.read(files, Fairseq()).checkpoint == "checkpoint_best.pt"


def test_two_codes_are_refused_until_one_is_named(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    shutil.copy(raw / "files" / "bpecodes", raw / "files" / "code")
    assert "more than one file can be codes: bpecodes, code" in refused(raw).what
    assert ported(raw, codes="code")["passed"]


def test_two_files_of_one_name_must_be_equal(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    (raw / "files" / "more").mkdir()
    shutil.copy(raw / "files" / "dict.en.txt", raw / "files" / "more")
    assert source.read(raw / "files", Fairseq()).source_symbols
    (raw / "files" / "more" / "dict.en.txt").write_text("a 1\n", encoding="utf-8")
    assert "2 files are called dict.en.txt and differ" in refused(raw).what


def dictionary(folder: Path, rows: list[tuple[str, int]]) -> Path:
    path = folder / "dict.en.txt"
    path.write_text("".join(f"{symbol} {count}\n" for symbol, count in rows), encoding="utf-8")
    return path


ROWS = [("the", 90), ("a", 50), ("b", 50), ("c", 50), ("le@@", 20), ("er", 7), ("q", 7), ("x", 1)]
FILLERS = [("madeupword0000", 0), ("madeupword0001", 0)]


@pytest.mark.parametrize(("one", "other"), [(0, 4), (1, 2), (5, 6), (0, 7), (3, 4), (2, 8)])
def test_an_exchanged_line_is_seen_without_any_recording(
    tmp_path: Path, one: int, other: int
) -> None:
    rows = [*ROWS, *FILLERS]
    assert len(vocabulary.read_dictionary(dictionary(tmp_path, rows))) == 14
    rows[one], rows[other] = rows[other], rows[one]
    path = dictionary(tmp_path, rows)
    with pytest.raises(ArtifactError) as caught:
        vocabulary.read_dictionary(path)
    assert f"lines {one + 1} and {other + 1}" in caught.value.where
    assert repr(rows[one][0]) in caught.value.what
    assert vocabulary.read_dictionary(path, checked=False)[rows[one][0]] == one + 4


@pytest.mark.parametrize(
    "rows",
    [
        [*ROWS, *FILLERS, ("<mask>", 1)],
        [*ROWS, ("__eo__", 1), ("__en__", 1), ("__de__", 1)],
        [(symbol, 100) for symbol in ("z", "c", "y", "b", "x", "a", "w")],
        [("the", 90), ("b", 50), ("c", 50), ("a", 50), ("q", 7), ("er", 7), ("d", 7), ("x", 1)],
    ],
)
def test_other_orders_are_taken_as_they_are(tmp_path: Path, rows: list[tuple[str, int]]) -> None:
    assert len(vocabulary.read_dictionary(dictionary(tmp_path, rows))) == len(rows) + 4


def test_an_overwritten_symbol_keeps_both_ids(tmp_path: Path) -> None:
    path = tmp_path / "dict.en.txt"
    path.write_text("le@@ 9\ner 5\nle@@ 4 #fairseq:overwrite\nx 1\n", encoding="utf-8")
    symbols = vocabulary.read_dictionary(path)
    assert (symbols["le@@"], symbols["le@@ "], symbols["x"]) == (6, 4, 7)
    assert vocabulary.transformers_vocabulary(symbols, "dict")["le "] == 4


def pieces_release(folder: Path, per_side: bool) -> Path:
    """Write a release with sentencepiece models and the dictionaries of their pieces."""
    sides = ("en", "eo") if per_side else ("both",)
    models, words = [], []
    for side in sides:
        made = io.BytesIO()
        texts = SENTENCES if side != "en" else [text.upper() for text in SENTENCES]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_writer=made, vocab_size=40, minloglevel=2,
            hard_vocab_limit=False,
        )  # fmt: skip
        opened = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
        words.append([opened.id_to_piece(at) for at in range(3, opened.get_piece_size())])
        models.append(made.getvalue())
    symbols = {language: words[at % len(words)] for at, language in enumerate(("en", "eo"))}
    raw = material.release(folder, tying="decoder" if per_side else "all", symbols=symbols)
    (raw / "files" / "bpecodes").unlink()
    names = ("spm.en.model", "spm.eo.model") if per_side else ("sentencepiece.bpe.model",)
    for name, model in zip(names, models, strict=True):
        (raw / "files" / name).write_bytes(model)
    return raw


@pytest.mark.parametrize("per_side", [False, True])
def test_sentencepiece_gives_ids_by_the_dictionary(tmp_path: Path, per_side: bool) -> None:
    from transformers import AutoTokenizer

    raw = pieces_release(tmp_path / "raw", per_side)
    found = ported(raw)
    assert (found["passed"], found["codes_format"], found["moses"]) == (
        True,
        "sentencepiece",
        False,
    )
    model = tmp_path / "model"
    text = "LA SUNO BRILAS" if per_side else "la suno brilas"
    opened = sentencepiece.SentencePieceProcessor(model_file=str(model / "source.spm"))
    known = source.read(raw / "files", Fairseq()).source_symbols
    wanted = [*(known.get(one, 3) for one in opened.encode(text, out_type=str)), 2]
    translator = Translator.load(model)
    assert translator.source_ids(text) == wanted
    assert AutoTokenizer.from_pretrained(model)(text).input_ids == wanted
    target = source.read(raw / "files", Fairseq()).target_symbols
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model / "target.spm"))
    ids = [target[one] for one in pieces.encode("la hundo", out_type=str)]
    assert translator.pipeline.decode([*ids, 3, 2]) == "la hundo<unk>"


def test_bad_sentencepiece_models_are_named(tmp_path: Path) -> None:
    raw = pieces_release(tmp_path / "raw", per_side=False)
    path = raw / "files" / "sentencepiece.bpe.model"
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"no model", b""):
        path.write_bytes(data)
        assert "sentencepiece model" in refused(raw).what
    path.write_bytes(whole)
    shutil.copy(path, raw / "files" / "spm.de.model")
    assert "more than one file can be a sentencepiece model of the source side" in refused(raw).what
    (raw / "files" / "spm.de.model").unlink()
    for language in ("en", "eo"):
        lines = "".join(f"word{at} 1\n" for at in range(40))
        (raw / "files" / f"dict.{language}.txt").write_text(lines, encoding="utf-8")
    assert "0 of 40 tokens of dict.en.txt are pieces" in refused(raw).what


def test_old_pre_norm_checkpoints_without_last_norms_are_refused(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw", **material.PRE)
    state = material.weights({**material.SHAPE, **material.PRE}, 16, 14)
    state["decoder.version"] = torch.tensor([2.0])
    material.save(raw / "files" / "model.pt", state, {**material.SHAPE, **material.PRE})
    assert "decoder.version = 2: fairseq applies decoder.layer_norm from" in refused(raw).what


def test_two_recordings_of_one_search_are_both_held_against_the_port(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    material.record(raw, "fairseq-beam1-test.jsonl")
    material.record(raw, "fairseq-beam1-valid.jsonl", source="c")
    rows = source.read(raw / "files", Fairseq()).recorded[1]
    assert [row["source"] for row in rows] == ["ab ca", "c"]


def test_a_broken_checkpoint_beside_owns_no_recordings(tmp_path: Path) -> None:
    raw = material.release(tmp_path / "raw")
    material.record(raw)
    (raw / "files" / "second.pt").write_bytes(b"no checkpoint")
    found = source.read(raw / "files", Fairseq(checkpoint="model.pt"))
    assert combination.owner(raw / "files", Fairseq(), found, []) == ""


@pytest.mark.parametrize("name", ["codes.en-eo", "bpe.codes.txt", "code.32k"])
def test_codes_are_known_by_the_word_in_their_name(tmp_path: Path, name: str) -> None:
    files = material.release(tmp_path / "raw") / "files"
    (files / "bpecodes").rename(files / name)
    (files / "decoder.json").write_text("{}", encoding="utf-8")
    assert len(source.read(files, Fairseq()).subwords.merges) == len(material.MERGES)


@pytest.mark.parametrize(
    ("text", "pieces", "cut"),
    [("ab, c", "ab , c", True), ("ab &apos; c", "ab &apos; c", False), ("ab c", "ab c", True)],
)
def test_recordings_tell_whether_moses_cut_the_words(
    tmp_path: Path, text: str, pieces: str, cut: bool
) -> None:
    raw = material.release(tmp_path / "raw")
    material.record(raw, source=text, source_bpe=pieces)
    assert source.read(raw / "files", Fairseq()).moses == cut


def test_mosess_language_is_known_by_recordings_in_small_letters() -> None:
    said = {"tokens_bpe": "l &apos;ab", "text": "l'ab"}
    found: Any = SimpleNamespace(
        architecture=SimpleNamespace(source_language="fr", target_language="fr"),
        recorded={1: [{"source": "L'AB", "source_bpe": "l &apos;ab", "hyps": [said]}]},
        recorded_ensemble={},
        subwords=SimpleNamespace(format="fastBPE"),
        source_symbols={"l": 4, "ab": 5},
        moses=True,
    )
    assert moses.languages(found, Fairseq())[0] == "en"
    found.source_symbols["AB"] = 6  # a dictionary with capitals is looked up as texts are written
    assert moses.languages(found, Fairseq())[0] == "fr"
