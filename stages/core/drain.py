"""A file that any thread may add JSON lines to without waiting for the disk.

`put` costs the caller a clock and an append to a queue; one background thread writes what is
queued, in order, every EVERY_S seconds, so a SIGKILL loses at most that. A full or dead disk blocks
nobody: what it does not take is kept and tried again.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

EVERY_S = 0.1
"""Seconds between two writes."""
PIECE, PAUSE_S = 32, 0.0005
"""Lines encoded before other threads get the interpreter: else one could wait for all of them."""
PATIENCE_S = 10.0
"""How long `flush` and `close` wait for a disk that does not answer."""
LIMIT = 1_000_000
"""Lines kept while the disk does not take them; what comes then is lost."""

Row = tuple[float, Mapping[str, Any]] | threading.Event
"""A line with its time, or a mark that is set when all before it is written."""


class Drain:
    """Appends lines to a file which it holds locked; `failed` hears of every error."""

    def __init__(self, path: Path, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._queue: deque[Row] = deque()
        self._left = b""
        self._closed = False
        self._wake = threading.Event()
        self._owner = os.getpid()
        self.descriptor: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)  # readers hold theirs for microseconds
        except OSError as error:
            failed(error)
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()
        atexit.register(self.flush)

    def put(self, line: Mapping[str, Any]) -> None:
        """Queue one line, which must not be changed afterwards; its time is that of the call."""
        if len(self._queue) < LIMIT:
            self._queue.append((time.time(), line))

    def flush(self, patience_s: float = PATIENCE_S) -> bool:
        """Wait until all that was put before is written or refused; return whether in time."""
        if self._closed or os.getpid() != self._owner:  # a fork has the queue and no thread
            return False
        mark = threading.Event()
        self._queue.append(mark)
        self._wake.set()
        return mark.wait(patience_s)

    def close(self, patience_s: float = PATIENCE_S) -> None:
        """Write what is left and release the file; a disk that does not answer keeps it."""
        atexit.unregister(self.flush)
        if not self.flush(patience_s):
            return
        self._closed = True
        self._wake.set()
        self._thread.join(patience_s)

    def _work(self) -> None:
        while not self._closed:
            self._wake.wait(EVERY_S)
            self._drain()
            if not self._queue or self._left:
                self._wake.clear()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def _drain(self) -> None:
        if self._left:
            self._write(b"")
        lines: list[bytes] = []
        while self._queue and not self._left:  # else they wait behind what the disk does not take
            row = self._queue.popleft()
            if isinstance(row, threading.Event):
                self._write(b"".join(lines))
                lines = []
                row.set()
            else:
                lines.append(self._encoded(*row))
                if len(lines) % PIECE == 0:
                    self._wake.wait(PAUSE_S)  # nobody pauses once somebody waits for us
        self._write(b"".join(lines))
        if self._left:  # whoever waits is told that it was tried
            for row in list(self._queue):
                if isinstance(row, threading.Event):
                    row.set()

    def _encoded(self, moment: float, line: Mapping[str, Any]) -> bytes:
        try:
            text = json.dumps({"time": round(moment, 4), **line}, default=_plain)
        except Exception as error:
            self._failed(error)
            return b""
        return text.encode("ascii") + b"\n"

    def _write(self, data: bytes) -> None:
        """Write behind what a full disk has left over, so that no line is ever torn for good."""
        data = self._left + data
        written = 0
        try:
            while written < len(data) and self.descriptor is not None:
                written += os.write(self.descriptor, data[written:])
        except OSError as error:
            self._failed(error)
        self._left = data[written:] if self.descriptor is not None else b""


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)  # numbers of numpy and torch
    return item() if callable(item) else str(value)
