"""MLflow: the only file that imports it, and only inside functions.

`Store` says what one event means there. Every call may be repeated after a crash: a run is found by
the tag of its execution before it is made, a model by path and md5, a metric by its own time, step
and value; so publishing the same journal twice gives the same store. `stages.core.publisher` reads
the journals and calls it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import MachineError
from stages.core.publisher import ensure_publisher, publish_forever

__all__ = [
    "Point",
    "Store",
    "ensure_publisher",
    "erase",
    "expired",
    "flat",
    "publish_forever",
    "uri",
]

EXPERIMENT = "deveno"
DATABASE = "mlflow.db"
PARAM_CHARACTERS = 6000
TAG_CHARACTERS = 8000
KEY_CHARACTERS = 250
POINTS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
FORBIDDEN = re.compile(r"[^\w\-. /:]")
STATUS = {"ok": "FINISHED", "resumable": "KILLED", "cancelled": "KILLED"}
"""MLflow's status of an outcome; every other one is FAILED."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
"""No telemetry; and a dead server fails at once, for the publisher has its own patience."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""What MLflow's list of experiments calls "machine learning"; else its pages guess."""
NOT_OURS = ("mlflow.source.git.branch", "mlflow.source.git.repoURL")
"""What MLflow notes on a model by itself: where the publisher stands, not where it was made."""
INHERITED = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
"""Variables of somebody else's run, which a child would otherwise end or fill."""


@dataclass(frozen=True)
class Point:
    """One value of a metric at a time and step."""

    name: str
    value: float
    time_ms: int
    step: int = 0


def uri(home: Path) -> str:
    """Return the tracking address: MLFLOW_TRACKING_URI, else the sqlite file at the root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(home / DATABASE).resolve()}"


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Return nested parameters as dotted names and texts, cut to what MLflow takes."""
    rows: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping) and value:
        rows = ((str(name), item) for name, item in sorted(value.items()))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        rows = ((str(number), item) for number, item in enumerate(value))
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return {_key(prefix): _cut(text, PARAM_CHARACTERS)}
    found: dict[str, str] = {}
    for name, item in rows:
        found |= flat(item, f"{prefix}.{name}" if prefix else name)
    return found


