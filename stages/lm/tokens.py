"""Tokens on disk: a flat stream per split, the documents in it, and the rows it packs into.

A folder of tokens holds `tokens.json` and, for each split (`train`, `valid`, `test`):

- `<split>.bin`: all documents' tokens one after another, with their begin and end tokens, as
  little-endian uint16 (vocabulary up to 65,536) or uint32;
- `<split>-documents.npy`: int64 [N + 1], where each document begins in the stream;
- `<split>-bytes.npy`: int64 [N], each document's text in UTF-8 bytes (for bits per byte);
- `<split>-pieces.npy`: int64 [P, 2], start and length of each piece, in the order of the rows;
- `<split>-rows.npy`: int64 [R + 1], where each row begins in the pieces.

Everything is opened memory-mapped, so a reader's memory does not grow with the data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.packing import Ints, shuffled

MANIFEST = "tokens.json"
SPLITS = ("train", "valid", "test")
ORDER_BLOCK = 4096
"""Rows whose order is computed at once: one row costs as many numpy calls as thousands."""
Batch = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Special:
    """Ids of the tokens that the tokenizer adds: `mask` is None for a causal tokenizer.

    `all` lists every id that is no text (never masked, never counted as text).
    """

    begin: int
    end: int
    pad: int
    mask: int | None
    all: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the ids as they stand in tokens.json."""
        return {
            "begin": self.begin,
            "end": self.end,
            "pad": self.pad,
            "mask": self.mask,
            "all": list(self.all),
        }


@dataclass(frozen=True)
class Encoded:
    """Some documents encoded without special tokens.

    `ids` [T] are all their tokens, `sizes` [N] tokens per document, `text_bytes` and
    `text_characters` [N] the size of each text. `closed` says that the begin and end tokens of
    every document stand in `ids` already; `sizes` never counts them.
    """

    ids: NDArray[Any]
    sizes: Ints
    text_bytes: Ints
    text_characters: Ints
    closed: bool = False


