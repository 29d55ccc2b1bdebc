"""A guard around one command: whoever started it may die in any way, and the whole tree still ends.

    python -I -S flows/guard.py <grace seconds> [--held <file>] <command> ...

The command runs in its own process group. On SIGTERM or SIGINT, or when standard input is closed
(the starter is gone, even by SIGKILL), the group gets SIGTERM, the grace period, then SIGKILL.
A second signal ends the grace period at once.
With `--held` it is not the starter that matters: the command is ended when nobody holds a lock on
that file any more (a server that several share). The kernel drops the locks of the killed.
Processes that the command leaves behind in its group are ended too. Exit code: the command's.
Should the guard itself be killed, the command gets SIGTERM by it (a shared server SIGKILL).
Standard library only and no imports of ours: it starts in some twenty milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import subprocess
import sys
import time

SUBREAPER = 36
"""prctl option by which orphans of the tree become our children, so that they can be reaped."""
PDEATHSIG = 1
"""prctl option by which the command hears of our death."""
EVERY_S = 0.5
"""Seconds between two looks at whether anybody holds the file."""
LEFT_OVER_S = 2.0
"""Grace for what a finished command left in its group."""


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    grace_s, command = float(arguments[0]), arguments[1:]
    held = None
    if command[0] == "--held":
        held, command = os.open(command[1], os.O_RDWR | os.O_CREAT, 0o644), command[2:]
    library = None
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.prctl(SUBREAPER, 1, 0, 0, 0)
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, frame: asked.append(received))
    signal.signal(signal.SIGCHLD, lambda received, frame: None)

    def die_with_us() -> None:
        if library is not None and hasattr(library, "prctl"):
            number = signal.SIGTERM if held is None else signal.SIGKILL  # a server may be deaf
            library.prctl(PDEATHSIG, number, 0, 0, 0)

    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_us
    )
    watched, pause_s = ([0, readable], 5.0) if held is None else ([readable], EVERY_S)
    while child.poll() is None and not asked:
        for descriptor in select.select(watched, [], [], pause_s)[0]:
            with contextlib.suppress(BlockingIOError):
                if not os.read(descriptor, 4096) and descriptor == 0:
                    asked.append(signal.SIGTERM)
        if held is not None and unused(held):
            asked.append(signal.SIGTERM)
    end(child, grace_s if asked else LEFT_OVER_S, asked)
    code = child.wait()
    return code if code >= 0 else 128 - code


def unused(held: int) -> bool:
    """Take the file for us if nobody holds it; who comes then waits until we have ended."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def end(child: subprocess.Popen[bytes], grace_s: float, asked: list[int]) -> None:
    """End a process group: SIGTERM, the grace period, SIGKILL; returns when it is empty.

    `asked` grows with every signal.
    """
    deadline = time.monotonic() + grace_s
    before = max(1, len(asked))
    send(child, signal.SIGTERM)
    while alive(child):
        if time.monotonic() > deadline or len(asked) > before:
            send(child, signal.SIGKILL)
        time.sleep(0.02)


def alive(child: subprocess.Popen[bytes]) -> bool:
    """Return whether anything of the group lives, after reaping what has ended."""
    child.poll()
    with contextlib.suppress(ChildProcessError):
        while child.returncode is not None and os.waitpid(-child.pid, os.WNOHANG)[0]:
            pass
    return send(child, 0)


def send(child: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to the group; return whether there was anyone to get it."""
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
