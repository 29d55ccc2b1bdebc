"""The pipeline flow: one Prefect task per entry; order, budget and cancelling are the walk's.

Prefect caches nothing here (DVC does): an entry that DVC found fresh is a Completed task that says
`cached by dvc <fingerprint>`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.futures import PrefectFuture
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import worktree
from flows.walk import Result, Step, Walk
from stages.core import remotes, workspace

DEPLOYED = "PREFECT__FLOW_RUN_ID"
"""Set by Prefect's runner in the process of a flow run; it then owns SIGTERM."""
FLUSH_S = 5.0

_walks: list[Walk] = []
"""The walk of the flow that runs in this process: one at most."""


@task(
    name="entry",
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=0,
)
def entry(name: str) -> State:
    """Run one entry of the graph."""
    walk = _walks[-1]
    return state_of(walk.perform(walk.steps[name]))


def state_of(result: Result) -> State:
    """Return the Prefect state that tells how an entry ended."""
    if result.good:
        return Completed(message=result.message or f"computed in {result.wall_s:.1f} s")
    told = " | ".join(result.error) or result.message
    if result.state == "cancelled":
        return Cancelled(message=told)
    return Failed(message=told)


@flow(
    name="pipeline",
    flow_run_name="pipeline/{recipe}",
    persist_result=False,
    task_runner=ThreadPoolTaskRunner(),
)
def pipeline(recipe: str = "", targets: list[str] | None = None, force: bool = False) -> State:
    """Run what is stale: here as `deveno run` planned it, or for a deployment in its worktree."""
    if _walks:
        _walks[-1].run = str(flow_run.id)
        with _stopped_by_signals(_walks[-1]):
            return submitted(_walks[-1])
    home = workspace.home(workspace.root(Path.cwd()))
    with worktree.opened(home, recipe or "pipeline", recipe, get_run_logger().info) as folder:
        steps = worktree.steps(folder, targets or [], force)
        return deployed(folder, steps, "pipeline", recipe)


def deployed(folder: Path, steps: list[Step], name: str, recipe: str) -> State:
    """Walk a worktree inside a flow run."""
    if not steps:
        return Completed(message="everything is fresh: nothing to run")
    logger = get_run_logger()

    def tell(entry_name: str, state: str, message: str) -> None:
        logger.info("%s %s %s", state, entry_name, message)

    before = remotes.restorer(folder, remotes.default(folder, logger.warning))
    walk = Walk(
        folder, steps, run=str(flow_run.id), name=name, recipe=recipe, on_event=tell, before=before
    )
    _walks.append(walk)
    try:
        # Outside Prefect's runner (a test, a plain script) nobody turns SIGTERM into an exception.
        guarded = contextlib.nullcontext() if DEPLOYED in os.environ else _stopped_by_signals(walk)
        with guarded:
            return submitted(walk)
    finally:
        _walks.pop()


def submitted(walk: Walk) -> State:
    """Submit the walk's steps as tasks and return the state of the whole."""
    futures: dict[str, PrefectFuture[Any]] = {}

    def start(step: Step) -> None:
        after = [futures[name] for name in step.upstream if name in futures]
        futures[step.name] = entry.submit(step.name, wait_for=after)

    results = walk.walk(start)
    for future in futures.values():
        future.wait()
    bad = {name: result for name, result in results.items() if not result.good}
    if not bad:
        return Completed(message=f"{len(results)} entries")
    told = ", ".join(f"{name} {result.state}" for name, result in bad.items())
    return Cancelled(message=told) if walk.stopping.is_set() else Failed(message=told)


@contextlib.contextmanager
def _stopped_by_signals(walk: Walk) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop the walk in order; a second one stops without grace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        # Not in the handler itself: the walk's lock may be held by the thread it interrupts.
        threading.Thread(target=walk.stop, daemon=True).start()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def run_here(walk: Walk, targets: list[str]) -> State:
    """Run the flow in this process on a walk that is already planned."""
    _walks.append(walk)
    try:
        return pipeline(walk.recipe or "own", targets, return_state=True)
    finally:
        _walks.pop()
        _flush()


def _flush() -> None:
    """Send what Prefect's threads still hold; else they try a server that is gone, for a minute."""
    for worker in (APILogWorker, EventsWorker):
        with contextlib.suppress(Exception):
            worker.drain_all(timeout=FLUSH_S, at_exit=False)
