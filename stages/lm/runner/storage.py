"""A runner's folder: weights in floats or bytes, row by row, packed only when opened.

    runner.json           sizes, activation of every layer
    model.safetensors     linear.<n>.weight [N, K] (float32 or int8), .scale [N], .bias [N],
                          norm.<n>.gain, .bias, and the four tables of tokens and positions
    shortlist.safetensors optional: `words` and `starts` by source token, `common`
    members/<n>/          of an ensemble: the second member and on, each as above

Nothing in it depends on the machine; panels are made for the CPU that opens it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.lm import ensembles, weights
from stages.lm.runner.network import Shape
from stages.lm.runner.packing import Layout, Linear, Packed, pack, rounded
from stages.lm.runner.shortlist import Shortlist

SETTINGS, WEIGHTS, WORDS = "runner.json", "model.safetensors", "shortlist.safetensors"
TABLES = ("source_tokens", "source_positions", "target_tokens", "target_positions")
Arrays = dict[str, NDArray[Any]]


def write(folder: Path, layout: Layout, *, quantize: bool, tables: bool, members: int = 1) -> None:
    """Write a model; `quantize` rounds linear layers to bytes, `tables` tokens as well.

    `members` says how many an ensemble has whose first this is.
    """
    from safetensors.numpy import save

    arrays: Arrays = {}
    for number, layer in enumerate(layout.linears):
        _put(arrays, f"linear.{number}.weight", layer.weight, quantize)
        arrays[f"linear.{number}.bias"] = np.ascontiguousarray(layer.bias)
    for number, (gain, bias) in enumerate(layout.norms):
        arrays[f"norm.{number}.gain"], arrays[f"norm.{number}.bias"] = gain, bias
    for name in TABLES:
        table, twin = getattr(layout, name), name.replace("target", "source")
        if name == twin or not np.array_equal(table, getattr(layout, twin)):
            _put(arrays, name, table, quantize and tables and "tokens" in name)
    arrays = {name: np.ascontiguousarray(one) for name, one in sorted(arrays.items())}
    canonical.write_bytes(folder / WEIGHTS, save(arrays, metadata={"format": "pt"}))
    canonical.write_json(
        folder / SETTINGS,
        {
            "shape": layout.shape._asdict(),
            "activations": [layer.activation for layer in layout.linears],
            "scale": layout.scale,
            "epsilon": layout.epsilon,
            "quantize": quantize,
            "norms": len(layout.norms),
            "members": members,
        },
    )


def _put(arrays: Arrays, name: str, weight: NDArray[np.float32], small: bool) -> None:
    if small:
        arrays[name], arrays[f"{name}.scale"] = rounded(weight)
    else:
        arrays[name] = weight


def read_layout(folder: Path) -> tuple[Layout, bool, int]:
    """Return the model of a folder, whether its linear layers are bytes, and members in all."""
    from safetensors.numpy import load_file

    weights.check(folder / WEIGHTS)
    arrays = load_file(folder / WEIGHTS)
    try:
        facts = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        layout = Layout(
            shape=Shape(**facts["shape"]),
            linears=[
                Linear(
                    _get(arrays, f"linear.{number}.weight"), arrays[f"linear.{number}.bias"], act
                )
                for number, act in enumerate(facts["activations"])
            ],
            norms=[
                (arrays[f"norm.{number}.gain"], arrays[f"norm.{number}.bias"])
                for number in range(facts["norms"])
            ],
            **{name: _table(arrays, name) for name in TABLES},
            scale=facts["scale"],
            epsilon=facts["epsilon"],
        )
        return layout, bool(facts["quantize"]), int(facts.get("members", 1))
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise ArtifactError(
            f"this is no runner's folder: {type(fault).__name__}: {fault}", str(folder),
            "export the translator again",
        ) from None  # fmt: skip


def read(folder: Path) -> tuple[list[Packed], Shortlist | None]:
    """Return the packed members of a model and the shortlist, if there is one."""
    layout, quantize, members = read_layout(folder)
    found = [pack(layout, quantize=quantize)]
    for number in range(2, members + 1):
        layout, quantize, _ = read_layout(folder / ensembles.member_place(number))
        found.append(pack(layout, quantize=quantize))
    listed = folder / WORDS
    return found, Shortlist.load(listed) if listed.is_file() else None


def _table(arrays: Arrays, name: str) -> NDArray[np.float32]:
    """Return a table; the target's is left out where both sides share it."""
    return _get(arrays, name if name in arrays else name.replace("target", "source"))


def _get(arrays: Arrays, name: str) -> NDArray[np.float32]:
    found = arrays[name]
    if found.dtype == np.int8:
        return found.astype(np.float32) * arrays[f"{name}.scale"][:, None]
    return found
