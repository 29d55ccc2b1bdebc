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
from stages.lm.kernels.text import Texts
from stages.lm.parts import Parts
from stages.lm.signatures import Signed
from stages.refine.settings import Duplicates

SIGN_DOCUMENTS = 4096
"""Documents of a part: what a kill costs at most."""
SIGN_BYTES = 1 << 24
"""Text signed in one go: bounds memory, not results."""

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
    ) -> None:
        self.numbers = np.asarray(numbers, np.int64)
        self.lengths = np.asarray(lengths, np.int64)
        """Bytes of each text, or a little more."""
        self.settings = settings
        self._reader, self._path, self._threads = reader, path, threads
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
        with self._sketches.open("wb") as stream:
            for part, first in enumerate(range(0, len(self), SIGN_DOCUMENTS)):
                rows = range(first, min(first + SIGN_DOCUMENTS, len(self)))
                work = partial(self._signed, rows)
                found = work() if parts is None else parts.make(part, work, _packed, _unpacked)
                self.sizes[rows.start : rows.stop] = found.sizes
                self.signatures[rows.start : rows.stop] = found.signatures
                stream.write(_sketched(found, first).tobytes())
            size = stream.tell() // 8
        if not size:
            return np.zeros(0, np.uint64)
        codes = np.memmap(self._sketches, np.uint64, "r+", shape=(size,))
        codes.sort()
        return np.asarray(codes)

    def _signed(self, rows: range) -> Signed:
        """Sign some documents; the same for every number of threads and size of a batch."""
        settings = self.settings
        scale = settings.sketch_scale if settings.containment or settings.related else 0
        made = [
            signatures.sign(
                self._texts(batch), settings.hash, settings.permutations, ngram=settings.ngram,
                words=settings.words, scale=scale, threads=self._threads,
            )
            for batch in batches(np.arange(rows.start, rows.stop), self.lengths)
        ]  # fmt: skip
        return Signed(*(np.concatenate(column) for column in zip(*made, strict=True)))


def batches(rows: Numbers, lengths: Numbers, most: int = SIGN_BYTES) -> Iterator[Numbers]:
    """Cut rows where the texts of one batch would exceed `most` bytes; one row at least."""
    ends = np.cumsum(lengths[rows])
    start = 0
    while start < len(rows):
        base = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, base + most, side="right")))
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
