"""Documents with their signatures on disk: what near-duplicates are searched among."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.lm import minhash, neighbours, signatures
from stages.lm.engines import Engine
from stages.lm.kernels.text import Texts
from stages.lm.parts import Parts
from stages.lm.signatures import Signed
from stages.refine.settings import Duplicates

SIGN_DOCUMENTS = 4096
"""Documents of a part at most: what a kill costs."""
SIGN_BYTES = 1 << 24
"""Text of a part at most: bounds memory, not results."""

Numbers = NDArray[np.int64]
Reader = Callable[[Numbers], Texts]
"""Gives the texts of documents by their numbers, ascending."""


class Shingled:
    """Documents by row: `numbers` [D] are what they are called elsewhere, ascending.

    Signatures [D, L] lie in a file, sketches (8 bytes per hash) in another, both mapped.
    """

    def __init__(
        self,
        numbers: Sequence[int] | Numbers,
        reader: Reader,
        lengths: Sequence[int] | Numbers,
        settings: Duplicates,
        path: Path,
        *,
        parts: Parts | None = None,
        threads: int = 1,
        engine: Engine | None = None,
    ) -> None:
        self.numbers = np.asarray(numbers, np.int64)
        self.lengths = np.asarray(lengths, np.int64)
        """Bytes of each text, or a little more."""
        self.settings = settings
        self._reader, self._path, self._threads = reader, path, threads
        self._engine = engine or Engine()
        self.comparison = neighbours.Comparison(
            self._texts, self.lengths, settings.ngram, settings.words
        )
        shape = (max(1, len(self.numbers)), settings.permutations)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = np.memmap(path, np.uint32, "w+", shape=shape)
        self.signatures: NDArray[np.uint32] = np.asarray(kept)[: len(self.numbers)]
        self.sizes = np.zeros(len(self.numbers), dtype=np.int64)
        self.codes = self._fill(parts)

    def __len__(self) -> int:
        return len(self.numbers)

    def close(self) -> None:
        """Let go of the files and delete them."""
        self.signatures = np.zeros((0, self.settings.permutations), dtype=np.uint32)
        self.codes = np.zeros(0, np.uint64)
        self._path.unlink(missing_ok=True)
        self._sketches.unlink(missing_ok=True)

    @property
    def _sketches(self) -> Path:
        return self._path.with_name(self._path.name + ".sketches")

    def _texts(self, rows: Numbers) -> Texts:
        return self._reader(self.numbers[rows])

    def _fill(self, parts: Parts | None) -> NDArray[np.uint64]:
        """Sign all documents, part by part; return the sketches, as `contained_pairs` takes them.

        A sketch of fewer than `MIN_SKETCH` hashes is not judged and left out.
        """
        every = list(batches(np.arange(len(self)), self.lengths, documents=SIGN_DOCUMENTS))
        items = [partial(self._item, rows) for rows in every]
        if parts is None:
            made = self._engine.map(_signed, (item() for item in items))
        else:
            made = parts.each(self._engine, _signed, items, _packed, _unpacked)
        with self._sketches.open("wb") as stream:
            for rows, found in zip(every, made, strict=True):
                self.sizes[rows] = found.sizes
                self.signatures[rows] = found.signatures
                stream.write(_sketched(found, int(rows[0])).tobytes())
            size = stream.tell() // 8
        if not size:
            return np.zeros(0, np.uint64)
        codes = np.memmap(self._sketches, np.uint64, "r+", shape=(size,))
        codes.sort()
        return np.asarray(codes)

    def _item(self, rows: Numbers) -> tuple[Duplicates, int, Texts]:
        return self.settings, self._threads, self._texts(rows)


def _signed(settings: Duplicates, threads: int, texts: Texts) -> Signed:
    """Sign some documents; the same for every number of threads and size of a batch."""
    scale = settings.sketch_scale if settings.containment or settings.related else 0
    return signatures.sign(
        texts, settings.hash, settings.permutations, ngram=settings.ngram, words=settings.words,
        scale=scale, threads=threads,
    )  # fmt: skip


def batches(rows: Numbers, lengths: Numbers, documents: int = 1 << 62) -> Iterator[Numbers]:
    """Cut rows where a batch's texts would be too large or too many; one row at least."""
    ends = np.cumsum(lengths[rows])
    start = 0
    while start < len(rows):
        base = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, base + SIGN_BYTES, side="right")))
        stop = min(stop, start + documents)
        yield rows[start:stop]
        start = stop


def _sketched(found: Signed, first: int) -> NDArray[np.uint64]:
    """Return the sketches of some rows, from row `first` on, as hash * 2^32 + row."""
    owners = np.repeat(np.arange(len(found.sizes), dtype=np.uint64), found.sampled)
    codes = np.unique(owners << np.uint64(32) | found.samples.astype(np.uint64))
    owners = codes >> np.uint64(32)
    sizes = np.bincount(owners.astype(np.int64), minlength=len(found.sizes))
    codes = codes[sizes[owners.astype(np.int64)] >= minhash.MIN_SKETCH]
    return codes << np.uint64(32) | (codes >> np.uint64(32)) + np.uint64(first)


def _packed(found: Signed) -> bytes:
    stream = io.BytesIO()
    for array in found:
        np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _unpacked(data: bytes) -> Signed:
    stream = io.BytesIO(data)
    arrays: list[Any] = [np.load(stream, allow_pickle=False) for _ in range(4)]
    return Signed(*arrays)
