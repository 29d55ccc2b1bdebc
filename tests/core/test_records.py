"""Records: the same making from many places is one, joined by content, found by path and hash."""

from __future__ import annotations

import json
import shutil

import pytest

from stages.core import fingerprint, journal, lineage, lockfiles, snapshots, yamlfile
from stages.core.errors import ArtifactError, UnknownEntryError
from stages.core.records import Records
from tests.core.recorded import History, git


@pytest.fixture
def history(tmp_path, monkeypatch) -> History:
    made = History(tmp_path / "home")
    monkeypatch.chdir(made.root)
    return made


def names(records) -> list[str]:
    return [record.entry for record in records]


def test_a_lock_file_is_read_as_the_yaml_reader_reads_it(history):
    history.chain("saluton")
    history.commit("one")
    text = (history.root / "dvc.lock").read_text()
    whole = fingerprint.locks(history.root)
    quick = lockfiles.split(text)
    assert list(quick) == list(whole)
    for name, entry in quick.items():
        command, deps, outs, _ = entry.fields
        assert {"cmd": command, "deps": deps, "params": entry.params} == fingerprint.from_lock(
            whole[name]
        )
        assert outs == {row["path"]: row["md5"] for row in whole[name]["outs"]}
    assert quick["pretrain@eo"].params["params.yaml"]["pretrain.eo"]["off"] == "no"


def test_an_entry_in_another_style_is_read_by_the_yaml_reader(history):
    text = (
        "schema: '2.0'\nstages:\n  own:\n    cmd: 'echo: one'\n    deps:\n"
        "    - {path: 'a file.txt', hash: md5, md5: abc}\n"
        "    outs:\n    - path: b.txt\n      hash: md5\n      md5: def\n      size: 7\n"
    )
    command, deps, outs, sizes = lockfiles.split(text)["own"].fields
    assert (command, deps, outs) == ("echo: one", {"a file.txt": "abc"}, {"b.txt": "def"})
    assert sizes == {"b.txt": 7}


def test_ancestry_joins_by_content_through_a_parent_folder(history):
    history.chain("saluton")
    history.commit("one")
    records = Records(history.root)
    page = records.resolve("reports/pages/all").record
    assert names(records.ancestry(page)) == ["acquire@eo", "refine@eo", "pretrain@eo", "report@all"]
    assert names(records.consumers(records.current("pretrain@eo"))) == ["report@all"]
    assert names(records.consumers(records.current("acquire@eo"))) == ["refine@eo"]


def test_an_older_making_keeps_its_own_ancestors(history):
    first = history.chain("saluton", rate=0.5)
    one = history.commit("one")
    second = history.chain("adiau")
    history.commit("two")
    records = Records(history.root)
    old = records.resolve(f"{one}:models/pretrained/eo")
    assert old.md5 == first["models/pretrained/eo"] != second["models/pretrained/eo"]
    assert old.record.values["rate"] == 0.5
    lines = {record.entry: record.outs for record in records.ancestry(old.record)}
    assert lines["acquire@eo"]["data/raw/eo"] == first["data/raw/eo"]
    assert records.resolve("HEAD~1:pretrain@eo").md5 == old.md5
    assert records.resolve("pretrain@eo").md5 == second["models/pretrained/eo"]
    assert old.record.commits == [one]


def test_entries_that_a_reader_does_not_list_are_not_its_ancestors_in_a_clone_without_cache(
    history,
):
    history.chain("saluton")
    history.made("pretrain@old", {}, {}, {"models/pretrained/old": "1.dir"})  # of another recipe
    history.entries["report@all"]["params"]["params.yaml"]["pretrain"] = {"eo": {}}
    history.commit("one")
    shutil.rmtree(history.root / ".dvc/cache")
    records = Records(history.root)
    page = records.resolve("report@all").record
    assert names(records.ancestry(page)) == ["acquire@eo", "refine@eo", "pretrain@eo", "report@all"]


def test_a_file_inside_a_copy_elsewhere_and_every_hash_resolve(history, tmp_path):
    made = history.chain("saluton")
    history.commit("one")
    records = Records(history.root)
    model = made["models/pretrained/eo"]
    inside = records.resolve("models/pretrained/eo/model.bin")
    assert (inside.path, inside.member) == ("models/pretrained/eo", "model.bin")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(history.root / "models/pretrained/eo", elsewhere)
    assert records.resolve(str(elsewhere)).path == "models/pretrained/eo"
    assert records.resolve(str(elsewhere / "model.bin")).member == "model.bin"
    raw = json.loads((history.root / "data/raw/eo/manifest.json").read_text())
    for word in (model, model[:-4], model[:9], raw["files"][0]["sha256"]):
        assert records.resolve(word).record.entry in ("pretrain@eo", "acquire@eo")
    wanted = records.current("refine@eo").fingerprint
    assert records.resolve(wanted[:12]).record.entry == "refine@eo"


def test_a_changed_file_and_an_unknown_one_are_told(history, tmp_path):
    history.chain("saluton")
    history.commit("one")
    (history.root / "models/pretrained/eo/model.bin").write_text("salutom" * 3)
    records = Records(history.root)
    with pytest.raises(ArtifactError, match="its bytes were changed since"):
        records.resolve("models/pretrained/eo")
    (tmp_path / "foreign.bin").write_text("nothing of ours")
    with pytest.raises(UnknownEntryError, match="has the bytes of"):
        records.resolve(str(tmp_path / "foreign.bin"))
    with pytest.raises(UnknownEntryError, match="called 'pretrain@e'"):
        records.resolve("pretrain@e")


