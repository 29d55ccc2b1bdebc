"""Near-duplicates by the kernels, from Arrow text to the list of what goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus.material import load
from benchmarks.corpus.rounds import serve
from stages.lm import neighbours
from stages.lm.kernels import compiled, text
from stages.lm.signatures import Form, sign

NGRAM = 5


def ours(
    path: str,
    bands: int,
    rows: int,
    documents: int = 0,
    threads: int = 1,
    threshold: float = 0.0,
    form: Form = "fast",
) -> Iterator[Any]:
    """Sign, bucket, cluster; a threshold above 0 verifies candidates exactly."""
    column = load(Path(path))
    column = column[: documents or len(column)]
    yield None
    texts = text.of_arrow(column)
    signed = sign(texts, form, bands * rows, ngram=NGRAM, threads=threads)
    comparison = neighbours.Comparison(
        lambda wanted: text.of_arrow(column.take(wanted)), np.diff(texts.offsets), NGRAM, "unicode"
    )
    judged = (signed.sizes > 0).astype(np.uint8)
    roots, _ = neighbours.cluster(
        signed.signatures, judged, (bands, rows), comparison if threshold else None, threshold
    )
    yield np.flatnonzero(roots != np.arange(len(roots))).tolist()


def ready(path: str = "") -> Iterator[Any]:
    """Say what compiling or loading the kernels took this process."""
    yield None
    yield compiled.spent()


if __name__ == "__main__":
    serve({"ours": ours, "ready": ready})