def dtype_for(vocab_size: int) -> str:
    """Return the narrowest of uint16 and uint32 that holds every id of a vocabulary."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


class Tokens:
    """One split of a folder of tokens, opened for reading.

    `stream` [T] is the memory-mapped token stream, `documents` [N + 1] its document offsets,
    `text_bytes` [N] the size of each document's text, `rows` the number of packed rows; `pieces`
    [P, 2] and `row_offsets` [R + 1] are those of the files.
    """

    def __init__(self, folder: Path, split: str = "train") -> None:
        self.folder, self.split = folder, split
        self.manifest = read_manifest(folder)
        if split not in self.manifest["splits"]:
            raise ArtifactError(
                f"there is no split {split!r}",
                str(folder / MANIFEST),
                f"use one of {', '.join(sorted(self.manifest['splits']))}",
            )
        self.ledger: dict[str, Any] = self.manifest["splits"][split]
        self.sequence_length: int = self.manifest["sequence_length"]
        self.vocab_size: int = self.manifest["vocab_size"]
        ids = self.manifest["special"]
        self.special = Special(ids["begin"], ids["end"], ids["pad"], ids["mask"], tuple(ids["all"]))
        self.documents = self._array("documents", (self.ledger["documents"] + 1,))
        self.text_bytes = self._array("bytes", (self.ledger["documents"],))
        self.pieces = self._array("pieces", (self.ledger["pieces"], 2))
        self.row_offsets = self._array("rows", (self.ledger["rows"] + 1,))
        self.stream = self._stream()
        self._blocks: dict[tuple[int, int], Ints] = {}

    @property
    def rows(self) -> int:
        """Return the number of packed rows: one epoch."""
        return len(self.row_offsets) - 1

    def document(self, number: int) -> Ints:
        """Return one whole document [T] with its begin and end tokens."""
        first, last = self.documents[number], self.documents[number + 1]
        return self.stream[first:last].astype(np.int64)

    def batch(
        self, step: int, batch_rows: int, seed: int, *, rank: int = 0, world_size: int = 1
    ) -> Batch:
        """Return the padded batch of a step; see `gather` for its arrays.

        Row number `step * batch_rows + i` of the endless sequence of shuffled epochs: every row
        comes once per epoch, and any step is found at once. With `world_size` > 1 the batch is
        the whole of all ranks and each rank gets its own consecutive part.
        """
        return self.gather(self.order(step, batch_rows, seed, rank=rank, world_size=world_size))

    def flat_batch(
        self, step: int, batch_rows: int, seed: int, *, rank: int = 0, world_size: int = 1
    ) -> Batch:
        """Return the batch of a step without a single pad token; see `gather_flat`."""
        rows = self.order(step, batch_rows, seed, rank=rank, world_size=world_size)
        return self.gather_flat(rows)

    def order(
        self, step: int, batch_rows: int, seed: int, *, rank: int = 0, world_size: int = 1
    ) -> Ints:
        """Return which rows a step trains on, [batch_rows] (this rank's part of them)."""
        if not self.rows:
            raise ArtifactError(
                "the split has no tokens to train on",
                f"split {self.split} of {self.folder}",
                "give the corpus more text or another share for this split",
            )
        if batch_rows % world_size:
            raise ParamsError(
                f"a batch of {batch_rows} rows cannot be shared equally by {world_size} processes",
                f"split {self.split} of {self.folder}",
                f"use a multiple of {world_size} rows",
            )
        share = batch_rows // world_size
        first = step * batch_rows + rank * share
        blocks = range(first // ORDER_BLOCK, (first + share - 1) // ORDER_BLOCK + 1)
        order = np.concatenate([self._order_block(seed, number) for number in blocks])
        start = first - blocks[0] * ORDER_BLOCK
        return order[start : start + share]

    def _order_block(self, seed: int, number: int) -> Ints:
        """Return rows `number * ORDER_BLOCK` on of the endless sequence, keeping the last few."""
        if (seed, number) not in self._blocks:
            positions = number * ORDER_BLOCK + np.arange(ORDER_BLOCK, dtype=np.int64)
            if len(self._blocks) >= 4:
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[seed, number] = shuffled(
                positions % self.rows, self.rows, seed, positions // self.rows
            )
        return self._blocks[seed, number]

    def gather(self, rows: Ints) -> Batch:
        """Return rows padded to `sequence_length`.

        `input_ids`, `position_ids`, `segment_ids` are int64 [B, L]: positions begin at 0 in every
        segment (a piece of one document); segments count from 1 in every row, 0 is padding, and a
        token may attend only to its own segment. `lengths` [B] is the number of tokens per row.
        """
        from stages.lm.kernels import gathering

        ids, positions, segments, lengths = gathering.gather(
            self.stream, self.pieces, self.row_offsets, rows, self.sequence_length, self.special.pad
        )
        return {
            "lengths": lengths,
            "input_ids": ids,
            "position_ids": positions,
            "segment_ids": segments,
        }

    def gather_flat(self, rows: Ints) -> Batch:
        """Return rows joined into one sequence without padding.

        `input_ids`, `position_ids`, `segment_ids` are int64 [T] as in `gather`, `row_ids` [T] the
        row in the batch, `segment_starts` [S + 1] where each segment begins (for attention kept
        within segments), `lengths` [B] the number of tokens per row.
        """
        first, last = self.row_offsets[rows], self.row_offsets[np.asarray(rows) + 1]
        pieces, piece_rows = _ranges(first, last)
        starts, sizes = self.pieces[pieces, 0], self.pieces[pieces, 1]
        segment_starts = np.concatenate([[0], np.cumsum(sizes)])
        total = int(segment_starts[-1])
        input_ids = np.empty(total, dtype=np.int64)
        # Slices of the stream, not an index per token: pieces are long and lie together on disk.
        for at, start, size in zip(
            segment_starts.tolist(), starts.tolist(), sizes.tolist(), strict=False
        ):
            input_ids[at : at + size] = self.stream[start : start + size]
        begins = np.repeat(segment_starts[:-1], sizes)
        return {
            "input_ids": input_ids,
            "position_ids": np.arange(total, dtype=np.int64) - begins,
            "segment_ids": np.repeat(pieces - first[piece_rows] + 1, sizes),
            "row_ids": np.repeat(piece_rows, sizes),
            "segment_starts": segment_starts,
            "lengths": np.bincount(piece_rows, weights=sizes, minlength=len(rows)).astype(np.int64),
        }

    def _array(self, name: str, shape: tuple[int, ...]) -> Ints:
        path = self.folder / f"{self.split}-{name}.npy"
        try:
            array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as fault:
            raise _damaged(path, str(fault)) from fault
        if array.shape != shape or array.dtype != np.int64:
            raise _damaged(path, f"it holds {array.dtype} {array.shape} instead of int64 {shape}")
        return array

    def _stream(self) -> NDArray[Any]:
        path = self.folder / f"{self.split}.bin"
        dtype = np.dtype(self.manifest["dtype"]).newbyteorder("<")
        expected = self.ledger["tokens"] * dtype.itemsize
        found = path.stat().st_size if path.is_file() else -1
        if found != expected:
            state = "it is missing" if found < 0 else f"it has {found} bytes instead of {expected}"
            raise _damaged(path, state)
        if not expected:
            return np.zeros(0, dtype=dtype)
        # A plain array over the map: slicing np.memmap itself costs ten times as much.
        return np.asarray(np.memmap(path, dtype=dtype, mode="r"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return tokens.json of a folder of tokens."""
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise _damaged(path, str(fault)) from fault
    return manifest


def _damaged(path: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{path.name} cannot be read: {reason}",
        str(path.parent),
        "run the encode entry that makes this folder again",
    )


def _ranges(first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Join ranges: returns every number of every `first[i]` to `last[i]` - 1, and its `i`."""
    sizes = np.asarray(last) - np.asarray(first)
    owner = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    within = np.arange(len(owner), dtype=np.int64) - (np.cumsum(sizes) - sizes)[owner]
    return np.asarray(first)[owner] + within, owner