def test_the_run_cache_and_the_journal_remember_what_no_lock_file_holds(history):
    history.chain("saluton", rate=0.5)
    history.commit("one")
    entry = fingerprint.locks(history.root)["pretrain@eo"]
    lock = fingerprint.from_lock(entry)
    lock["params"]["params.yaml"]["pretrain.eo"]["rate"] = 0.25
    opened = journal.Journal.open(
        history.root, "pretrain", "eo", fingerprint=fingerprint.digest(lock), version=1,
        params={"rate": 0.25}, workspace=history.root, lock=lock, reasons=["asked"],
    )  # fmt: skip
    row = {"path": "models/pretrained/eo", "md5": "0123456789abcdef0123456789abcdef.dir"}
    opened.close("ok", outputs=[row | {"size_bytes": 5}])
    entry["outs"][0]["md5"] = "fedcba9876543210fedcba9876543210.dir"
    place = history.root / ".dvc/cache/runs/ab/abcd"
    place.mkdir(parents=True)
    (place / "ef01").write_text(yamlfile.dump(entry))
    records = Records(history.root)
    told = records.resolve("0123456789ab")
    assert told.record.values["rate"] == 0.25
    assert [place.kind for place in told.record.places] == ["journal"]
    assert names(records.ancestry(told.record))[:2] == ["acquire@eo", "refine@eo"]
    assert records.resolve("fedcba98").record.places[0].kind == "run-cache"
    shown = lineage.told(records, told)
    assert shown["entries"][-1]["execution"]["reasons"] == ["asked"]
    assert shown["cost"]["entries"] == 1
    assert shown["cost"]["entries_without_record"] == 2


def test_same_inputs_and_outputs_under_other_values_are_two_records(history):
    """A value that changes nothing of the output: the journal's is not taken for the lock's."""
    made = history.chain("saluton", rate=0.5)
    history.commit("one")
    lock = fingerprint.from_lock(fingerprint.locks(history.root)["pretrain@eo"])
    lock["params"]["params.yaml"]["pretrain.eo"]["rate"] = 0.75
    wanted = fingerprint.digest(lock)
    opened = journal.Journal.open(
        history.root, "pretrain", "eo", fingerprint=wanted, version=1, params={},
        workspace=history.root, lock=lock,
    )  # fmt: skip
    path = "models/pretrained/eo"
    opened.close("ok", outputs=[{"path": path, "md5": made[path], "size_bytes": 5}])
    found = Records(history.root).resolve(wanted)
    assert found.record.values["rate"] == 0.75


def test_uncommitted_work_is_kept_once_and_touches_nothing(history):
    history.chain("saluton")
    head = history.commit("one")
    assert snapshots.take(history.root) == {"commit": head, "snapshot": None, "changed": []}
    (history.root / "stages/pretrain/stage.py").write_text("# two\n")
    (history.root / "stages/pretrain/new.py").write_text("# new\n")
    (history.root / "dvc.lock").write_text("schema: '2.0'\n")
    before = git(history.root, "status", "--porcelain")
    first, again = snapshots.take(history.root), snapshots.take(history.root)
    assert git(history.root, "status", "--porcelain") == before
    assert first == again
    assert first["changed"] == ["stages/pretrain/new.py", "stages/pretrain/stage.py"]
    told = snapshots.difference(history.root, first["snapshot"])
    assert "+# two" in told
    assert "+# new" in told
    assert "dvc.lock" not in told
    assert git(history.root, "rev-parse", f"{first['snapshot']}^").strip() == head
    assert git(history.root, "branch").split() == ["*", "main"]


def test_the_commit_of_a_record_is_one_whose_code_is_that(history):
    history.chain("saluton")
    one = history.commit("one")
    (history.root / "stages/pretrain/stage.py").write_text("# two\n")
    git(history.root, "commit", "-qam", "code only")
    records = Records(history.root)
    record = records.current("pretrain@eo")
    assert snapshots.commit_of(history.root, record, records) == one
    record.deps["stages/pretrain/stage.py"] = "0" * 32
    snapshots._md5_of.clear()
    assert snapshots.commit_of(history.root, record, records) is None


def test_a_workspace_without_git_still_resolves(history):
    made = history.chain("saluton")
    history.commit("one")
    shutil.rmtree(history.root / ".git")
    records = Records(history.root)
    assert records.resolve("models/pretrained/eo").md5 == made["models/pretrained/eo"]
    assert snapshots.take(history.root)["commit"] is None
    told = lineage.told(records, records.resolve("models/pretrained/eo"))
    assert told["entries"][-1]["commit"] is None


def test_a_portable_lineage_holds_nothing_of_this_machine(history):
    history.chain("saluton")
    history.commit("one")
    records = Records(history.root)
    text = json.dumps(lineage.told(records, records.resolve("pretrain@eo"), portable=True))
    assert str(history.root) not in text
    for word in ("wall_s", "cpu_s", 'machine_bound_to": {', "execution", "mlflow"):
        assert word not in text
