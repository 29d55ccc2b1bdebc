"""What a model learns from: one folder of tokens or several in shares, in a saved order."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from stages.core.errors import ParamsError
from stages.core.log import Log
from stages.lm import orders
from stages.lm.blends import Blend
from stages.lm.orders import Order
from stages.lm.tokens import Tokens
from stages.pretrain.stage import PretrainParams

WHERE = "pretrain: weights"


def given(params: PretrainParams, folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the names and folders of the tokens that an entry names."""
    named = [f"tokens/{params.tokens}", params.second, params.third, params.fourth]
    found = [(name, path) for name, path in zip(named, folders, strict=True) if name != "none"]
    names = [name for name, _ in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ParamsError(
            f"{twice[0]} is named twice",
            "pretrain: tokens, second, third, fourth",
            "name it once, with a higher weight",
        )
    if foreign := [name for name in names if not name.startswith("tokens/")]:
        raise ParamsError(
            f"{foreign[0]} is no folder of tokens",
            "pretrain: second, third, fourth",
            "name an encode entry as tokens/<key>",
        )
    return found


def opened(params: PretrainParams, folders: Sequence[tuple[str, Path]]) -> Blend:
    """Open the training splits of all folders as one."""
    return Blend([Tokens(path, "train") for _, path in folders], params.weights, WHERE)


def row_bytes(train: Blend) -> float:
    """Return how many bytes of text a row of the blend holds on average."""
    sizes = [one.ledger["bytes"] / max(1, one.rows) for one in train.sources]
    return float(train.shares @ sizes) / float(train.shares.sum())


def budgeted(params: PretrainParams, train: Blend) -> PretrainParams:
    """Return the parameters with the steps that `training_bytes` of this blend takes."""
    if params.training_bytes is None:
        return params
    step = params.batch_rows * row_bytes(train)
    steps = max(1, math.ceil(params.training_bytes / max(1.0, step)))
    return params.model_copy(update={"steps": steps})


def ordered(params: PretrainParams, train: Blend, names: Sequence[str], log: Log) -> Order:
    """Return the order of the run, made where it is not there from an earlier start."""
    size = {"steps": params.steps, "batch_rows": params.batch_rows, "seed": params.seed}
    whole = params.shuffle == "whole"
    told = orders.describe(train, names, **size, whole=whole)
    orders.check_epochs(told, params.most_epochs, WHERE)
    found, there = orders.kept(log.scratch / "order", train, names, **size, whole=whole)
    log.observe("order_reused", float(there))
    log.table("blend", told["sources"])
    return found


def deliver(order: Order, model: Path) -> None:
    """Put the order beside the model that was trained by it."""
    for name in orders.FILES:
        shutil.copyfile(order.folder / name, model / name)
