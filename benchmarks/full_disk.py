"""A full disk during every stage: a clear error, nothing half published, a clean retry.

In a mount namespace of its own a small tmpfs holds a clone with the smoke recipe, its DVC cache,
its home and its temporary files. One entry per stage is made again and again while a ballast file
leaves too little room: none, and several shares of what the entry was seen to need at its peak, so
that the disk fills while the stage writes, checkpoints, publishes, while DVC saves, and in between.
Each time the outcome must be three lines that name the full disk, no output may be there in part
(absent, or whole and as recorded), and after the ballast is gone the same command must end with the
same bytes. Writes benchmarks/full_disk.json with a row per stage.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SHARES = (0.0, 0.3, 0.6, 0.9)
"""Free room while an entry runs, as shares of what it needs at its peak."""
INSIDE = "DEVENO_INSIDE_NAMESPACE"
BLOCK = 1 << 16


def main() -> int:
    """Enter the namespace, fill the disk for one entry of each stage, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mb", type=int, default=700)
    parser.add_argument("--stages", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "full_disk.json")
    options = parser.parse_args()
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "-rm", sys.executable, *sys.argv])
    place = Path(tempfile.mkdtemp(prefix="deveno-disk-"))
    size = f"size={options.size_mb}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], check=True)
    rows = Filling(place).all_stages(options.stages)
    from stages.core import canonical

    trials = sum(row["trials"] for row in rows)
    good = sum(row["passed"] for row in rows)
    canonical.write_json(
        options.out,
        {"rows": rows, "trials": trials, "passed": good, "pass": good == trials, "shares": SHARES},
    )
    print(f"{good} of {trials} trials passed")
    return 0 if good == trials else 1


class Filling:
    """A clone on a small disk, and what happens to its entries when that is full."""

    def __init__(self, place: Path) -> None:
        from tests.pipeline.conftest import make_clone

        self.place = place
        self.clone = make_clone(place / "clone", "smoke")
        self.root = self.clone.root
        # As a user has it who tracks; the publisher stays away, it is another process's concern.
        for name in ("tmp", "state"):
            (place / name).mkdir()
        self.clone.environment |= {
            "TMPDIR": str(place / "tmp"),
            "DVC_SITE_CACHE_DIR": str(place / "state"),
        }
        os.environ.update(self.clone.environment)
        (self.root / "data/external").mkdir(exist_ok=True)
        self.clone.run("dvc", "repro", "-q")

    def all_stages(self, only: list[str]) -> list[dict[str, Any]]:
        """Return a row per stage: one entry of it, at every share of the room it needs."""
        from stages.core import fingerprint

        first: dict[str, str] = {}
        for name in fingerprint.locks(self.root):
            first.setdefault(name.split("@")[0], name)
        rows = []
        for stage, name in sorted(first.items()):
            if not only or stage in only:
                rows.append(self.one(stage, name))
                print(f"{name}: {rows[-1]['passed']} of {rows[-1]['trials']}", flush=True)
        return rows

    def one(self, stage: str, name: str) -> dict[str, Any]:
        """Try one entry at every share."""
        before = self.outs(name)
        self.forget(name, before)
        with self.watched() as peak:
            self.attempt(name)
        need = peak[0]
        reached = self.outs(name)
        bound = stage in ("benchmark", "report")
        faults = [] if bound or reached == before else ["other bytes without any fault"]
        told, full = [], 0
        for share in SHARES:
            self.forget(name, reached)
            with self.ballast(int(need * share)):
                state, lines = self.attempt(name)
                half = self.half(name, reached)
            full += state == "failed"
            if state == "failed":
                told.append(lines[0] if lines else "")
                clear = len(lines) == 3 and "space" in lines[0]
                if not clear:
                    faults.append(f"{share}: unclear: {lines}")
            faults += [f"{share}: half there: {path}" for path in half]
            again, lines = self.attempt(name)
            if again not in ("done", "restored", "skipped"):
                faults.append(f"{share}: the retry {again}: {lines}")
            now = self.outs(name)
            if not bound and now != reached:
                faults.append(f"{share}: other bytes after the retry")
            reached = now
        for fault in faults:
            print(f"  {fault}", flush=True)
        trials = len(SHARES)
        return {
            "stage": stage,
            "entry": name,
            "need_bytes": need,
            "trials": trials,
            "full": full,
            "passed": trials - len({fault.split(":")[0] for fault in faults}),
            "faults": faults,
            "told": sorted(set(told)),
        }

    def attempt(self, name: str) -> tuple[str, list[str]]:
        """Run an entry as `deveno run` does, less its server; return how it ended and the told."""
        from flows.walk import Step, Walk
        from stages.core import recovery
        from stages.core.errors import translated

        try:
            recovery.recover(self.root)
        except OSError as error:
            told = translated(error)
            return "failed", told.lines() if told else [str(error)]
        result = Walk(self.root, [Step(name, force=True)]).walk_alone()[name]
        return result.state, result.error

    def outs(self, name: str) -> dict[str, str | None]:
        """Return what dvc.lock says an entry made."""
        from stages.core import fingerprint, plan

        return plan.outs(fingerprint.locks(self.root).get(name) or {})

    def half(self, name: str, whole: dict[str, str | None]) -> list[str]:
        """Return the outputs that are there and not whole; leftovers beside them count too."""
        from stages.core.hashes import Hashes

        found = []
        for path in whole:
            target = self.root / path
            now = Hashes(self.root).of(path)
            if now is not None and name.split("@")[0] not in ("benchmark", "report"):
                found += [path] if now != whole[path] else []
            found += [str(left) for left in target.parent.glob(f".{target.name}.*")]
        return found

    def forget(self, name: str, made: dict[str, str | None]) -> None:
        """Remove an entry's outputs from the cache, so that DVC must write them again."""
        from stages.core import plan

        cache = plan.cache_folder(self.root)
        for oid in made.values():
            for value in [*(plan.members(cache, str(oid)) or {}).values(), str(oid)]:
                plan.object_path(cache, value).unlink(missing_ok=True)
        shutil.rmtree(cache / "runs", ignore_errors=True)

    @contextmanager
    def ballast(self, free: int) -> Iterator[None]:
        """Leave only so much room on the disk."""
        path = self.place / "ballast"
        with path.open("wb") as stream:
            while shutil.disk_usage(self.place).free > free + BLOCK:
                stream.write(bytes(min(BLOCK * 16, shutil.disk_usage(self.place).free - free)))
                stream.flush()
        yield
        path.unlink()

    @contextmanager
    def watched(self) -> Iterator[list[int]]:
        """Note the most room that was taken at once."""
        start = shutil.disk_usage(self.place).used
        most, over = [0], threading.Event()

        def watch() -> None:
            while not over.wait(0.01):
                most[0] = max(most[0], shutil.disk_usage(self.place).used - start)

        thread = threading.Thread(target=watch)
        thread.start()
        yield most
        over.set()
        thread.join()
        time.sleep(0)


if __name__ == "__main__":
    raise SystemExit(main())
