"""Imports run one way: cli -> flows -> stage -> lm -> core, with no list of stages to maintain."""

from __future__ import annotations

import grimp
import pytest

from stages.core import registry

HEAVY = {"torch", "numpy", "transformers", "pyarrow", "onnxruntime", "datasets", "numba"}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph(
        "stages", "flows", include_external_packages=True, exclude_type_checking_imports=True,
        cache_dir=None,
    )  # fmt: skip


def room(module: str) -> str:
    """Return the room a module lives in: core, lm, stage, flows or cli."""
    parts = module.split(".")
    if parts[0] == "flows":
        return "flows"
    if len(parts) == 1 or parts[1] == "__main__":
        return "cli"
    return "stage" if parts[1] in registry.names() else parts[1]


RANK = {"core": 0, "lm": 1, "stage": 2, "flows": 3, "cli": 4}


def violations(graph) -> list[str]:
    """Return the imports that go up, or from one stage into another."""
    found = []
    for module in graph.modules:
        if not module.startswith(("stages", "flows")):
            continue
        for other in graph.find_modules_directly_imported_by(module):
            if other.split(".")[0] not in ("stages", "flows") or other == "stages":
                continue
            up = RANK[room(other)] > RANK[room(module)]
            aside = room(module) == room(other) == "stage" and (
                module.split(".")[1] != other.split(".")[1]
            )
            if up or aside:
                found.append(f"{module} -> {other}")
    return found


def users(graph, package: str) -> set[str]:
    """Return our modules that import a package outright."""
    return (
        set(graph.find_modules_that_directly_import(package)) if package in graph.modules else set()
    )


def test_imports_run_one_way(graph):
    assert violations(graph) == []


def test_an_upward_and_a_sideways_import_would_be_found(graph):
    graph.add_import(importer="stages.lm.tables", imported="stages.refine.stage")
    graph.add_import(importer="stages.encode.stage", imported="stages.refine.stage")
    try:
        assert len(violations(graph)) == 2
    finally:
        graph.remove_import(importer="stages.lm.tables", imported="stages.refine.stage")
        graph.remove_import(importer="stages.encode.stage", imported="stages.refine.stage")


def test_each_orchestrator_has_one_room(graph):
    assert all(module.startswith("flows") for module in users(graph, "prefect"))
    assert users(graph, "mlflow") == {"stages.core.tracking"}
    assert users(graph, "dvc") == set()


def test_core_computes_nothing(graph):
    for package in HEAVY:
        assert not [module for module in users(graph, package) if module.startswith("stages.core")]
