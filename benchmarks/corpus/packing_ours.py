"""Packing by the stage `encode`, and loading by `Tokens`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus.material import load as load_arrow
from benchmarks.corpus.rounds import serve
from stages.core import canonical
from stages.core.log import Log
from stages.encode.stage import EncodeParams, encode
from stages.lm import tables
from stages.lm.kernels.text import of_arrow
from stages.lm.kernels.wordcounts import count
from stages.lm.tokens import Tokens
from stages.tokenizer import algorithms, training
from stages.tokenizer.stage import TokenizerParams

END = "<|endoftext|>"


def prepare(path: str, folder: str, vocab: int, least_mb: float) -> Iterator[Any]:
    """Write a corpus of three splits, a beginning of it for the slow peer, and a tokenizer."""
    yield None
    column, root = load_arrow(Path(path)), Path(folder)
    texts = column.to_pylist()
    offsets = np.cumsum([0, *(len(text.encode("utf-8")) for text in texts)])
    few = min(int(np.searchsorted(offsets, least_mb * 1e6)), len(texts))
    parts = {"train": texts, "valid": texts[:8], "test": texts[8:16], "beginning": texts[:few]}
    splits = {}
    for split, given in parts.items():
        with tables.ShardWriter(root / "corpus", split, tables.TEXT_SCHEMA) as writer:
            for number, text in enumerate(given):
                writer.add({"id": f"{split}-{number}", "source": "benchmark", "text": text})
        splits[split] = {
            "documents": len(given),
            "characters": sum(map(len, given)),
            "bytes": sum(len(text.encode("utf-8")) for text in given),
            "shards": writer.shards,
        }
    beginning = splits.pop("beginning")
    canonical.write_json(root / "corpus" / "corpus.json", {"kind": "text", "splits": splits})
    params = TokenizerParams(corpus="x", objective="causal", vocab_size=vocab)
    backend = algorithms.bpe(params, [training._special(END)], count(of_arrow(column)))
    training._finish(backend, params)
    training.save(backend, params, root / "tokenizer")
    yield {"mb": splits["train"]["bytes"] / 1e6, "beginning_mb": beginning["bytes"] / 1e6}


def pack(folder: str, length: int) -> Iterator[Any]:
    """Run the stage from nothing to a finished folder."""
    root = Path(folder)
    for name in ("scratch", "tokens"):
        shutil.rmtree(root / name, ignore_errors=True)
    params = EncodeParams(corpus="x", tokenizer="x", sequence_length=length)
    yield None
    log = Log(scratch=root / "scratch")
    encode(params, root / "corpus", root / "tokenizer", root, root / "tokens", log)
    ledger = Tokens(root / "tokens").ledger
    yield {name: ledger[name] for name in ("tokens", "rows", "lost_tokens", "waste_fraction")}


def load(folder: str, length: int, batch: int, tokens: int, flat: bool = False) -> Iterator[Any]:
    """Read shuffled batches until so many tokens were there."""
    import torch

    del length
    opened = Tokens(Path(folder) / "tokens")
    yield None
    read = step = 0
    while read < tokens:
        found = (opened.flat_batch if flat else opened.batch)(step, batch, seed=1)
        tensors = {name: torch.from_numpy(array) for name, array in found.items()}
        read += int(tensors["lengths"].sum())
        step += 1
    yield {"tokens": read, "batches": step}


def resume(folder: str, length: int) -> Iterator[Any]:
    """Say how long it takes to reach a step, near and far, from a fresh start."""
    del length
    yield None
    took = {}
    for step in (0, 1_000, 1_000_000, 1_000_000_000):
        opened = Tokens(Path(folder) / "tokens")
        begun = time.perf_counter()
        opened.batch(step, 8, seed=1)
        took[str(step)] = round(1e3 * (time.perf_counter() - begun), 3)
    yield took


if __name__ == "__main__":
    serve({"prepare": prepare, "pack": pack, "load": load, "resume": resume})
