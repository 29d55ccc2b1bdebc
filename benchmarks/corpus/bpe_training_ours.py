"""BPE training by the kernels, from Arrow text to tokenizer.json."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer, decoders

from benchmarks.corpus.material import load
from benchmarks.corpus.rounds import serve
from stages.lm import bytelevel
from stages.lm.kernels import compiled, wordcounts
from stages.lm.kernels.text import of_arrow


def ours(path: str, vocab: int, held_out: int, out: str, threads: int = 1) -> Iterator[Any]:
    """Count words, learn merges, write the file; what is found is its digest."""
    column = load(Path(path))
    column = column.filter(pa.array(np.arange(len(column)) % held_out != 0)).combine_chunks()
    yield None
    counted = wordcounts.count(of_arrow(column), threads)
    made = Tokenizer(bytelevel.learned_model(counted, ["<|endoftext|>"], vocab, 2))
    made.pre_tokenizer = bytelevel.splitter(False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    written = made.to_str()
    Path(out).write_text(written, "utf-8")
    yield hashlib.sha256(written.encode()).hexdigest()


def ready() -> Iterator[Any]:
    """Say what compiling or loading the kernels took this process."""
    yield None
    yield compiled.spent()


if __name__ == "__main__":
    serve({"ours": ours, "ready": ready})
