"""The runner: exactly the declared outputs, published whole, and an outcome whatever happens."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time

import pytest

from stages.core import declare, journal, references, run, workspace
from stages.core.errors import DeclarationError, ParamsError, Resumable
from stages.core.fingerprint import Fingerprints
from stages.core.log import Log
from tests.core import toys

PARAMS = "source: {a: {text: saluton, threads: 1}}\ncopy: {b: {base: raw/a, times: 3}}\n"
ON_STOP = run.Execution._on_stop


@pytest.fixture
def place(tmp_path, monkeypatch):
    toys.install(monkeypatch)
    root = toys.workspace_at(tmp_path / "clone", PARAMS)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("DEVENO_TRACKING", "off")
    monkeypatch.chdir(root)
    monkeypatch.setattr(run.parent, "die_with_dvc", lambda: None)
    monkeypatch.setattr(run.kernels, "pin", lambda threads, portable: None)
    monkeypatch.setattr(run.Execution, "_on_stop", lambda self: None)
    return root


def outcome(root, stage):
    paths = list((root / "scratch" / stage).glob("*/outcome.json"))
    assert len(paths) == 1
    return json.loads(paths[0].read_text())


def test_outputs_metrics_curves_and_outcome_are_left(place):
    assert run.execute("source", "a") == 0
    assert run.execute("copy", "b") == 0
    assert sorted(p.name for p in (place / "data/copied/b").iterdir()) == [
        "0.txt",
        "1.txt",
        "2.txt",
    ]
    assert json.loads((place / "metrics/source/a.json").read_text()) == {"size_bytes": 7}
    assert (place / "plots/copy/b.csv").read_text() == (
        "step,loss_nats\n0,1.0\n1,0.5\n2,0.3333333333333333\n"
    )
    assert outcome(place, "copy")["status"] == "ok"
    assert not list((place / "scratch").glob("*/*/out"))


def test_a_second_run_replaces_the_first_whole(place):
    run.execute("source", "a")
    (place / "data/raw/a/left-over.txt").write_text("x")
    run.execute("source", "a")
    assert [path.name for path in (place / "data/raw/a").iterdir()] == ["text.txt"]


def test_a_missing_input_is_three_lines_and_exit_2(place, capfd):
    assert run.execute("copy", "b") == 2
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "error: data/raw/a is not there"
    assert lines[2].startswith("do: run `deveno run")
    assert len(lines) == 3


def test_a_reader_of_many_entries_starts_only_when_all_are_there(place, capfd):
    text = PARAMS + "gather: {all: {}}\n"
    (place / "params.yaml").write_text(text.replace("copy: {", "copy: {c: {base: raw/a}, "))
    for stage, key in (("source", "a"), ("copy", "b")):
        assert run.execute(stage, key) == 0
    assert run.execute("gather", "all") == 2
    assert capfd.readouterr().err.startswith("error: data/copied/c is not there\n")
    assert run.execute("copy", "c") == 0
    assert run.execute("gather", "all") == 0
    assert (place / "data/pages/all/page.txt").read_text() == "b 3\nc 1"


def test_an_unknown_entry_is_three_lines_and_exit_2(place, capfd):
    assert run.execute("copy", "bb") == 2
    assert "no entry 'copy@bb'" in capfd.readouterr().err


def faulty(monkeypatch, function, **changes):
    fields = {**toys.TOYS["source"].__dict__, "function": function, **changes}
    monkeypatch.setitem(toys.TOYS, "source", declare.Stage(**fields))


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (lambda raw: None, "user error", "left [] and declares ['raw']"),
        (lambda raw: raw.mkdir(), "user error", "left [] and declares ['raw']"),
        (lambda raw: 1 / 0, "crash", "crashed: ZeroDivisionError"),
        (lambda raw: _raise(OSError(errno.ENOSPC, "full", "x")), "user error", "no space is left"),
        (
            lambda raw: _raise(OSError(errno.EROFS, "read-only", "x")),
            "user error",
            "may not be written",
        ),
        (lambda raw: _raise(Resumable("a", "b", "c")), "resumable", "a"),
    ],
)
def test_a_fault_leaves_no_output_and_says_so(place, monkeypatch, capfd, body, status, text):
    faulty(monkeypatch, lambda params, raw, log: body(raw))
    code = run.execute("source", "a")
    assert code == {"user error": 2, "crash": 1, "resumable": 75}[status]
    left = outcome(place, "source")
    assert left["status"] == status
    assert text in left["error"]["what"]
    assert not (place / "data/raw").exists()
    assert len(capfd.readouterr().err.splitlines()) == 3


def _raise(error):
    raise error


@pytest.fixture
def signalled(place, monkeypatch):
    """The runner with its own signal handlers, which are put back afterwards."""
    monkeypatch.setattr(run.Execution, "_on_stop", ON_STOP)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield place
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)


def terminate(*_):
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("polls", [True, False])
def test_signals_while_a_stop_is_written_down_lose_nothing(signalled, monkeypatch, polls):
    """The group gets SIGTERM, and then DVC's death sends it again: here in the worst moment."""

    def function(params, raw, log):
        assert not (polls and log.stopping)
        terminate()
        terminate()
        if log.stopping:
            raise Resumable("stopped", "at 3", "again")

    faulty(monkeypatch, function)
    real = run.canonical.write_json
    monkeypatch.setattr(run.canonical, "write_json", lambda *a: (terminate(), real(*a)))
    monkeypatch.setattr(run, "GRACE_S", 0.3)
    assert run.execute("source", "a") == 75
    time.sleep(0.5 if polls else 0)  # had its patience not ended, this process would have
    assert outcome(signalled, "source")["status"] == "resumable"
    assert journal.last(signalled, "source", "a").outcome == "resumable"


