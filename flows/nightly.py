"""The nightly benchmark: is HEAD faster or slower than the last good commit, on this machine?

Both commits are measured side by side in worktrees of their own (`flows.night`), never stacked: a
night that comes too late, or while another benchmark measures, is a Cancelled run that says why.
The benchmark entries at HEAD are measured too, whatever DVC has cached: it would call them fresh
for ever. However a night ends, `.deveno/nightly/history.jsonl` and its page tell it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import measuring, night, walk, worktree
from flows.pipeline import deployed
from stages.core import workspace
from stages.core.errors import DevenoError

STALE_HOURS = 6.0
"""A run that starts so long after its hour is skipped: a laptop that slept through the night."""
NOTHING = "no benchmark in the parameters at HEAD"


@flow(name="nightly", persist_result=False, task_runner=ThreadPoolTaskRunner())
def nightly(
    recipe: str = "", targets: list[str] | None = None, stale_hours: float = STALE_HOURS
) -> State:
    """Compare HEAD with the last good commit, and measure this machine again."""
    home = workspace.home(workspace.root(Path.cwd()))
    chosen = targets or ["benchmark"]
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


def too_late(planned: datetime | None, now: datetime, hours: float) -> str:
    """Return why a run planned for that time is no longer wanted, or an empty text."""
    late_hours = (now - planned).total_seconds() / 3600 if planned else 0.0
    return f"planned {late_hours:.1f} h ago, more than {hours:g} h" if late_hours > hours else ""
