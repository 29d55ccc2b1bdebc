"""Odd targets, removed entries and a user's own stages: told, refused at once, or tolerated."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from stages.cli import command
from stages.core import canonical, dvclock, hashes, kinds, specimens, yamlfile
from stages.core.errors import ArtifactError
from stages.core.hashes import Hashes
from stages.core.needs import Needs
from stages.core.records import Records
from tests.cli.test_damaged import Workspace, install
from tests.core.recorded import git


@pytest.fixture
def made(tmp_path, monkeypatch) -> Workspace:
    install(monkeypatch)
    found = Workspace(tmp_path / "project", sizes=True)
    monkeypatch.chdir(found.root)
    return found


def told(capsys, *words: str) -> str:
    assert command.main(list(words)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys, *words: str) -> str:
    assert command.main(list(words)) == 2
    rows = capsys.readouterr().err.strip().splitlines()
    assert [row.split(":")[0] for row in rows[-3:]] == ["error", "where", "do"]
    return rows[-3]


def odd(folder: Path) -> dict[str, tuple[Path, str]]:
    """Make what a hostile user names; return it with what the answer must hold."""
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    heard = socket.socket(socket.AF_UNIX)
    heard.bind(str(folder / "socket"))
    heard.close()
    for name in ("loop", "holder", "lost"):
        (folder / name).mkdir()
    (folder / "loop/self").symlink_to(folder / "loop")
    os.mkfifo(folder / "holder/inner")
    (folder / "lost/link").symlink_to("nothing")
    (folder / "round").symlink_to("round")
    with (folder / "huge").open("wb") as stream:
        stream.truncate(1 << 42)
    wanted = {
        "pipe": "is a pipe", "socket": "is a socket", "loop": "links to a folder that holds it",
        "holder": "inner is a pipe", "lost": "cannot be read whole", "round": "is called",
        "huge": "has the bytes of",
    }  # fmt: skip
    found = {name: (folder / name, text) for name, text in wanted.items()}
    found["null"] = (Path("/dev/null"), "is a device")
    if os.path.ismount("/proc"):
        found["proc"] = (Path("/proc/self"), "a view of the running machine")
    return found


def test_what_is_no_artifact_is_refused_without_being_read(made, tmp_path, capsys, monkeypatch):
    read = []
    monkeypatch.setattr(
        canonical, "file_digest", lambda path, *rest: read.append(path) or pytest.fail(f"{path}")
    )
    for place, text in odd(tmp_path / "odd").values():
        assert text in refused(capsys, "lineage", str(place)), place
    assert read == []
    for word in ("", "~nobody", "HEAD:", ":", "a" * 5000, "\udcff"):
        refused(capsys, "lineage", word)


def test_verify_doctor_and_adopt_refuse_them_too(made, tmp_path, capsys):
    things = odd(tmp_path / "odd")
    for name, (place, text) in things.items():
        refused(capsys, "verify", str(place))
        refused(capsys, "doctor", str(place))
        if name not in ("huge", "round", "lost"):
            assert text in refused(capsys, "adopt", str(place), "it"), place
    assert "are free" in refused(capsys, "adopt", str(things["huge"][0]), "it")
    refused(capsys, "adopt", str(things["lost"][0]), "it")
    assert not list((made.root / "models").glob("adopted/**/*"))


def test_a_copy_is_still_found_and_a_larger_one_is_not_read(made, tmp_path, monkeypatch):
    """The sizes that the records know decide before a byte is read."""
    shutil.copytree(made.root / "data/copied/b", tmp_path / "copy")
    records = Records(made.root)
    assert records.resolve(str(tmp_path / "copy")).record.entry == "copy@b"
    with (tmp_path / "copy/made.txt").open("a") as stream:
        stream.write("more")
    monkeypatch.setattr(canonical, "file_digest", lambda *rest: pytest.fail("it was read"))
    assert specimens.digest(records, tmp_path / "copy") is None
    for number in range(3):
        (tmp_path / f"copy/{number}").touch()
    assert specimens.digest(records, tmp_path / "copy") is None


def test_a_pipe_inside_an_output_stops_nobody_and_a_lost_link_makes_it_stale(made, capsys):
    place = made.root / "data/copied/b"
    os.mkfifo(place / "pipe")
    assert "is a pipe" in refused(capsys, "plan")
    (place / "pipe").unlink()
    (place / "link").symlink_to("nothing")
    assert "is not what the stage made" in told(capsys, "plan")
    (place / "link").unlink()
    (place / "link").symlink_to(".")
    with pytest.raises(ArtifactError, match="link links to a folder that holds it"):
        hashes.files(place)
    kinds.refuse(place, place.stat())  # a folder is none of these


def with_own(made: Workspace) -> None:
    """Add stages of a user's own, as `dvc repro` leaves them."""
    root = made.root
    (root / "x.txt").write_text("hi")
    document = yamlfile.plain(yamlfile.read(root / "dvc.yaml"))
    lock = yamlfile.plain(yamlfile.read(root / "dvc.lock"))
    known = Hashes(root)

    def row(path: str) -> dict[str, str]:
        return {"path": path, "hash": "md5", "md5": str(known.of(path)), "size": 2}

    both = ["cat data/copied/b/made.txt > x.txt", "true"]
    document["stages"] |= {
        "bare": {"cmd": "echo one"},
        "reads": {"cmd": "true", "deps": ["x.txt"]},
        "writes": {"cmd": both, "deps": ["data/copied/b"], "outs": ["x.txt"]},
    }
    lock["stages"] |= {
        "bare": {"cmd": "echo one"},
        "reads": {"cmd": "true", "deps": [row("x.txt")]},
        "writes": {"cmd": both, "deps": [row("data/copied/b")], "outs": [row("x.txt")]},
    }
    yamlfile.write(root / "dvc.yaml", document)
    with dvclock.held(root):
        dvclock.write(root, lock["stages"])
    git(root, "add", "-A")
    git(root, "commit", "-qm", "own stages")


