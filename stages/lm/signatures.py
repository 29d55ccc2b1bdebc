"""Signatures, sizes and sketches of many documents at once, from their bytes.

Two forms (`stages.lm.kernels.alike`): `fast`, the default, and `stack`, digit for digit The Stack's
(`stages.lm.minhash`). Both see the same words and shingles; only the numbers differ, so a
signature is compared with signatures of its own form. Results depend on no thread count and on no
neighbour: a document's row is a function of its bytes and the settings.

Shapes: D documents, L lanes (permutations).
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.lm import minhash
from stages.lm.kernels import alike, compiled
from stages.lm.kernels.characters import tables
from stages.lm.kernels.text import Texts

Form = Literal["fast", "stack"]


class Signed(NamedTuple):
    """What is known of some documents: minima, shingles with repetitions, and their sketches."""

    signatures: NDArray[np.uint32]
    """[D, L]; a document without shingles has MAX_HASH throughout."""
    sizes: NDArray[np.int64]
    """[D] words less n - 1, at least 0."""
    samples: NDArray[np.uint32]
    """Shingle hashes below 2^32 / scale, document after document, repetitions among them."""
    sampled: NDArray[np.int64]
    """[D] how many of the samples are each document's."""


@functools.cache
def lanes(form: Form, count: int, seed: int = minhash.SEED) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the factors and terms of the lanes, `[L]` each: uint64 of `stack`, uint32 of `fast`.

    Factors of `fast` are odd. Both are drawn alternately per lane, so fewer lanes are a beginning
    of more.
    """
    if form == "stack":
        factors, terms = minhash.draw_permutations(count, seed)
    else:
        drawn = np.random.RandomState(seed).randint(0, 1 << 32, (count, 2), dtype=np.uint64)
        factors, terms = drawn.astype(np.uint32).T.copy()
        factors |= np.uint32(1)
    for array in (factors, terms):
        array.flags.writeable = False
    return factors, terms


def sign(
    texts: Texts,
    form: Form = "fast",
    count: int = 256,
    *,
    ngram: int = 5,
    words: minhash.Words = "unicode",
    scale: int = 0,
    threads: int = 1,
) -> Signed:
    """Sign every document with `count` lanes; `scale` 0 keeps no sketch."""
    factors, terms = lanes(form, count)
    below = (1 << 32) // scale if scale else 0
    kernel = alike.sign_stack if form == "stack" else alike.sign_fast
    table = tables()

    def work(first: int, stop: int) -> Signed:
        part = texts.part(first, stop)
        signatures = np.empty((stop - first, count), np.uint32)
        sizes, sampled = np.empty(stop - first, np.int64), np.empty(stop - first, np.int64)
        # A shingle begins with a word, and a word with its blank takes two bytes, but for a
        # document's last; pages of memory that no sample reaches are never touched.
        room = len(part.data) // 2 + part.documents + 1
        samples = np.empty(room if below else 0, np.uint32)
        taken = kernel(
            part.data, part.offsets, ngram, words == "unicode", factors, terms, below,
            signatures, sizes, samples, sampled, table,
        )  # fmt: skip
        return Signed(signatures, sizes, samples[:taken].copy(), sampled)

    found = compiled.spread(texts.offsets, threads, work)
    if len(found) == 1:
        return found[0]
    return Signed(*(np.concatenate(column) for column in zip(*found, strict=True)))
