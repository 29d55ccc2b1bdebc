"""What truth costs: nothing to do, registering 2 GB, a logged metric; each against its peer.

    python benchmarks/truth.py [noop] [register] [metric] [mutations]

Contestants alternate within every repetition. Writes benchmarks/truth.json: medians, quartiles,
ratios, load average, who ran it. `noop` wants a checkout in which everything is fresh.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULT = ROOT / "benchmarks" / "truth.json"
NOBODY = 65534
DESCENDED = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
)  # fmt: skip
"""A user without rights; the interpreter may lie in a folder of root's, so reading is allowed."""
BIG = '''
    """A stage that writes much, into its output or only into its scratch folder."""

    import random
    from pathlib import Path

    from stages.core.declare import Params, stage
    from stages.core.log import Log


    class BigParams(Params):
        """How much, in how many files, and whether it is registered."""

        mib: int
        """Size in MiB."""
        files: int
        """Number of files."""
        seed: int
        """Other bytes."""
        registered: bool
        """Whether they are the output."""


    @stage(version=1, reads={}, writes={"big": "data/big/${key}"})
    def big(params: BigParams, big: Path, log: Log) -> None:
        """Write."""
        big.mkdir()
        (big / "tiny").write_text(str(params.seed))
        place = big if params.registered else log.scratch
        block = random.Random(params.seed).randbytes(1 << 20)
        for number in range(params.files):
            with (place / f"part-{number:02d}.bin").open("wb", buffering=0) as stream:
                for step in range(params.mib // params.files):
                    stream.write(step.to_bytes(4, "big") + bytes([number]) + block[5:])
'''


POPULATE_WRITE = 23
"""madvise: give every page now."""


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    return {"median": round(middle, 4), "q1": round(low, 4), "q3": round(high, 4)}


def measured(command: Sequence[str], root: Path, variables: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its wall and CPU seconds, those of its children included."""
    before, started = os.times(), time.monotonic()
    done = subprocess.run(
        command, cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    wall, after = time.monotonic() - started, os.times()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}\n{done.stderr}")
    return wall, sum(after[2:4]) - sum(before[2:4])


def pretouch(gib: float = 6.0) -> None:
    """Let the host back memory before a timing: a virtual machine's first touch of a page is slow.

    What is freed here is what the next command's page cache gets first.
    """
    facts = dict(row.split(":") for row in Path("/proc/meminfo").read_text().splitlines())
    available = int(facts["MemAvailable"].split()[0]) * 1024
    with mmap.mmap(-1, int(min(gib * 2**30, available / 2))) as room, contextlib.suppress(OSError):
        room.madvise(POPULATE_WRITE)


def ratios(rows: dict[str, list[tuple[float, float]]], peer: str, ours: str) -> dict[str, Any]:
    """Return the spread of wall and CPU of each contestant, and peer over ours, pair by pair."""
    found: dict[str, Any] = {"repetitions": len(rows[ours])}
    for part, name in enumerate(("wall_s", "cpu_s")):
        for contestant, values in rows.items():
            found[f"{contestant}_{name}"] = spread([value[part] for value in values])
        pairs = zip(rows[peer], rows[ours], strict=True)
        found[f"times_less_{name}"] = spread([theirs[part] / own[part] for theirs, own in pairs])
    return found


def noop(repetitions: int = 15) -> dict[str, Any]:
    """Time `deveno run` and `dvc repro` of this checkout with nothing to do."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    commands = {
        "deveno_run": (sys.executable, "-m", "stages", "run"),
        "dvc_repro": (sys.executable, "-m", "dvc", "repro", "-q"),
    }
    for command in (*commands.values(), *commands.values()):
        shown = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(repetitions):
        for name, command in commands.items():
            rows[name].append(measured(command, ROOT, variables))
    return {**ratios(rows, "dvc_repro", "deveno_run"), "goal_times_less": 5}


class Registering:
    """A project whose stage `big` writes much: `kept` as its output, `lost` into its scratch."""

    def __init__(self, root: Path, variables: dict[str, str], prefix: tuple[str, ...]) -> None:
        self.root, self.variables = root, variables
        self.dvc = (*prefix, sys.executable, "-m", "dvc")

    def once(self, seed: int) -> dict[str, tuple[float, float]]:
        """Time all contestants on other bytes, each from the same state."""
        path = self.root / "params.yaml"
        path.write_text(path.read_text().replace(f"seed: {seed - 1}", f"seed: {seed}"))
        got = {}
        # Either begins with the 2 GB of before gone: a command that removed them in its own time
        # would write into the pages it has just freed, and the other would not.
        shutil.rmtree(self.root / "data/big/kept", ignore_errors=True)
        for name, entry in (("alone", "big@lost"), ("with", "big@kept")):
            os.sync()
            pretouch()
            got[name] = self.timed("repro", "-q", "-s", entry)
        got["registering"] = tuple(
            kept - lost for kept, lost in zip(got["with"], got["alone"], strict=True)
        )
        self.run("status", "-q", "big@kept")  # fails where DVC does not call it clean
        self._forget()
        self.run("config", "--local", "cache.type", "copy")
        os.sync()
        pretouch()
        got["dvc_commit"] = self.timed("commit", "-q", "-f", "big@kept")
        got["dvc_commit_of_nothing_new"] = self.timed("commit", "-q", "-f", "big@kept")
        (self.root / ".dvc/config.local").unlink()
        self._forget()
        return got

    def timed(self, *words: str) -> tuple[float, float]:
        """Return wall and CPU seconds of a DVC command."""
        return measured((*self.dvc, *words), self.root, self.variables)

    def run(self, *words: str) -> None:
        """Run a DVC command that must succeed."""
        subprocess.run((*self.dvc, *words), cwd=self.root, env=self.variables, check=True)

    def _forget(self) -> None:
        """Take from DVC what it knows and holds; the outputs stay."""
        shutil.rmtree(self.root / ".deveno/state")
        shutil.rmtree(self.root / ".dvc/cache/files")
        for part in (self.root / "data/big/kept").iterdir():
            part.chmod(0o644)


