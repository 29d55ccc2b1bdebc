"""Run a plan over a checkpoint: tensors stream from its files into safetensors.

Every source tensor is accounted for, with its checksum, in the record that `convert` returns; the
stage writes it beside the model. Letters and types are those of the files: no number is touched
unless a step says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import ArtifactError
from stages.lm.layouts.plan import KEPT, Built, Plan
from stages.lm.tensors import writer
from stages.lm.tensors.checkpoint import Checkpoint, open_safetensors, safetensors_entries
from stages.lm.tensors.nodes import Node, Stored, checksum_of, release

KEPT_FILE = "kept.safetensors"
"""Tensors of the source that the target layout has no place for."""
RANKED = re.compile(r"(\d\d):")
"""Begins the name of a tensor of one rank, where a layout has several."""
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
    other: Mapping[str, Node] | None = None,
) -> list[Converted]:
    """Write a checkpoint's tensors in the plan's layout into `folder`; return the account.

    Names that begin with `KEPT` go to `KEPT_FILE`. `other` are the tensors of a delta's base.
    ArtifactError when a tensor is missing, has no place or another shape than the plan says, when
    a file is damaged, and when a tensor does not read back as it was written.
    """
    sources, built = _checked(plan, checkpoint, where, other or {})
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
    return _account(plan, checkpoint, sources, built, written, where)


def convert_ranks(
    plan: Plan, checkpoint: Checkpoint, folder: Path, where: str, file_name: str
) -> list[Converted]:
    """Write each rank's tensors (`00:name`) to a file of its own; return the account.

    `file_name` is filled with `rank`; names without a rank are those of rank 0. Raises as
    `convert` does.
    """
    sources, built = _checked(plan, checkpoint, where, {})
    by_rank: dict[int, list[writer.Target]] = {}
    for one in built:
        for name, node in one.nodes.items():
            ranked = RANKED.match(name)
            rank = int(ranked[1]) if ranked else 0
            plain = name[ranked.end() :] if ranked else name
            by_rank.setdefault(rank, []).append(writer.Target(plain, node, one.inner))
    ranks = len(by_rank)
    written: dict[str, str] = {}
    for rank, targets in sorted(by_rank.items()):
        sums = writer.write_file(targets, folder / file_name.format(rank=rank))
        written |= {f"{rank:02d}:{name}" if ranks > 1 else name: sums[name] for name in sums}
    return _account(plan, checkpoint, sources, built, written, where)


def _checked(
    plan: Plan, checkpoint: Checkpoint, where: str, other: Mapping[str, Node]
) -> tuple[dict[str, Stored], list[Built]]:
    plan.check(checkpoint.specs, where, {name: node.spec for name, node in other.items()})
    sources = checkpoint.nodes()
    return sources, plan.build(sources, where, other)


def _account(
    plan: Plan,
    checkpoint: Checkpoint,
    sources: Mapping[str, Stored],
    built: Sequence[Built],
    written: Mapping[str, str],
    where: str,
) -> list[Converted]:
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


def checksums(plan: Plan, folder: Path) -> dict[str, str]:
    """Return the checksums of what a plan makes of a converted folder; nothing is written."""
    found: dict[str, str] = {}
    with open_converted(folder) as checkpoint:
        for built in plan.build(checkpoint.nodes(), str(folder)):
            found |= {name: checksum_of(node) for name, node in built.nodes.items()}
            release(built.inner)
    return found


def actions(rows: Sequence[Converted]) -> dict[str, Any]:
    """Return what page and card say: how many source tensors each action and reason had."""
    by_action: dict[str, int] = {}
    by_reason: dict[str, int] = {}
    for row in rows:
        kind = row.action.split(" ")[0].rstrip(",") if row.targets else row.action
        by_action[kind] = by_action.get(kind, 0) + len(row.sources)
        if row.reason:
            by_reason[row.reason] = by_reason.get(row.reason, 0) + len(row.sources)
    return {
        "actions": [{"action": key, "tensors": by_action[key]} for key in sorted(by_action)],
        "reasons": [{"reason": key, "tensors": by_reason[key]} for key in sorted(by_reason)],
    }


def open_converted(folder: Path) -> Checkpoint:
    """Open a converted folder for the way back: kept tensors under their `KEPT` names."""
    entries = dict(open_safetensors(folder).entries)
    if (folder / KEPT_FILE).is_file():
        kept = safetensors_entries(folder / KEPT_FILE)
        entries |= {KEPT + name: entry for name, entry in kept.items()}
    return Checkpoint(entries)
