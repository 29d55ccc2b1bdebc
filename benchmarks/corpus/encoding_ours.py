"""BPE encoding by the kernels, from Arrow text to ids."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders

from benchmarks.corpus.material import load
from benchmarks.corpus.rounds import serve
from stages.lm import bytelevel
from stages.lm.encoders import Encoder
from stages.lm.kernels import wordcounts
from stages.lm.kernels.text import Texts, of_arrow


@functools.cache
def _texts(path: str) -> Texts:
    texts = of_arrow(load(Path(path)))
    int(texts.data.max(initial=0))  # the file's pages are there before anything is timed
    return texts


def _new(tokenizer: str, threads: int) -> Encoder:
    backend = Tokenizer.from_file(tokenizer)
    backend.encode_special_tokens = True
    return Encoder(backend, threads)


_kept = functools.cache(_new)


def learn(path: str, vocab: int, out: str) -> Iterator[Any]:
    """Learn the tokenizer that everyone encodes with."""
    yield None
    if not Path(out).exists():
        model = bytelevel.learned_model(wordcounts.count(_texts(path)), ["<|end|>"], vocab, 2)
        made = Tokenizer(model)
        made.pre_tokenizer = bytelevel.splitter(False)
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens(["<|end|>"])
        Path(out).write_text(made.to_str(), "utf-8")
    yield None


def size(path: str, least_mb: float) -> Iterator[Any]:
    """Say how large the text is, and how many documents have the first megabytes."""
    offsets = _texts(path).offsets
    count = min(int(np.searchsorted(offsets, least_mb * 1e6)), len(offsets) - 1)
    yield None
    yield {
        "mb": int(offsets[-1]) / 1e6,
        "documents": count,
        "beginning_mb": int(offsets[count]) / 1e6,
    }


def ours(
    path: str,
    tokenizer: str,
    name: str,
    documents: int = 0,
    threads: int = 1,
    cold: bool = False,
) -> Iterator[Any]:
    """Encode the text, or its first documents."""
    texts = _texts(path)
    texts = texts.part(0, documents or texts.documents)
    encoder = (_new if cold else _kept)(tokenizer, threads)
    if encoder.reason is not None:
        raise SystemExit(f"the kernels do not encode: {encoder.reason}")
    yield None
    found = encoder.encode(texts)
    _last[name] = found.ids, found.firsts
    yield len(found.ids)


_last: dict[str, Any] = {}


def digest(name: str, lines: str = "") -> Iterator[Any]:
    """Return the digest of the ids last made under a name; write one for each document."""
    yield None
    ids, firsts = _last[name]
    wide = ids.astype(np.uint32)
    if lines:
        made = [
            hashlib.blake2b(wide[a:b].tobytes(), digest_size=8).hexdigest()
            for a, b in zip(firsts, firsts[1:], strict=False)
        ]
        Path(lines).write_text(json.dumps(made))
    yield {"digest": hashlib.sha256(wide.tobytes()).hexdigest(), "tokens": len(ids)}


if __name__ == "__main__":
    serve({"learn": learn, "size": size, "ours": ours, "digest": digest})
