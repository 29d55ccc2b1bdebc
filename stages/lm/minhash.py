"""MinHash signatures, locality-sensitive hashing, containment sketches and clusters.

Constants and draw order are those of the near-deduplication of The Stack (huggingface.co/blog/dedup
and bigcode-dataset), so that its worked example comes out digit for digit:

    h        = first 4 bytes of SHA-1(shingle, UTF-8), little-endian
    perm_i   = ((h * a_i + b_i) mod (2^61 - 1)) & (2^32 - 1), in uint64 with wrap-around
    minhash  = for every i the least perm_i over the document's shingles

with one deliberate difference: empty tokens are dropped before shingles are made. The published
regular expression keeps them, which makes `much fun ` a shingle and loses true pairs.

Shapes: P permutations, D documents, H shingle hashes, E pairs of documents.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MERSENNE = (1 << 61) - 1
MAX_HASH = (1 << 32) - 1
SEED = 42
BLOCK = 256
"""Shingles hashed at once: `[P, BLOCK]` of uint64 stays in the second-level cache."""
BUCKET_PAIRS = 48
"""Up to this many documents of one bucket are paired each with each; above it, star and chain."""

MIN_SKETCH = 8
"""Hashes that a sketch must hold before containment is estimated from it."""

Words = Literal["unicode", "ascii"]
Hashes = NDArray[np.uint32]
Signatures = NDArray[np.uint32]
Pairs = NDArray[np.int64]

_ASCII = re.compile(r"[^A-Za-z_0-9]")
_UNICODE = re.compile(r"\w+")


def words(text: str, kind: Words = "unicode", *, drop_empty: bool = True) -> list[str]:
    """Split text into words for shingling.

    `ascii` splits on `[^A-Za-z_0-9]` as The Stack does and keeps case; `unicode` takes `\\w+` of
    the lower-cased text. `drop_empty=False` shows what the published split of `ascii` does.
    """
    if kind == "unicode":
        return _UNICODE.findall(text.lower())
    return [word for word in _ASCII.split(text) if word or not drop_empty]


def shingles(tokens: Sequence[str], ngram: int) -> set[str]:
    """Return the set of word n-grams; fewer than `ngram` words give the empty set."""
    return {" ".join(tokens[i : i + ngram]) for i in range(len(tokens) - ngram + 1)}


def hash_words(tokens: Sequence[str], ngram: int) -> Hashes:
    """Hash the word n-grams of one document, sorted and without repetition, `[H]`."""
    count = len(tokens) - ngram + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint32)
    encoded = [token.encode("utf-8") for token in tokens]
    joined = b" ".join(encoded)
    starts = [0]
    for token in encoded:
        starts.append(starts[-1] + len(token) + 1)
    sha1 = hashlib.sha1
    digests = [sha1(joined[starts[i] : starts[i + ngram] - 1]).digest()[:4] for i in range(count)]
    return np.unique(np.frombuffer(b"".join(digests), dtype="<u4")).astype(np.uint32)


def draw_permutations(count: int, seed: int = SEED) -> NDArray[np.uint64]:
    """Draw the factors and terms of the permutations, `[2, P]`: a and b alternately per i."""
    generator = np.random.RandomState(seed)
    drawn = [
        (
            generator.randint(1, MERSENNE, dtype=np.uint64),
            generator.randint(0, MERSENNE, dtype=np.uint64),
        )
        for _ in range(count)
    ]
    return np.array(drawn, dtype=np.uint64).T.copy()


def reference_signature(hashes: Hashes, drawn: NDArray[np.uint64]) -> Signatures:
    """Return one document's signature by the published formula, `[P]`; `sign` agrees with it."""
    wide = hashes.astype(np.uint64)[:, None]
    permuted = ((wide * drawn[0] + drawn[1]) % np.uint64(MERSENNE)) & np.uint64(MAX_HASH)
    return permuted.min(axis=0, initial=np.uint64(MAX_HASH)).astype(np.uint32)


