"""Megatron-LM's token files in and out: documents that are tokens already, and an index beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.core import canonical
from stages.core.errors import ArtifactError, CheckFailed
from stages.lm import indexed
from stages.lm.indexed import Indexed
from stages.lm.tokens import Encoded, Special

BLOCK_DOCUMENTS = 64
BLOCK_TOKENS = 1 << 20


def prefix_of(folder: Path) -> Path:
    """Return what the names of the only pair of token files in a folder begin with."""
    found = sorted(path for path in folder.rglob("*.idx") if path.is_file())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ArtifactError(
            f"{len(found)} indexes of token files: {names}",
            f"files of the raw entry {folder.parent.name}",
            "give one .idx with its .bin",
        )
    return found[0].with_suffix("")


def documents(ready: Indexed, backend: Any, special: Special, vocab_size: int) -> Iterator[Encoded]:
    """Return the documents in blocks, without the end-of-document token that may close each.

    Text is decoded only to count it: how many bytes and characters a document has.
    """
    held: list[np.ndarray[Any, Any]] = []
    size = 0
    for number, tokens in enumerate(ready.every()):
        _check(tokens, number, ready, special, vocab_size)
        closed = len(tokens) and tokens[-1] == special.end
        held.append(tokens[:-1] if closed else tokens)
        size += len(tokens)
        if len(held) >= BLOCK_DOCUMENTS or size >= BLOCK_TOKENS:
            yield _block(held, backend)
            held, size = [], 0
    if held:
        yield _block(held, backend)


def _check(
    tokens: np.ndarray[Any, Any], number: int, ready: Indexed, special: Special, vocab_size: int
) -> None:
    where = f"document {number} of {ready.prefix.name}"
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size:
        raise CheckFailed(
            f"token id {int(tokens.max())} is outside the vocabulary of {vocab_size}",
            where,
            "name the tokenizer that the token file was made with",
        )
    inside = np.isin(tokens[:-1], special.all)
    if inside.any():
        raise CheckFailed(
            f"token id {int(tokens[:-1][inside][0])} is special and stands inside the text",
            where,
            "name the tokenizer that the token file was made with",
        )


def _block(held: list[np.ndarray[Any, Any]], backend: Any) -> Encoded:
    texts = backend.decode_batch([tokens.tolist() for tokens in held], skip_special_tokens=False)
    return Encoded(
        ids=np.concatenate([np.zeros(0, np.uint32), *held]).astype(np.uint32),
        sizes=np.array([len(tokens) for tokens in held], dtype=np.int64),
        text_bytes=np.array([len(text.encode("utf-8")) for text in texts], dtype=np.int64),
        text_characters=np.array([len(text) for text in texts], dtype=np.int64),
    )


def write_indexes(tokens: Path, manifest: dict[str, Any]) -> None:
    """Write `<split>.idx` beside every `<split>.bin`.

    uint32, in which large vocabularies are stored, has the bytes of Megatron's int32.
    """
    dtype = "uint16" if manifest["dtype"] == "uint16" else "int32"
    for split in manifest["splits"]:
        offsets = np.load(tokens / f"{split}-documents.npy", allow_pickle=False)
        canonical.write_bytes(tokens / f"{split}.idx", indexed.index_bytes(np.diff(offsets), dtype))
