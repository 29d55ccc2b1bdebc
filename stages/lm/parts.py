"""Parts of a long job, kept in the scratch folder: a kill costs the part that was at work.

A part is a file that starts with the SHA-256 of what follows and of the job it belongs to, written
beside and renamed. One that is torn, flipped or of another job is made again with a warning. Parts
are numbered in the order of the work and joined in that order, whoever made them and when, so the
result never depends on them.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from stages.core import canonical
from stages.core.errors import Resumable
from stages.core.log import Log
from stages.lm.engines import Engine

T = TypeVar("T")
FOLDER = "parts"
DIGEST_BYTES = 32

_logger = logging.getLogger("deveno.parts")


class Parts:
    """The parts of one job of an execution; `made` and `reused` count this process's."""

    def __init__(self, log: Log, job: str) -> None:
        self._log, self._job = log, job
        self._folder = log.scratch / FOLDER / job
        self.made = self.reused = 0
        there = len(list(self._folder.glob("*.part")))
        if there:
            log.resumed(there, unit=f"parts of {job}")

    def make(
        self,
        number: int,
        work: Callable[[], T],
        dump: Callable[[T], bytes],
        load: Callable[[bytes], T],
    ) -> T:
        """Return a part as it was kept, else do its work and keep it.

        Raises Resumable behind a part once the execution is asked to stop.
        """
        kept = self._read(self._path(number))
        return self._settle(number, kept, work, dump, load)

    def each(
        self,
        engine: Engine,
        work: Callable[..., T],
        items: Iterable[Callable[[], tuple[Any, ...]]],
        dump: Callable[[T], bytes],
        load: Callable[[bytes], T],
    ) -> Iterator[T]:
        """Yield a part for each item, in order, worked on by an engine's workers.

        An item gives the arguments of `work`; it is not asked for where the part is there.
        """
        waiting: deque[tuple[int, bytes | None, Callable[[], T]]] = deque()
        for number, item in enumerate(items):
            kept = self._read(self._path(number))
            wanted = engine.submit(work, *item()) if kept is None else _nothing
            waiting.append((number, kept, wanted))
            if len(waiting) > engine.ahead:
                yield self._settle(*waiting.popleft(), dump, load)
        while waiting:
            yield self._settle(*waiting.popleft(), dump, load)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.part"

    def _settle(
        self,
        number: int,
        kept: bytes | None,
        work: Callable[[], T],
        dump: Callable[[T], bytes],
        load: Callable[[bytes], T],
    ) -> T:
        if kept is not None:
            self.reused += 1
            return load(kept)
        path, found = self._path(number), work()
        data = dump(found)
        canonical.write_bytes(path, self._digest(path, data) + data)
        self.made += 1
        if self._log.stopping:
            raise Resumable(
                f"stopped after {self.made + self.reused} parts of {self._job}",
                str(self._log.scratch),
                "run the same entry again to go on from there",
            )
        return found

    def close(self) -> None:
        """Say how much was done by this process, and how much was there."""
        self._log.observe(f"parts_made/{self._job}", self.made)
        self._log.observe(f"parts_reused/{self._job}", self.reused)

    def _read(self, path: Path) -> bytes | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if data[:DIGEST_BYTES] == self._digest(path, data[DIGEST_BYTES:]):
            return data[DIGEST_BYTES:]
        told = f"part {path.stem} of {self._job} is torn or of another job; it is made again"
        self._log.text("parts_warning", told)
        _logger.warning(told)
        return None

    def _digest(self, path: Path, data: bytes) -> bytes:
        state = hashlib.sha256(f"{self._job} {path.name}\n".encode())
        state.update(data)
        return state.digest()


def _nothing() -> Any:
    raise AssertionError("a part that is there needs no work")
