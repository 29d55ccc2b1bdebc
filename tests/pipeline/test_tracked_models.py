"""Artifacts that MLflow alone remembers are found by path, entry, key and content, and no others.

A real run of the toy project is published; then its lock file, run cache and journals are lost.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stages.core import lineage
from stages.core.errors import ArtifactError, UnknownEntryError
from stages.core.records import Records
from stages.core.resolution import Found
from tests.pipeline import naps
from tests.pipeline.conftest import Clone
from tests.pipeline.tracked import all_published, wait_for

pytestmark = pytest.mark.tools
OTHER = "d" * 40
"""A commit of some other project."""


def kept(root: Path) -> dict[str, Path]:
    """Return what MLflow keeps of each entry beside its run."""
    files = (root / "mlartifacts").rglob("record.json")
    return {json.loads(file.read_text())["entry"]: file for file in files}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Clone:
    """The project after a run of two naps, one after the other, that MLflow knows wholly."""
    clone = naps.make(tmp_path_factory.mktemp("tracked") / "home")
    clone.run("dvc", "repro", "-q", "-s", "nap@a", "nap@b", DEVENO_TRACKING="on")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        wait_for(lambda: all_published(clone.root))
    assert kept(clone.root).keys() == {"nap@a", "nap@b"}
    return clone


@pytest.fixture
def lost(published, tmp_path, monkeypatch) -> Path:
    """A copy of the project whose lock file, run cache and journals are gone."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "lost"
    shutil.copytree(published.root, root, symlinks=True)
    (root / "dvc.lock").unlink()
    shutil.rmtree(root / ".dvc/cache/runs")
    shutil.rmtree(root / ".deveno/journal")
    monkeypatch.chdir(root)
    return root


def change(root: Path, *statements: str) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as store, store:
        for statement in statements:
            store.execute(statement)


def plant(root: Path, of: str, entry: str, **tags: str) -> None:
    """Copy the run of an entry as a newer one that is tagged with an entry and other tags."""
    stage, key = entry.split("@")
    run = kept(root)[of].parts[-3]
    told = {"deveno.stage": stage, "deveno.key": key} | {f"deveno.{n}": v for n, v in tags.items()}
    with closing(sqlite3.connect(root / "mlflow.db")) as store, store:
        columns = [row[1] for row in store.execute("PRAGMA table_info(runs)")]
        row = dict(zip(columns, store.execute(
            f"SELECT * FROM runs WHERE run_uuid = '{run}'").fetchone(), strict=True))  # fmt: skip
        row |= {"run_uuid": "planted", "start_time": row["start_time"] + 10**9}
        marks = ", ".join("?" for _ in row)
        store.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({marks})", [*row.values()])
        old = dict(store.execute(f"SELECT key, value FROM tags WHERE run_uuid = '{run}'"))
        store.executemany(
            "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, 'planted')",
            (old | told).items(),
        )


def found(root: Path, target: str) -> Found:
    return Records(root).resolve(target)


def places(one: Found) -> list[str]:
    return [place.kind for place in one.record.places]


@pytest.mark.parametrize("there", [True, False])
def test_path_entry_key_and_content_lead_to_what_mlflow_alone_remembers(lost, there, tmp_path):
    copy = shutil.copytree(lost / "data/naps/b", tmp_path / "copied")
    if not there:
        shutil.rmtree(lost / "data/naps")
        shutil.rmtree(lost / ".dvc/cache")
    md5 = json.loads(kept(lost)["nap@b"].read_text())["outs"]["data/naps/b"]
    targets = ["nap@b", "b", "data/naps/b", "./data/naps/b/", str(lost / "data/naps/b")]
    for target in [*targets, str(copy), md5, md5[:10]]:
        one = found(lost, target)
        assert (one.record.entry, one.path, one.md5) == ("nap@b", "data/naps/b", md5)
        assert places(one) == ["mlflow"]
    assert found(lost, "data/naps/b/slept.txt").member == "slept.txt"


def test_the_lineage_goes_on_through_the_store_and_says_where_it_is_from(lost):
    records = Records(lost)
    told = lineage.told(records, records.resolve("data/naps/b"))
    assert [row["entry"] for row in told["entries"]] == ["nap@a", "nap@b"]
    assert [row["recorded"] for row in told["entries"]] == [["mlflow"], ["mlflow"]]
    runs = {entry: file.parts[-3] for entry, file in kept(lost).items()}
    assert {row["entry"]: row["mlflow_run"] for row in told["entries"]} == runs


