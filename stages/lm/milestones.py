"""Milestones: checkpoints that are published with a model, so that anyone may go on from them.

`<model>/checkpoints/step-00000150/` holds `config.json` and `model.safetensors` (which AutoModel
opens), `optimizer.safetensors` (AdamW's state by parameter), and `state.json` (step, tokens seen,
curve, digests of both files); `<model>/checkpoints/index.json` lists step and tokens of each. BLOOM
was the first at its size to give its optimizer states away (176 B, July 2022).

They are gathered in the scratch folder while a run lasts, since outputs appear only whole.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.core import canonical
from stages.core.errors import ArtifactError, MachineError
from stages.lm import checkpoint, models, weights
from stages.lm.checkpoint import State

FOLDER = "checkpoints"
GATHERED = "milestones"
INDEX = "index.json"
STATE = "state.json"
FILES = WEIGHTS, OPTIMIZER = "model.safetensors", "optimizer.safetensors"


def publish(
    scratch: Path,
    model: Any,
    optimizer: torch.optim.Optimizer,
    step: int,
    facts: dict[str, Any],
) -> Path:
    """Gather a milestone of a model at a step; returns its folder in scratch."""
    final = scratch / GATHERED / checkpoint.name_of(step)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    tensors = checkpoint.optimizer_tensors(model, optimizer)
    named = {name.removeprefix("optimizer/"): tensor for name, tensor in tensors.items()}
    for left in final.parent.glob(".step-*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        checkpoint.check_space(temporary, named | dict(model.named_parameters()))
        models.save(model, temporary)
        save_file(
            {name: tensor.contiguous() for name, tensor in named.items()},
            temporary / OPTIMIZER,
            metadata={"format": "pt"},
        )
        digests = {name: canonical.file_digest(temporary / name) for name in (WEIGHTS, OPTIMIZER)}
        canonical.write_json(temporary / STATE, {"step": step, "sha256": digests, **facts})
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    except (OSError, SafetensorError) as fault:
        raise MachineError(
            f"the published checkpoint of step {step} cannot be written: {fault}",
            str(final.parent),
            "free some disk space, or make the folder writable, and run again",
        ) from fault
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def deliver(scratch: Path, model: Path) -> list[int]:
    """Move all milestones into a finished model's folder, with their index; returns the steps."""
    gathered = sorted((scratch / GATHERED).glob("step-[0-9]*"))
    rows = []
    for folder in gathered:
        state = _state(folder)
        rows.append({"step": state["step"], "tokens": state["tokens"], "folder": folder.name})
        target = model / FOLDER / folder.name
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
    if rows:
        canonical.write_json(model / FOLDER / INDEX, rows)
    return [row["step"] for row in rows]


def locate(model: Path, step: int) -> Path:
    """Return the folder of a model's milestone; one that is not there names those that are."""
    folder = model / FOLDER / checkpoint.name_of(step)
    if not folder.is_dir():
        there = [
            str(int(path.name.removeprefix("step-")))
            for path in sorted((model / FOLDER).glob("step-[0-9]*"))
        ]
        raise ArtifactError(
            f"there is no published checkpoint of step {step}",
            str(model / FOLDER),
            f"choose one of the steps {', '.join(there)}"
            if there
            else "set publish_every in the entry that makes this model",
        )
    return folder


def load(folder: Path, model: Any) -> State:
    """Return the state that a run goes on with: weights, optimizer, curve and counts.

    Raises ArtifactError where a file is missing or damaged, or is not of a model of this shape.
    """
    state = _state(folder)
    for name in (WEIGHTS, OPTIMIZER):
        weights.check(folder / name)
    stored = load_file(folder / OPTIMIZER)
    tensors: dict[str, Tensor] = {f"optimizer/{name}": value for name, value in stored.items()}
    lacking = sorted(checkpoint.optimizer_names(model) - set(tensors))
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    odd = sorted(
        name
        for name, value in tensors.items()
        if name.split("/")[1] not in shapes
        or (value.ndim and value.shape != shapes[name.split("/")[1]])
    )
    if lacking or odd:
        raise ArtifactError(
            "the optimizer state is not that of this model: "
            + ", ".join([f"no {name}" for name in lacking] + [f"odd {name}" for name in odd][:1])[
                :160
            ],
            str(folder / OPTIMIZER),
            "choose another step, or make the model again",
        )
    step = int(state.pop("step"))
    del state["sha256"]
    return State(step, tensors, state)


def _state(folder: Path) -> dict[str, Any]:
    """Return state.json of a milestone whose files are what it says they are."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        digests = {name: str(state["sha256"][name]) for name in (WEIGHTS, OPTIMIZER)}
        int(state["step"]), int(state["tokens"]), list(state["curve"])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise _damaged(STATE, folder) from fault
    for name, digest in digests.items():
        path = folder / name
        if not path.is_file() or canonical.file_digest(path) != digest:
            raise _damaged(name, folder)
    return state


def _damaged(name: str, folder: Path) -> ArtifactError:
    state = "damaged" if (folder / name).exists() else "missing"
    return ArtifactError(
        f"{name} of the published checkpoint is {state}",
        str(folder),
        "choose another step, or make the model again: a run never goes on without its optimizer",
    )
