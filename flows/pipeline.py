"""The pipeline flow: one Prefect task per entry; order, budget and cancelling are the walk's.

Prefect caches nothing here (DVC does): an entry that DVC found fresh is a Completed task that says
`cached by dvc <fingerprint>`.

Prefect schedules, shows and cancels; it computes nothing. The walk's own threads run the entries
and each task waits for its entry's result, so a server that dies in between costs its page some
states and the run nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.futures import PrefectFuture
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import server, worktree
from flows.signals import stopping
from flows.walk import Result, Step, Walk
from stages.core import remotes, workspace

DEPLOYED = "PREFECT__FLOW_RUN_ID"
"""Set by Prefect's runner in the process of a flow run; it then owns SIGTERM."""
FLUSH_S = 5.0
TOLD_S = 20.0
"""How long the tasks may take to tell the server their last state."""

_logger = logging.getLogger("deveno.flows")
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
    """Show one entry of the graph: it takes as long as the entry and ends as the entry ends."""
    return state_of(_walks[-1].result(name))


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
        with stopping(_walks[-1].stop):
            return submitted(_walks[-1])
    home = workspace.home(workspace.root(Path.cwd()))
    with worktree.opened(home, recipe or "pipeline", recipe, get_run_logger().info) as folder:
        steps = worktree.steps(folder, targets or [], force)
        return deployed(folder, steps, "pipeline", recipe)


def deployed(
    folder: Path, steps: list[Step], name: str, recipe: str, python: str = sys.executable
) -> State:
    """Walk a worktree inside a flow run."""
    if not steps:
        return Completed(message="everything is fresh: nothing to run")
    logger = get_run_logger()

    def tell(entry_name: str, state: str, message: str) -> None:
        logger.info("%s %s %s", state, entry_name, message)

    before = remotes.restorer(folder, remotes.default(folder, logger.warning))
    walk = Walk(
        folder, steps, run=str(flow_run.id), name=name, recipe=recipe, on_event=tell,
        before=before, python=python,
    )  # fmt: skip
    _walks.append(walk)
    try:
        # Outside Prefect's runner (a test, a plain script) nobody turns SIGTERM into an exception.
        guarded = contextlib.nullcontext() if DEPLOYED in os.environ else stopping(walk.stop)
        with guarded:
            return submitted(walk)
    finally:
        _walks.pop()


def submitted(walk: Walk) -> State:
    """Walk, show each step as a task, and return the state of the whole."""
    futures: dict[str, PrefectFuture[Any]] = {}

    def start(step: Step) -> None:
        pool.submit(walk.perform, step)
        after = [futures[name] for name in step.upstream if name in futures]
        with contextlib.suppress(Exception):  # a task that cannot be shown is run all the same
            futures[step.name] = entry.submit(step.name, wait_for=after)

    with ThreadPoolExecutor(max_workers=max(1, walk.cores)) as pool:
        results = walk.walk(start)
    deadline = time.monotonic() + TOLD_S
    for future in futures.values():
        with contextlib.suppress(Exception):
            future.wait(timeout=max(0.0, deadline - time.monotonic()))
    bad = {name: result for name, result in results.items() if not result.good}
    if not bad:
        return Completed(message=f"{len(results)} entries")
    told = ", ".join(f"{name} {result.state}" for name, result in bad.items())
    return Cancelled(message=told) if walk.stopping.is_set() else Failed(message=told)


def run_here(walk: Walk, targets: list[str]) -> None:
    """Run the flow in this process on a walk that is already planned.

    Whatever Prefect raises, before the walk or after it, is its own affair: the walk's results say
    how the entries ended, and who calls this sees by them whether the walk has begun.
    """
    _walks.append(walk)
    try:
        pipeline(walk.recipe or "own", targets, return_state=True)
    except Exception as error:
        _logger.warning("Prefect was lost: %s: %s", type(error).__name__, error)
    finally:
        _walks.pop()
        _flush(lost=not server.answers(f"{PREFECT_API_URL.value()}/health"))


def _flush(lost: bool) -> None:
    """Send what Prefect's threads still hold; else they try a server that is gone, for a minute."""
    for worker in (APILogWorker, EventsWorker):
        with contextlib.suppress(Exception):
            for instance in tuple(worker._instances.values()) if lost else ():
                with contextlib.suppress(queue.Empty):
                    while True:
                        instance._queue.get_nowait()
            worker.drain_all(timeout=FLUSH_S, at_exit=False)
