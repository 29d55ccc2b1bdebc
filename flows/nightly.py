"""The nightly benchmark: is HEAD faster or slower than the last good commit, on this machine?

Both commits are measured side by side in worktrees of their own (`flows.night`), never stacked: a
night that comes too late, or while another benchmark measures, is a Cancelled run that says why.
One that finds the deployment's slot taken is cancelled by the server: the next to end records it.
The benchmark entries at HEAD are measured too, whatever DVC has cached: it would call them fresh
for ever. However a night ends, `.deveno/nightly/history.jsonl` and its page tell it.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import history, measuring, night, walk, worktree
from flows.pipeline import deployed
from stages.core import workspace
from stages.core.errors import DevenoError

STALE_HOURS = 6.0
"""A run that starts so long after its hour is skipped: a laptop that slept through the night."""
MOST_REFUSED = 200
"""Ended runs looked at, the newest, for nights that history does not tell of."""
NOTHING = "no benchmark in the parameters at HEAD"


@flow(name="nightly", persist_result=False, task_runner=ThreadPoolTaskRunner())
def nightly(
    recipe: str = "", targets: list[str] | None = None, stale_hours: float = STALE_HOURS
) -> State:
    """Compare HEAD with the last good commit, and measure this machine again."""
    home = workspace.home(workspace.root(Path.cwd()))
    state = _night(home, recipe, targets or ["benchmark"], stale_hours)
    with contextlib.suppress(PrefectException, httpx.HTTPError):  # the next night makes it good
        night.refuse(home, _never_begun(set(history.known(home))))
    return state


def _night(home: Path, recipe: str, chosen: list[str], stale_hours: float) -> State:
    """Hold the night of this flow run; return how it ended."""
    try:
        with night.recorded(home, str(flow_run.id), get_run_logger().info) as one:
            reason = too_late(flow_run.scheduled_start_time, datetime.now(UTC), stale_hours)
            if reason:
                raise night.Skipped(reason)
            lock = walk.benchmark_lock(home)
            if lock is None:
                raise night.Skipped("another benchmark holds the lock")
            lock.close()  # the walk takes it for the benchmarks themselves, then the night
            verdict = night.held(one, recipe, lambda side: _made(side, chosen, recipe))
    except night.Skipped as skipped:
        told = str(skipped)
        return Completed(message=told) if told == NOTHING else Cancelled(message=f"skipped: {told}")
    except DevenoError as error:
        return Failed(message=f"{error.what} ({error.where})")
    blind = f"; blind: {', '.join(one.known['blind'])}" if one.known["blind"] else ""
    return Completed(message=f"{verdict}{blind}")


def _made(side: measuring.Side, targets: list[str], recipe: str) -> str:
    """Make or restore what a side measures; the candidate's own benchmarks are measured by it."""
    if side.name == measuring.CANDIDATE:
        steps = worktree.steps(side.folder, targets, True, side.python)
        if not steps:  # forced entries are never fresh
            raise night.Skipped(NOTHING)
        state = deployed(side.folder, steps, "nightly", recipe, side.python)
        return "" if state.is_completed() else str(state.message)
    steps = night.models_only(worktree.steps(side.folder, targets, False, side.python))
    if not steps:
        return ""
    run = f"{flow_run.id}-baseline"
    own = walk.Walk(
        side.folder, steps, run=run, name="nightly-baseline", recipe=recipe, python=side.python
    )
    with ThreadPoolExecutor(max_workers=own.cores) as pool:  # signals stay the runner's
        results = own.walk(lambda step: pool.submit(own.perform, step))
    return ", ".join(f"{name} {one.state}" for name, one in results.items() if not one.good)


def _never_begun(known: set[str]) -> list[night.Refused]:
    """Return the nights that ended before their first line, oldest first.

    The slot of the deployment was taken, somebody cancelled them, their process did not start.
    """
    ended = FlowRunFilterStateType(any_=[StateType.CANCELLED, StateType.CRASHED, StateType.FAILED])
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[nightly.name])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=ended)),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=MOST_REFUSED,
        )
    return [
        night.Refused(
            name=str(one.id),
            skipped=one.state.type == StateType.CANCELLED,
            reason=one.state.message or one.state.name or "no reason was given",
            time=one.state.timestamp.astimezone(UTC).isoformat(timespec="seconds"),
        )
        for one in reversed(runs)
        if one.state is not None and str(one.id) not in known
    ]


def too_late(planned: datetime | None, now: datetime, hours: float) -> str:
    """Return why a run planned for that time is no longer wanted, or an empty text."""
    late_hours = (now - planned).total_seconds() / 3600 if planned else 0.0
    return f"planned {late_hours:.1f} h ago, more than {hours:g} h" if late_hours > hours else ""
