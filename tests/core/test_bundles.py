"""Bundles: what is proved, and every fault that the proof must betray."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.core import adoption, bundler, bundles, canonical, chains, hashes, yamlfile
from stages.core.errors import ArtifactError, CheckFailed, ParamsError, UnknownEntryError
from stages.core.records import Records
from tests.core import toys
from tests.core.test_plan import edit, record

PARAMS = """
source:
  a: {text: saluton}
  z: {text: adiau}
copy:
  b: {base: raw/a, times: 2}
  c: {base: copied/b}
  d: {base: raw/z}
gather:
  all: {}
"""
MANIFEST = {"licence": "CC-BY-4.0", "licence_reason": None, "origin": "a village", "files": []}


def workspace(folder: Path, manifest: dict | None = None) -> Path:
    """A workspace in which everything was made and recorded, the cache holding every file."""
    root = toys.workspace_at(folder, PARAMS)
    for key in "az":
        (root / f"data/raw/{key}").mkdir(parents=True)
        canonical.write_json(root / f"data/raw/{key}/manifest.json", MANIFEST | (manifest or {}))
    record(root)
    for path in sorted((root / "data").rglob("*")):
        if path.is_file():
            md5 = canonical.file_digest(path, "md5")
            stored = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
            stored.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, stored)
    return root


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    toys.install(monkeypatch)
    return workspace(tmp_path / "clone")


def bundled(root: Path, *targets: str, out: Path | None = None, private: bool = False) -> Path:
    records = Records(root)
    found = bundler.named(records, targets)
    place = out or bundler.place_of(root, found)
    bundler.write(records, found, place, private)
    return place


@pytest.fixture
def bundle(root) -> Path:
    return bundled(root, "copy@c")


def summed(folder: Path) -> None:
    """Write SHA256SUMS anew, as somebody would who covers a change up."""
    rows = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(rows))


def change(folder: Path, edit: Callable[[dict], object], name: str = "lineage.json") -> None:
    """Edit a file of a bundle and cover it up; the licences' text follows the lineage."""
    path = folder / name
    if name == "dvc.lock":
        value = yamlfile.read(path)
        edit(value["stages"])
        yamlfile.write(path, value)
    else:
        value = json.loads(path.read_text())
        edit(value)
        canonical.write_json(path, value)
    lineage = json.loads((folder / "lineage.json").read_text())
    (folder / "LICENCES.md").write_text(bundles.licences_text(lineage))
    summed(folder)


def test_a_bundle_is_whole_and_says_where_it_lies(bundle):
    assert bundles.problems(bundle) == []
    assert bundle.name == "copy-c"
    assert (bundle / "data/copied/c/made.txt").is_file()
    lineage, lock = bundles.read(bundle)
    assert [row["entry"] for row in lineage["entries"]] == ["source@a", "copy@b", "copy@c"]
    assert sorted(lock) == ["copy@b", "copy@c", "source@a"], "and nothing of the others"
    assert lineage["licences"]["licences"] == ["CC-BY-4.0"]
    assert "a village" in (bundle / "LICENCES.md").read_text()


def test_the_same_record_gives_the_same_bytes_in_another_folder(bundle, tmp_path, monkeypatch):
    other = bundled(workspace(tmp_path / "elsewhere/deeper"), "copy@c")
    assert bundles.digest(other) == bundles.digest(bundle)
    for path in bundle.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes()


def test_a_reader_of_parent_folders_is_bound_to_all_that_they_held(root):
    folder = bundled(root, "gather@all")
    assert bundles.problems(folder) == []
    lineage, _ = bundles.read(folder)
    assert {row["entry"] for row in lineage["entries"]} == {
        "source@a", "source@z", "copy@b", "copy@c", "copy@d", "gather@all",
    }  # fmt: skip
    listing = (
        folder
        / "evidence"
        / next(
            row["md5"] for row in lineage["entries"][-1]["inputs"] if row["path"] == "data/copied"
        )
    )
    listing.unlink()
    summed(folder)
    assert any("data/copied" in text or "inputs" in text for text in bundles.problems(folder))


