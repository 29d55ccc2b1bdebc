"""The deployments: `pipeline/<recipe>` for every recipe, and `nightly/benchmark` on its schedule.

`python -m flows.deployments` serves them until it is stopped. Schedules stay active when it stops
(Prefect would pause them); what was missed meanwhile is skipped by the flow itself, not made up.
"""

from __future__ import annotations

from pathlib import Path

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import EntrypointType, RunnerDeployment

from flows.nightly import nightly
from flows.pipeline import pipeline
from stages.core import recipes, workspace

NIGHTLY_CRON = "0 3 * * *"
WHERE = "Computes the commit at HEAD in .deveno/worktrees/{}; your workspace is not touched."
AT_ONCE = 1
"""Flow runs side by side: each walk takes all cores, and benchmarks want quiet."""


def deployments(home: Path) -> list[RunnerDeployment]:
    """Return one deployment per recipe and the nightly one."""
    found = [_pipeline(home, name) for name in recipes.names(home)]
    return [*found, _nightly()]


def _pipeline(home: Path, recipe: str) -> RunnerDeployment:
    return pipeline.to_deployment(
        name=recipe,
        description=f"{recipes.description(home, recipe)} {WHERE.format(recipe)}",
        parameters={"recipe": recipe},
        concurrency_limit=ConcurrencyLimitConfig(limit=1),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _nightly() -> RunnerDeployment:
    return nightly.to_deployment(
        name="benchmark",
        description="Measure this machine again at HEAD.",
        cron=NIGHTLY_CRON,
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def main() -> None:
    """Serve all deployments of the repository that we stand in."""
    home = workspace.home(workspace.root(Path.cwd()))
    serve(*deployments(home), limit=AT_ONCE, pause_on_shutdown=False, print_starting_message=False)


if __name__ == "__main__":
    main()
