"""Packing by the stage `encode`, and loading by `Tokens`."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.corpus.material import load as load_arrow
from benchmarks.corpus.rounds import serve
from stages.core import canonical
from stages.core.log import Log
from stages.encode import encoding
from stages.encode.stage import EncodeParams, encode
from stages.lm import corpora, orders, packing, tables, tokenizers
from stages.lm.blends import Blend
from stages.lm.encoders import Encoder
from stages.lm.kernels import laying
from stages.lm.kernels.text import of_arrow
from stages.lm.kernels.wordcounts import count
from stages.lm.loaders import Loader
from stages.lm.objectives import Causal
from stages.lm.tokens import Tokens
from stages.pretrain.stage import Causal as CausalParams
from stages.pretrain.stage import Gpt2, PretrainParams, pretrain
from stages.tokenizer import algorithms, training
from stages.tokenizer.stage import TokenizerParams

END = "<|endoftext|>"


def prepare(path: str, folder: str, vocab: int) -> Iterator[Any]:
    """Write a corpus of three splits and a tokenizer."""
    yield None
    column, root = load_arrow(Path(path)), Path(folder)
    texts = column.to_pylist()
    splits = {}
    for split, given in {"train": texts, "valid": texts[:8], "test": texts[8:16]}.items():
        with tables.ShardWriter(root / "corpus", split, tables.TEXT_SCHEMA) as writer:
            for number, text in enumerate(given):
                writer.add({"id": f"{split}-{number}", "source": "benchmark", "text": text})
        splits[split] = {
            "documents": len(given),
            "characters": sum(map(len, given)),
            "bytes": sum(len(text.encode("utf-8")) for text in given),
            "shards": writer.shards,
        }
    canonical.write_json(root / "corpus" / "corpus.json", {"kind": "text", "splits": splits})
    params = TokenizerParams(corpus="x", objective="causal", vocab_size=vocab)
    backend = algorithms.bpe(params, [training._special(END)], count(of_arrow(column)))
    training._finish(backend, params)
    training.save(backend, params, root / "tokenizer")
    yield {"mb": splits["train"]["bytes"] / 1e6}


def pack(folder: str, length: int) -> Iterator[Any]:
    """Run the stage from nothing to a finished folder."""
    root = Path(folder)
    for name in ("scratch", "tokens"):
        shutil.rmtree(root / name, ignore_errors=True)
    params = EncodeParams(corpus="x", tokenizer="x", sequence_length=length)
    encoding._encoder.cache_clear()  # words of the run before are not known
    yield None
    log = Log(scratch=root / "scratch")
    encode(params, root / "corpus", root / "tokenizer", root, root / "tokens", log)
    ledger = Tokens(root / "tokens").ledger
    yield {name: ledger[name] for name in ("tokens", "rows", "lost_tokens", "waste_fraction")}


def parts(folder: str) -> Iterator[Any]:
    """Say what the steps of packing cost each, CPU seconds, done one after another."""
    root = Path(folder)
    yield None
    took, begun = {}, time.process_time()

    def lap(name: str) -> None:
        nonlocal begun
        now = time.process_time()
        took[name], begun = round(now - begun, 4), now

    encoder = Encoder(tokenizers.load(root / "tokenizer"))
    lap("open the tokenizer")
    groups = [of_arrow(read()) for read in corpora.groups(root / "corpus", "train")]
    lap("read and decompress Parquet")
    made = [encoder.encode(texts, 0, 0) for texts in groups]
    lap("encode, no word known before")
    for texts in groups:
        encoder.encode(texts, 0, 0)
    lap("encode again, words known (not part of packing)")
    sizes = np.concatenate([np.diff(one.firsts) for one in made])
    packing.pack(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), 1024, 0.005)
    lap("pack")
    yield took


def _loader(folder: Path, batch: int, steps: int) -> Loader:
    """Return what the stage `pretrain` reads a causal model's batches with."""
    blend = Blend([Tokens(folder / "tokens")])
    size = {"steps": steps, "batch_rows": batch, "seed": 1}
    order, _ = orders.kept(folder / "order", blend, ["tokens/x"], **size, whole=False)
    return Loader(blend, order, Causal(), 1)


def load(folder: str, length: int, batch: int, tokens: int, padded: bool = False) -> Iterator[Any]:
    """Take the tasks of steps, as training does, until so many tokens were there.

    `padded` takes rows with padding, positions and segments instead.
    """
    loader = _loader(Path(folder), batch, -(-2 * tokens // (batch * length)))
    opened = Tokens(Path(folder) / "tokens")
    opened.batch(0, batch, seed=1)
    loader.tasks(0)
    yield None
    read = step = 0
    while read < tokens:
        if padded:
            found = opened.batch(step, batch, seed=1)
            tensors = {name: torch.from_numpy(array) for name, array in found.items()}
            read += int(tensors["lengths"].sum())
        else:
            read += sum(task.tokens for task in loader.tasks(step))
        step += 1
    yield {"tokens": read, "batches": step}


def kernel(folder: str, length: int, batch: int) -> Iterator[Any]:
    """Say what of a batch is the kernel's, and what calling it for no rows costs, microseconds."""
    steps = 1000
    loader = _loader(Path(folder), batch, steps)
    lay, arrays = loader._lay, loader._lay._arrays[0]
    rows = [loader._order.step(step).astype(np.int64) for step in range(steps)]
    yield None
    took = {}
    for name, given in (("kernel", rows), ("call", [one[:0] for one in rows])):
        best = np.inf
        for _ in range(5):
            begun = time.process_time()
            for one in given:
                laying._lay(
                    lay._streams, lay._wide, lay._pieces, lay._places, lay.firsts, one, length,
                    lay._counts, lay._groups, *arrays, lay._sizes,
                )  # fmt: skip
            best = min(best, time.process_time() - begun)
        took[name] = round(1e6 * best / steps, 2)
    yield took


def wait(folder: str, length: int, steps: int) -> Iterator[Any]:
    """Train a small model by the stage; returns the share of time that it waited for data."""
    root = Path(folder)
    shutil.rmtree(root / "model", ignore_errors=True)
    params = PretrainParams(
        tokens="x", tokenizer="x", steps=steps, batch_rows=max(1, 1024 // length),
        model=Gpt2(kind="gpt2", positions=length, layers=2), objective=CausalParams(kind="causal"),
        evaluate_every=steps, evaluate_rows=1, short_share=0, initial_loss_tolerance=1,
    )  # fmt: skip
    yield None
    with tempfile.TemporaryDirectory() as scratch:
        log, none = Log(scratch=Path(scratch)), root / "none"
        pretrain(
            params, root / "tokens", none, none, none, root / "tokenizer", none, root / "model", log
        )
    yield log.observed["data_wait_fraction"]


def resume(folder: str, length: int) -> Iterator[Any]:
    """Say how long it takes to the batch of a step, from opening the files of a fresh start."""
    del length
    steps, batch = 1_000_000, 8
    _loader(Path(folder), batch, steps)
    yield None
    took = {}
    for step in (0, 1_000, steps - 1):
        begun = time.perf_counter()
        blend = Blend([Tokens(Path(folder) / "tokens")])
        Loader(blend, orders.read(Path(folder) / "order"), Causal(), 1).tasks(step)
        took[str(step)] = round(1e3 * (time.perf_counter() - begun), 3)
    yield took


if __name__ == "__main__":
    serve({one.__name__: one for one in (prepare, pack, parts, load, kernel, wait, resume)})
