"""What `deveno run` calls: a plan, a server for as long as it takes, the flow in this process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from flows import lease, server
from flows.walk import OnEvent, Result, Step, Walk
from stages.core import plan, recipes, workspace
from stages.core.remotes import Before


def steps_of(made: plan.Plan, force: frozenset[str] = frozenset()) -> list[Step]:
    """Return the steps that a plan leaves to run, producers first."""
    return [
        Step(
            name=step.name,
            upstream=step.entry.upstream,
            threads=step.entry.threads,
            alone=bool(step.entry.stage.machine_bound) and not step.entry.stage.sections,
            force=step.name in force,
            seconds=step.usage.wall_s if step.usage else 1.0,
        )
        for step in made.pending
    ]


def wanted() -> bool:
    """Return whether Prefect shows the run (DEVENO_PREFECT=off does without, as a test may)."""
    return os.environ.get("DEVENO_PREFECT", "on").lower() not in ("off", "0", "false", "no")


def run_pipeline(
    root: Path,
    made: plan.Plan,
    on_event: OnEvent | None = None,
    force: frozenset[str] = frozenset(),
    before: Before | None = None,
) -> Mapping[str, Result]:
    """Run what is pending through Prefect; return how each entry ended."""
    home = workspace.home(root)
    walk = Walk(
        root,
        steps_of(made, force),
        recipe=recipes.active(root) or "",
        on_event=on_event,
        before=before,
    )
    try:
        if wanted():
            with lease.available(home) as url:
                _through_prefect(walk, home, url, sorted(made.steps))
    except lease.ServerError as error:
        told = f"{error.what} ({error.where}); going on without Prefect\n"
        sys.stderr.write(told)
    if not walk.begun:
        walk.walk_alone()
    return walk.results


def _through_prefect(walk: Walk, home: Path, url: str, targets: list[str]) -> None:
    variables = server.environment(home, url)
    # The terminal is the command line's; Prefect's own lines still reach its server.
    variables["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    # A server that is gone is not waited for: it only watches.
    variables |= {
        "PREFECT_CLIENT_MAX_RETRIES": "1",
        "PREFECT_API_REQUEST_TIMEOUT": "20",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    }
    logging.raiseExceptions = False  # nor does it say on the terminal what it could not log
    os.environ.update(variables)  # before prefect is imported: it reads them once
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    from flows import pipeline

    settings = {PREFECT_API_URL: url, PREFECT_HOME: Path(variables["PREFECT_HOME"])}
    with temporary_settings(updates=settings):
        pipeline.run_here(walk, targets)
