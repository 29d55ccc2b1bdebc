"""One server for all runs of a home: started once, kept while anybody lives, gone with the last.

The server is a small one here; what starts, shares and ends it is the real thing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows import lease, server

SERVER = """
import http.server, sys
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *what): pass
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Healthy).serve_forever()
"""
USER = """
import sys, time
from pathlib import Path
from flows import lease, server
home = Path(sys.argv[1])
code = (home / "server.py").as_posix()
def small(home, url):
    command = (sys.executable, code, "--port", url.rsplit(":", 1)[1].split("/")[0])
    return server.Service(home, "prefect", command)
server.prefect_service = small
with lease.available(home) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "user.py").write_text(USER)
    return tmp_path


def user(home: Path) -> subprocess.Popen[str]:
    """Start somebody who needs a server until his standard input is closed."""
    root = Path(lease.__file__).resolve().parents[1]
    return subprocess.Popen(
        [sys.executable, str(home / "user.py"), str(home)],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def url_of(one: subprocess.Popen[str]) -> str:
    return one.stdout.readline().strip()


def servers(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if str(home / "server.py") in words and not any("guard.py" in word for word in words):
            found.append(process)
    return found


def end(one: subprocess.Popen[str]) -> None:
    one.stdin.close()
    one.wait()
    one.stdout.close()


def wait_for(condition, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_four_at_once_share_one_and_the_last_ends_it(home):
    users = [user(home) for _ in range(4)]
    urls = {url_of(one) for one in users}
    assert len(urls) == 1
    assert len(servers(home)) == 1
    for killed in users[:3]:  # the one that started it among them
        killed.kill()
        killed.wait()
    time.sleep(1.2)
    assert server.answers(urls.pop() + "/health")
    end(users[3])
    wait_for(lambda: servers(home) == [])
    assert lease._answering(home) == ""


@pytest.mark.parametrize("victim", ["server", "guard"])
def test_after_a_kill_the_next_starts_another_and_nothing_is_left(home, victim):
    first = user(home)
    url = url_of(first)
    (running,) = servers(home)
    os.kill(running.pid if victim == "server" else running.ppid(), signal.SIGKILL)
    wait_for(lambda: not running.is_running() or running.status() == psutil.STATUS_ZOMBIE)
    second = user(home)
    assert url_of(second) not in ("", url)
    assert len(servers(home)) == 1
    end(first)
    assert len(servers(home)) == 1  # it is not the first one's
    end(second)
    wait_for(lambda: servers(home) == [])


def test_tables_that_were_half_made_are_made_anew(home):
    """A server that was killed while it made them would never start again."""
    state = home / ".deveno/prefect"
    state.mkdir(parents=True)
    for name in ("prefect.db", "prefect.db-wal", "making"):
        (state / name).write_text("half")
    one = user(home)
    assert url_of(one)
    assert not list(state.glob("prefect.db*"))
    assert not (state / "making").exists()
    (state / "prefect.db").write_text("whole")
    end(one)
    wait_for(lambda: servers(home) == [])
    again = user(home)
    assert url_of(again)
    assert (state / "prefect.db").read_text() == "whole"
    end(again)


def test_a_server_that_cannot_start_is_no_reason_to_wait(home):
    (home / "server.py").write_text("raise SystemExit('no such table')")
    one = subprocess.run(
        [sys.executable, str(home / "user.py"), str(home)], stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(lease.__file__).resolve().parents[1])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "ServerError" in one.stderr
    assert "where: no such table" in one.stderr
