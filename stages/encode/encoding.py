"""From the texts of a corpus to a packed folder of tokens, in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.encode import megatron
from stages.lm import corpora, tokenizers
from stages.lm import indexed as indexed_tokens
from stages.lm.packing import Ints
from stages.lm.parts import Parts
from stages.lm.tokens import SPLITS, Encoded, write_manifest, write_split

FIELDS = ("ids", "sizes", "text_bytes", "text_characters")
BLOCK_DOCUMENTS = 64
"""Documents encoded at once: larger batches are slower (page faults of Encoding objects)."""
BLOCK_BYTES = 4 << 20
"""Text encoded at once at most, one document above it: this bounds memory."""


def encode_corpus(
    corpus: Path,
    tokenizer: Path,
    tokens: Path,
    sequence_length: int,
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
    ledgers: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        if ready is not None and split == "train":
            blocks = megatron.documents(ready, backend, special, vocab_size)
            ledger = write_split(tokens, split, blocks, special, vocab_size, sequence_length)
            _check(ledger, split, ready.prefix, len(ready), sequence_length)
        else:
            parts = Parts(log, f"encode {split}")
            blocks = _parts(corpora.groups(corpus, split), backend, parts, done)
            ledger = write_split(tokens, split, blocks, special, vocab_size, sequence_length)
            parts.close()
            _check(ledger, split, corpus, corpora.split_size(described, split), sequence_length)
        ledgers[split] = ledger
    return write_manifest(
        tokens,
        vocab_size=vocab_size,
        sequence_length=sequence_length,
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
    groups: Iterator[Callable[[], list[str]]], backend: Any, parts: Parts, done: _Progress
) -> Iterator[Encoded]:
    """Encode row group by row group (16 MB of text at most); those kept by a killed run are read.

    A document's tokens depend on nothing but its text, so groups and blocks leave no trace.
    """
    for number, read in enumerate(groups):
        found = parts.make(number, partial(_group, read, backend), _packed, _unpacked)
        done.add(int(found.text_bytes.sum()))
        yield found


def _group(read: Callable[[], list[str]], backend: Any) -> Encoded:
    blocks = list(_blocks(read(), backend))
    ids = [np.zeros(0, dtype=np.uint32), *(block.ids for block in blocks)]

    def joined(name: str) -> Ints:
        return np.concatenate([np.zeros(0, np.int64), *(getattr(block, name) for block in blocks)])

    return Encoded(np.concatenate(ids), *(joined(name) for name in FIELDS[1:]))


def _packed(found: Encoded) -> bytes:
    stream = io.BytesIO()
    for name in FIELDS:
        np.save(stream, getattr(found, name), allow_pickle=False)
    return stream.getvalue()


def _unpacked(data: bytes) -> Encoded:
    stream = io.BytesIO(data)
    return Encoded(**{name: np.load(stream, allow_pickle=False) for name in FIELDS})


def _blocks(documents: list[str], backend: Any) -> Iterator[Encoded]:
    texts: list[str] = []
    size = 0
    for text in documents:
        texts.append(text)
        size += len(text)
        if len(texts) >= BLOCK_DOCUMENTS or size >= BLOCK_BYTES:
            yield _encoded(texts, backend)
            texts, size = [], 0
    if texts:
        yield _encoded(texts, backend)


def _encoded(texts: list[str], backend: Any) -> Encoded:
    found = tokenizers.encode_texts(backend, texts)
    text_bytes = np.array([len(text.encode("utf-8")) for text in texts], dtype=np.int64)
    return Encoded(
        ids=np.concatenate([np.asarray(ids, dtype=np.uint32) for ids in found]),
        sizes=np.array([len(ids) for ids in found], dtype=np.int64),
        text_bytes=text_bytes,
        text_characters=np.array([len(text) for text in texts], dtype=np.int64),
    )
