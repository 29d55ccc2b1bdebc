"""How the words of two corpora differ, by their tables of words (word, count, documents)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import ArtifactError
from stages.lm import tables

TOP = 1000
"""Words that are called frequent."""
SHOWN = 50


def compare(before: Path, after: Path) -> dict[str, Any]:
    """Return divergences of the words' shares, and frequent words that are new, lost or moved.

    `kl_bits` is of `after` from `before`, each word counted once more than it occurs, so that a
    word that one of them lacks leaves it finite; `js_bits` needs no such help.
    """
    one, other = read(before), read(after)
    names = sorted(one.keys() | other.keys())
    first, second = (np.array([side.get(name, 0) for name in names], np.float64)
                     for side in (one, other))  # fmt: skip
    if not first.sum() or not second.sum():
        same = first.sum() == second.sum()
        return {"js_bits": 0.0 if same else 1.0, "kl_bits": 0.0, "new": [], "lost": [],
                "risen": [], "fallen": []}  # fmt: skip
    shares = first / first.sum(), second / second.sum()
    middle = (shares[0] + shares[1]) / 2
    js = 0.0
    for side in shares:
        held = side > 0
        js += 0.5 * float((side[held] * np.log2(side[held] / middle[held])).sum())
    smooth = (first + 1) / (first + 1).sum(), (second + 1) / (second + 1).sum()
    kl = float((smooth[1] * np.log2(smooth[1] / smooth[0])).sum())
    moved = shares[1] - shares[0]
    order = np.argsort(np.round(moved, 9), kind="stable")
    tops = [set(sorted(side, key=lambda name: (-side[name], name))[:TOP]) for side in (one, other)]
    return {
        "js_bits": round(max(0.0, js), 6),
        "kl_bits": round(max(0.0, kl), 6),
        "new": sorted(tops[1] - one.keys(), key=lambda name: (-other[name], name))[:SHOWN],
        "lost": sorted(tops[0] - other.keys(), key=lambda name: (-one[name], name))[:SHOWN],
        "risen": [names[at] for at in order[::-1][:SHOWN].tolist() if moved[at] > 0],
        "fallen": [names[at] for at in order[:SHOWN].tolist() if moved[at] < 0],
    }


def read(path: Path) -> dict[str, int]:
    """Return the counts of a table of words."""
    if not path.is_file():
        raise ArtifactError(
            f"no {path.name} in the corpus",
            str(path.parent),
            "run its refine entry again: corpora made before have no table of words",
        )
    table = tables.read_table(path, ["word", "count"])
    return dict(zip(table[0].to_pylist(), table[1].to_pylist(), strict=True))
