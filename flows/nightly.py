"""The nightly benchmark: in its own worktree, forced, alone, and never stacked.

A benchmark is no cached stage in the ordinary sense: DVC would call it fresh for ever. So the night
forces it, and skips (a Cancelled run that says why) when it comes too late or another one measures.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import worktree
from flows.pipeline import deployed
from flows.walk import benchmark_lock
from stages.core import workspace
from stages.core.errors import MachineError

STALE_HOURS = 6.0
"""A run that starts so long after its hour is skipped: a laptop that slept through the night."""
FOLDER = "nightly"


@flow(name="nightly", persist_result=False, task_runner=ThreadPoolTaskRunner())
def nightly(
    recipe: str = "", targets: list[str] | None = None, stale_hours: float = STALE_HOURS
) -> State:
    """Measure this machine again at HEAD, whatever DVC has cached."""
    home = workspace.home(workspace.root(Path.cwd()))
    reason = too_late(flow_run.scheduled_start_time, datetime.now(UTC), stale_hours)
    if reason:
        return Cancelled(message=f"skipped: {reason}")
    lock = benchmark_lock(home)
    if lock is None:
        return Cancelled(message="skipped: another benchmark holds the lock")
    lock.close()  # the walk takes it for the benchmarks themselves
    try:
        with worktree.opened(home, FOLDER, recipe, get_run_logger().info) as folder:
            steps = worktree.steps(folder, targets or ["benchmark"], force=True)
            if not steps:  # forced entries are never fresh
                return Completed(message="no benchmark in the parameters at HEAD")
            return deployed(folder, steps, "nightly", recipe)
    except MachineError as error:
        if "another run works" in error.what:
            return Cancelled(message=f"skipped: {error.what}")
        raise


def too_late(planned: datetime | None, now: datetime, hours: float) -> str:
    """Return why a run planned for that time is no longer wanted, or an empty text."""
    late_hours = (now - planned).total_seconds() / 3600 if planned else 0.0
    return f"planned {late_hours:.1f} h ago, more than {hours:g} h" if late_hours > hours else ""