def sign(documents: Sequence[Hashes], drawn: NDArray[np.uint64]) -> Signatures:
    """Return the signatures of many documents, `[D, P]`; no shingle gives MAX_HASH throughout."""
    found = np.full((len(documents), drawn.shape[1]), MAX_HASH, dtype=np.uint32)
    counts = np.array([len(document) for document in documents], dtype=np.int64)
    if not counts.sum():
        return found
    hashes = np.concatenate(documents).astype(np.uint64)
    owners = np.repeat(np.arange(len(documents)), counts)
    work = np.empty((2, drawn.shape[1], BLOCK), dtype=np.uint64)
    for start in range(0, len(hashes), BLOCK):
        part = hashes[start : start + BLOCK]
        least = _permute(part, drawn, work[:, :, : len(part)])
        owner = owners[start : start + BLOCK]
        firsts = np.flatnonzero(np.diff(owner, prepend=-1))
        reduced = np.minimum.reduceat(least, firsts, axis=1).T
        rows = owner[firsts]
        found[rows] = np.minimum(found[rows], reduced)
    return found


def _permute(
    part: NDArray[np.uint64], drawn: NDArray[np.uint64], work: NDArray[np.uint64]
) -> NDArray[np.uint32]:
    """Apply every permutation, `[P, H]`, reducing modulo 2^61 - 1 by shift and add."""
    value, high = work
    np.multiply(drawn[0][:, None], part, out=value)
    np.add(value, drawn[1][:, None], out=value)
    np.right_shift(value, np.uint64(61), out=high)
    np.bitwise_and(value, np.uint64(MERSENNE), out=value)
    np.add(value, high, out=value)
    # The sum exceeds the modulus at most once in 2^58 values, but then it must still be right.
    if value.max() >= MERSENNE:
        value[value >= MERSENNE] -= np.uint64(MERSENNE)
    return value.astype(np.uint32)


def estimate(first: Signatures, second: Signatures) -> NDArray[np.float64]:
    """Estimate Jaccard similarity as the share of equal positions, row by row."""
    return (first == second).mean(axis=-1)


def jaccard(first: set[str], second: set[str]) -> float:
    """Return |A and B| / |A or B|; two empty sets give 0."""
    both = len(first & second)
    return both / max(1, len(first) + len(second) - both)


def containment(first: set[str], second: set[str]) -> float:
    """Return |A and B| / min(|A|, |B|): 1 when the smaller one lies whole in the other."""
    return len(first & second) / max(1, min(len(first), len(second)))


def recall(similarity: float, bands: int, rows: int) -> float:
    """Return the probability 1 - (1 - s^R)^B that a pair of this similarity shares a bucket."""
    return 1.0 - (1.0 - similarity**rows) ** bands


