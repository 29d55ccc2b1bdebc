"""What may be adopted and what is refused: names, pickles, links, what is there already."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from stages.core import adoption, pickled, references
from stages.core.errors import ArtifactError, ParamsError, UnknownEntryError
from tests.core import toys


@pytest.fixture
def outside(tmp_path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\x08" + bytes(15))
    return folder


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A workspace where `dvc add` is told to have worked; the real one is tried in pipeline/."""
    toys.install(monkeypatch)
    made = toys.workspace_at(tmp_path / "clone", "copy:\n  b: {base: raw/adopted/x}\n")

    def dvc(where: Path, verb: str, *arguments: str):
        path = arguments[-1]
        if verb == "add":
            (where / f"{path}.dvc").write_text(f"outs:\n- md5: {'0' * 32}.dir\n  path: x\n")
        return adoption.subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(adoption, "_dvc", dvc)
    return made


def take(root: Path, source: Path, name: str = "x", **told: str) -> adoption.Adopted:
    return adoption.adopt(root, source, name, told.get("licence"), told.get("origin"))


def test_what_is_known_is_kept_beside_the_folder_and_not_in_it(root, outside):
    found = take(root, outside, licence="CC0-1.0", origin="a friend")
    assert found.path == "models/adopted/x"
    inside = sorted(path.name for path in (root / found.path).iterdir())
    assert inside == ["config.json", "model.safetensors"]
    assert adoption.find(root, "models/adopted/x") == found
    assert adoption.everything(root) == [found]
    assert (found.licence, found.origin, found.source) == ("CC0-1.0", "a friend", "folder")
    assert take(root, outside, licence="CC0-1.0", origin="a friend") == found, "the same again"


def test_what_nobody_told_is_unknown(root, outside):
    found = take(root, outside)
    assert (found.licence, found.origin) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("marks", "place"),
    [
        (["corpus.json"], "data/corpora/adopted/x"),
        (["tokens.json", "train.bin"], "data/tokens/adopted/x"),
        (["manifest.json", "files/a.txt"], "data/raw/adopted/x"),
        (["tokenizer.json", "vocab.json"], "models/tokenizers/adopted/x"),
        (["tokenizer.json", "config.json"], "models/adopted/x"),
        (["manifest.json"], "models/adopted/x"),
    ],
)
def test_each_kind_lies_where_its_readers_look(root, tmp_path, marks, place):
    for name in marks:
        path = tmp_path / "some" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert take(root, tmp_path / "some").path == place


def test_a_single_file_becomes_a_folder_of_one(root, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    found = take(root, tmp_path / "model.gguf")
    assert (root / found.path / "model.gguf").read_bytes() == b"GGUF"


def test_another_artifact_of_that_name_is_not_replaced(root, outside, tmp_path):
    found = take(root, outside)
    (outside / "config.json").write_text('{"other": 1}')
    with pytest.raises(ArtifactError, match=f"another artifact, {found.md5}"):
        take(root, outside)
    assert (root / found.path / "config.json").read_text() == "{}"
    (outside / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="these bytes, as of licence 'unknown'"):
        take(root, outside, licence="MIT")
    (root / "models/adopted/hand").mkdir()
    with pytest.raises(ArtifactError, match="something that was not adopted"):
        take(root, outside, "hand")


PICKLE = pickle.dumps({"weights": list(range(9))})


def zipped(folder: Path, name: str) -> Path:
    path = folder / "whole.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, PICKLE)
    return path


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "b.pkl", "c.PTH", "d.ckpt"])
def test_pickles_are_refused_by_name(root, outside, name):
    (outside / name).write_bytes(b"anything")
    with pytest.raises(ArtifactError, match=f"{name} is a pickle") as refused:
        take(root, outside)
    assert "`port` entry" in refused.value.todo
    assert not (root / "models/adopted/x").exists()
    assert list((root / "models/adopted").iterdir()) == [], "nothing half taken stays"


