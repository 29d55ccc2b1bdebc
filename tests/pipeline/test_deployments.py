"""The lists that Prefect reads: one deployment per recipe, the night, and the work pools' file."""

from __future__ import annotations

from pathlib import Path

from flows.deployments import NIGHTLY_CRON, deployments
from stages.core import recipes, yamlfile

ROOT = Path(__file__).resolve().parents[2]


def test_every_recipe_has_a_deployment_and_the_night_is_scheduled():
    found = {f"{one.flow_name}/{one.name}": one for one in deployments(ROOT)}
    assert sorted(found) == sorted(
        ["nightly/benchmark", *(f"pipeline/{name}" for name in recipes.names(ROOT))]
    )
    for name in recipes.names(ROOT):
        assert found[f"pipeline/{name}"].parameters == {"recipe": name}
        assert found[f"pipeline/{name}"].concurrency_limit == 1
    night = found["nightly/benchmark"]
    assert [one.schedule.cron for one in night.schedules] == [NIGHTLY_CRON]
    assert night.concurrency_limit == 1
    assert night.concurrency_options.collision_strategy.value == "CANCEL_NEW"  # never stacked


def test_prefect_yaml_lists_the_same_for_work_pools():
    rows = yamlfile.plain(yamlfile.read(ROOT / "prefect.yaml"))["deployments"]
    pipelines = {row["name"]: row for row in rows if row["entrypoint"].endswith(":pipeline")}
    assert sorted(pipelines) == recipes.names(ROOT)
    assert all(row["parameters"] == {"recipe": name} for name, row in pipelines.items())
    (night,) = [row for row in rows if row["entrypoint"] == "flows/nightly.py:nightly"]
    assert night["schedules"] == [{"cron": NIGHTLY_CRON}]
    assert night["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert {row["work_pool"]["name"] for row in rows} == {"local"}