@functools.cache
def band_shape(permutations: int, threshold: float, missed: float = 0.5) -> tuple[int, int]:
    """Return the bands B and rows R of least error; at 0.5 both kinds of error weigh the same.

    Minimises (1 - `missed`) times the integral of the S-curve below the threshold plus `missed`
    times the integral of its complement above it over all B * R <= P (as datasketch and
    bigcode-dataset do by quadrature, at 0.5).
    """
    nodes, weights = np.polynomial.legendre.leggauss(400)
    below = (nodes + 1) / 2 * threshold
    above = threshold + (nodes + 1) / 2 * (1 - threshold)
    best, shape = float("inf"), (1, permutations)
    for bands in range(1, permutations + 1):
        rows = np.arange(1, permutations // bands + 1)[:, None]
        false_positive = (1 - (1 - below**rows) ** bands) @ weights * threshold / 2
        false_negative = ((1 - above**rows) ** bands) @ weights * (1 - threshold) / 2
        errors = (1 - missed) * false_positive + missed * false_negative
        index = int(errors.argmin())
        if errors[index] < best:
            best, shape = float(errors[index]), (bands, index + 1)
    return shape


def bucket_pairs(signatures: Signatures, bands: int, rows: int) -> Pairs:
    """Return the distinct pairs (lower, higher) of documents that share a band, `[E, 2]`, sorted.

    The caller leaves documents without shingles out: their signatures are all alike (MAX_HASH) and
    would make one false cluster.
    """
    size = len(signatures)
    codes: list[NDArray[np.int64]] = []
    for band in range(bands):
        columns = signatures[:, band * rows : (band + 1) * rows]
        codes.append(_band_pairs(np.ascontiguousarray(columns), size))
    merged = np.unique(np.concatenate(codes)) if codes else np.zeros(0, dtype=np.int64)
    return np.stack([merged // max(1, size), merged % max(1, size)], axis=1)


def _band_pairs(columns: Signatures, size: int) -> NDArray[np.int64]:
    """Return the pairs of one band as codes lower * D + higher."""
    key = np.zeros(size, dtype=np.uint64)
    for column in columns.T:
        key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    order = np.argsort(key, kind="stable")
    bounds = np.flatnonzero(np.diff(key[order])) + 1
    starts = np.concatenate([[0], bounds])
    ends = np.concatenate([bounds, [size]])
    found: list[NDArray[np.int64]] = []
    for start, end in zip(*(array[ends - starts > 1] for array in (starts, ends)), strict=True):
        members = order[start:end]
        # Equal 64-bit keys of unequal bands are possible in principle: the bands themselves decide.
        alike = members[(columns[members] == columns[members[0]]).all(axis=1)]
        lower, higher = _pair_up(alike)
        found.append(lower * size + higher)
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _pair_up(members: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair ascending members: all pairs of a small bucket, neighbours and first of a large one."""
    if len(members) <= BUCKET_PAIRS:
        lower, higher = np.triu_indices(len(members), 1)
        return members[lower], members[higher]
    firsts = np.full(len(members) - 1, members[0])
    return (
        np.concatenate([firsts, members[1:-1]]),
        np.concatenate([members[1:], members[2:]]),
    )


def sketch(hashes: Hashes, scale: int) -> Hashes:
    """Return every shingle hash below 2^32 / scale: a sample that is the same in every document.

    Unlike MinHash it grows with the document, so it estimates containment of a small document in a
    large one (FracMinHash: Irber et al. 2022, bioRxiv 2022.01.11.475838).
    """
    return hashes[hashes < (1 << 32) // scale]


def sketch_pairs(
    sketches: Sequence[Hashes], *, least: float, min_size: int = MIN_SKETCH, max_holders: int = 64
) -> list[tuple[int, int, float]]:
    """Return (lower, higher, estimated containment) of every pair estimated at `least` or more.

    Documents whose sketch holds fewer than `min_size` hashes are not judged, and a hash held by
    more than `max_holders` documents is a common phrase and not counted.
    """
    sizes = np.array([len(one) for one in sketches], dtype=np.int64)
    kept = np.flatnonzero(sizes >= min_size)
    if len(kept) < 2:
        return []
    hashes = np.concatenate([sketches[int(index)] for index in kept])
    owners = np.repeat(kept, sizes[kept])
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    bounds = np.flatnonzero(np.diff(hashes)) + 1
    starts = np.concatenate([[0], bounds])
    counts = np.diff(np.concatenate([starts, [len(hashes)]]))
    shared: list[NDArray[np.int64]] = []
    for count in np.unique(counts[(counts > 1) & (counts <= max_holders)]):
        holders = owners[starts[counts == count][:, None] + np.arange(count)]
        lower, higher = np.triu_indices(int(count), 1)
        shared.append((holders[:, lower] * len(sketches) + holders[:, higher]).ravel())
    if not shared:
        return []
    codes, together = np.unique(np.concatenate(shared), return_counts=True)
    first, second = codes // len(sketches), codes % len(sketches)
    shares = together / np.minimum(sizes[first], sizes[second])
    hit = shares >= least
    return [
        (int(i), int(j), float(share))
        for i, j, share in zip(first[hit], second[hit], shares[hit], strict=True)
    ]


class Clusters:
    """Union-find over document numbers; a cluster is named by its lowest number."""

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size, dtype=np.int64)

    def find(self, index: int) -> int:
        """Return the lowest document number of the cluster."""
        parent = self._parent
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = int(parent[index])
        return int(index)

    def union(self, first: int, second: int) -> None:
        """Join two clusters."""
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low

    def union_all(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Join the clusters of every pair."""
        for first, second in pairs:
            self.union(first, second)

    def roots(self) -> NDArray[np.int64]:
        """Return every document's cluster, `[D]`."""
        return np.array([self.find(index) for index in range(len(self._parent))], dtype=np.int64)