def test_several_artifacts_share_one_ancestry(root):
    folder = bundled(root, "copy@c", "copy@b", "copy@d")
    lineage, _ = bundles.read(folder)
    assert bundles.problems(folder) == []
    names = [row["entry"] for row in lineage["entries"]]
    assert len(names) == len(set(names)) == 5
    assert [one["made_by"] for one in lineage["artifacts"]] == ["copy@b", "copy@c", "copy@d"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def files_of(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_every_flipped_byte_is_named_by_its_file(bundle):
    names = [name for name in files_of(bundle) if name != "SHA256SUMS"]
    assert len(names) >= 8
    for name in names:
        kept = (bundle / name).read_bytes()
        flip(bundle / name)
        assert any(text.startswith(f"{name}:") for text in bundles.problems(bundle)), name
        (bundle / name).write_bytes(kept)
    flip(bundle / "SHA256SUMS")
    assert bundles.problems(bundle)


def test_missing_and_extra_files_and_links_are_named(bundle, tmp_path):
    for name in files_of(bundle):
        kept = (bundle / name).read_bytes()
        (bundle / name).unlink()
        assert any(text.startswith(f"{name}: ") for text in bundles.problems(bundle)), name
        (bundle / name).write_bytes(kept)
    (bundle / "data/copied/c/more.txt").write_text("more")
    found = bundles.problems(bundle)
    assert "data/copied/c/more.txt: not listed in SHA256SUMS" in found
    summed(bundle)
    assert any(text.startswith("data/copied/c: its md5 is") for text in bundles.problems(bundle))
    (bundle / "data/copied/c/more.txt").unlink()
    (bundle / "elsewhere.txt").write_text("more")
    summed(bundle)
    assert "elsewhere.txt: part of no artifact of the bundle" in bundles.problems(bundle)
    (bundle / "elsewhere.txt").unlink()
    (bundle / "link").symlink_to(tmp_path)
    assert "link: a link, which no bundle holds" in bundles.problems(bundle)


def test_replaced_bytes_are_betrayed_though_the_sums_are_right(bundle):
    (bundle / "data/copied/c/made.txt").write_text("forged")
    summed(bundle)
    found = bundles.problems(bundle)
    assert len(found) == 1
    assert found[0].startswith("data/copied/c: its md5 is")


EDITS: dict[str, Callable[[dict], object]] = {
    "a parameter": lambda told: told["entries"][1]["params"]["copy.b"].update(times=3),
    "a package": lambda told: told["entries"][1]["packages"].update(torch="9"),
    "a command": lambda told: told["entries"][1].update(command="true"),
    "code": lambda told: told["entries"][1]["code"].update({"stages/copy.py": "0" * 32}),
    "an input's md5": lambda told: told["entries"][1]["inputs"][0].update(md5="0" * 32),
    "an input's maker": lambda told: told["entries"][1]["inputs"][0].update(made_by=["copy@z"]),
    "an input less": lambda told: told["entries"][1]["inputs"].clear(),
    "an output's md5": lambda told: told["entries"][2]["outputs"][0].update(md5="0" * 32),
    "an output's size": lambda told: told["entries"][2]["outputs"][0].update(size_bytes=1),
    "a fingerprint": lambda told: told["entries"][1].update(fingerprint="0" * 32),
    "an entry's name": lambda told: told["entries"][1].update(entry="copy@z"),
    "an entry less": lambda told: told["entries"].pop(0),
    "the order": lambda told: told["entries"].reverse(),
    "the artifact's md5": lambda told: told["artifacts"][0].update(md5="0" * 32),
    "the artifact's fingerprint": lambda told: told["artifacts"][0].update(fingerprint="0" * 32),
    "another artifact": lambda told: told["artifact"].update(path="data/copied/b"),
    "a licence": lambda told: told["sources"][0].update(licence="CC0-1.0"),
    "an origin": lambda told: told["sources"][0].update(origin="a town"),
    "a source less": lambda told: told["sources"].clear(),
    "the obligations": lambda told: told["licences"]["obligations"].clear(),
    "the format": lambda told: told.update(bundle=2),
    "no entries at all": lambda told: told.pop("entries"),
    "nonsense": lambda told: told.update(entries=[{"entry": 3}]),
}


PLACES = ("lineage.json", "dvc.lock", "LICENCES.md", "data")


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_lineage_is_betrayed_though_the_sums_are_right(bundle, name):
    change(bundle, EDITS[name])
    found = bundles.problems(bundle)
    assert found
    assert all(text.split(":")[0].split("/")[0] in PLACES for text in found), found


def swapped(stages: dict) -> None:
    stages["copy@b"], stages["copy@c"] = stages["copy@c"], stages["copy@b"]


LOCKS: dict[str, Callable[[dict], object]] = {
    "two entries swapped": swapped,
    "a parameter": lambda stages: stages["copy@b"]["params"]["params.yaml"].clear(),
    "an input": lambda stages: stages["copy@b"]["deps"][0].update(md5="0" * 32),
    "an output": lambda stages: stages["copy@b"]["outs"][0].update(md5="0" * 32 + ".dir"),
    "an entry less": lambda stages: stages.pop("source@a"),
    "an entry more": lambda stages: stages.update({"copy@z": dict(stages["copy@b"], cmd="x")}),
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_changed_lock_is_betrayed_though_the_sums_are_right(bundle, name):
    change(bundle, LOCKS[name], "dvc.lock")
    assert bundles.problems(bundle)


def test_an_ancestry_cut_short_in_lock_and_lineage_is_betrayed(bundle):
    """The raw source is dropped everywhere: what a stage makes cannot come from nowhere."""
    change(bundle, lambda stages: stages.pop("source@a"), "dvc.lock")

    def cut(told: dict) -> None:
        told["entries"].pop(0)
        told["entries"][0]["inputs"][0].update(made_by=[], fingerprints=[])
        told["sources"] = []
        told["licences"] = chains.terms_of([])

    change(bundle, cut)
    found = bundles.problems(bundle)
    assert len(found) == 1
    assert "nothing in the bundle made data/raw/a" in found[0]


def test_a_forged_manifest_or_listing_is_betrayed(bundle):
    manifest = bundle / "evidence/data/raw/a/manifest.json"
    manifest.write_text(manifest.read_text().replace("CC-BY-4.0", "CC0-1.0"))
    change(bundle, lambda told: told["sources"][0].update(licence="CC0-1.0"))
    change(bundle, lambda told: told.update(licences=chains.terms_of(told["sources"])))
    found = bundles.problems(bundle)
    assert len(found) == 1
    assert found[0].startswith("evidence/data/raw/a/manifest.json: it is not the manifest")
    listing = next((bundle / "evidence").glob("*.dir"))
    listing.write_text("[]")
    summed(bundle)
    assert f"evidence/{listing.name}: its md5 is not its name" in bundles.problems(bundle)


def test_what_was_replaced_as_a_whole_has_another_digest(bundle, root):
    known = bundles.digest(bundle)
    edit(root / "params.yaml", "times: 2", "times: 3")
    record(root)
    other = bundled(root, "copy@c", out=root.parent / "forged")
    assert bundles.problems(other) == []
    assert bundles.digest(other) != known


def test_a_damaged_artifact_is_refused_and_nothing_is_left(root):
    (root / "data/copied/c/made.txt").write_text("damaged")
    with pytest.raises(ArtifactError, match="data/copied/c is not what copy@c made"):
        bundled(root, "copy@c")
    assert list((root / "bundles").iterdir()) == []


def test_an_artifact_that_is_not_here_comes_from_the_cache_if_that_is_sound(root, bundle):
    shutil.rmtree(root / "data/copied/c")
    again = bundled(root, "copy@c", out=root.parent / "again")
    assert bundles.digest(again) == bundles.digest(bundle)
    md5 = canonical.file_digest(bundle / "data/copied/c/made.txt", "md5")
    stored = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    stored.write_text("damaged")
    with pytest.raises(ArtifactError, match="cache holds data/copied/c damaged"):
        bundled(root, "copy@c", out=root.parent / "third")
    shutil.rmtree(root / ".dvc/cache")
    with pytest.raises(ArtifactError, match="neither in the workspace nor in DVC's cache"):
        bundled(root, "copy@c", out=root.parent / "third")


def test_nothing_that_is_there_is_overwritten(root, bundle):
    with pytest.raises(ArtifactError, match="is there already"):
        bundled(root, "copy@c")
    assert bundles.problems(bundle) == []


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"licence": "CC-BY-ND-4.0"}, "forbids derived works"),
        ({"licence": None, "licence_reason": "own letters"}, "states no licence"),
        ({"licence": "LicenseRef-house"}, "is not known here"),
    ],
)
def test_a_licence_that_forbids_it_is_refused_unless_it_stays_private(
    tmp_path, monkeypatch, manifest, words
):
    toys.install(monkeypatch)
    root = workspace(tmp_path / "clone", manifest)
    with pytest.raises(CheckFailed, match=words):
        bundled(root, "copy@c")
    folder = bundled(root, "copy@c", private=True)
    assert bundles.problems(folder) == []
    assert "may not be given on" in (folder / "LICENCES.md").read_text()


