"""Is the exported graph the model? Compared over lengths, batches and padding.

An absolute tolerance is the wrong test (trap T20): floats are compared relative to the largest
logit, quantized graphs by how often the best answer stays. Differences depend on the CPU through
onnxruntime's kernels, so the artifact records limits and verdicts, and the log the exact figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.export.graph import Answering

Ids = NDArray[np.int64]
Run = Callable[[Ids, Ids], NDArray[np.float32]]


@dataclass(frozen=True)
class Case:
    """A batch to compare: lengths of its sequences; shorter ones are padded."""

    name: str
    lengths: tuple[int, ...]


def cases(longest: int) -> list[Case]:
    """Return the shapes that exports go wrong on: one token, odd, longest, padded batches."""
    middle = max(2, longest // 3)
    return [
        Case("one token", (1,)),
        Case("two tokens", (2,)),
        Case("odd length", (min(7, longest),)),
        Case("longest", (longest,)),
        Case("batch of equals", (middle, middle, middle)),
        Case("padded batch", (longest, middle, 1)),
        Case("mostly padding", (longest, 1, 1, 1)),
    ]


def batch(case: Case, vocabulary: int, pad: int, seed: int) -> tuple[Ids, Ids]:
    """Return random ids and their mask [B, T]; special ids below `pad + 4` are left out."""
    generator = np.random.Generator(np.random.PCG64(seed))
    width = max(case.lengths)
    ids = generator.integers(pad + 4, vocabulary, (len(case.lengths), width), dtype=np.int64)
    mask = (np.arange(width)[None, :] < np.array(case.lengths)[:, None]).astype(np.int64)
    return np.where(mask == 1, ids, pad), mask


def compare(
    model: Answering, run: Run, sizes: tuple[int, int, int], seed: int
) -> list[dict[str, Any]]:
    """Return per case the relative difference and the share of best answers that agree.

    `sizes` are vocabulary, padding id and longest input. Padded positions do not count.
    """
    vocabulary, pad, longest = sizes
    rows = []
    for number, case in enumerate(cases(longest)):
        ids, mask = batch(case, vocabulary, pad, seed + number)
        with torch.no_grad():
            expected = model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        found = run(ids, mask)
        if found.shape != expected.shape:
            raise CheckFailed(
                f"the graph answers {case.name} in shape {found.shape}, the model in "
                f"{expected.shape}",
                "export",
                "report this: an axis was fixed while exporting",
            )
        real = mask == 1
        difference = np.abs(found - expected)[real].max() / np.abs(expected[real]).max()
        agree = (found.argmax(-1) == expected.argmax(-1))[real]
        rows.append(
            {
                "case": case.name,
                "lengths": list(case.lengths),
                "relative_difference": float(difference),
                "agreement_fraction": float(agree.mean()),
                "positions": int(real.sum()),
            }
        )
    return rows


def judged(
    rows: list[dict[str, Any]], relative: float | None, agreement: float, log: Log
) -> list[dict[str, Any]]:
    """Return the cases with their verdicts; the first that fails stops the export.

    `relative` is None for a quantized graph, which is judged over all positions together.
    """
    worst = max(row["relative_difference"] for row in rows)
    positions = sum(row["positions"] for row in rows)
    kept = sum(row["agreement_fraction"] * row["positions"] for row in rows) / positions
    log.observe("parity_relative_difference", worst)
    log.observe("parity_agreement_fraction", kept)
    log.table("parity", rows)
    for row in rows:
        if relative is not None and not row["relative_difference"] <= relative:
            raise CheckFailed(
                f"{row['case']}: the graph differs by {row['relative_difference']:.2e} of the "
                f"largest answer, more than {relative:.0e}",
                "export: parity",
                "the graph is not the model; raise `parity_relative` only with a reason",
            )
    if not kept >= agreement:
        raise CheckFailed(
            f"the graph keeps {kept:.1%} of the best answers, fewer than {agreement:.0%}",
            "export: parity",
            "quantize less (`embeddings: false`, `per_channel: true`), or lower `parity_agreement`",
        )
    limit = {"relative_limit": relative} if relative is not None else {"agreement_limit": agreement}
    return [
        {"case": row["case"], "lengths": row["lengths"], "positions": row["positions"],
         "pass": True, **limit}
        for row in rows
    ]  # fmt: skip
