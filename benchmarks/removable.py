"""MLflow dies in the middle of a whole `deveno run`: no byte may tell, nothing be lost or doubled.

A toy line of three entries runs undisturbed and with tracking off; then again, each time with one
of these deaths in it, and is compared byte for byte:

- `publisher`: the process that publishes is killed (SIGKILL) while a training is half published;
- `junk`: mlflow.db is overwritten with junk, which is removed after the run;
- `away`: mlflow.db goes, a folder stands in its place, and it comes back after the run;
- `anew`: mlflow.db goes, and somebody else makes an empty one (as `mlflow ui` does);
- `server`: tracking goes to an MLflow server, which is killed, and started again after the run.

Afterwards one publication, and every run, point, score and model that the journals tell of must be
in the store once. Writes benchmarks/removable.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.removable_project import make
from stages.core import canonical, journal, publisher, yamlfile
from tests.pipeline import naps
from tests.pipeline.conftest import ROOT, Clone

DEATHS = ("publisher", "junk", "away", "anew", "server")
OUTPUTS = ("data", "models", "reports", "metrics", "plots")
JUNK = b"no database at all\n" * 4096
PATIENCE_S = 120.0


def twin(clone: Clone, folder: Path) -> Clone:
    """Copy a project in which nothing has run."""
    shutil.copytree(clone.root, folder, symlinks=True)
    more = {"DEVENO_TRACKING": "on", "DEVENO_TOY_GATE": str(folder / ".deveno/gate")}
    return Clone(folder, clone.environment | more)


def outputs(clone: Clone) -> dict[str, bytes]:
    """Return what a run has made, by path; the lock without the order in which entries ended."""
    lock = yamlfile.plain(yamlfile.read(clone.root / "dvc.lock"))
    found = {"dvc.lock": json.dumps(lock, sort_keys=True).encode()}
    for name in OUTPUTS:
        for path in sorted((clone.root / name).rglob("*")):
            if path.is_file():
                found[path.relative_to(clone.root).as_posix()] = path.read_bytes()
    return found


def publishers(home: Path) -> list[psutil.Process]:
    """Return the living processes that publish a home."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:] == ["-m", "stages", "publish", str(home)]:
                found.append(process)
    return found


def kill_publishers(home: Path) -> int:
    """Kill them; return how many there were."""
    found = publishers(home)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
            process.wait(10)
    return len(found)


def wait(condition: object, what: str) -> None:
    """Wait until something is so."""
    assert callable(condition)
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"never came: {what}")
        time.sleep(0.02)


def half_published(home: Path, entry: str) -> bool:
    """Return whether a part of an entry's journal is published, and not all."""
    for path in (home / ".deveno/published").glob(f"*/{entry}/*.json"):
        with contextlib.suppress(ValueError, OSError):
            row = json.loads(path.read_text(encoding="utf-8"))
            return bool(row["offset"]) and not row["done"]
    return False


