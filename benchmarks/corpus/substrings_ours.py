"""Exact substrings by the kernel, from Arrow text to the list of spans."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus.material import load
from benchmarks.corpus.rounds import memory_begins, resident_kb, serve
from stages.lm import repeats
from stages.lm.kernels import compiled, text


def ours(path: str, least: int, threads: int = 1) -> Iterator[Any]:
    """List the spans of a text."""
    column = load(Path(path))
    repeats.spans(text.of_bytes([b"0" * 200]), 100)  # the kernel is ready before
    text.of_arrow(column).data.max()  # so is the text in memory, as the peer's is
    start = memory_begins()
    yield None
    texts = text.of_arrow(column)
    found = repeats.spans(texts, least, threads=threads)[:, :2]
    peak = resident_kb("VmHWM")
    digest = hashlib.sha256(np.ascontiguousarray(found, np.int64).tobytes()).hexdigest()
    yield {"spans": len(found), "sha256": digest, "start_kb": start, "peak_kb": peak}


def ready(path: str = "") -> Iterator[Any]:
    """Say what compiling or loading the kernel took this process."""
    yield None
    yield compiled.spent()


if __name__ == "__main__":
    serve({"ours": ours, "ready": ready})
