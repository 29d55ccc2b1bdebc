"""Checkpoints of a training run: safetensors and JSON, whole or absent, tied to one run.

`<scratch>/checkpoints/step-00000200/` holds `state.safetensors` (weights, optimizer, the best
weights so far) and `state.json` (step, curve, identity of the run, digest of the tensors). It is
written beside and renamed, so a kill at any moment leaves the previous one whole.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.core import canonical
from stages.core.errors import ArtifactError, MachineError
from stages.core.log import Log

FOLDER = "checkpoints"
KEPT = 2
"""Checkpoints kept: the last, and one more in case the last is torn."""
HEAD_BYTES = 1 << 20
"""Room for the header and for the curve, which are small beside the tensors."""

_logger = logging.getLogger("deveno.checkpoint")


@dataclass
class State:
    """Where a run stands: updates done, tensors by name, and everything else as JSON."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)


def save(scratch: Path, identity: str, state: State) -> Path:
    """Write a checkpoint of the run called `identity` and drop the oldest; returns its folder."""
    final = scratch / FOLDER / name_of(state.step)
    temporary = scratch / FOLDER / f".{name_of(state.step)}.{os.getpid()}.tmp"
    _sweep(scratch)
    try:
        temporary.mkdir(parents=True)
        check_space(temporary, state.tensors)
        tensors = temporary / "state.safetensors"
        save_file(
            {name: tensor.contiguous() for name, tensor in state.tensors.items()},
            tensors,
            metadata={"format": "pt"},
        )
        head = {
            "step": state.step,
            "identity": identity,
            "digest": canonical.file_digest(tensors),
            "facts": state.facts,
        }
        canonical.write_json(temporary / "state.json", head)
        flush(tensors)
        flush(temporary / "state.json")
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        flush(final.parent)
    except (OSError, SafetensorError) as fault:
        raise MachineError(
            f"the checkpoint of step {state.step} cannot be written: {fault}",
            str(scratch / FOLDER),
            "free some disk space, or make the folder writable, and run again",
        ) from fault
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _folders(scratch)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def name_of(step: int) -> str:
    """Return the name of a step's folder; names sort as steps do."""
    return f"step-{step:08d}"


def check_space(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Raise OSError unless the disk has room for tensors: half a file would be lost work."""
    needed = sum(tensor.nbytes for tensor in tensors.values()) + HEAD_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"it needs {needed} bytes and the disk has {free} left")


def latest(scratch: Path, identity: str, log: Log, needed: Collection[str] = ()) -> State | None:
    """Return the newest whole checkpoint of this run, or None where there is none.

    One that is torn or lacks a tensor of `needed` is skipped with a warning; one of another run is
    refused, never resumed into.
    """
    for folder in reversed(_folders(scratch)):
        try:
            head = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            found = str(head["identity"])
            whole = canonical.file_digest(folder / "state.safetensors") == head["digest"]
            tensors = load_file(folder / "state.safetensors") if whole else {}
            whole = whole and not set(needed) - set(tensors)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            found, whole, head, tensors = identity, False, {}, {}
        if found != identity:
            raise ArtifactError(
                f"the checkpoint {folder.name} belongs to another run ({found[:12]},"
                f" this one is {identity[:12]})",
                str(folder.parent),
                "delete that folder; a checkpoint is only resumed by the run that wrote it",
            )
        if whole:
            return State(int(head["step"]), tensors, head["facts"])
        told = f"skipped the torn checkpoint {folder.name}"
        log.text("checkpoint_warning", told)
        _logger.warning(told)
    return None


def _folders(scratch: Path) -> list[Path]:
    return sorted((scratch / FOLDER).glob("step-[0-9]*"))


def _sweep(scratch: Path) -> None:
    """Delete what killed processes left half-written; the scratch lock says that none lives."""
    for left in (scratch / FOLDER).glob(".step-*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


def flush(path: Path) -> None:
    """Force a file or a folder's names to disk, so that a rename never outruns the bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def optimizer_tensors(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Return the optimizer's state by parameter name, as `optimizer/<parameter>/<slot>`."""
    return {
        f"optimizer/{name}/{slot}": value
        for name, parameter in model.named_parameters()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


SLOTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of a parameter."""


def optimizer_names(model: torch.nn.Module) -> set[str]:
    """Return the names that `optimizer_tensors` gives once every learned parameter has moved."""
    return {
        f"optimizer/{name}/{slot}"
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        for slot in SLOTS
    }


def restore_optimizer(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Put the state of `optimizer_tensors` back."""
    named = dict(model.named_parameters())
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, name, slot = key.split("/")
            optimizer.state[named[name]][slot] = value
