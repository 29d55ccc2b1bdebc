"""Writing a folder of tokens: a stream per split, packed into rows, with a ledger of every token.

The layout is that of `stages.lm.tokens`, which reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core import canonical
from stages.core.errors import CheckFailed
from stages.lm.packing import Ints, Packing, fewest_rows, pack
from stages.lm.tokens import MANIFEST, Encoded, Special, dtype_for


def write_split(
    folder: Path,
    split: str,
    blocks: Iterable[Encoded],
    special: Special,
    vocab_size: int,
    sequence_length: int,
    most_waste: float | None = None,
) -> dict[str, Any]:
    """Write one split and return its ledger: what went in, what was added, what was packed.

    Each document becomes begin + tokens + end. With `most_waste` documents that fit a row are cut
    where no others fit beside them (`stages.lm.packing.pack`). Memory grows with the
    number of documents and pieces (some 40 bytes each), not with the number of tokens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dtype = np.dtype(dtype_for(vocab_size)).newbyteorder("<")
    sizes: list[Ints] = []
    text_bytes: list[Ints] = []
    characters = 0
    with (folder / f"{split}.bin").open("wb") as stream:
        for block in blocks:
            if len(block.ids) and int(np.max(block.ids)) >= vocab_size:
                raise CheckFailed(
                    f"token id {int(np.max(block.ids))} is outside the vocabulary of {vocab_size}",
                    f"split {split} of {folder.name}",
                    "encode with the tokenizer that the entry names, unchanged",
                )
            ids = block.ids if block.closed else _wrapped(block, special, dtype)
            stream.write(np.ascontiguousarray(ids, dtype=dtype).view(np.uint8).data)
            sizes.append(block.sizes + 2)
            text_bytes.append(block.text_bytes)
            characters += int(block.text_characters.sum())
    offsets = np.concatenate([[0], np.cumsum(_joined(sizes))]).astype(np.int64)
    size_in_bytes = _joined(text_bytes)
    packing = pack(offsets, sequence_length, most_waste)
    check_packing(packing, int(offsets[-1]), f"split {split} of {folder.name}")
    pieces = np.stack([packing.starts, packing.lengths], axis=1)
    np.save(folder / f"{split}-documents.npy", offsets)
    np.save(folder / f"{split}-bytes.npy", size_in_bytes)
    np.save(folder / f"{split}-pieces.npy", pieces)
    np.save(folder / f"{split}-rows.npy", packing.row_offsets)
    counted = {"characters": characters, "bytes": int(size_in_bytes.sum())}
    return _ledger(offsets, packing) | counted


def _ledger(offsets: Ints, packing: Packing) -> dict[str, Any]:
    """Return what became of documents with offsets [N + 1].

    `documents_cut` are longer than a row; `documents_split` fit one and were cut to fill gaps.
    """
    documents, tokens = len(offsets) - 1, int(offsets[-1])
    sizes = np.diff(offsets)
    owners = np.searchsorted(offsets, packing.starts, side="right") - 1
    parts = np.bincount(owners, minlength=documents)
    needed = -(-sizes // packing.sequence_length)
    longer = sizes > packing.sequence_length
    return {
        "documents": documents,
        "text_tokens": tokens - 2 * documents,
        "special_tokens": 2 * documents,
        "tokens": tokens,
        "packed_tokens": packing.tokens,
        "lost_tokens": tokens - packing.tokens,
        "pieces": len(packing.starts),
        "documents_cut": int(longer.sum()),
        "documents_split": int((~longer & (parts > 1)).sum()),
        "cuts": int((parts - 1).clip(0).sum()),
        "cuts_to_fill": int((parts - needed).sum()),
        "rows": packing.rows,
        "fewest_rows": fewest_rows(tokens, packing.sequence_length),
        "padding": packing.padding,
        "waste_fraction": packing.waste,
    }


def _wrapped(block: Encoded, special: Special, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Put each document of a block between the begin and the end token."""
    ends = np.cumsum(block.sizes)
    out = np.empty(len(block.ids) + 2 * len(block.sizes), dtype=dtype)
    shift = 2 * np.arange(len(block.sizes), dtype=np.int64)
    begins_at = ends - block.sizes + shift
    ends_at = ends + shift + 1
    text = np.ones(len(out), dtype=bool)
    text[begins_at] = text[ends_at] = False
    out[begins_at], out[ends_at] = special.begin, special.end
    out[text] = block.ids
    return out


def _joined(arrays: list[Ints]) -> Ints:
    return np.concatenate(arrays).astype(np.int64) if arrays else np.zeros(0, dtype=np.int64)


def check_packing(packing: Packing, tokens: int, where: str) -> None:
    """Refuse a packing that loses, repeats or overfills: every token must be in one row, once."""
    order = np.argsort(packing.starts, kind="stable")
    starts, lengths = packing.starts[order], packing.lengths[order]
    ends = starts + lengths
    covered = (
        len(starts) == 0
        if tokens == 0
        else bool(
            len(starts)
            and starts[0] == 0
            and ends[-1] == tokens
            and np.array_equal(starts[1:], ends[:-1])
            and packing.row_offsets[-1] == len(starts)
        )
    )
    in_row = np.add.reduceat(packing.lengths, packing.row_offsets[:-1]) if tokens else np.zeros(0)
    if not covered or bool((in_row > packing.sequence_length).any()):
        raise CheckFailed(
            f"the packed rows hold {packing.tokens} tokens and do not cover the {tokens} of the"
            f" stream exactly once in rows of {packing.sequence_length}",
            where,
            "report this with the entry's parameters: packing must never lose or repeat a token",
        )


def write_manifest(
    folder: Path,
    *,
    vocab_size: int,
    sequence_length: int,
    objective: str,
    special: Special,
    tokenizer_digest: str,
    splits: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Write tokens.json, which makes the folder readable by `Tokens`; returns its content."""
    manifest = {
        "vocab_size": vocab_size,
        "dtype": dtype_for(vocab_size),
        "sequence_length": sequence_length,
        "objective": objective,
        "special": special.as_json(),
        "tokenizer_digest": tokenizer_digest,
        "splits": splits,
    }
    canonical.write_json(folder / MANIFEST, manifest)
    return manifest
