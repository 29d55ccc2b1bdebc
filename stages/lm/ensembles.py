"""True ensembles: at every step of a search the mean of several models' probabilities.

A folder of an ensemble is the folder of its first member, which opens as any model does, with the
further members below `members/` (configuration and weights; text and vocabularies are shared) and
`ensemble.json`, which names them in order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from stages.core import canonical
from stages.core.errors import ArtifactError

FILE = "ensemble.json"
MEMBERS = "members"
Members = Literal["all", "first"]
"""Whether an ensemble decodes together, or its first member alone."""


class EnsembleStepper:
    """Steps several models side by side; log of the mean probability, as fairseq takes it.

    fairseq 0.12.2, `EnsembleModel.forward_decoder`: logsumexp of the members' log-probabilities
    minus log(members). The mean of log-probabilities or of logits is another search.
    """

    def __init__(self, steppers: Sequence[Any]) -> None:
        self.steppers = list(steppers)
        self.states = torch.empty(0)
        """Hidden states of several models have no mean: none are kept."""

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> Any:
        """Encode ids [B, S] once with every member; return what outputs begin with."""
        return [one.encode(ids, mask, copies) for one in self.steppers][0]

    def read(self, prefix: Tensor, keep: int = 1) -> Tensor:
        """Return the logs of mean probabilities [N, keep, V] after the last `keep` tokens."""
        logits = [one.read(prefix, keep) for one in self.steppers]
        return mean_of_probabilities([torch.log_softmax(one, dim=-1) for one in logits])

    def step(self, prefix: Tensor) -> Tensor:
        """Return the log of the mean probability [N, V] of the token after prefix [N, T]."""
        return mean_of_probabilities([one.step(prefix) for one in self.steppers])

    def select(self, rows: Tensor, sentences_left: bool = True) -> None:
        """Keep these rows in every member."""
        for one in self.steppers:
            one.select(rows, sentences_left)

    def crop(self, length: int) -> None:
        """Have every member forget what it read beyond a prefix's first `length` tokens."""
        for one in self.steppers:
            one.crop(length)


def mean_of_probabilities(log_probabilities: Sequence[Tensor]) -> Tensor:
    """Return log(mean(exp(x))) over equal shapes, without leaving the log domain."""
    stacked = torch.stack(list(log_probabilities))
    return torch.logsumexp(stacked, dim=0) - math.log(len(stacked))


def member_place(number: int) -> str:
    """Return where member `number` (from 1) stands below the folder of its ensemble."""
    return "." if number == 1 else f"{MEMBERS}/{number}"


def write(folder: Path, names: Sequence[str]) -> None:
    """Write ensemble.json; `names` are what the members were made of, the first in `folder`."""
    members = [
        {"folder": member_place(number), "checkpoint": name}
        for number, name in enumerate(names, start=1)
    ]
    canonical.write_json(
        folder / FILE, {"combine": "mean of probabilities at each step", "members": members}
    )


def folders(folder: Path) -> list[Path]:
    """Return the folders of all members, the first of which is `folder`; one if it is a model."""
    path = folder / FILE
    if not path.is_file():
        return [folder]
    try:
        rows: list[Any] = json.loads(path.read_text(encoding="utf-8"))["members"]
        places = [str(row["folder"]) for row in rows]
    except (ValueError, KeyError, TypeError) as fault:
        raise _broken(path, f"{FILE} cannot be read: {fault}") from None
    wanted = [member_place(number) for number in range(1, len(places) + 1)]
    if places != wanted or not places:
        raise _broken(path, f"{FILE} names {', '.join(places) or 'no member'}")
    found = [folder, *(folder / place for place in places[1:])]
    absent = [place.name for place in found if not (place / "model.safetensors").is_file()]
    if absent:
        raise _broken(path, f"no model.safetensors of member {', '.join(absent)}")
    return found


def _broken(path: Path, what: str) -> ArtifactError:
    return ArtifactError(what, str(path), "run the entry that makes this ensemble again")