def test_sums_are_read_by_sha256sum(bundle):
    import subprocess

    done = subprocess.run(["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"], cwd=bundle)
    assert done.returncode == 0


@pytest.fixture
def adopting(tmp_path, root, bundle, monkeypatch) -> Path:
    other = toys.workspace_at(tmp_path / "other", "copy:\n  own: {base: raw/adopted/x}\n")

    def dvc(where: Path, verb: str, *arguments: str):
        path = arguments[-1]
        md5 = bundles.md5_of(where / path)
        (where / f"{path}.dvc").write_text(f"outs:\n- md5: {md5}\n  path: x\n")
        return adoption.subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(adoption, "_dvc", dvc)
    return other


def test_a_bundle_is_adopted_with_its_lineage_and_bundled_again(adopting, root):
    raw = bundled(root, "source@a")
    found = bundles.adopt(adopting, raw, "x", None, None, None)
    assert (found.path, found.entry) == ("data/raw/adopted/x", "source@a")
    assert found.licence == "CC-BY-4.0"
    assert found.md5 == bundles.read(raw)[0]["artifact"]["md5"], "as its makers know it"
    record(adopting)
    folder = bundled(adopting, "copy@own")
    assert bundles.problems(folder) == []
    lineage, _ = bundles.read(folder)
    assert [row["origin"] for row in lineage["sources"]] == ["a village"]
    forged = folder / "evidence/data/raw/adopted/x.adopted.json"
    told = json.loads(forged.read_text())
    told["brought"]["lock"]["source@a"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    canonical.write_json(forged, told)
    summed(folder)
    assert any("data/raw/adopted/x" in text for text in bundles.problems(folder))
    forged.unlink()
    summed(folder)
    assert any("nothing in the bundle made data/raw/adopted/x" in text
               for text in bundles.problems(folder))  # fmt: skip


def test_an_adopted_folder_of_unknown_licence_is_not_given_on(adopting, tmp_path):
    (tmp_path / "raw/files").mkdir(parents=True)
    canonical.write_json(tmp_path / "raw/manifest.json", {})
    adoption.adopt(adopting, tmp_path / "raw", "x", None, None)
    record(adopting)
    with pytest.raises(CheckFailed, match="data/raw/adopted/x states no licence"):
        bundled(adopting, "copy@own")


def test_no_damaged_bundle_and_no_other_licence_is_adopted(adopting, root, bundle):
    several = bundled(root, "source@a", "source@z")
    with pytest.raises(UnknownEntryError, match="2 artifacts of the bundle are meant"):
        bundles.adopt(adopting, several, "x", None, None, None)
    with pytest.raises(ParamsError, match="states the licence 'CC-BY-4.0'"):
        bundles.adopt(adopting, several, "x", "source@z", "MIT", None)
    with pytest.raises(ArtifactError, match="nothing that an entry reads"):
        bundles.adopt(adopting, bundle, "x", None, None, None)
    flip(several / "data/raw/a/made.txt")
    with pytest.raises(ArtifactError, match=r"data/raw/a/made\.txt: its bytes"):
        bundles.adopt(adopting, several, "x", "source@a", None, None)
    assert hashes.Hashes(adopting).of("data/raw/adopted/x") is None
