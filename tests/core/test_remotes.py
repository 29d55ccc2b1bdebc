"""Remotes: what is sent and fetched, and what damage, death and absence of one lead to."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from stages.cli.command import main
from stages.core import addresses, fingerprint, outbox, plan, references, remotes, transports
from stages.core.errors import ArtifactError, DevenoError, MachineError, ParamsError
from stages.core.remotes import Restorer, object_path
from tests.core import kept, toys
from tests.pipeline import stores
from tests.pipeline.naps import free_port


@pytest.fixture(autouse=True)
def _plain(monkeypatch, tmp_path):
    toys.install(monkeypatch)
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "nobody"))


@pytest.fixture(scope="module")
def address():
    with stores.buckets() as found:
        yield found


@pytest.fixture
def store(tmp_path):
    with stores.opened("folder", tmp_path, "") as one:
        yield one


@pytest.fixture
def home(tmp_path, store) -> Path:
    """A workspace whose entries ran, its remote a folder that is still empty."""
    root = kept.made_at(tmp_path / "a")
    store.configure(root)
    return root


@pytest.fixture
def clone(tmp_path, home) -> Path:
    """A fresh clone, after the home was pushed."""
    push(home)
    return kept.fresh_clone(home, tmp_path / "b")


def push(root: Path, *targets: str, **options) -> outbox.Sent:
    return outbox.push(root, remotes.named(root, None), list(targets), **options)


def heard(root: Path) -> tuple[remotes.Remote, list[str]]:
    """Return the default remote and what it warns of."""
    warned: list[str] = []
    remote = remotes.default(root, warned.append)
    assert remote is not None
    return remote, warned


def states(root: Path, remote: remotes.Remote | None = None) -> dict[str, tuple[str, bool]]:
    steps = plan.make(root, remote=remote).steps
    return {name: (step.action, step.remote) for name, step in steps.items()}


def contents(root: Path) -> dict[str, bytes]:
    folder = root / ".dvc/cache"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "files" in path.parts
    }


def first_object(root: Path, name: str, file: str = "made.txt") -> tuple[str, str]:
    """Return the hash and path of a file that an entry made."""
    (out,) = references.load(root)[name].writes.values()
    value = {path: md5 for path, md5 in plan.outs(fingerprint.locks(root)[name]).items()}[out]
    rows = json.loads((root / ".dvc/cache" / object_path(value)).read_text())
    return next((row["md5"], f"{out}/{file}") for row in rows if row["relpath"] == file)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("kind", stores.KINDS)
def test_a_fresh_clone_finds_and_fetches_everything_by_what_made_it(tmp_path, kind, address):
    root = kept.made_at(tmp_path / "a")
    with stores.opened(kind, tmp_path, address) as one:
        one.configure(root)
        sent = push(root)
        assert (sent.records, sent.results, sent.corrupt, sent.incomplete) == (5, 5, [], [])
        again = push(root)
        assert (again.objects, again.size_bytes, again.records, again.results) == (0, 0, 0, 5)
        clone = kept.fresh_clone(root, tmp_path / "b")
        one.configure(clone, reading=True)
        remote, warned = heard(clone)
        assert states(clone) | {"source@a": None} == {
            **dict.fromkeys(kept.ALL, (plan.RUN, False)), "source@a": None,
        }  # fmt: skip
        made = plan.make(clone, remote=remote)
        assert states(clone, remote) == dict.fromkeys(kept.ALL, (plan.RESTORE, True))
        then = {name: remotes.Result(body).fingerprint
                for name, body in fingerprint.locks(root).items()}  # fmt: skip
        assert {name: step.fingerprint for name, step in made.steps.items()} == then
        for step in made.steps.values():
            assert remote.fetch(step.record) > 0 or step.name == "source@other"
        assert contents(clone) == contents(root)
        assert warned == []
        # Without any remote the cache and the run cache now answer.
        assert states(clone) == dict.fromkeys(kept.ALL, (plan.RESTORE, False))


def test_only_a_targets_chain_is_sent(home, store):
    sent = push(home, "copy@b")
    assert sent.results == 2
    names = json.loads((store.folder / remotes.INDEX).read_text())["fingerprints"]
    locks = fingerprint.locks(home)
    assert names == sorted(remotes.Result(locks[n]).fingerprint for n in ("source@a", "copy@b"))
    other, _ = first_object(home, "source@other")
    assert not (store.folder / object_path(other)).exists()


def test_an_earlier_result_of_the_run_cache_is_sent_too(home, store, tmp_path):
    text = (home / "params.yaml").read_text()
    (home / "params.yaml").write_text(text.replace("saluton", "bonan tagon"))
    shutil.rmtree(home / "data/raw/a")
    other = kept.run(home, references.load(home)["source@a"])
    (home / "params.yaml").write_text(text)
    assert push(home).results == 6
    clone = kept.fresh_clone(home, tmp_path / "b")
    (clone / "params.yaml").write_text(text.replace("saluton", "bonan tagon"))
    remote, _ = heard(clone)
    step = plan.make(clone, ["source@a"], remote=remote).steps["source@a"]
    assert (step.action, step.record["outs"]) == (plan.RESTORE, other["outs"])


def test_a_flipped_byte_in_the_remote_is_refused_named_and_computed_instead(home, clone, store):
    value, path = first_object(home, "source@a")
    flip(store.folder / object_path(value))
    remote, warned = heard(clone)
    with pytest.raises(ArtifactError, match=f"other bytes for {path} than its name {value}"):
        remote.fetch(plan.make(clone, remote=remote).steps["source@a"].record)
    Restorer(clone, remote).before("source@a", threading.Event())
    assert warned == [
        f"warning: the remote 'store' holds other bytes for {path} than its name {value} says; "
        "source@a is computed instead"
    ]
    assert not (clone / ".dvc/cache" / object_path(value)).exists()
    assert not list((clone / ".dvc/cache").rglob("*.tmp"))
    assert states(clone)["source@a"] == (plan.RUN, False)
    # Once it is made here, what stands on it still comes from the remote.
    kept.run(clone, references.load(clone)["source@a"])
    Restorer(clone, remote).before("copy@b", threading.Event())
    assert states(clone)["copy@b"] == (plan.RESTORE, False)
    push(home, force=True)
    assert (store.folder / object_path(value)).read_bytes() == (
        home / ".dvc/cache" / object_path(value)
    ).read_bytes()


@pytest.mark.parametrize("damage", ["listing", "record", "gone", "cut"])
def test_other_damage_in_the_remote_is_refused_before_anything_is_promised(
    home, clone, store, damage
):
    body = fingerprint.locks(home)["copy@b"]
    one = remotes.Result(body)
    record = store.folder / f"deveno/runs/{one.fingerprint[:2]}/{one.fingerprint}.json"
    listing = store.folder / object_path(one.outs["data/copied/b"])
    if damage == "listing":
        flip(listing)
    elif damage == "gone":
        listing.unlink()
    elif damage == "cut":
        record.write_text(record.read_text()[:100])
    else:  # a record that names another output, which exists and is whole
        other = remotes.Result(fingerprint.locks(home)["copy@c"]).outs["data/copied/c"]
        record.write_text(record.read_text().replace(one.outs["data/copied/b"], other))
    remote, warned = heard(clone)
    found = states(clone, remote)
    assert found["source@a"] == (plan.RESTORE, True)
    assert {found[name] for name in ("copy@b", "copy@c", "gather@all")} == {(plan.RUN, False)}
    assert len(warned) == 1
    assert "remote 'store'" in warned[0]


def test_a_damaged_cache_object_is_named_and_neither_it_nor_its_record_is_sent(home, store):
    value, path = first_object(home, "copy@b")
    flip(home / ".dvc/cache" / object_path(value))
    sent = push(home)
    assert sent.corrupt == [f"{object_path(value)} ({path})"]
    assert sent.results == 4
    assert not (store.folder / object_path(value)).exists()
    names = json.loads((store.folder / remotes.INDEX).read_text())["fingerprints"]
    bad = remotes.Result(fingerprint.locks(home)["copy@b"]).fingerprint
    assert len(names) == 4
    assert bad not in names
    with pytest.raises(MachineError, match="1 damaged in the cache and not sent"):
        outbox.check(sent, remotes.named(home, None))


def test_what_is_not_all_here_is_said_and_not_promised(home, store):
    value, _ = first_object(home, "copy@b")
    (home / ".dvc/cache" / object_path(value)).unlink()
    shutil.rmtree(home / "data/copied/b")
    sent = push(home)
    assert (sent.incomplete, sent.results) == (["copy@b"], 4)


def test_an_object_that_is_cut_in_the_remote_is_sent_again(home, store):
    push(home)
    value, _ = first_object(home, "copy@b")
    place = store.folder / object_path(value)
    whole = place.read_bytes()
    place.write_bytes(whole[:-1])
    assert push(home).objects == 1
    assert place.read_bytes() == whole


def test_a_break_off_leaves_no_listing_without_its_files(clone):
    remote, warned = heard(clone)
    body = plan.make(clone, remote=remote).steps["copy@b"].record
    stopping = threading.Event()
    stopping.set()
    Restorer(clone, remote).before("source@a", stopping)
    assert "stopped on request" in warned[0]
    remote.stopping = stopping
    with pytest.raises(transports.Unreachable, match="stopped on request"):
        remote.fetch(body)
    assert contents(clone) == {}
    assert not (clone / ".dvc/cache/runs").exists()


@pytest.mark.parametrize("kind", ["gone", "refusing", "silent", "bucket", "forbidden"])
def test_a_dead_remote_is_one_warning_and_costs_seconds(
    tmp_path, clone, kind, address, monkeypatch
):
    monkeypatch.setattr(transports, "LOOK_S", (0.5, 0.5))
    url, options = f"http://127.0.0.1:{free_port()}", {}
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        if kind == "gone":
            url = str(tmp_path / "unplugged")
        elif kind == "silent":
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        elif kind == "bucket":
            options = {"endpointurl": url, "access_key_id": "a", "secret_access_key": "b"}
            url = "s3://artifacts/x"
        elif kind == "forbidden":
            options = {"endpointurl": address, "access_key_id": "a", "secret_access_key": "b"}
            url = "s3://nowhere/x"
        stores.Store(url, options=options).configure(clone)
        remote, warned = heard(clone)
        began = time.monotonic()
        found = states(clone, remote)
        Restorer(clone, remote).before("source@a", threading.Event())
        assert time.monotonic() - began < 5
    assert set(found.values()) == {(plan.RUN, False)}
    assert len(warned) == 1
    assert warned[0].startswith("warning: the remote 'store' is not asked any more: ")


def test_without_a_remote_or_with_it_switched_off_nothing_is_contacted(clone, monkeypatch):
    def never(settings):
        raise AssertionError("a remote was opened")

    monkeypatch.setattr(transports, "opened", never)
    monkeypatch.setenv("DEVENO_REMOTE", "off")
    assert remotes.default(clone) is None
    monkeypatch.delenv("DEVENO_REMOTE")
    (clone / ".dvc/config").write_text("[core]\n    analytics = false\n")
    assert remotes.default(clone) is None
    assert set(states(clone).values()) == {(plan.RUN, False)}


def test_settings_are_dvcs_own_and_secrets_stay_in_config_local(tmp_path):
    own = tmp_path / "clone/.dvc"
    own.mkdir(parents=True)
    (own / "config").write_text(
        "[core]\n    remote = near\n['remote \"near\"']\n    url = ../../store\n"
        "['remote \"far\"']\n    url = s3://bucket/deep\n    profile = team\n"
    )
    (own / "config.local").write_text("['remote \"far\"']\n    secret_access_key = a%b\n")
    near = addresses.configured(tmp_path / "clone")
    assert near == addresses.Settings("near", str(tmp_path / "store"), {})
    far = addresses.configured(tmp_path / "clone", "far")
    assert far.options == {"profile": "team", "secret_access_key": "a%b"}
    worktree = tmp_path / "clone/.deveno/worktrees/smoke"
    assert addresses.configured(worktree) == near


@pytest.mark.parametrize(
    ("config", "verb", "lines"),
    [
        ("", "push", ["no default remote is configured", ".dvc/config", "`dvc remote add -d"]),
        ("ssh://host/x", "push", ["is of kind ssh", "ssh://host/x", "`dvc push --run-cache`"]),
        ("http://127.0.0.1:9/x", "push", ["can only be read", "remote store", "--remote NAME"]),
        ("s3://b/x\n    version_aware = true", "pull", ["is version_aware", "store", "plain"]),
        ("/nowhere/at/all", "pull", ["cannot be used: the folder", "store", "dvc remote modify"]),
    ],
)
def test_what_cannot_be_used_is_three_lines(
    home, tmp_path, monkeypatch, capsys, config, verb, lines
):
    root = home if verb == "push" else kept.fresh_clone(home, tmp_path / "b")
    monkeypatch.chdir(root)
    (root / ".dvc/config").write_text("")
    if config:
        stores.Store(config).configure(root)
    assert main([verb]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 3
    for row, text in zip(told, lines, strict=True):
        assert text in row


def test_errors_name_the_remote_the_target_and_the_fingerprint(home, clone, monkeypatch, capsys):
    with pytest.raises(ParamsError, match="no DVC remote 'backup'"):
        remotes.named(home, "backup")
    monkeypatch.chdir(clone)
    assert main(["pull", "0" * 32]) == 2
    assert "no result of fingerprint 0000" in capsys.readouterr().err
    one = remotes.Result(fingerprint.locks(home)["source@a"])
    assert main(["pull", one.fingerprint]) == 0
    assert "data/raw/a" in capsys.readouterr().out
    assert states(clone)["source@a"] == (plan.RESTORE, False)
    with pytest.raises(DevenoError, match="source@other has no result here"):
        push(clone, "source@other")
