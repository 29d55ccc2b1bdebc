"""What a tree of processes takes: CPU seconds, and anonymous and shared memory at its peak."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

EVERY_S = 0.05
TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


class Watch:
    """Looks at a process and all below it every 50 ms, in a thread, until told to stop.

    Memory is RssAnon + RssShmem, summed: pages of files, which the kernel may drop, do not count.
    CPU seconds are the largest that each process was seen with, so those of processes that were
    killed count too; `of` tells processes of some kind apart by their command line.
    """

    def __init__(self, pid: int, of: str = "") -> None:
        self.peak_kb = 0
        self._pid, self._of = pid, of
        self._cpu: dict[tuple[int, str], tuple[float, bool]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def cpu_s(self, of: bool = False) -> float:
        """Return CPU seconds of all processes, or of those of the kind."""
        return sum(cpu for cpu, kind in list(self._cpu.values()) if kind or not of)

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            self.look()
            self._stop.wait(max(0.0, EVERY_S - (time.monotonic() - begun)))

    def look(self) -> None:
        """Look once."""
        total = 0
        for pid in tree(self._pid):
            total += memory_kb(pid)
            self._count(pid)
        self.peak_kb = max(self.peak_kb, total)

    def _count(self, pid: int) -> None:
        try:
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            line = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return
        used = (int(fields[11]) + int(fields[12])) / TICKS
        known = self._cpu.get((pid, fields[19]), (0.0, False))[1]  # the dead have no command line
        self._cpu[pid, fields[19]] = used, known or (bool(self._of) and self._of in line)


def tree(pid: int) -> list[int]:
    """Return a process and all below it that are alive."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        try:
            for task in (PROC / str(one) / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def memory_kb(pid: int) -> int:
    """Return anonymous and shared memory of a process that is resident, 0 once it is gone."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem")))


def disk_bytes(folder: Path) -> int:
    """Return what files of a folder take on disk, those of several names once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                found = (Path(place) / name).lstat()
            except OSError:
                continue
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
    return total