class Store:
    """A tracking store that is there: made if it must be, anchored at the home."""

    def __init__(self, home: Path) -> None:
        for name in INHERITED:
            os.environ.pop(name, None)
        os.environ.update(QUIET)
        self.home, self.uri = home, uri(home)
        local = self.uri.startswith("sqlite:")
        if local:
            create(home)
        import mlflow
        from mlflow.tracking import MlflowClient

        mlflow.set_tracking_uri(self.uri)
        self.client = MlflowClient(tracking_uri=self.uri)
        self.experiment = self._experiment((home / "mlartifacts").as_uri() if local else None)
        self._parents: dict[str, str] = {}

    @property
    def identity(self) -> str:
        """What tells this store from another that lies where it lay: when our experiment began."""
        return f"{self.experiment} {self.client.get_experiment(self.experiment).creation_time}"

    def _experiment(self, artifacts: str | None) -> str:
        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            return str(self.client.create_experiment(EXPERIMENT, artifacts, tags=KIND))
        for name, value in KIND.items():
            if name not in found.tags:
                self.client.set_experiment_tag(found.experiment_id, name, value)
        return str(found.experiment_id)

    def check(self) -> None:
        """Raise if the store cannot be reached."""
        self.client.get_experiment(self.experiment)

    def execution(self, start: Mapping[str, Any]) -> str:
        """Return the run of an execution, made from its `start` event if it is not there yet."""
        run = self._run_with("deveno.execution", start["execution"])
        if run is None:
            name = f"{start['stage']}@{start['key']}"
            run = self._create_run(start, name, _execution_tags(start))
        params = list(flat(start.get("params") or {}).items())
        self.params(run, [row for row in params if row[0]])
        return run

    def parent(self, flow: Mapping[str, Any], time_s: float) -> str:
        """Return the run of a flow run, under which its executions are nested."""
        known = self._parents.get(flow["id"]) or self._run_with("deveno.flow_run", flow["id"], True)
        if known is None:
            recipe = flow.get("recipe") or ""
            name = f"{flow.get('name') or 'pipeline'}/{recipe}" if recipe else str(flow["name"])
            tags = {"deveno.flow_run": flow["id"], "deveno.recipe": recipe, "deveno.flow": "true"}
            known = self._create_run({"time": time_s}, name, tags)
        self._parents[flow["id"]] = known
        return known

    def params(self, run: str, rows: Sequence[tuple[str, str]]) -> None:
        """Log parameters."""
        from mlflow.entities import Param

        for first in range(0, len(rows), PARAMS_PER_BATCH):
            batch = [Param(name, text) for name, text in rows[first : first + PARAMS_PER_BATCH]]
            self.client.log_batch(run, params=batch, synchronous=True)

    def points(self, run: str, points: Sequence[Point], model: str | None = None) -> None:
        """Log values of metrics, to a model too if one is named."""
        from mlflow.entities import Metric

        for first in range(0, len(points), POINTS_PER_BATCH):
            batch = [
                Metric(_key(one.name), one.value, one.time_ms, one.step, model_id=model)
                for one in points[first : first + POINTS_PER_BATCH]
            ]
            self.client.log_batch(run, metrics=batch, synchronous=True)

    def tag(self, run: str, tags: Mapping[str, Any]) -> None:
        """Set tags; those without a value are left out."""
        for name, value in tags.items():
            if value not in (None, ""):
                self.client.set_tag(run, _key(name), _cut(str(value), TAG_CHARACTERS))

    def text(self, run: str, name: str, text: str) -> None:
        """Keep a text or table as a small file of the run."""
        self.client.log_text(run, text, f"{re.sub(r'[^0-9A-Za-z_.-]', '_', name)[:100]}")

    def finish(self, run: str, outcome: str, time_s: float) -> None:
        """Close a run as its outcome says."""
        self.tag(run, {"deveno.outcome": outcome})
        status = STATUS.get(outcome, "FAILED")
        self.client.set_terminated(run, status=status, end_time=int(time_s * 1000))

    def model(
        self, path: str, md5: str, run: str | None, start: Mapping[str, Any] | None = None
    ) -> str:
        """Return the model of a published artifact: a name and tags, the bytes stay in DVC.

        `start` is of the execution that made it; a model that a score named first gets it later.
        """
        wanted = f"tags.`dvc.path` = '{path}' AND tags.`dvc.md5` = '{md5}'"
        tags = _texts(_execution_tags(start)) if start else {}
        found = self.client.search_logged_models([self.experiment], wanted, max_results=1)
        if found:
            known = found[0]
            if tags and "deveno.fingerprint" not in known.tags:
                self.client.set_logged_model_tags(known.model_id, tags)
            return str(known.model_id)
        import mlflow

        made = mlflow.create_external_model(
            name=path.removeprefix("models/").replace("/", "-"),
            source_run_id=run,
            tags={"mlflow.source.name": path, "dvc.path": path, "dvc.md5": md5, **tags},
            params=flat(start.get("params")) if start and start.get("params") else None,
            model_type=path.split("/")[1],
            experiment_id=self.experiment,
        )
        for name in NOT_OURS:
            if name in made.tags:
                self.client.delete_logged_model_tag(made.model_id, name)
        return str(made.model_id)

    def link(self, run: str, model: str) -> None:
        """Show a model among the outputs of the run that made it, once."""
        from mlflow.entities import LoggedModelOutput

        outputs = self.client.get_run(run).outputs
        if model not in {one.model_id for one in (outputs.model_outputs if outputs else [])}:
            self.client.log_outputs(run, [LoggedModelOutput(model, 0)])

    def run_of_fingerprint(self, fingerprint: str) -> str | None:
        """Return the newest finished run of a fingerprint."""
        return self._run_with("deveno.fingerprint", fingerprint)

    def finished(self) -> Iterator[Any]:
        """Yield the runs of executions that have ended, newest first."""
        wanted = "tags.`deveno.execution` != '' AND attributes.status != 'RUNNING'"
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.experiment], wanted, max_results=1000, page_token=token,
                order_by=["attributes.start_time DESC"],
            )  # fmt: skip
            yield from page
            token = page.token
            if not token:
                return

    def _create_run(self, start: Mapping[str, Any], name: str, tags: Mapping[str, Any]) -> str:
        flow = start.get("flow")
        extra = {"mlflow.parentRunId": self.parent(flow, start["time"])} if flow else {}
        made = self.client.create_run(
            self.experiment,
            start_time=int(start["time"] * 1000),
            tags={**_texts(tags), **extra},
            run_name=name,
        )
        return str(made.info.run_id)

    def _run_with(self, tag: str, value: str, flow: bool = False) -> str | None:
        wanted = f"tags.`{tag}` = '{value}'" + (" AND tags.`deveno.flow` = 'true'" if flow else "")
        found = self.client.search_runs([self.experiment], wanted, max_results=1)
        return str(found[0].info.run_id) if found else None