def test_a_signal_while_outputs_are_exchanged_comes_too_late(signalled, monkeypatch):
    real = run.publication.publish
    monkeypatch.setattr(run.publication, "publish", lambda *a: (terminate(), real(*a)))
    assert run.execute("source", "a") == 0
    assert outcome(signalled, "source")["status"] == "ok"
    assert (signalled / "data/raw/a/text.txt").exists()


def test_an_undeclared_output_is_refused(place, monkeypatch):
    def function(params, raw, log):
        raw.mkdir()
        (raw / "a").write_text("x")
        (raw.parent / "other").mkdir()

    faulty(monkeypatch, function)
    assert run.execute("source", "a") == 2


def test_an_input_that_changes_is_noticed(place, monkeypatch):
    run.execute("source", "a")

    def function(params, base, copied, log):
        copied.mkdir()
        (copied / "x").write_text("x")
        (base / "text.txt").write_text("changed")

    fields = {**toys.TOYS["copy"].__dict__, "function": function}
    monkeypatch.setitem(toys.TOYS, "copy", declare.Stage(**fields))
    assert run.execute("copy", "b") == 2
    assert "changed while" in outcome(place, "copy")["error"]["what"]
    assert not (place / "data/copied").exists()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("stages/copy.py", "# code", "# edited"),
        ("params.yaml", "saluton", "edited"),
        ("environment.yaml", '"0"', '"1"'),
    ],
)
def test_code_and_values_that_change_meanwhile_are_noticed(
    place, monkeypatch, capfd, file, old, new
):
    """DVC hashes after the run: the lock would say that the new code made the old output."""
    (place / "dvc.yaml").write_text(
        (place / "dvc.yaml").read_text().replace(
            "params: ['source.${key}']", "params: ['source.${key}', {environment.yaml: [pydantic]}]"
        )
    )  # fmt: skip
    monkeypatch.setattr(run.environment, "check", lambda *a: None)

    def function(params, raw, log):
        raw.mkdir()
        (raw / "x").write_text("x")
        (place / file).write_text((place / file).read_text().replace(old, new))

    faulty(monkeypatch, function)
    assert run.execute("source", "a") == 2
    assert capfd.readouterr().err.startswith(f"error: {file} changed while source@a ran\n")
    assert not (place / "data/raw").exists()


def test_a_second_execution_of_a_fingerprint_waits_for_the_first(place, monkeypatch):
    order = []
    release = threading.Event()

    def function(params, raw, log):
        order.append("in")
        release.wait(5)
        raw.mkdir()
        (raw / "text.txt").write_text("x")
        order.append("out")

    faulty(monkeypatch, function)
    threads = [threading.Thread(target=run.execute, args=("source", "a")) for _ in range(2)]
    for thread in threads:
        thread.start()
    release.set()
    for thread in threads:
        thread.join()
    assert order == ["in", "out", "in", "out"]


def test_a_wrong_package_version_is_refused(place, capfd):
    text = (place / "dvc.yaml").read_text()
    (place / "dvc.yaml").write_text(
        text.replace(
            "params: ['source.${key}']", "params: ['source.${key}', {environment.yaml: [pydantic]}]"
        )
    )
    assert run.execute("source", "a") == 2
    assert "the lock file says 0" in capfd.readouterr().err


def test_the_fingerprint_follows_params_code_and_inputs_only(place):
    def prints():
        graph = references.load(place)
        return Fingerprints(place).of(graph["source@a"])

    first = prints()
    (place / "data/stray.txt").write_text("x")
    assert prints() == first
    (place / "stages/copy.py").write_text("# other code\n")
    second = prints()
    assert second != first
    (place / "params.yaml").write_text(PARAMS.replace("saluton", "adiau"))
    assert prints() not in (first, second)


def test_a_signature_that_differs_from_the_declaration_is_refused():
    with pytest.raises(DeclarationError, match="takes"):

        @declare.stage(version=1, reads={}, writes={"raw": "data/raw/${key}"})
        def wrong(params: toys.SourceParams, log: Log) -> None:
            """Do nothing."""


def test_the_workspace_is_where_we_stand_and_not_where_dvc_root_points(tmp_path, monkeypatch):
    """Under `dvc exp run --temp` it points at the repository that the copy was made of."""
    main = toys.workspace_at(tmp_path / "main", PARAMS)
    copied = toys.workspace_at(main / ".dvc/tmp/exps/tmp1", PARAMS)
    monkeypatch.setenv("DVC_ROOT", str(main))
    monkeypatch.chdir(copied / "data")
    assert workspace.root() == copied
    assert workspace.home(workspace.root()) == main


def test_homes_of_borrowed_workspaces(tmp_path):
    assert workspace.home(tmp_path / "a/.dvc/tmp/exps/x") == tmp_path / "a"
    assert workspace.home(tmp_path / "a/.deveno/worktrees/esperanto") == tmp_path / "a"
    assert workspace.home(tmp_path / "a") == tmp_path / "a"


def test_yaml_is_read_as_1_2_and_its_faults_are_named(tmp_path):
    from stages.core import yamlfile

    assert yamlfile.parse("a: no\nb: 1e-3\n", "x") == {"a": "no", "b": 0.001}
    with pytest.raises(ParamsError) as error:
        yamlfile.parse("a: [1\nb: 2\n", "params.yaml")
    assert error.value.where == "params.yaml: line 2"
    with pytest.raises(ParamsError, match="holds a list"):
        yamlfile.parse("- 1\n", "params.yaml")
    with pytest.raises(ParamsError, match="is not there"):
        yamlfile.read(tmp_path / "params.yaml")
