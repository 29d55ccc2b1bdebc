"""Several checkpoints of one release: which there are, their average, whose the recordings are.

An archive of fairseq often holds an ensemble (`model1.pt` ... `model4.pt`) or the checkpoints of
several epochs. One may be chosen, all may be averaged (`scripts/average_checkpoints.py` of fairseq
0.12.2: the sum in fp32 over their number, whole numbers divided without rest), or all may decode
together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stages.core.errors import ArtifactError
from stages.port.fairseq import layout, release, source
from stages.port.fairseq.recording import token_scores
from stages.port.fairseq.source import Source
from stages.port.fairseq.verification import LIMIT_RECORDED, reference_of

if TYPE_CHECKING:
    from stages.port.stage import Fairseq

LANGUAGES = ("source_language", "target_language")
TRAINING = {
    "dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop",
    "settings_format",
}  # fmt: skip
"""What two checkpoints of one shape may differ in."""
OWNED_ROWS = 8
"""Recorded sentences by whose token scores a checkpoint is known as the recording's."""


@dataclass(frozen=True)
class Group:
    """Checkpoints that belong together; one is in memory at a time, unless kept."""

    files: Path
    params: Fairseq
    names: list[str]
    owner: str
    """The checkpoint of the release that its recordings were made with; empty: none repeats them,
    so the first is held against them and fails by name."""
    languages: tuple[str, str]

    def read(self, name: str) -> Source:
        """Return one checkpoint's release, with the recordings if they are its own."""
        found = source.read(self.files, self.params, name)
        shape = found.architecture
        for field, wanted in zip(LANGUAGES, self.languages, strict=True):
            if getattr(shape, field) != wanted:
                raise ArtifactError(
                    f"{field} is {wanted} in {self.names[0]} and {getattr(shape, field)} in {name}",
                    "files of the raw entry",
                    "list checkpoints of one pair of languages under `checkpoints`",
                )
        own = name == (self.owner or self.names[0])
        return found if own else dataclasses.replace(found, recorded={})


def group(files: Path, params: Fairseq) -> Group:
    """Return the checkpoints to combine: the listed ones, or all in the order of their numbers.

    A release of one is that one; to list one, or one twice, is a mistake.
    """
    there = release.checkpoints(files)
    chosen = params.checkpoints or there
    absent = [name for name in chosen if name not in there]
    if absent:
        raise ArtifactError(
            f"no checkpoint {', '.join(absent)}; there are {', '.join(there) or 'none'}",
            "params.yaml: port.<entry>.source.checkpoints",
            "name checkpoints of the release, or leave the list empty for all of them",
        )
    if not chosen or (params.checkpoints and len(set(chosen)) < max(2, len(chosen))):
        raise ArtifactError(
            f"combine = {params.combine} with {len(set(chosen))} checkpoint: "
            f"{', '.join(chosen) or 'none is there'}",
            "files of the raw entry",
            "give a release of several checkpoints, each once, or set combine: single",
        )
    first = source.read(files, params, chosen[0])
    languages = (first.architecture.source_language, first.architecture.target_language)
    return Group(files, params, chosen, owner(files, params, first, chosen[1:]), languages)


def owner(files: Path, params: Fairseq, first: Source, others: Sequence[str]) -> str:
    """Return the checkpoint whose reference repeats the recordings: the first, another or none."""
    if not first.recorded or owns(first):
        return first.checkpoint
    rest = [name for name in release.checkpoints(files) if name not in others]
    for name in [*others, *rest]:
        if name != first.checkpoint and _may_own(files, params, name):
            return name
    return ""


def _may_own(files: Path, params: Fairseq, name: str) -> bool:
    try:
        return owns(source.read(files, params, name))
    except ArtifactError:  # no checkpoint, or none that these dictionaries belong to
        return False


def owns(one: Source) -> bool:
    """Tell whether the release's recorded token scores are those of its checkpoint.

    A checkpoint whose tensors are not what its settings and dictionaries say raises ArtifactError.
    """
    rows = next(iter(one.recorded.values()), [])[:OWNED_ROWS]
    if not rows:
        return False
    sizes = len(one.source_symbols), len(one.target_symbols)
    layout.checked(one.tensors, one.architecture, *sizes, one.checkpoint)
    return token_scores([reference_of(one)], one, rows)[0] <= LIMIT_RECORDED


def average(some: Group) -> tuple[Source, float]:
    """Return the release whose tensors are the mean of all, as fairseq averages checkpoints.

    Beside it the largest error against the mean in fp64, over the largest weight of its tensor.
    """
    first = some.read(some.names[0])
    sums = {key: tensor.to(_wide(tensor)).clone() for key, tensor in first.tensors.items()}
    exact = {key: _Exact(tensor) for key, tensor in first.tensors.items() if _real(tensor)}
    for name in some.names[1:]:
        other = some.read(name)
        _check_alike(first, other)
        for key, tensor in other.tensors.items():
            sums[key] = _add(sums[key], tensor)
            if key in exact:
                exact[key].add(tensor)
    means = {key: _divided(total, len(some.names)) for key, total in sums.items()}
    error = max(one.error(means[key], len(some.names)) for key, one in exact.items())
    name = "average of " + ", ".join(some.names)
    return dataclasses.replace(first, checkpoint=name, tensors=means, recorded={}), error


class _Exact:
    """The sum of a tensor over all checkpoints in fp64, and its largest entry in any."""

    def __init__(self, tensor: Tensor) -> None:
        self.total, self.largest = tensor.double(), _largest(tensor)

    def add(self, tensor: Tensor) -> None:
        self.total = self.total + tensor.double()
        self.largest = max(self.largest, _largest(tensor))

    def error(self, mean: Tensor, count: int) -> float:
        """Return how far a mean is off; markers that hold NaN have none."""
        wanted = self.total / count
        apart = (mean.double() - wanted)[wanted.isfinite()].abs()
        return float(apart.max()) / (self.largest or 1.0) if apart.numel() else 0.0


def _largest(tensor: Tensor) -> float:
    finite = tensor[tensor.isfinite()].abs()
    return float(finite.max()) if finite.numel() else 0.0


def _real(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float32 if _real(tensor) and tensor.dtype != torch.float64 else tensor.dtype


def _add(total: Tensor, tensor: Tensor) -> Tensor:
    return total + tensor.to(total.dtype)


def _divided(total: Tensor, count: int) -> Tensor:
    return total / count if _real(total) else total.div(count, rounding_mode="floor")


def _check_alike(first: Source, other: Source) -> None:
    where = f"{first.checkpoint} and {other.checkpoint}"
    todo = "average checkpoints of one run, or set combine: ensemble"
    one, two = (dataclasses.asdict(each.architecture) for each in (first, other))
    name = next((key for key in one if one[key] != two[key] and key not in TRAINING), "")
    if name:
        raise ArtifactError(f"{name} is {one[name]} in one and {two[name]} in other", where, todo)
    odd = sorted(set(first.tensors) ^ set(other.tensors))
    if odd:
        raise ArtifactError(f"only one of them has {', '.join(odd[:4])}", where, todo)
    for key, tensor in first.tensors.items():
        if tensor.shape != other.tensors[key].shape:
            one_shape, two_shape = list(tensor.shape), list(other.tensors[key].shape)
            raise ArtifactError(f"{key} is {one_shape} in one, {two_shape} in other", where, todo)
