"""Megatron-LM's index of a training run: which tokens make which sample, for a number of samples.

Documents are repeated for as many epochs as the samples need and shuffled over all of them; the
tokens, end to end in that order, are cut into samples of `length` + 1 tokens, the last of which is
the first of the next; and the samples are shuffled. Where the last epoch is needed by less than 80
per cent its documents and samples are shuffled apart. (`_build_index_mappings` of Megatron-LM's
megatron/data/gpt_dataset.py; the order is that of numpy's RandomState, whose stream is frozen.)

Megatron finds the three files, and a text that says what they are of, by the MD5 of that text in
`index-cache` beside the tokens: it is run there with `--data-path train --split 100,0,0`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.core.errors import CheckFailed
from stages.lm.packing import Ints

FOLDER = "index-cache"
SPLIT = "100,0,0"
ENOUGH = 0.80
"""Share of the last epoch's samples from which on it is shuffled with the others."""


class Samples(NamedTuple):
    """`documents` [epochs x D] document numbers; `firsts` [N + 1, 2] where each sample begins:
    place in `documents` and token of that document; `order` [N] the samples' order."""

    documents: NDArray[np.int32]
    firsts: NDArray[np.int32]
    order: NDArray[np.uint32]


def epochs_for(tokens: int, length: int, samples: int) -> int:
    """Return the fewest epochs of so many tokens that have so many samples."""
    return max(1, -(-(samples * length + 1) // tokens))


def index(sizes: Ints, length: int, samples: int, seed: int) -> Samples:
    """Return the index of a run over documents of `sizes` [D] tokens."""
    tokens = int(sizes.sum())
    epochs = epochs_for(tokens, length, samples)
    before = ((epochs - 1) * tokens - 1) // length if epochs > 1 else 0
    apart = epochs > 1 and samples - before < int(ENOUGH * ((tokens - 1) // length))
    draw = np.random.RandomState(seed)
    parts = [epochs - 1, 1] if apart else [epochs]
    documents = np.concatenate([_shuffled(len(sizes), part, draw) for part in parts])
    ends = np.cumsum(sizes[documents])
    total = (epochs * tokens - 1) // length
    at = np.arange(total + 1, dtype=np.int64) * length
    place = np.searchsorted(ends, at, side="right")
    place[0] = 0
    offset = at - (ends - sizes[documents])[place]
    offset[0] = 0
    edges = [0, before, total] if apart else [0, total]
    order = [np.arange(a, b, dtype=np.uint32) for a, b in zip(edges, edges[1:], strict=False)]
    for part in order:
        draw.shuffle(part)
    return Samples(
        documents, np.stack([place, offset], axis=1).astype(np.int32), np.concatenate(order)
    )


def _shuffled(count: int, epochs: int, draw: np.random.RandomState) -> NDArray[np.int32]:
    numbers = np.tile(np.arange(count, dtype=np.int32), epochs)
    draw.shuffle(numbers)
    return numbers


def sample(made: Samples, number: int, stream: NDArray[np.generic], offsets: Ints) -> Ints:
    """Return the tokens of the `number`-th sample of the run, [length + 1]."""
    which = int(made.order[number])
    (first, skipped), (last, kept) = made.firsts[which].tolist(), made.firsts[which + 1].tolist()
    parts = []
    for place in range(first, last + 1):
        document = int(made.documents[place])
        begin, end = int(offsets[document]), int(offsets[document + 1])
        if place == last:
            end = begin + kept + 1
        parts.append(stream[begin + (skipped if place == first else 0) : end])
    return np.concatenate(parts).astype(np.int64)


def description(length: int, samples: int, seed: int) -> str:
    """Return the text by whose MD5 Megatron finds the index."""
    return (
        "GPT Dataset\n\nData prefix train\nDataset name train\n"
        f"Number of samples {samples}\nSequence length {length}\nRandom seed {seed}\n"
        f"Split {SPLIT}\n"
    )


def write(tokens: Path, length: int, samples: int, seed: int) -> None:
    """Write the index of a run over the training split of a folder of tokens."""
    offsets = np.load(tokens / "train-documents.npy", allow_pickle=False)
    if int(offsets[-1]) <= length:
        raise CheckFailed(
            f"{int(offsets[-1])} tokens make no sample of {length} + 1",
            f"split train of {tokens.name}",
            "shorten sequence_length, or give the corpus more text",
        )
    text = description(length, samples, seed)
    named = tokens / FOLDER / hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    named.parent.mkdir(parents=True, exist_ok=True)
    made = index(np.diff(offsets), length, samples, seed)
    named.with_suffix(".dsc").write_text(text, encoding="utf-8")
    for name, array in zip(("doc", "sample", "shuffle"), made, strict=True):
        np.save(named.with_name(f"{named.name}_{name}_idx.npy"), array)