def test_the_command_says_that_it_comes_from_mlflow(published, lost):
    clone = Clone(lost, published.environment)
    for target in ("nap@b", "data/naps/b"):
        shown = clone.deveno("lineage", target).stdout
        assert "nap@b  recorded in MLflow alone" in shown
        assert "nap@a  recorded in MLflow alone" in shown
    refused = clone.deveno("lineage", "nap@nothing", check=False)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 3


def test_what_else_remembers_an_artifact_comes_first(published, monkeypatch):
    monkeypatch.chdir(published.root)
    assert places(found(published.root, "nap@b"))[0] == "workspace"
    assert places(found(published.root, "data/naps/b"))[0] == "workspace"


def test_changed_bytes_are_not_taken_for_what_the_store_knows_of_their_path(lost):
    place = lost / "data/naps/b/slept.txt"
    place.unlink()
    place.write_text("less")
    with pytest.raises(ArtifactError, match="bytes were changed") as refused:
        found(lost, "data/naps/b")
    assert "last made by nap@b" in refused.value.where


@pytest.mark.parametrize(
    "planted",
    [
        {"of": "nap@b", "entry": "nap@b", "commit": OTHER},
        {"of": "nap@a", "entry": "nap@b"},
        {"of": "nap@b", "entry": "nap@b", "fingerprint": "0" * 32},
    ],
    ids=["another project", "another entry's record", "another fingerprint"],
)
def test_a_newer_row_of_another_project_or_entry_is_not_taken_for_it(lost, planted):
    md5 = found(lost, "nap@b").md5
    plant(lost, **planted)
    shutil.rmtree(lost / "data/naps")
    for target in ("nap@b", "data/naps/b", "b"):
        one = found(lost, target)
        assert one.record.places[0].name == kept(lost)["nap@b"].parts[-3], "not the planted run"
        assert one.md5 == md5


def test_a_newer_row_of_this_project_and_entry_is_taken(lost):
    """The control of the planted rows above: the same row with nothing wrong."""
    plant(lost, of="nap@b", entry="nap@b")
    shutil.rmtree(lost / "data/naps")
    assert found(lost, "nap@b").record.places[0].name == "planted"


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE tags SET value = '{OTHER}' WHERE key = 'deveno.commit'",
        "UPDATE experiments SET name = 'somebody-elses' WHERE name = 'deveno'",
        "UPDATE runs SET lifecycle_stage = 'deleted'",
    ],
)
def test_nothing_is_answered_from_what_is_not_ours(lost, statement):
    shutil.rmtree(lost / "data/naps")
    change(lost, statement)
    for target in ("nap@b", "data/naps/b", "b"):
        with pytest.raises(UnknownEntryError, match="nothing that was ever recorded"):
            found(lost, target)


def test_without_a_commit_the_place_of_the_run_decides(lost, tmp_path):
    shutil.rmtree(lost / "data/naps")
    change(lost, "DELETE FROM tags WHERE key = 'deveno.commit'")
    with pytest.raises(UnknownEntryError):  # copied: the addresses are of the published project
        found(lost, "nap@b")
    for file in kept(lost).values():
        change(
            lost,
            f"UPDATE runs SET artifact_uri = '{file.parent.as_uri()}'"
            f" WHERE run_uuid = '{file.parts[-3]}'",
        )
    assert found(lost, "nap@b").record.entry == "nap@b"


def test_a_key_of_two_entries_asks_for_the_stage(lost):
    told = json.loads(kept(lost)["nap@b"].read_text())
    path = kept(lost)["nap@b"]
    plant(lost, of="nap@b", entry="doze@b")
    other = lost / "mlartifacts/planted/artifacts/record.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps(told | {"entry": "doze@b"}))
    change(lost, "UPDATE runs SET artifact_uri = 'gone:' WHERE run_uuid = 'planted'")
    with pytest.raises(UnknownEntryError, match="2 entries are called 'b'") as refused:
        found(lost, "b")
    assert "doze@b, nap@b" in refused.value.where
    assert found(lost, "nap@b").record.places[0].name == path.parts[-3]
