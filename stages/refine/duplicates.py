"""Which documents of a spool are duplicates: equal, alike, or one within the other."""

from __future__ import annotations

import hashlib
import io
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.lm import minhash
from stages.lm.parts import Parts
from stages.refine.settings import Duplicates

Signed = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""Of some documents: sizes, signatures [D, P], lengths of their sketches, all sketches in a row."""
SIGN_DOCUMENTS = 4096
SIGN_SHINGLES = 1 << 18
"""Shingles collected before they are signed: bounds memory, not results."""
CACHED_SHINGLES = 1_000_000
"""Shingle strings kept while candidates are compared, about 100 MB."""
NO_SKETCH = np.zeros(0, dtype=np.uint32)
_BLANKS = re.compile(r"\s+")

Texts = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Match:
    """Two documents that resemble each other; `kind` is exact, near, contained or related.

    `document` goes (unless the kind is related) and `representative` stays. Measures are of this
    very pair and None where they were not computed.
    """

    document: int
    representative: int
    kind: str
    estimated_jaccard: float | None = None
    exact_jaccard: float | None = None
    containment: float | None = None


def exact(texts: Iterable[str]) -> list[Match]:
    """Return later documents that equal an earlier one up to letter case and blanks."""
    digests = bytearray()
    for text in texts:
        key = _BLANKS.sub(" ", text).strip().casefold()
        digests += hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:16]
    keys = np.frombuffer(bytes(digests), dtype="<u8").reshape(-1, 2)
    order = np.lexsort((np.arange(len(keys)), keys[:, 1], keys[:, 0]))
    ranked = keys[order]
    same = (ranked[1:] == ranked[:-1]).all(axis=1)
    first = order.copy()
    found = []
    for at in np.flatnonzero(same) + 1:
        first[at] = first[at - 1]
        found.append(Match(int(order[at]), int(first[at]), "exact", 1.0, 1.0, 1.0))
    return sorted(found, key=lambda match: match.document)


class Shingled:
    """The documents left by exact deduplication, with signatures on disk and sketches in memory."""

    def __init__(
        self,
        numbers: Sequence[int],
        text: Texts,
        settings: Duplicates,
        path: Path,
        parts: Parts | None = None,
    ) -> None:
        self.numbers = list(numbers)
        self._text = text
        self._settings = settings
        self._path = path
        self._cache: OrderedDict[int, set[str]] = OrderedDict()
        self._cached = 0
        shape = (max(1, len(self.numbers)), settings.permutations)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.signatures: NDArray[np.uint32] = np.memmap(path, np.uint32, "w+", shape=shape)
        self.sketches: list[minhash.Hashes] = []
        self.sizes = np.zeros(len(self.numbers), dtype=np.int64)
        self._fill(parts)

    def close(self) -> None:
        """Let go of the file of signatures and delete it."""
        self.signatures = np.zeros((0, 0), dtype=np.uint32)
        self._path.unlink(missing_ok=True)

    def _fill(self, parts: Parts | None) -> None:
        """Sign all documents, some thousands at a time: what a kill costs at most."""
        drawn = minhash.draw_permutations(self._settings.permutations)
        for part, first in enumerate(range(0, len(self.numbers), SIGN_DOCUMENTS)):
            rows = range(first, min(first + SIGN_DOCUMENTS, len(self.numbers)))
            work = partial(self._signed, rows, drawn)
            found = work() if parts is None else parts.make(part, work, _packed, _unpacked)
            sizes, signatures, lengths, samples = found
            self.sizes[rows.start : rows.stop] = sizes
            self.signatures[rows.start : rows.stop] = signatures
            ends = np.cumsum(lengths)
            for end, length in zip(ends.tolist(), lengths.tolist(), strict=True):
                # Most short documents have next to no sample: one array stands for them all.
                self.sketches.append(samples[end - length : end].copy() if length else NO_SKETCH)

    def _signed(self, rows: range, drawn: Any) -> Signed:
        """Return sizes, signatures and sketches of some documents, signed bit by bit."""
        settings = self._settings
        sizes = np.zeros(len(rows), dtype=np.int64)
        signatures = np.zeros((len(rows), settings.permutations), dtype=np.uint32)
        sketches: list[minhash.Hashes] = []
        held: list[minhash.Hashes] = []
        start = size = 0
        for row, hashes in enumerate(self._hashes(rows)):
            sizes[row] = len(hashes)
            if settings.containment or settings.related:
                sample = minhash.sketch(hashes, settings.sketch_scale)
                sketches.append(sample if len(sample) >= minhash.MIN_SKETCH else NO_SKETCH)
            held.append(hashes)
            size += len(hashes)
            if size >= SIGN_SHINGLES or row == len(rows) - 1:
                signatures[start : row + 1] = minhash.sign(held, drawn)
                held, start, size = [], row + 1, 0
        lengths = np.array([len(sketch) for sketch in sketches], dtype=np.int64)
        return sizes, signatures, lengths, np.concatenate([NO_SKETCH, *sketches])

    def _hashes(self, rows: range) -> Iterator[minhash.Hashes]:
        for number in self.numbers[rows.start : rows.stop]:
            words = minhash.words(self._text(number), self._settings.words)
            yield minhash.hash_words(words, self._settings.ngram)

    def shingles(self, row: int) -> set[str]:
        """Return a document's shingle set, from a cache of bounded size."""
        if row in self._cache:
            self._cache.move_to_end(row)
            return self._cache[row]
        words = minhash.words(self._text(self.numbers[row]), self._settings.words)
        found = minhash.shingles(words, self._settings.ngram)
        self._cache[row] = found
        self._cached += len(found)
        while self._cached > CACHED_SHINGLES and len(self._cache) > 2:
            self._cached -= len(self._cache.popitem(last=False)[1])
        return found

    def compare(self, first: int, second: int, kind: str) -> Match:
        """Measure two documents exactly; the one with the lower number represents them."""
        low, high = sorted((first, second))
        a, b = self.shingles(low), self.shingles(high)
        return Match(
            self.numbers[high],
            self.numbers[low],
            kind,
            self.estimate(low, high),
            minhash.jaccard(a, b),
            minhash.containment(a, b),
        )

    def estimate(self, first: int, second: int) -> float:
        """Return the share of equal signature positions."""
        return float(minhash.estimate(self.signatures[first], self.signatures[second]))


