"""What the chaos run looks at: processes of a project, the phase they are in, and the outputs.

The watcher reads each output folder again and again through an open descriptor, so that a rename
in between is seen as what it is. A folder is absent, or whole as one of the known makings; else it
is partial. DVC deletes the outputs of a stale entry file by file before its command starts, and
links them anew when it has cached them: what is partial while no process of the stage lives is
counted apart as DVC's.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

VICTIMS = ("stage", "dvc", "flow", "server", "group", "guard", "above")
"""`group` is all of a project at once, `above` all but the stage, which is then an orphan."""
EVERY_S = 0.02


def processes(root: Path) -> dict[str, list[psutil.Process]]:
    """Return the living processes of a project by what they are."""
    found: dict[str, list[psutil.Process]] = {name: [] for name in VICTIMS}
    for process in psutil.process_iter():
        try:
            if not Path(process.cwd()).is_relative_to(root):
                continue
            words = process.cmdline()
        except (psutil.Error, OSError):
            continue
        kind = kind_of(words)
        if kind:
            found[kind].append(process)
        if words:
            found["group"].append(process)
            if kind in ("flow", "guard", "dvc"):
                found["above"].append(process)
    return found


def kind_of(words: list[str]) -> str:
    """Return what a command line is, or an empty text."""
    if any(word.endswith("guard.py") for word in words):
        return "" if "--held" in words else "guard"
    if "execute" in words and "stages" in words:
        return "stage"
    if "dvc" in words and "repro" in words:
        return "dvc"
    if "stages" in words and words[-1:] == ["run"]:
        return "flow"
    return "server" if "prefect" in words and "server" in words else ""


def phase(root: Path, found: dict[str, list[psutil.Process]]) -> str:
    """Return what is going on: the files that an execution makes tell it."""
    if any((root / "scratch").glob("*/*/publication.json")):
        return "publishing"
    if found["stage"] and any((root / "scratch").glob("*/*/checkpoints/.step-*.tmp")):
        return "checkpointing"
    if found["stage"]:
        return "computing"
    if found["dvc"]:
        return "in dvc"
    return "between entries" if found["flow"] else "after"


def read(folder: Path) -> dict[str, str] | None:
    """Return the files of a folder with their digests, {} if absent, None if it moved meanwhile."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return {}
    except OSError:
        return None
    place = Path(f"/proc/self/fd/{held}")  # the folder itself, wherever it is renamed to
    try:
        files = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(place.iterdir())
        }
        moved = folder.stat().st_ino != os.fstat(held).st_ino
        return None if moved or {path.name for path in place.iterdir()} != set(files) else files
    except OSError:
        return None
    finally:
        os.close(held)


class Watcher:
    """Looks at the outputs of a project in a thread of its own."""

    def __init__(self, root: Path, outputs: dict[str, str]) -> None:
        self.root, self.outputs = root, outputs
        self.known: dict[str, list[dict[str, str]]] = {path: [{}] for path in outputs}
        self.partial: list[str] = []
        self.counts: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def learn(self) -> None:
        """Take what the outputs are now for one of the makings that may be seen."""
        for path in self.outputs:
            found = read(self.root / path)
            assert found, path
            self.known[path].append(found)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def check(self, path: str) -> None:
        """Look at one output now."""
        found = read(self.root / path)
        self.counts["looks"] += 1
        if found is None or found in self.known[path]:
            return
        at_work = [one.cmdline() for one in processes(self.root)["stage"] if one.is_running()]
        at_work = [words for words in at_work if self.outputs[path] in words]
        if not at_work and any(found.items() <= whole.items() for whole in self.known[path]):
            self.counts["partial in DVC's hands"] += 1
            return
        told = f"{path}: {sorted(found)} beside {at_work}"
        if told not in self.partial:
            self.partial.append(told)

    def _look(self) -> None:
        while not self._stop.wait(EVERY_S):
            for path in self.outputs:
                try:
                    self.check(path)
                except psutil.Error:
                    continue


def gone(root: Path, seconds: float) -> list[str]:
    """Wait until no process of a project but a server lives; return those that still do."""
    deadline = time.monotonic() + seconds
    while True:
        found = processes(root)
        left = [one for kind in ("stage", "dvc", "flow", "guard") for one in found[kind]]
        if not left or time.monotonic() > deadline:
            return [str(one) for one in left]
        time.sleep(0.1)
