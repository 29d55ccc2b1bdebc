"""DVC's own files after a kill: torn ones are mended, claims of the dead dropped, reads whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stages.core import dvclock, fingerprint, yamlfile

BODY = """\
  {name}:
    cmd: python -m stages execute {name}
    deps:
    - path: data/{name}
      hash: md5
      md5: 1234567890123456789012345678901{digit}.dir
      size: 1200
    outs:
    - path: models/{name}
      hash: md5
      md5: 9999999999999999999999999999999{digit}.dir
      size: 77
"""
LOCK = "schema: '2.0'\nstages:\n" + "".join(
    BODY.format(name=f"nap@{letter}", digit=digit) for digit, letter in enumerate("abcd")
)


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK, encoding="utf-8")
    return tmp_path


def hashes(body: dict) -> list[tuple[str, str]]:
    return [(row["path"], row["md5"]) for row in body["deps"] + body["outs"]]


def text_is_whole(text: str) -> bool:
    """Return whether a cut went between two entries, or only some size was lost."""
    return text.endswith(".dir\n") or text.endswith("size: 77\n")


def test_a_lock_that_is_cut_anywhere_loses_nothing_and_holds_no_half(root):
    """DVC truncates dvc.lock and writes it anew, so a kill may cut it at any byte."""
    whole = yamlfile.parse(LOCK, "dvc.lock")["stages"]
    assert dvclock.mend(root) == []
    for cut in range(0, len(LOCK), 7):
        (root / "dvc.lock").write_text(LOCK[:cut], encoding="utf-8")
        told = dvclock.mend(root)
        now = fingerprint.locks(root)
        assert {name: hashes(whole[name]) for name in now} == {n: hashes(now[n]) for n in now}
        # A cut between two entries looks whole; DVC's run cache has what is then missing.
        assert set(now) == set(whole) or not told, cut
        assert told or text_is_whole(LOCK[:cut]), cut
    (root / "dvc.lock").write_text(LOCK[:-40], encoding="utf-8")
    assert len(dvclock.mend(root)) == 1


def test_without_a_copy_the_whole_entries_of_a_torn_lock_are_kept(root):
    torn = LOCK[: LOCK.index("size: 77", LOCK.index("nap@c"))]
    (root / "dvc.lock").write_text(torn, encoding="utf-8")
    assert dvclock.mend(root) != []
    assert set(fingerprint.locks(root)) == {"nap@a", "nap@b"}


def claim(pid: int, command: str) -> dict:
    return {"pid": pid, "cmd": command}


def test_claims_of_the_dead_and_of_strangers_are_dropped_and_a_living_one_stays(root):
    """DVC looks at the number alone: one that went to a stranger would block for ever."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    words = [sys.executable, "-c", "import time; time.sleep(60)", "repro", "-s", "nap@a"]
    living = subprocess.Popen(words)
    try:
        mine = claim(living.pid, "dvc repro -s nap@a")
        path = root / ".dvc/tmp/rwlock"
        stranger = claim(os.getpid(), "dvc repro -s nap@b")
        path.write_text(
            json.dumps(
                {
                    "write": {"a": mine, "b": claim(gone.pid, "dvc repro -s nap@b")},
                    "read": {"c": [stranger], "d": [mine, stranger]},
                }
            )
        )
        time.sleep(0.2)
        assert dvclock.mend(root) == ["claims of DVC processes that are gone were dropped"]
        assert json.loads(path.read_text()) == {"write": {"a": mine}, "read": {"d": [mine]}}
        assert dvclock.mend(root) == []
    finally:
        living.kill()
        living.wait()


@pytest.mark.parametrize("text", ["", '{"write": {"/x": {"pi', "[]", '{"read": {"a": [7]}}'])
def test_a_torn_list_of_claims_begins_anew(root, text):
    """DVC refuses it for ever: `JSON structure is corrupted`."""
    (root / ".dvc/tmp/rwlock").write_text(text)
    assert len(dvclock.mend(root)) == 1
    assert json.loads((root / ".dvc/tmp/rwlock").read_text()) == {}


def test_a_read_waits_for_who_writes_and_nobody_waits_for_himself(root):
    text = (root / "dvc.lock").read_text()

    def rewrite() -> None:
        with dvclock.held(root) as got:
            assert got
            (root / "dvc.lock").write_text(text[:50])
            started.set()
            time.sleep(0.4)
            (root / "dvc.lock").write_text(text)
            assert len(fingerprint.locks(root)) == 4  # under our own lock

    started = threading.Event()
    code = (
        "import sys, json, pathlib; from stages.core import fingerprint;"
        " print(len(fingerprint.locks(pathlib.Path(sys.argv[1]))))"
    )
    thread = threading.Thread(target=rewrite)
    thread.start()
    started.wait()
    shown = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True
    )
    thread.join()
    assert shown.stdout == "4\n"
    with dvclock.held(root), dvclock.held(root) as second:
        assert not second
