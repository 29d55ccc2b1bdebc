"""The order of a run: an index of every row that it trains on, saved, so that any step is found.

`order.npy` holds uint32 [steps x rows of a batch] row numbers of a blend (int64 where rows are more
than 32 bits count), `order.json` what it was made of, what each folder of tokens has part in it,
and the SHA-256 of the first. It is made once, when a run begins, and kept in its scratch folder;
a run that resumes maps it into memory and reads the rows of its step: nothing is replayed. The
model takes both files along.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core import canonical
from stages.core.errors import ArtifactError, ParamsError
from stages.lm.blends import Blend

FILES = INDEX, TOLD = "order.npy", "order.json"


class Order:
    """A saved order, opened: `rows` [steps, batch] of row numbers, mapped into memory."""

    def __init__(self, folder: Path, told: dict[str, Any]) -> None:
        self.folder, self.told = folder, told
        shape = (told["steps"], told["batch_rows"])
        try:
            held = np.load(folder / INDEX, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as fault:
            raise _damaged(folder, str(fault)) from fault
        if held.size != shape[0] * shape[1] or held.dtype != np.dtype(told["dtype"]):
            raise _damaged(folder, f"it holds {held.dtype} {held.shape}, not {shape}")
        self.rows: NDArray[Any] = np.asarray(held).reshape(shape)

    def step(self, number: int) -> NDArray[Any]:
        """Return the row numbers of a step, [batch]."""
        return self.rows[number]


def read(folder: Path) -> Order:
    """Open an order and see that its index is the one that was saved."""
    try:
        told: dict[str, Any] = json.loads((folder / TOLD).read_text(encoding="utf-8"))
        known = told["sha256"]
    except (OSError, ValueError, KeyError) as fault:
        raise _damaged(folder, str(fault)) from fault
    path = folder / INDEX
    if not path.is_file() or canonical.file_digest(path) != known:
        raise _damaged(folder, "its content is not what order.json says")
    return Order(folder, told)


def kept(
    folder: Path,
    blend: Blend,
    names: Sequence[str],
    *,
    steps: int,
    batch_rows: int,
    seed: int,
    whole: bool,
) -> tuple[Order, bool]:
    """Return the order in a folder, making it unless it is there; and whether it was there.

    What was made of anything else, or is damaged, is made anew: it follows from its inputs.
    """
    told = describe(blend, names, steps=steps, batch_rows=batch_rows, seed=seed, whole=whole)
    try:
        found = read(folder)
        if {name: found.told.get(name) for name in told} == told:
            return found, True
    except ArtifactError:
        pass
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOLD).unlink(missing_ok=True)
    # Beside and renamed: somebody may have the old file mapped.
    path = folder / f".{INDEX}"
    index = np.lib.format.open_memmap(path, "w+", np.dtype(told["dtype"]), (steps * batch_rows,))
    at = 0
    for block in blend.order(steps * batch_rows, seed, whole):
        index[at : at + len(block)] = block
        at += len(block)
    index.flush()
    del index
    path.replace(folder / INDEX)
    told["sha256"] = canonical.file_digest(folder / INDEX)
    canonical.write_json(folder / TOLD, told)
    return Order(folder, told), False


def describe(
    blend: Blend, names: Sequence[str], *, steps: int, batch_rows: int, seed: int, whole: bool
) -> dict[str, Any]:
    """Return what an order is made of, and the part of every folder of tokens in it."""
    size = steps * batch_rows
    counts = blend.counts(size).tolist()
    sources = []
    for number, (name, one) in enumerate(zip(names, blend.sources, strict=True)):
        drawn = counts[number]
        sources.append(
            {
                "tokens": name,
                "manifest": canonical.digest(one.manifest),
                "first_row": int(blend.firsts[number]),
                "rows": one.rows,
                "share": int(blend.shares[number]),
                "drawn": drawn,
                "epochs": drawn / one.rows if one.rows else 0.0,
                "least_often": drawn // one.rows if one.rows else 0,
                "most_often": -(-drawn // one.rows) if one.rows else 0,
            }
        )
    return {
        "steps": steps,
        "batch_rows": batch_rows,
        "rows_read": size,
        "seed": seed,
        "shuffled": "whole" if whole else "epochs",
        "dtype": "uint32" if blend.rows <= 1 << 32 else "int64",
        "sources": sources,
    }


def check_epochs(told: dict[str, Any], most: float | None, where: str) -> None:
    """Refuse an order that reads a folder of tokens more often than is allowed."""
    for one in told["sources"]:
        if most is not None and one["epochs"] > most:
            raise ParamsError(
                f"{one['tokens']} has {one['rows']} rows and {one['drawn']} are asked of it:"
                f" {one['epochs']:.2f} epochs, more than {most:g}",
                where,
                "give it a lower weight or more text, train fewer steps, or raise most_epochs",
            )


def _damaged(folder: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{INDEX} cannot be read: {reason}",
        str(folder),
        "run the pretrain entry that makes it again",
    )