def test_pickles_are_refused_by_content_whatever_their_name(root, outside):
    (outside / "deep").mkdir()
    for content in (PICKLE, pickle.dumps(bytes(1 << 21)), pickle.dumps(list(range(1 << 20)))):
        (outside / "deep/weights.dat").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"deep/weights\.dat is a pickle"):
            take(root, outside)
    (outside / "deep/weights.dat").unlink()
    zipped(outside, "archive/data.pkl")
    with pytest.raises(ArtifactError, match=r"whole\.safetensors is a pickle"):
        take(root, outside)
    zipped(outside, "archive/data.txt")
    take(root, outside)


def test_token_shards_are_no_pickles_though_they_begin_like_one(tmp_path):
    shard = tmp_path / "train.bin"
    shard.write_bytes(struct.pack("<600000H", *([0x0280, 7, 300, 65000] * 150000)))
    pickled.refuse(shard, "train.bin", is_tokens=True)
    with pytest.raises(ArtifactError):
        pickled.refuse(shard, "train.bin", is_tokens=False)
    shard.write_bytes(PICKLE)
    with pytest.raises(ArtifactError):
        pickled.refuse(shard, "train.bin", is_tokens=True)


def test_links_out_of_the_folder_are_refused_and_those_within_followed(root, outside, tmp_path):
    (outside / "again.json").symlink_to("config.json")
    found = take(root, outside)
    taken = root / found.path / "again.json"
    assert taken.read_text() == "{}"
    assert not taken.is_symlink()
    (tmp_path / "secret.txt").write_text("secret")
    for goal in (tmp_path / "secret.txt", "../secret.txt", "nowhere", "/etc"):
        (outside / "link").symlink_to(goal)
        with pytest.raises(ArtifactError, match="link links to"):
            take(root, outside, "y")
        (outside / "link").unlink()
    (outside / "round").symlink_to(".")
    with pytest.raises(ArtifactError, match="a folder that holds it"):
        take(root, outside, "y")


def test_what_is_no_file_is_refused(root, outside):
    os.mkfifo(outside / "pipe")
    with pytest.raises(ArtifactError, match="pipe is a pipe, and an artifact is files and folders"):
        take(root, outside)


def test_names_and_places_that_make_no_sense_are_refused(root, outside, tmp_path):
    for name in ("X", "a/b", "..", ""):
        with pytest.raises(ParamsError, match="is not allowed"):
            take(root, outside, name)
    with pytest.raises(ArtifactError, match="is not there"):
        take(root, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="holds no file"):
        take(root, tmp_path / "empty")
    with pytest.raises(ArtifactError, match="holds this project"):
        take(root, tmp_path)
    (root / "models/own").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="among this project's own artifacts"):
        take(root, root / "models/own")


def test_a_failed_dvc_leaves_nothing(root, outside, monkeypatch):
    broken = adoption.subprocess.CompletedProcess([], 255, "", "ERROR: the disk is full")
    monkeypatch.setattr(adoption, "_dvc", lambda *words: broken)
    with pytest.raises(Exception, match="the disk is full"):
        take(root, outside)
    assert list((root / "models/adopted").iterdir()) == []


def test_entries_read_what_was_adopted_also_before_it_is_checked_out(root, tmp_path):
    with pytest.raises(UnknownEntryError, match="nothing of that name was adopted") as refused:
        references.load(root)
    assert "deveno adopt" in refused.value.todo
    (tmp_path / "raw/files").mkdir(parents=True)
    for name in ("manifest.json", "files/text.txt"):
        (tmp_path / "raw" / name).write_text("{}")
    found = take(root, tmp_path / "raw")
    assert references.load(root)["copy@b"].upstream == ()
    (root / found.path).rename(tmp_path / "away")
    graph = references.load(root)
    assert adoption.missing(root, list(graph["copy@b"].reads.values())) == [found.path]
    with pytest.raises(ArtifactError, match=r"nor in DVC's cache"):
        adoption.bring_back(root, [found.path])


def test_no_entry_may_take_the_place_of_what_is_adopted(root):
    (root / "params.yaml").write_text("source:\n  adopted: {}\n")
    with pytest.raises(ParamsError, match="is kept for what is adopted"):
        references.load(root)
