"""Parts of long jobs: a kill costs the part at work, and leaves no trace in the result."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from stages.core.errors import Resumable
from stages.core.log import Log
from stages.lm.parts import Parts


def squares(log: Log, count: int, die_after: int | None = None, counter: Path | None = None):
    """Do a job of `count` parts; with `die_after` the process kills itself in the next one."""
    parts = Parts(log, "squares")

    def work(number: int) -> int:
        if number == die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if counter is not None:
            with counter.open("a") as stream:
                stream.write(f"{number}\n")
        return number * number

    found = [
        parts.make(n, lambda n=n: work(n), lambda v: json.dumps(v).encode(), json.loads)
        for n in range(count)
    ]
    parts.close()
    return found, parts


def test_a_killed_process_repeats_at_most_the_part_at_work(tmp_path: Path):
    counter = tmp_path / "done.txt"
    for die_after in (3, 3, 7):
        pid = os.fork()
        if not pid:
            squares(Log(scratch=tmp_path / "s"), 10, die_after, counter)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    log = Log(scratch=tmp_path / "s")
    found, parts = squares(log, 10, counter=counter)
    assert found == [number * number for number in range(10)]
    assert counter.read_text().split() == [str(number) for number in range(10)], "each once"
    assert (parts.made, parts.reused) == (3, 7)
    assert log.observed["parts_made/squares"] == 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "of another place"])
def test_a_torn_part_is_made_again_with_a_warning(tmp_path: Path, damage: str):
    squares(Log(scratch=tmp_path), 3)
    path = tmp_path / "parts/squares/00000001.part"
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[:-1])
    elif damage == "flipped":
        data[-1] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes((tmp_path / "parts/squares/00000002.part").read_bytes())
    log = Log(scratch=tmp_path)
    found, parts = squares(log, 3)
    assert found == [0, 1, 4]
    assert (parts.made, parts.reused) == (1, 2)
    assert "00000001" in log.texts["parts_warning"]


def test_asked_to_stop_it_ends_behind_a_whole_part(tmp_path: Path):
    log = Log(scratch=tmp_path)
    log.request_stop()
    with pytest.raises(Resumable, match="stopped after 1 parts of squares"):
        squares(log, 3)
    assert squares(Log(scratch=tmp_path), 3)[1].reused == 1


def test_a_resumed_job_says_so(tmp_path: Path):
    squares(Log(scratch=tmp_path), 2)
    events: list[dict] = []
    squares(Log(sink=events.append, scratch=tmp_path), 3)
    assert events[0] == {"event": "resumed", "step": 2, "unit": "parts of squares"}