@contextlib.contextmanager
def serving(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve the store of a home; whatever happens, no server is left."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    store = ["--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}", "--workers", "1"]
    variables = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    server = subprocess.Popen(
        [*command, *store], cwd=home, env=variables, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def answers() -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            return True
        return False

    try:
        wait(answers, "an MLflow server")
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def started(clone: Clone) -> subprocess.Popen[str]:
    """Start `deveno run`."""
    return subprocess.Popen(
        ["python", "-m", "stages", "run"], cwd=clone.root, env=clone.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def told(home: Path) -> Counter[tuple[object, ...]]:
    """Return what the journals of a home tell, each as the store must have it: once."""
    found: Counter[tuple[object, ...]] = Counter()
    models: set[tuple[object, ...]] = set()
    for path in sorted(journal.folder(home).glob("*@*/*.jsonl")):
        execution = journal.load(path)
        assert execution is not None
        assert execution.end is not None
        found["run", execution.id, "FINISHED"] += 1
        for event in execution.events():
            if event["event"] in ("metric", "observe"):
                found["point", execution.id, event["name"], event["value"]] += 1
        for name in publisher.costs(execution.end):
            found["cost", execution.id, name] += 1
        for row in execution.end["outputs"]:
            if row["path"].startswith("models/"):
                models.add(("model", row["path"], row["md5"]))
        scored = f"models/{execution.start['params'].get('model')}"
        for event in execution.events():
            if event["event"] == "metric" and scored in execution.start["inputs"]:
                found["score", scored, event["name"], event["value"]] += 1
    for path in journal.folder(home).glob(f"{journal.FLOWS}/*.jsonl"):
        flow = journal.load(path)
        assert flow is not None
        found["flow", flow.start["flow"]["id"]] += 1
    return found + Counter(models)


def stored(home: Path) -> Counter[tuple[object, ...]]:
    """Return what the store of a home has, in the same words, read from its tables."""
    found: Counter[tuple[object, ...]] = Counter()
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as store:
        rows = store.execute
        runs = (
            "SELECT run_uuid, value, status FROM runs JOIN tags USING (run_uuid) WHERE key = '{}'"
        )
        names = {}
        for run, name, status in rows(runs.format("deveno.execution")).fetchall():
            names[run] = name
            found["run", name, status] += 1
        flows = (  # executions have the first tag too
            "SELECT a.value FROM tags a JOIN tags b USING (run_uuid)"
            " WHERE a.key = 'deveno.flow_run' AND b.key = 'deveno.flow'"
        )
        for (name,) in rows(flows).fetchall():
            found["flow", name] += 1
        for run, name, value in rows("SELECT run_uuid, key, value FROM metrics").fetchall():
            if name.startswith("cost/"):
                found["cost", names.get(run, run), name.removeprefix("cost/")] += 1
            else:
                found["point", names.get(run, run), name, value] += 1
        tags = "SELECT tag_value FROM logged_model_tags WHERE model_id = ? AND tag_key = ?"
        for (model,) in rows("SELECT model_id FROM logged_models").fetchall():
            path, md5 = (rows(tags, (model, tag)).fetchone()[0] for tag in ("dvc.path", "dvc.md5"))
            found["model", path, md5] += 1
            scores = "SELECT metric_name, metric_value FROM logged_model_metrics WHERE model_id = ?"
            for name, value in rows(scores, (model,)).fetchall():
                found["score", path, name, value] += 1
    return +found


def faults(home: Path) -> list[str]:
    """Return what is missing in the store and what is in it twice; nothing if all is once."""
    wanted, found = told(home), stored(home)
    return [
        *(f"missing: {row}" for row in (wanted - found).elements()),
        *(f"too many: {row}" for row in (found - wanted).elements()),
    ]


def published(clone: Clone) -> None:
    """Publish once, as the process does that a stage starts."""
    clone.run("python", "-m", "stages", "publish", str(clone.root))


def disturbed(clone: Clone, death: str, store: Path | None = None) -> list[str]:
    """Run with a death in it, publish once; return what is wrong (nothing, if all is well).

    `store` is an empty store to begin with, which saves the seconds that making one takes.
    """
    home = clone.root
    if store is not None:
        shutil.copy(store, home / "mlflow.db")
    else:
        create(clone)
    with contextlib.ExitStack() as stack:
        server = None
        if death == "server":
            port = naps.free_port()
            clone.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
            server = stack.enter_context(serving(home, port))
        running = stack.enter_context(started(clone))
        stack.callback(running.kill)
        wait(lambda: half_published(home, "learn@a"), "half a journal in the store")
        die(home, death, server)
        Path(clone.environment["DEVENO_TOY_GATE"]).touch()
        shown = running.communicate(timeout=PATIENCE_S)[0]
        kill_publishers(home)  # it would try a dead store for a minute
        wrong = [] if running.returncode == 0 else [f"exit {running.returncode}: {shown[-500:]}"]
        if not pending(home):
            wrong.append(f"{death}: nothing was left to publish, so nothing was tried")
        come_back(clone, death)
        if server is not None:
            stack.enter_context(serving(home, port))
        published(clone)
    return wrong + faults(home)


def pending(home: Path) -> bool:
    """Return whether the store lacks what the journals tell, or cannot be read."""
    try:
        return bool(faults(home))
    except (sqlite3.Error, OSError):
        return True


def die(home: Path, death: str, server: subprocess.Popen[bytes] | None) -> None:
    """Let it happen."""
    store = home / "mlflow.db"
    if server is not None:
        os.killpg(server.pid, signal.SIGKILL)
        return
    if not kill_publishers(home):
        raise AssertionError("no publisher was there to be killed")
    if death == "junk":
        store.write_bytes(JUNK)
    elif death in ("away", "anew"):
        store.rename(home / "elsewhere.db")
    if death == "away":
        store.mkdir()


def create(clone: Clone) -> None:
    """Make an empty store, in a process of its own as everything that opens one."""
    make = "from stages.core import tracking, workspace; tracking.create(workspace.root())"
    clone.run("python", "-c", make)


def come_back(clone: Clone, death: str) -> None:
    """Do what a user would, once the run has ended."""
    home, store = clone.root, clone.root / "mlflow.db"
    if death == "junk":
        store.unlink()
    elif death == "away":
        store.rmdir()
        (home / "elsewhere.db").rename(store)
    elif death == "anew":
        published(clone)  # a publisher makes one itself where there is none
        store.unlink()
        create(clone)


def main() -> int:
    """Let everything die once; write what came."""
    chosen = sys.argv[1:] or DEATHS
    rows = []
    with tempfile.TemporaryDirectory(prefix="deveno-removable-") as place:
        calm = make(Path(place) / "calm")
        twins = {death: twin(calm, Path(place) / death) for death in chosen}
        calm.deveno("run")
        whole = outputs(calm)
        for death, clone in twins.items():
            wrong = disturbed(clone, death)
            other = sorted(name for name, data in whole.items() if outputs(clone).get(name) != data)
            counts = Counter(str(kind) for kind, *_ in stored(clone.root).elements())
            row = {"death": death, "wrong": wrong, "other_bytes": other, "stored": dict(counts)}
            rows.append({**row, "pass": not wrong and not other and len(whole) > 5})
            print(canonical.dumps(rows[-1]))
    result = {"runs": rows, "pass": all(row["pass"] for row in rows)}
    if not sys.argv[1:]:
        canonical.write_json(ROOT / "benchmarks" / "removable.json", result)
    return 0 if result["pass"] else 1


if __name__ == "__main__":
    sys.exit(main())
