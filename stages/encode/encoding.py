"""From the texts of a corpus to a packed folder of tokens, in bounded memory."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.encode import megatron
from stages.lm import corpora, engines, tokenizers
from stages.lm import indexed as indexed_tokens
from stages.lm.encoders import Encoder
from stages.lm.engines import Engine
from stages.lm.kernels.text import of_arrow
from stages.lm.packed import write_manifest, write_split
from stages.lm.parts import Parts
from stages.lm.tokens import SPLITS, Encoded, Special

FIELDS = ("ids", "sizes", "text_bytes", "text_characters")


class Rows(NamedTuple):
    """How long a row is, and how much of the rows may stay empty before documents are cut."""

    length: int
    most_waste: float | None


def encode_corpus(
    corpus: Path,
    tokenizer: Path,
    tokens: Path,
    rows: Rows,
    log: Log,
    indexed: Path | None = None,
) -> dict[str, Any]:
    """Encode and pack every split of a corpus; returns the content of tokens.json.

    `indexed` begins the names of a Megatron-LM token file that is the training split instead.
    """
    described = corpora.read_corpus(corpus, ["text"], "encode")
    backend = tokenizers.load(tokenizer)
    special = tokenizers.special(tokenizer, backend)
    vocab_size = int(backend.get_vocab_size())
    ready = indexed_tokens.read(indexed) if indexed else None
    encoded = [split for split in SPLITS if ready is None or split != "train"]
    total = sum(corpora.split_size(described, split, "bytes") for split in encoded)
    done = _Progress(log, total)
    state = backend.to_str()
    reason = _encoder(state).reason
    log.text("encoded_by", "the kernels" if reason is None else reason)
    ledgers: dict[str, dict[str, Any]] = {}
    with engines.engine(log) as engine:
        shared = (engine.share(state), engine.share(special))
        for split in SPLITS:
            if ready is not None and split == "train":
                blocks = megatron.documents(ready, backend, special, vocab_size)
                ledger = write_split(tokens, split, blocks, special, vocab_size, *rows)
                _check(ledger, split, ready.prefix, len(ready), rows.length)
            else:
                parts = Parts(log, f"encode {split}")
                blocks = _parts(corpora.groups(corpus, split), engine, shared, parts, done)
                ledger = write_split(tokens, split, blocks, special, vocab_size, *rows)
                parts.close()
                _check(ledger, split, corpus, corpora.split_size(described, split), rows.length)
            ledgers[split] = ledger
    return write_manifest(
        tokens,
        vocab_size=vocab_size,
        sequence_length=rows.length,
        objective="causal" if special.mask is None else "masked",
        special=special,
        tokenizer_digest=tokenizers.digest(tokenizer),
        splits=ledgers,
    )


def _check(
    ledger: dict[str, Any], split: str, corpus: Path, documents: int, sequence_length: int
) -> None:
    where = f"split {split} of {corpus}"
    if not ledger["documents"]:
        raise CheckFailed(
            f"the split {split} has no documents",
            where,
            "give the corpus more text, or this split a larger share in its refine entry",
        )
    if ledger["documents"] != documents:
        raise CheckFailed(
            f"{ledger['documents']} documents were encoded and {documents} are in corpus.json",
            where,
            "run the refine entry that makes this corpus again",
        )
    if split == "train" and ledger["tokens"] < sequence_length:
        raise CheckFailed(
            f"sequence_length {sequence_length} is more than all {ledger['tokens']} tokens"
            " there are to train on",
            where,
            f"set sequence_length to {ledger['tokens']} or less, or give the corpus more text",
        )


class _Progress:
    """Adds up the bytes of text encoded so far."""

    def __init__(self, log: Log, total: int) -> None:
        self._log, self._total, self._done = log, total, 0

    def add(self, size: int) -> None:
        self._done += size
        self._log.progress(self._done, self._total, "bytes")


def _parts(
    groups: Iterator[Callable[[], Any]],
    engine: Engine,
    shared: tuple[str, Special],
    parts: Parts,
    done: _Progress,
) -> Iterator[Encoded]:
    """Encode row group by row group (16 MB of text at most); those kept by a killed run are read.

    A document's tokens depend on nothing but its text, so groups leave no trace.
    """
    items = (partial(_item, shared, read) for read in groups)
    for found in parts.each(engine, _encoded, items, _packed, _unpacked):
        done.add(int(found.text_bytes.sum()))
        yield found


def _item(shared: tuple[str, Special], read: Callable[[], Any]) -> tuple[Any, ...]:
    return *shared, read()


def _packed(found: Encoded) -> bytes:
    stream = io.BytesIO()
    for name in FIELDS:
        np.save(stream, getattr(found, name), allow_pickle=False)
    return stream.getvalue()


def _unpacked(data: bytes) -> Encoded:
    stream = io.BytesIO(data)
    arrays = {name: np.load(stream, allow_pickle=False) for name in FIELDS}
    return Encoded(**arrays, closed=True)


@functools.lru_cache(1)
def _encoder(state: str) -> Encoder:
    return Encoder(tokenizers.Deferred(state))


def _encoded(state: str, special: Special, array: Any) -> Encoded:
    texts = of_arrow(array)
    found = _encoder(state).encode(texts, special.begin, special.end)
    return Encoded(
        ids=found.ids,
        sizes=np.diff(found.firsts) - 2,
        text_bytes=np.diff(texts.offsets),
        text_characters=found.characters,
        closed=True,
    )
