"""What this workspace made, against what the committed dvc.lock says: entry by entry."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.core import fingerprint, plan, registry, yamlfile

IDENTICAL, DIFFERENT, MACHINE_BOUND, UNPUBLISHED = (
    "identical",
    "different",
    "machine-bound",
    "not published",
)


def committed(root: Path, revision: str = "HEAD") -> dict[str, Any]:
    """Return the entries of a revision's dvc.lock ({} where it has none)."""
    shown = subprocess.run(
        ["git", "show", f"{revision}:./dvc.lock"], cwd=root, capture_output=True, check=False
    )
    if shown.returncode != 0:
        return {}
    stages = yamlfile.parse(shown.stdout.decode("utf-8"), "dvc.lock").get("stages") or {}
    return {str(name): yamlfile.plain(body) for name, body in stages.items()}


def compare(root: Path, names: list[str], then: Mapping[str, Any]) -> dict[str, str]:
    """Return a verdict per entry: are its outputs the bytes that the other lock names?"""
    now = fingerprint.locks(root)
    return {name: _verdict(name, now.get(name), then.get(name)) for name in names}


def _verdict(name: str, now: Mapping[str, Any] | None, then: Mapping[str, Any] | None) -> str:
    if registry.get(name.split("@")[0]).machine_bound:
        return MACHINE_BOUND
    if not then or not now:
        return UNPUBLISHED
    return IDENTICAL if plan.outs(now) == plan.outs(then) else DIFFERENT
