"""Run a plan over a checkpoint: tensors stream from its files into safetensors.

Every source tensor is accounted for, with its checksum, in the record that `convert` returns; the
stage writes it beside the model. Letters and types are those of the files: no number is touched
unless a step says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError
from stages.lm.layouts.plan import KEPT, Built, Plan
from stages.lm.tensors import writer
from stages.lm.tensors.checkpoint import Checkpoint, open_safetensors, safetensors_entries
from stages.lm.tensors.nodes import Stored

KEPT_FILE = "kept.safetensors"
"""Tensors of the source that the target layout has no place for."""
RECORD = "conversion.json"
"""Where a stage writes the record of a conversion."""


@dataclass(frozen=True)
class Converted:
    """One rule that was carried out, or a tensor that was left out."""

    action: str
    sources: dict[str, str]
    """Name -> checksum of its elements in C order (xxh3, 128 bits)."""
    targets: dict[str, str]
    reason: str = ""

    def row(self) -> dict[str, Any]:
        """Return what the record says of it."""
        return {
            "action": self.action,
            "sources": self.sources,
            "targets": self.targets,
            **({"reason": self.reason} if self.reason else {}),
        }


def convert(
    plan: Plan,
    checkpoint: Checkpoint,
    folder: Path,
    where: str,
    shard_bytes: int = writer.SHARD_BYTES,
    other: Checkpoint | None = None,
) -> list[Converted]:
    """Write a checkpoint's tensors in the plan's layout into `folder`; return the account.

    Names that begin with `KEPT` go to `KEPT_FILE`. `other` is the base of a delta. Raises
    ArtifactError when a tensor is missing, has no place or another shape than the plan says, when
    a file is damaged, and when a tensor does not read back as it was written.
    """
    plan.check(checkpoint.specs, where, other.specs if other else None)
    sources = checkpoint.nodes()
    built = plan.build(sources, where, other.nodes() if other else None)
    targets = [target for one in built for target in _targets(one)]
    inside = [one for one in targets if not one.name.startswith(KEPT)]
    beside = [
        writer.Target(one.name.removeprefix(KEPT), one.node, one.inner)
        for one in targets
        if one.name.startswith(KEPT)
    ]
    written = writer.write(inside, folder, shard_bytes)
    if beside:
        kept = writer.write_file(beside, folder / KEPT_FILE)
        written |= {KEPT + name: checksum for name, checksum in kept.items()}
    rows = [
        Converted(
            one.rule.action,
            {name: _checksum(name, sources[name], where) for name in one.rule.sources},
            {name: written[name] for name in one.rule.targets},
        )
        for one in built
    ]
    left_out = plan.left_out(list(checkpoint.entries))
    return rows + [
        Converted("left out", {name: _checksum(name, sources[name], where)}, {}, reason)
        for name, reason in left_out.items()
    ]


def _targets(built: Built) -> list[writer.Target]:
    return [writer.Target(name, node, built.inner) for name, node in built.nodes.items()]


def _checksum(name: str, node: Stored, where: str) -> str:
    try:
        return node.checksum()
    except (ValueError, EOFError) as fault:
        raise ArtifactError(
            f"tensor {name} cannot be read: {fault}",
            where,
            "fetch the file again and compare its size and checksum with its source",
        ) from fault


def record(rows: Sequence[Converted]) -> dict[str, Any]:
    """Return the record of a conversion, the same for the same files."""
    actions: dict[str, int] = {}
    for row in rows:
        actions[row.action] = actions.get(row.action, 0) + 1
    return {
        "checksum": "xxh3_128 of a tensor's elements in C order",
        "actions": actions,
        "tensors": [row.row() for row in rows],
    }


def open_converted(folder: Path) -> Checkpoint:
    """Open a converted folder for the way back: kept tensors under their `KEPT` names."""
    entries = dict(open_safetensors(folder).entries)
    if (folder / KEPT_FILE).is_file():
        kept = safetensors_entries(folder / KEPT_FILE)
        entries |= {KEPT + name: entry for name, entry in kept.items()}
    return Checkpoint(entries)