def _packed(arrays: Signed) -> bytes:
    stream = io.BytesIO()
    for array in arrays:
        np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _unpacked(data: bytes) -> Signed:
    stream = io.BytesIO(data)
    sizes, signatures, lengths, samples = (np.load(stream, allow_pickle=False) for _ in range(4))
    return sizes, signatures, lengths, samples


def near(documents: Shingled, settings: Duplicates) -> list[Match]:
    """Return every document that is a near-duplicate, with its cluster's lowest document.

    Candidates share a band of their signatures; with `verify: exact` a pair joins a cluster only if
    its Jaccard similarity reaches the threshold. Documents without shingles (fewer words than the
    n-gram has) all have the same signature and take no part; exact deduplication deals with them.
    """
    bands, rows = minhash.band_shape(settings.permutations, settings.threshold)
    judged = np.flatnonzero(documents.sizes > 0)
    if len(judged) < 2:
        return []
    pairs = judged[minhash.bucket_pairs(documents.signatures[judged], bands, rows)]
    clusters = minhash.Clusters(len(documents.numbers))
    for low, high in pairs.tolist():
        if settings.verify == "exact" and clusters.find(low) != clusters.find(high):
            a, b = documents.shingles(low), documents.shingles(high)
            if minhash.jaccard(a, b) < settings.threshold:
                continue
        clusters.union(low, high)
    roots = clusters.roots()
    members = np.flatnonzero(roots != np.arange(len(roots)))
    return [_measured(documents, int(roots[row]), int(row), "near", settings) for row in members]


def _measured(documents: Shingled, low: int, high: int, kind: str, settings: Duplicates) -> Match:
    if settings.verify == "exact":
        return documents.compare(low, high, kind)
    return Match(
        documents.numbers[high], documents.numbers[low], kind, documents.estimate(low, high)
    )


def contained(documents: Shingled, settings: Duplicates, gone: set[int]) -> list[Match]:
    """Return pairs of which one lies within the other: dropped (`contained`) or told (`related`).

    Candidates come from sketches; what is dropped is always compared exactly. The smaller document
    goes, unless its container is gone already. A pair that reaches the Jaccard threshold, but
    shared no band by bad luck, is a near-duplicate after all.
    """
    least = min(value for value in (settings.containment, settings.related, 1.0) if value)
    found: list[Match] = []
    # Sampling error: a candidate is taken a fifth below the bound and then measured.
    for low, high, _ in minhash.sketch_pairs(documents.sketches, least=0.8 * least):
        if {documents.numbers[low], documents.numbers[high]} & gone:
            continue
        match = documents.compare(low, high, "related")
        share = match.containment or 0.0
        if settings.near and (match.exact_jaccard or 0.0) >= settings.threshold:
            gone.add(match.document)
            found.append(replace(match, kind="near"))
        elif settings.containment and share >= settings.containment:
            small, large = sorted((low, high), key=lambda row: (documents.sizes[row], -row))
            gone.add(documents.numbers[small])
            found.append(
                replace(
                    match,
                    kind="contained",
                    document=documents.numbers[small],
                    representative=documents.numbers[large],
                )
            )
        elif settings.related and share >= settings.related:
            found.append(match)
    return found


def row_of(match: Match, identity: Callable[[int], str]) -> dict[str, Any]:
    """Return the match as a row of duplicates.parquet."""
    return {
        "id": identity(match.document),
        "representative": identity(match.representative),
        "kind": match.kind,
        "estimated_jaccard": match.estimated_jaccard,
        "exact_jaccard": match.exact_jaccard,
        "containment": match.containment,
    }
