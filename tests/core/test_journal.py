"""The journal keeps what happened: through threads, kills, torn lines and full disks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from stages.core import journal, machine
from stages.core.journal import Journal
from stages.core.log import Log

ROOT = Path(__file__).resolve().parents[2]


def start(home: Path, fingerprint: str = "f" * 64, **options) -> Journal:
    return Journal.open(
        home, "pretrain", "eo", fingerprint=fingerprint, version=1,
        params={"steps": 3}, workspace=home, **options,
    )  # fmt: skip


WRITER = """
    import sys, time
    from pathlib import Path
    from stages.core.journal import Journal
    home = Path(sys.argv[1])
    opened = Journal.open(home, "pretrain", "eo", fingerprint="f" * 64, version=1, params={},
                          workspace=home)
    opened.append({"event": "metric", "name": "loss_nats", "value": 1.5, "step": 0})
    time.sleep(0.3)  # a kill loses at most the last 0.2 s
    print("ready", flush=True)
    time.sleep(60)
"""


def killed_writer(home: Path) -> None:
    """Leave the journal of a process that was killed in the middle."""
    code = textwrap.dedent(WRITER)
    command = [sys.executable, "-c", code, str(home)]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline().strip() == "ready"
        alive = journal.last(home, "pretrain", "eo")
        assert alive is not None
        assert alive.outcome == "running"
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()


def test_an_execution_is_read_back_with_its_cost(tmp_path):
    opened = start(tmp_path)
    log = Log(sink=opened.append)
    log.metric("loss_nats", 2.5, step=1)
    log.observe("tokens_per_s", 12.0)
    opened.close("ok", durations={"stage_s": 0.5}, outputs=[{"path": "models/x", "size_bytes": 7}])
    execution = journal.last(tmp_path, "pretrain", "eo")
    assert execution is not None
    assert [event["event"] for event in execution.events()] == ["start", "metric", "observe", "end"]
    assert execution.outcome == "ok"
    assert execution.start["params"] == {"steps": 3}
    assert execution.start["machine"]["cores"] >= 1
    assert execution.end["durations"]["stage_s"] == 0.5
    usage = journal.history(tmp_path, "pretrain", "eo")[0]
    assert usage.output_bytes == 7
    assert usage.wall_s > 0
    assert usage.cpu_s > 0
    assert usage.peak_rss_mib > 5


def test_the_newest_execution_comes_first_and_failures_cost_nothing(tmp_path):
    for number, outcome in enumerate(["ok", "user error", "ok"]):
        opened = start(tmp_path, fingerprint=f"{number:064d}")
        opened.close(outcome, error=["a", "b", "c"] if outcome != "ok" else [])
    assert [e.start["fingerprint"][-1] for e in journal.executions(tmp_path, "pretrain", "eo")] == [
        "2", "1", "0",
    ]  # fmt: skip
    assert [u.fingerprint[-1] for u in journal.history(tmp_path, "pretrain", "eo")] == ["2", "0"]


def test_a_killed_execution_is_interrupted_and_the_next_one_resumes_it(tmp_path):
    killed_writer(tmp_path)
    broken = journal.last(tmp_path, "pretrain", "eo")
    assert broken is not None
    assert broken.outcome == "interrupted"
    start(tmp_path).close("ok")
    assert journal.last(tmp_path, "pretrain", "eo").start["resumes"] == broken.id
    start(tmp_path).close("ok")
    assert journal.last(tmp_path, "pretrain", "eo").start["resumes"] is None


def test_another_fingerprint_does_not_resume(tmp_path):
    start(tmp_path).close("resumable")
    start(tmp_path, fingerprint="0" * 64).close("ok")
    assert journal.last(tmp_path, "pretrain", "eo").start["resumes"] is None


def test_a_torn_last_line_is_skipped_until_it_is_whole(tmp_path):
    opened = start(tmp_path)
    tail = journal.Tail(opened.path)
    assert len(tail.read()) == 1
    with opened.path.open("ab") as stream:
        stream.write(b'{"event": "metric", "name"')
    assert tail.read() == []
    with opened.path.open("ab") as stream:
        stream.write(b': "loss_nats"}\n')
    assert tail.read() == [{"event": "metric", "name": "loss_nats"}]
    with opened.path.open("ab") as stream:
        stream.write(b'{"event": "met')
    descriptor, opened._lines.descriptor = opened._lines.descriptor, None
    os.close(descriptor)  # as a crash does
    execution = journal.last(tmp_path, "pretrain", "eo")
    assert execution.outcome == "interrupted"
    assert [event["event"] for event in execution.events()] == ["start", "metric"]


def test_a_full_disk_is_a_warning_and_loses_nothing_once_there_is_room(
    tmp_path, monkeypatch, caplog
):
    opened = start(tmp_path)
    real = os.write
    room = [10]

    def write(descriptor: int, data: bytes) -> int:
        if descriptor != opened._lines.descriptor or len(data) <= room[0]:
            return real(descriptor, data)
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written, room[0] = real(descriptor, data[: room[0]]), 0
        return written

    tail = journal.Tail(opened.path)
    tail.read()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        opened.append({"event": "metric", "name": "first", "value": 1})
        opened._lines.flush()
        opened.append({"event": "metric", "name": "second", "value": 1})
        opened._lines.flush()
        assert tail.read() == []  # ten bytes of a line are no line
    assert "No space left" in caplog.text
    assert len(caplog.records) == 1
    opened.append({"event": "metric", "name": "third", "value": 2})
    opened.close("ok")
    assert [event.get("name") for event in tail.read()] == ["first", "second", "third", None]


def test_a_disk_that_does_not_answer_holds_nobody_up(tmp_path, monkeypatch):
    opened = start(tmp_path)
    real, answer = os.write, threading.Event()
    monkeypatch.setattr(os, "write", lambda *given: answer.wait(20) and real(*given))
    began = time.monotonic()
    for step in range(1000):
        opened.append({"event": "metric", "name": "x", "value": step, "step": step})
        if step == 500:
            time.sleep(0.3)  # the writer is stuck by now
    assert time.monotonic() - began < 5
    assert len(journal.Tail(opened.path).read()) == 1
    answer.set()
    opened.close("ok")
    events = journal.last(tmp_path, "pretrain", "eo").events()
    assert [event["value"] for event in events[1:-1]] == list(range(1000))


ENDS = {
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "an uncaught error": "raise RuntimeError('planted')",
    "the end of the program": "sys.exit(3)",
}


@pytest.mark.parametrize("how", ENDS)
def test_what_was_logged_is_written_however_the_process_ends(tmp_path, how):
    code = textwrap.dedent(WRITER).split("time.sleep(0.3)")[0] + textwrap.dedent(
        f"""
        import os, signal
        signal.signal(signal.SIGTERM, lambda *given: (opened.close("resumable"), os._exit(75)))
        for step in range(1, 2000):
            opened.append({{"event": "metric", "name": "loss_nats", "value": 1.5, "step": step}})
        {ENDS[how]}
        """
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode != 0
    events = journal.last(tmp_path, "pretrain", "eo").events()
    assert [e["step"] for e in events if e["event"] == "metric"] == list(range(2000))


def test_a_killed_process_has_written_all_but_its_last_moments(tmp_path):
    code = textwrap.dedent(WRITER).split("opened.append")[0] + textwrap.dedent(
        """
        for step in range(10**9):
            opened.append({"event": "metric", "name": "x", "value": time.time(), "step": step})
            print(time.time(), flush=True)
            time.sleep(0.005)
        """
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        time.sleep(1.5)
        writer.kill()
        said = float(writer.stdout.read().split()[-1])
    events = journal.last(tmp_path, "pretrain", "eo").events()
    assert [e["step"] for e in events[1:]] == list(range(len(events) - 1))
    assert 0 <= said - events[-1]["value"] < 2  # 0.1 s on a machine that is not loaded


def test_the_time_is_that_of_the_call(tmp_path):
    opened = start(tmp_path)
    before = time.time()
    opened.append({"event": "metric", "name": "x", "value": 1})
    after = time.time()
    time.sleep(0.3)
    opened.close("ok")
    event = journal.last(tmp_path, "pretrain", "eo").events()[1]
    assert before - 1e-3 <= event["time"] <= after + 1e-3


def test_a_read_only_state_folder_is_a_warning(tmp_path, caplog):
    (tmp_path / ".deveno").write_text("a file where a folder should be", encoding="utf-8")
    opened = start(tmp_path)
    opened.append({"event": "metric", "name": "x", "value": 1})
    opened.close("ok")
    assert "misses events" in caplog.text
    assert journal.last(tmp_path, "pretrain", "eo") is None


def test_threads_lose_and_mix_nothing(tmp_path):
    opened = start(tmp_path)

    def write(number: int) -> None:
        for step in range(200):
            opened.append({"event": "metric", "name": f"m{number}", "value": step, "step": step})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened.close("ok")
    events = journal.last(tmp_path, "pretrain", "eo").events()
    for number in range(4):
        steps = [event["value"] for event in events if event.get("name") == f"m{number}"]
        assert steps == list(range(200))


def test_follow_ends_with_the_execution(tmp_path):
    opened = start(tmp_path)
    seen: list[str] = []
    reader = threading.Thread(
        target=lambda: seen.extend(e["event"] for e in journal.follow(opened.path, poll_s=0.01))
    )
    reader.start()
    opened.append({"event": "progress", "done": 1, "total": 2, "unit": "steps"})
    time.sleep(0.05)
    opened.close("ok")
    reader.join(timeout=5)
    assert seen == ["start", "progress", "end"]


def test_cpu_and_memory_are_sampled(tmp_path):
    opened = start(tmp_path, sample_s=0.02)
    tail, deadline = journal.Tail(opened.path), time.monotonic() + 20
    sampled: dict[str, float] = {}
    while time.monotonic() < deadline and not sampled.get("system/cpu_percent"):
        events = [event for event in tail.read() if event["event"] == "observe"]
        sampled |= {event["name"]: event["value"] for event in events}
    opened.close("ok")
    assert sampled["system/cpu_percent"] > 0  # this very loop
    assert sampled["system/rss_mib"] > 5


@pytest.mark.parametrize("run", ["", "4b1d"])
def test_the_flow_run_comes_from_the_environment(tmp_path, monkeypatch, run):
    monkeypatch.setenv("DEVENO_FLOW_RUN", run)
    monkeypatch.setenv("DEVENO_RECIPE", "smoke")
    start(tmp_path).close("ok")
    flow = journal.last(tmp_path, "pretrain", "eo").start["flow"]
    assert flow == ({"id": run, "name": "pipeline", "recipe": "smoke"} if run else None)


def test_the_age_of_a_process_includes_its_start(tmp_path):
    code = (
        "import time; time.sleep(0.2)\n"
        "from stages.core import machine; print(machine.process_age_s())"
    )
    begun = time.monotonic()
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert 0.2 <= float(shown.stdout) <= time.monotonic() - begun + 0.05


def test_cores_can_be_stated(monkeypatch):
    monkeypatch.setenv("DEVENO_CORES", "7")
    assert machine.cores() == 7
    monkeypatch.setenv("DEVENO_CORES", "all")
    assert machine.cores() == len(os.sched_getaffinity(0))


def test_the_journal_is_cheap_to_import():
    code = "import sys, stages.core.journal; print({'psutil', 'mlflow'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout.strip() == "set()"


def test_a_clock_set_back_a_year_or_forward_does_not_change_which_execution_is_the_last(
    tmp_path, monkeypatch
):
    import datetime as clock

    class Jumped(clock.datetime):
        days = 0

        @classmethod
        def now(cls, tz=None):
            return clock.datetime.now(tz) + clock.timedelta(days=cls.days)

    monkeypatch.setattr(journal, "datetime", Jumped)
    for number, days in enumerate((0, 366, -366, 1)):
        Jumped.days = days
        opened = journal.Journal.open(
            tmp_path, "pretrain", "eo", fingerprint=str(number), version=1, params={},
            workspace=tmp_path, sample_s=60,
        )  # fmt: skip
        last = journal.last(tmp_path, "pretrain", "eo")
        assert last.start["fingerprint"] == str(number)
        opened.close("ok")
        flow = journal.Journal.open_flow(tmp_path, f"run{number}", "pipeline", "", tmp_path)
        flow.close("ok")
    order = [one.start["fingerprint"] for one in journal.executions(tmp_path, "pretrain", "eo")]
    assert order == ["3", "2", "1", "0"]
    flows = sorted((journal.folder(tmp_path) / journal.FLOWS).glob("*.jsonl"))
    assert [path.stem.rpartition("-")[2] for path in flows] == ["run0", "run1", "run2", "run3"]
