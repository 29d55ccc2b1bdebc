"""Write a ported folder: tensors by the plan, settings, and what the way back needs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from stages.core import canonical
from stages.lm.layouts import conversion, originals
from stages.lm.layouts.conversion import Converted
from stages.port.families.release import Release


def write(release: Release, folder: Path) -> list[Converted]:
    """Write a release's model to `folder` and return the account of its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = conversion.convert(release.layout.plan(), release.checkpoint, folder, release.where)
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
    return rows