def test_own_stages_without_outs_are_tolerated_by_every_verb(made, capsys):
    with_own(made)
    for words in (
        "list", "plan", "lineage copy@b", "lineage x.txt", "lineage writes", "gc --dry-run",
        "bundle copy@b --private", "bundle writes --private", "verify bundles/writes-stage",
        "compare HEAD HEAD~1", "compare writes writes", "doctor --deep",
    ):  # fmt: skip
        code = command.main(words.split())
        shown = capsys.readouterr()
        assert code == 0, f"{words}: {shown.out}{shown.err}"
    for verb in ("lineage", "bundle", "rebuild"):
        assert "has no output" in refused(capsys, verb, "reads")


def test_a_whole_lock_with_own_stages_is_not_taken_for_torn(made):
    with_own(made)
    root = made.root
    whole = (root / "dvc.lock").read_text()
    assert dvclock.mend(root) == []
    assert (root / "dvc.lock").read_text() == whole
    (root / "dvc.lock").write_text(whole[: whole.index("  source@a:") + 30])
    assert dvclock.mend(root) != []
    assert yamlfile.read(root / "dvc.lock") == yamlfile.parse(whole, "dvc.lock")


def test_explain_tells_of_own_stages_what_dvc_would(made, capsys):
    with_own(made)
    assert "finds it unchanged" in told(capsys, "explain", "reads")
    assert "always runs it" in told(capsys, "explain", "bare")
    (made.root / "x.txt").write_text("ho")
    assert "input x.txt changed" in told(capsys, "explain", "reads")
    shown = json.loads(told(capsys, "explain", "writes", "--json"))
    assert (shown["state"], shown["reasons"]) == ("own stage", ["output x.txt is changed"])


def test_explain_tells_what_is_known_of_a_removed_entry(made, capsys):
    root = made.root
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("  b: {base: raw/a, times: 2}", "  {}"))
    shown = told(capsys, "explain", "copy@b")
    assert "last run: 20" in shown
    assert "no commit has that yet" in shown
    assert "data/copied/b" in shown
    git(root, "commit", "-qam", "b is gone")
    shown = json.loads(told(capsys, "explain", "b", "--json"))
    assert shown["removed"].endswith("b is gone")
    assert shown["recorded"].endswith("one")
    assert shown["present"] == ["data/copied/b"]
    refused(capsys, "explain", "copy@nobody")


def test_gc_keeps_what_a_damaged_lock_of_a_branch_names(made):
    root = made.root
    whole = (root / "dvc.lock").read_text()
    wanted = set(Needs(root, Records(root), 1).hashes)
    damaged = whole.replace("md5: ", "\n<<<<<<< HEAD\n      md5: ")
    git(root, "checkout", "-q", "-b", "torn")
    (root / "dvc.lock").write_text(damaged)
    git(root, "commit", "-qam", "torn")
    git(root, "checkout", "-q", "--orphan", "empty")
    (root / "dvc.lock").unlink()
    git(root, "add", "-A")
    git(root, "commit", "-qm", "nothing made")
    git(root, "branch", "-qD", "main")
    records = Records(root)
    records.by_entry.clear()  # no order of makings: the branch alone names them
    assert wanted <= Needs(root, records, 1).hashes


def test_a_hostile_bundle_is_refused_and_holds_nobody_up(made, tmp_path, capsys):
    told(capsys, "bundle", "copy@b", "--private", "--out", "good")
    lock = (made.root / "good/dvc.lock").read_text()
    for name in ("lineage.json", "dvc.lock", "SHA256SUMS", "data/copied/b/made.txt"):
        place = shutil.copytree(made.root / "good", tmp_path / name.replace("/", "-"))
        (place / name).unlink()
        os.mkfifo(place / name)
        for words in (["verify", str(place)], ["adopt", str(place), "it"]):
            refused(capsys, *words)
    for path in ("../../etc", "/etc"):
        (made.root / "good/dvc.lock").write_text(lock.replace("data/copied/b", path))
        assert command.main(["verify", "good"]) == 2
        assert f"writes {path}, which leads out of the bundle" in capsys.readouterr().out
    for text in ("[]", '"a"', "[" * 5000, '{"bundle": 1}'):
        (made.root / "good/lineage.json").write_text(text)
        for verb in ("verify", "lineage"):
            refused(capsys, verb, "good")
