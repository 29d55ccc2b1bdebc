"""One Prefect server for all runs of a home: started by the first of them, ended by the last.

    .deveno/prefect/users        every run holds a shared lock on it while it needs a server
    .deveno/prefect/start.lock   one at a time looks, and starts what is missing
    .deveno/prefect/making       there while the first server makes the tables
    .deveno/servers/shared.json  {pid, created, port} of the server's guard

The guard ends the server when it gets the users' file for itself. The kernel drops a lock with its
holder, so neither a killed run nor a killed guard leaves anything that somebody must clear away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from flows import server
from flows.server import LOOPBACK, Service
from flows.walk import GUARD
from stages.core.errors import MachineError

STARTING_S = 20.0
"""How long the server of `deveno up` may take to answer: it may have been started just now."""
STARTS = 2
"""Servers started before a run goes on without one: the first may have been killed."""


class ServerError(MachineError):
    """The shared server cannot be had; a run does without."""


@contextlib.contextmanager
def available(home: Path) -> Iterator[str]:
    """Give the address of a healthy Prefect server: this home's, else the one that runs share."""
    url = server.api_url(home)
    stated = os.environ.get("PREFECT_API_URL") is not None
    lasting = server.running(Service(home, "prefect", ())) is not None
    if stated or lasting:
        deadline = time.monotonic() + (0.0 if stated else STARTING_S)
        while not server.answers(f"{url}/health"):
            if time.monotonic() >= deadline:
                raise MachineError(
                    "the Prefect server does not answer",
                    url,
                    "`deveno down && deveno up`, or unset PREFECT_API_URL",
                )
            time.sleep(0.2)
        yield url
        return
    state = home / ".deveno" / "prefect"
    state.mkdir(parents=True, exist_ok=True)
    with (state / "users").open("w") as users:
        yield _joined(home, state, users.fileno())


def _joined(home: Path, state: Path, users: int) -> str:
    """Become a user of the shared server, after starting it where none answers."""
    with (state / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)  # waits for a guard that is ending its server
        url = _answering(home)
        for left in reversed(range(STARTS)):
            if url:
                break
            _clear(home)
            try:
                url = _started(home, state)
            except ServerError:
                if not left:
                    raise
        return url


def shared(home: Path) -> Service:
    """Return the guard of the shared server as a service."""
    return Service(home, "shared", ())


def _answering(home: Path) -> str:
    """Return the address of the shared server if it lives, else an empty text."""
    url = server.own_url(shared(home))
    return url if url and server.answers(f"{url}/health", seconds=10.0) else ""


def _clear(home: Path) -> None:
    """End what is left of a shared server: a killed guard's or a deaf one."""
    server.stop([shared(home)], seconds=5.0)


def _started(home: Path, state: Path) -> str:
    """Start the server under its guard and wait until it answers; return its address."""
    making = state / "making"
    if making.exists():  # a server was killed while it made the tables
        for half in state.glob("prefect.db*"):
            half.unlink()
    elif not (state / "prefect.db").exists():
        making.touch()
    port = server.free_port()
    url = f"http://{LOOPBACK}:{port}/api"
    log = home / ".deveno" / "servers" / "prefect-run.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    plain = (*server.prefect_service(home, url).command, "--no-services", "--no-ui")
    held = ("--held", str(state / "users"))
    with log.open("wb") as stream:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), "5", *held, *plain],
            cwd=home, env={**os.environ, **server.environment(home, url)},
            stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    server.write_note(shared(home), guard.pid, port)
    _wait(guard, url, log, home)
    making.unlink(missing_ok=True)
    return url


def _wait(guard: subprocess.Popen[bytes], url: str, log: Path, home: Path) -> None:
    deadline = time.monotonic() + server.HEALTHY_S
    while not server.answers(f"{url}/health"):
        if guard.poll() is not None or time.monotonic() > deadline:
            what = "stopped" if guard.poll() is not None else "did not answer in time"
            with contextlib.suppress(ProcessLookupError):
                os.killpg(guard.pid, signal.SIGTERM)
            raise ServerError(
                f"the Prefect server of this run {what}",
                server.last_line(log),
                f"read {server.short(log, home)}",
            )
        time.sleep(0.2)
