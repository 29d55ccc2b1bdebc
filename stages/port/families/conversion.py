"""From a release to its ported folder: convert by the plan, write, lead back, verify."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.core.log import Log
from stages.lm.layouts import conversion, originals
from stages.lm.layouts.conversion import Converted
from stages.port.checks import Verification, require
from stages.port.families import agreement, recurrence
from stages.port.families.release import Release, SourceTensors

TASKS = {
    "AutoModelForCausalLM": "text-generation",
    "AutoModelForPreTraining": "fill-mask",
    "AutoModelForMaskedLM": "fill-mask",
    "AutoModelForSequenceClassification": "text-classification",
    "AutoModel": "feature-extraction",
}
"""Task of a ported model by the hub's name, which the model's card states."""


def port_release(release: Release, folder: Path, log: Log, seed: int) -> dict[str, Any]:
    """Write the ported model to `folder` and return its verification, all checks passed."""
    with release.checkpoint as checkpoint:
        folder.mkdir(parents=True, exist_ok=True)
        rows = conversion.convert(release.layout.plan(), checkpoint, folder, release.where)
        _write(release, rows, folder)
        tensors = SourceTensors(checkpoint.nodes())
        report = agreement.verify(release, tensors, folder, log, seed)
        _check_way_back(release, rows, folder, report)
        facts = dict(release.facts)
        if release.kind == "rwkv" and not report.failures:
            several = recurrence.check(release, tensors, folder, report, seed)
            facts["plain_generate_takes_several_rows"] = several
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
        **facts,
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


def _write(release: Release, rows: list[Converted], folder: Path) -> None:
    canonical.write_json(folder / conversion.RECORD, conversion.record(rows))
    original = {
        "layout": release.kind,
        "shape": asdict(release.layout),
        "files": release.where,
        "settings": dict(release.settings),
    }
    canonical.write_json(folder / originals.RECORD, original)
    canonical.write_json(folder / "config.json", dict(release.config))
    if release.generation is not None:
        canonical.write_json(folder / "generation_config.json", dict(release.generation))
    for name, content in release.files.items():
        canonical.write_bytes(folder / name, content)


def _check_way_back(
    release: Release, rows: list[Converted], folder: Path, report: Verification
) -> None:
    """Every source tensor is made again of the ported ones, to equal bytes."""
    stated = {name: one for row in rows if row.targets for name, one in row.sources.items()}
    found = conversion.checksums(release.layout.plan().inverse(), folder)
    wrong = sorted(name for name in stated if found.get(name) != stated[name])
    hint = ", ".join(wrong[:3])
    report.add("tensors lead back to equal bytes", float(len(wrong)), 0.0, len(stated), hint)
