"""BPE encoding by tokenizers 0.23, by tokenizers 1.0's pre-release and by fastokens.

Runs in the peers' environments; imports nothing of ours but `rounds`, which needs nothing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.corpus.rounds import serve

if os.environ.get("RAYON_NUM_THREADS", "1") != "1":
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
AT_ONCE = 64


@functools.cache
def _strings(path: str) -> list[str]:
    import pyarrow as pa

    found: list[str] = pa.ipc.open_file(pa.memory_map(path)).read_all()["text"].to_pylist()
    return found


def _texts(path: str, documents: int) -> list[str]:
    texts = _strings(path)
    return texts[: documents or len(texts)]


@functools.cache
def _opened(kind: str, tokenizer: str) -> Any:
    if kind == "fastokens":
        import fastokens

        return fastokens.Tokenizer.from_file(tokenizer)
    from tokenizers import Tokenizer

    opened = Tokenizer.from_file(tokenizer)
    if kind == "tokenizers":
        opened.encode_special_tokens = True
    return opened


_last: dict[str, list[Any]] = {}


def tokenizers(path: str, tokenizer: str, name: str, documents: int = 0) -> Iterator[Any]:
    """Encode batches of 64 by `encode_batch_fast`, its fastest way."""
    texts, opened = _texts(path, documents), _opened("tokenizers", tokenizer)
    yield None
    made = []
    for at in range(0, len(texts), AT_ONCE):
        batch = opened.encode_batch_fast(texts[at : at + AT_ONCE], add_special_tokens=False)
        made += [one.ids for one in batch]
    _last[name] = made
    yield len(made)


def pre(path: str, tokenizer: str, name: str, documents: int = 0) -> Iterator[Any]:
    """Encode batches of 64 and take arrays, the fastest way of 1.0."""
    texts, opened = _texts(path, documents), _opened("pre", tokenizer)
    yield None
    made = []
    for at in range(0, len(texts), AT_ONCE):
        batch = opened.encode_batch(
            texts[at : at + AT_ONCE], add_special_tokens=False, encode_special_tokens=True
        )
        made += [one.ids_array for one in batch]
    _last[name] = made
    yield len(made)


def fastokens(path: str, tokenizer: str, name: str, documents: int = 0) -> Iterator[Any]:
    """Encode all at once into one buffer, its fastest way."""
    texts, opened = _texts(path, documents), _opened("fastokens", tokenizer)
    yield None
    _last[name] = list(opened.encode_batch_flat(texts, split_special_tokens=True))
    yield len(texts)


def digest(name: str, lines: str = "") -> Iterator[Any]:
    """Return the digest of the ids last made, and how many documents' ids differ from a file's."""
    import numpy as np

    yield None
    made = _last[name]
    if isinstance(made[0], bytes):
        flat, places = np.frombuffer(made[0], np.uint32), np.frombuffer(made[1], np.uint64).tolist()
        made = [flat[a:b] for a, b in zip(places, places[1:], strict=False)]
    state, own, total = hashlib.sha256(), [], 0
    for ids in made:
        data = np.asarray(ids, np.uint32).tobytes()
        state.update(data)
        total += len(ids)
        if lines:
            own.append(hashlib.blake2b(data, digest_size=8).hexdigest())
    wanted = json.loads(Path(lines).read_text()) if lines else []
    different = sum(one != other for one, other in zip(own, wanted, strict=True))
    yield {"digest": state.hexdigest(), "tokens": total, "different": different}


if __name__ == "__main__":
    serve({"tokenizers": tokenizers, "pre": pre, "fastokens": fastokens, "digest": digest})