def _execution_tags(start: Mapping[str, Any]) -> dict[str, Any]:
    flow = start.get("flow") or {}
    facts = start.get("machine") or {}
    return {
        "deveno.execution": start["execution"],
        "deveno.stage": start["stage"],
        "deveno.key": start["key"],
        "deveno.version": start.get("version"),
        "deveno.fingerprint": start.get("fingerprint"),
        "deveno.recipe": flow.get("recipe") or start.get("recipe"),
        "deveno.flow_run": flow.get("id"),
        "deveno.commit": start.get("commit"),
        "deveno.dvc_experiment": start.get("dvc_exp_name"),
        "deveno.resumes": start.get("resumes"),
        "deveno.cpu": facts.get("cpu_model"),
        "deveno.cores": facts.get("cores"),
        "mlflow.source.name": f"stages/{start['stage']}/stage.py",
        "mlflow.source.git.commit": start.get("commit"),
    }


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    given = {name: value for name, value in tags.items() if value not in (None, "")}
    return {_key(name): _cut(str(value), TAG_CHARACTERS) for name, value in given.items()}


def _key(name: str) -> str:
    return FORBIDDEN.sub("_", name)[:KEY_CHARACTERS]


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def create(home: Path) -> None:
    """Make the sqlite store once: whole under another name, then renamed, under a lock.

    Two processes that create tables in one fresh file crash, and whoever opens it half-made too.
    """
    path = Path(uri(home).removeprefix("sqlite:///"))
    if path.exists():
        return
    os.environ.update(QUIET)
    state = home / ".deveno"
    state.mkdir(parents=True, exist_ok=True)
    with (state / "mlflow.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if path.exists():
            return
        from mlflow.tracking import MlflowClient

        for leftover in state.glob("mlflow.*.db*"):
            leftover.unlink()
        fresh = state / f"mlflow.{os.getpid()}.db"
        MlflowClient(tracking_uri=f"sqlite:///{fresh.resolve()}").search_experiments()
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(path)


def expired(home: Path, keep: int, needed: Collection[str]) -> list[tuple[str, str, int]]:
    """Return (run, entry, bytes of its texts) of finished runs beyond the newest of each entry.

    Runs of `needed` fingerprints stay. Only the store at the root is ours to clear: of a server
    nothing is named, nor where no run was ever tracked.
    """
    path = home / DATABASE
    if not uri(home).startswith("sqlite:") or not path.exists():
        return []
    store = Store(home)
    seen: dict[str, int] = {}
    found = []
    for run in store.finished():
        tags = run.data.tags
        name = f"{tags.get('deveno.stage')}@{tags.get('deveno.key')}"
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > keep and tags.get("deveno.fingerprint") not in needed:
            texts = Path(str(run.info.artifact_uri).removeprefix("file://"))
            size = sum(one.stat().st_size for one in texts.rglob("*") if one.is_file())
            found.append((str(run.info.run_id), name, size))
    return found


def erase(home: Path, runs: Sequence[str]) -> None:
    """Delete runs for good: first as MLflow's client does, then what it leaves in the store."""
    store = Store(home)
    for run in runs:
        store.client.delete_run(run)
    ids = ",".join(runs)
    command = [sys.executable, "-m", "mlflow", "gc", "--run-ids", ids]
    done = subprocess.run(
        [*command, "--backend-store-uri", store.uri],
        capture_output=True, text=True, check=False,
        env={**os.environ, "MLFLOW_TRACKING_URI": store.uri},
    )  # fmt: skip
    if done.returncode:
        raise MachineError(
            f"`mlflow gc` failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}",
            store.uri,
            "the runs are marked as deleted already; `mlflow gc` takes them out of the store",
        )