def register(files: int, linked: bool, mib: int = 2048, repetitions: int = 3) -> dict[str, Any]:
    """Time a stage of 2 GB with and without registering, and `dvc commit` of the same with copy."""
    from tests.pipeline import naps

    sizes = f"{{mib: {mib}, files: {files}, seed: 1, registered: "
    recipe = f"big:\n  kept: {sizes}true}}\n  lost: {sizes}false}}\n"
    naps.COPIED = (*naps.COPIED, "stages/lm/__init__.py", "stages/lm/lanes.py")
    folder = Path(tempfile.mkdtemp(prefix="deveno-truth-", dir=os.environ.get("DEVENO_ROOM")))
    try:
        clone = naps.make(folder / "project")
        (clone.root / "stages/big").mkdir(exist_ok=True)
        (clone.root / "stages/big/__init__.py").write_text('"""Much."""\n')
        (clone.root / "stages/big/stage.py").write_text(textwrap.dedent(BIG).lstrip("\n"))
        (clone.root / "stages/recipes/big.yaml").write_text(f"# Much.\n{recipe}")
        clone.deveno("sync")
        clone.deveno("use", "big", "--force")
        # Without reflinks: what is compared is a copy and what we do instead of it.
        clone.run("dvc", "config", "cache.type", "hardlink,copy" if linked else "copy")
        clone.run("dvc", "config", "core.site_cache_dir", str(clone.root / ".deveno/state"))
        prefix: tuple[str, ...] = ()
        if linked and os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(folder)], check=True)
            folder.chmod(0o755)
            prefix = DESCENDED
        project = Registering(clone.root, clone.environment, prefix)
        rows: dict[str, list[tuple[float, float]]] = {}
        for seed in range(1, repetitions + 2):
            got = project.once(seed)
            if seed > 1:  # the first warms numba's and DVC's files
                for name, value in got.items():
                    rows.setdefault(name, []).append(value)
        return {
            "files": files, "mib": mib, "linked": linked, "goal_times_less": 1.8,
            "user": "nobody" if prefix else "root" if os.geteuid() == 0 else "user",
            **ratios(rows, "dvc_commit", "registering"),
        }  # fmt: skip
    finally:
        shutil.rmtree(folder)


def metric(count: int = 20000) -> dict[str, Any]:
    """Time one logged metric in the training thread, while the journal is written behind it."""
    from stages.core.journal import Journal
    from stages.core.log import Log

    found: dict[str, Any] = {"goal_us": 10}
    for name, pause_s in (("at_once", 0.0), ("every_200_us", 200e-6)):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            opened = Journal.open(
                home, "pretrain", "eo", fingerprint="f", version=1, params={}, workspace=home
            )
            # The same calls into a log without journal are the noise of this machine, its timers'
            # cost included.
            logs = {"journal": Log(sink=opened.append), "bare": Log()}
            spent: dict[str, list[float]] = {}
            for step in range(count):
                for kind, log in logs.items():
                    used, began = time.thread_time_ns(), time.perf_counter_ns()
                    log.metric("loss_nats", 2.5 + step * 1e-6, step=step)
                    wall = time.perf_counter_ns() - began
                    spent.setdefault(f"{kind}_cpu_us", []).append(time.thread_time_ns() - used)
                    spent.setdefault(f"{kind}_wall_us", []).append(wall)
                    until = time.perf_counter() + pause_s
                    while time.perf_counter() < until:
                        pass
            opened.close("ok")
            written = opened.path.read_text().count('"event": "metric"')
        assert written == count
        for kind, values in spent.items():
            ordered = sorted(value / 1e3 for value in values)
            found[f"{name}_{kind}"] = {
                "median": round(statistics.median(ordered), 2),
                "p99": round(ordered[int(0.99 * count)], 2),
                "mean": round(statistics.fmean(ordered), 2),
            }
    return found


def mutations(count: int = 200, seed: int = 2018) -> dict[str, Any]:
    """Change a small project in so many ways; whatever a glance calls fresh, DVC must call so."""
    from tests.pipeline import mutations as planned

    with tempfile.TemporaryDirectory() as folder:
        project = planned.make(Path(folder).resolve())
        os.chdir(project.root)
        sys.path.append(str(project.root / "packages/lib/x-packages"))
        found = planned.rounds(project, count, seed, setattr)
        os.chdir(ROOT)
    return {
        "mutations": len(found),
        "called_fresh_and_is_not": sum(one.wrong for one in found),
        "called_fresh": sum(one.glance for one in found),
        "fresh_for_dvc_status": sum(one.fresh for one in found),
        "fresh_when_dvc_reads_every_byte": sum(one.fresh_in_truth for one in found),
        "kinds": sorted({one.kind for one in found}),
    }


PARTS: dict[str, Callable[[], Any]] = {
    "noop": noop,
    "metric": metric,
    "mutations": mutations,
    "register": lambda: [register(files, linked) for linked in (False, True) for files in (1, 16)],
}


def main(arguments: list[str]) -> int:
    """Run the parts that are named, or all, and write their figures."""
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in arguments or list(PARTS):
        figures = PARTS[name]()
        result[name] = {
            "figures": figures,
            "load_average": [round(value, 2) for value in os.getloadavg()],
            "as_root": os.geteuid() == 0,
        }
        print(json.dumps({name: figures}, indent=1), flush=True)
        RESULT.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
