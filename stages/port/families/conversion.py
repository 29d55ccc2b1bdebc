"""From a release to its ported folder: convert by the plan, write, lead back, verify."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from stages.core.log import Log
from stages.lm.layouts import conversion
from stages.lm.layouts.conversion import Converted
from stages.port.checks import Verification, require
from stages.port.families import agreement, layers
from stages.port.families.release import Release
from stages.port.families.writing import write
from stages.port.sources import SourceTensors

TASKS = {
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForPreTraining": "fill-mask",
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModel": "feature-extraction",
}
"""Task of a ported model by the hub's name, which the model's card states."""


def port_release(
    release: Release, folder: Path, log: Log, seed: int, whole_mb: float
) -> dict[str, Any]:
    """Write the ported model to `folder` and return its verification, all checks passed.

    A model larger than `whole_mb` in fp32 is verified layer by layer.
    """
    with release.checkpoint as checkpoint:
        rows = write(release, folder)
        floats = sum(spec.count for spec in checkpoint.specs.values())
        large = 4 * floats > whole_mb * 1_000_000
        verify = layers.verify if large else agreement.verify
        report = verify(release, SourceTensors(checkpoint.nodes()), folder, log, seed)
        _check_way_back(release, rows, folder, report)
    require(report, release.where)
    log.metric("checks_passed", len(report.checks))
    for action, count in sorted(Counter(row.action for row in rows).items()):
        log.metric(f"{_slug(action)}_tensors", count)
    log.table("verification", report.rows())
    return {
        "passed": True,
        "task": TASKS[agreement.auto_class(release)],
        "kind": release.kind,
        "checkpoint": release.where,
        "source_dtypes": sorted({one.dtype for one in release.checkpoint.specs.values()}),
        **release.facts,
        **report.facts,
        "loaded_whole": not large,
        "checks": report.rows(),
        "actions": _counted("action", [row.action for row in rows]),
        "reasons": _counted("reason", [row.reason for row in rows if row.reason]),
        "tensors": [row.row() for row in rows],
        "left_out": dict(release.left_out),
    }


def _counted(name: str, values: list[str]) -> list[dict[str, Any]]:
    return [{name: one, "tensors": count} for one, count in sorted(Counter(values).items())]


def _slug(action: str) -> str:
    return action.split(",")[0].split(" ")[0]


def _check_way_back(
    release: Release, rows: list[Converted], folder: Path, report: Verification
) -> None:
    """Every source tensor is made again of the ported ones, to equal bytes."""
    stated = {name: one for row in rows if row.targets for name, one in row.sources.items()}
    found = conversion.checksums(release.layout.plan().inverse(), folder)
    wrong = sorted(name for name in stated if found.get(name) != stated[name])
    hint = ", ".join(wrong[:3])
    report.add("tensors lead back to equal bytes", float(len(wrong)), 0.0, len(stated), hint)
