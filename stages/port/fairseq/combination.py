"""Several checkpoints of one release: which there are, their average, whose the recordings are.

An archive of fairseq often holds an ensemble (`model1.pt` ... `model4.pt`) or the checkpoints of
several epochs. One may be chosen, all may be averaged (`scripts/average_checkpoints.py` of fairseq
0.12.2: the sum in fp32 over their number, whole numbers divided without rest), or all may decode
together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stages.core.errors import ArtifactError
from stages.port.fairseq import release, source
from stages.port.fairseq.recording import token_scores
from stages.port.fairseq.source import Source
from stages.port.fairseq.verification import LIMIT_RECORDED, reference_of

if TYPE_CHECKING:
    from stages.port.stage import Fairseq

OWNED_ROWS = 8
"""Recorded sentences by whose token scores a checkpoint is known as the recording's."""


def names(files: Path, params: Fairseq) -> list[str]:
    """Return the checkpoints to combine: the listed ones, or all in the order of their numbers."""
    there = release.checkpoints(files)
    chosen = params.checkpoints or there
    absent = [name for name in chosen if name not in there]
    if absent:
        raise ArtifactError(
            f"no checkpoint {', '.join(absent)}; there are {', '.join(there) or 'none'}",
            "params.yaml: port.<entry>.source.checkpoints",
            "name checkpoints of the release, or leave the list empty for all of them",
        )
    if len(chosen) < 2:
        raise ArtifactError(
            f"combine = {params.combine} with {len(chosen)} checkpoint: "
            f"{', '.join(chosen) or 'none is there'}",
            "files of the raw entry",
            "give a release of several checkpoints, or set combine: single",
        )
    return chosen


def read(files: Path, chosen: Sequence[str], params: Fairseq) -> list[Source]:
    """Return the releases of the checkpoints; those that no search could join are refused."""
    found = [source.read(files, params, name) for name in chosen]
    first = found[0]
    for one in found[1:]:
        for field in ("source_language", "target_language"):
            mine, other = (getattr(each.architecture, field) for each in (first, one))
            if mine != other:
                raise ArtifactError(
                    f"{field} is {mine} in {first.checkpoint} and {other} in {one.checkpoint}",
                    "files of the raw entry",
                    "list checkpoints of one pair of languages under `checkpoints`",
                )
    return settle(found)


def settle(releases: Sequence[Source]) -> list[Source]:
    """Leave the recordings to the checkpoint they were made with, by its own reference.

    Where no checkpoint repeats them the first one keeps them, and fails its checks by name.
    """
    owner = next((place for place, one in enumerate(releases) if owns(one)), 0)
    return [
        one if place == owner else dataclasses.replace(one, recorded={})
        for place, one in enumerate(releases)
    ]


def owns(one: Source) -> bool:
    """Tell whether the release's recorded token scores are those of its checkpoint."""
    rows = next(iter(one.recorded.values()), [])[:OWNED_ROWS]
    if not rows:
        return False
    return token_scores([reference_of(one)], one, rows)[0] <= LIMIT_RECORDED


def average(releases: Sequence[Source]) -> Source:
    """Return the release whose tensors are the mean of all, as fairseq averages checkpoints."""
    first = releases[0]
    for one in releases[1:]:
        _check_alike(first, one)
    tensors = {key: _mean([one.tensors[key] for one in releases]) for key in first.tensors}
    name = "average of " + ", ".join(one.checkpoint for one in releases)
    return dataclasses.replace(first, checkpoint=name, tensors=tensors, recorded={})


def mean_error(averaged: Mapping[str, Tensor], releases: Sequence[Source]) -> float:
    """Return the largest error of averaged weights against their mean taken in fp64, relative."""
    worst = 0.0
    for key, tensor in averaged.items():
        if not tensor.is_floating_point():
            continue
        stacked = torch.stack([one.tensors[key].double() for one in releases])
        wanted = stacked.mean(dim=0)
        there = wanted.isfinite()  # a marker that holds NaN has no mean
        if bool(there.any()):
            scale = float(stacked[:, there].abs().max()) or 1.0
            worst = max(worst, float((tensor.double() - wanted)[there].abs().max()) / scale)
    return worst


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    whole = not tensors[0].is_floating_point()
    wide = tensors[0].dtype if whole or tensors[0].dtype == torch.float64 else torch.float32
    total = tensors[0].to(wide).clone()
    for one in tensors[1:]:
        total += one.to(wide)
    if whole:
        return total.div(len(tensors), rounding_mode="floor").to(wide)
    return total.div_(len(tensors))


def _check_alike(first: Source, other: Source) -> None:
    where = f"{first.checkpoint} and {other.checkpoint}"
    todo = "average checkpoints of one run, or set combine: ensemble"
    if first.architecture != other.architecture:
        one, two = (dataclasses.asdict(each.architecture) for each in (first, other))
        name = next(key for key in one if one[key] != two[key])
        raise ArtifactError(f"{name} is {one[name]} in one and {two[name]} in other", where, todo)
    odd = sorted(set(first.tensors) ^ set(other.tensors))
    if odd:
        raise ArtifactError(f"only one of them has {', '.join(odd[:4])}", where, todo)
    for key, tensor in first.tensors.items():
        if tensor.shape != other.tensors[key].shape:
            one_shape, two_shape = list(tensor.shape), list(other.tensors[key].shape)
            raise ArtifactError(f"{key} is {one_shape} in one, {two_shape} in other", where, todo)
