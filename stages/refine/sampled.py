"""Topics, their drift, and odd documents: what is measured on a sample of a corpus's documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.lm import ngrams, topics
from stages.lm.kernels.text import of_strings
from stages.lm.kernels.vocabulary import Vocabulary
from stages.refine.measured import Measure

MODEL = "topics.safetensors"
ODDEST = 20
FOLDS = 2
Ints = NDArray[np.int64]


def find_topics(
    folder: Path, words: Vocabulary, sample: tuple[Ints, Ints], settings: Measure, closed: set[str]
) -> dict[str, Any]:
    """Cluster the sampled documents, write the model into the corpus, and tell of the topics."""
    from safetensors.numpy import save

    ids, offsets = sample
    count = len(offsets) - 1
    chosen = topics.features(held_by(ids, offsets, len(words)), count, _skipped(words, closed))
    given = topics.vectors(ids, offsets, chosen)
    found = topics.cluster(given, len(chosen.idf), settings.topics, settings.merge_topics)
    kept = np.flatnonzero(chosen.place >= 0)
    marks = topics.keywords(found.of, ids, offsets, chosen, len(found.centres))
    sizes = np.bincount(found.of + 1, minlength=len(found.centres) + 1)
    held = {"centres": found.centres.astype(np.int16), "idf": chosen.idf}
    canonical.write_bytes(folder / MODEL, save(held, metadata={"format": "pt"}))
    canonical.write_json(
        folder / "topics.json",
        {
            "documents": count,
            "outliers": int(sizes[0]),
            "words": [words.word(number) for number in kept.tolist()],
            "counts": sizes.tolist(),
        },
    )
    rows = [
        _row(number, int(size), count, [words.word(one) for one in mark])
        for number, (size, mark) in enumerate(zip(sizes[1:], marks, strict=True))
    ]
    return {
        "sampled_documents": count,
        "features": len(kept),
        "outliers": int(sizes[0]),
        "found": len(rows),
        "model_bytes": (folder / MODEL).stat().st_size,
        "topics": rows,
    }


def _row(number: int, size: int, count: int, words: list[str]) -> dict[str, Any]:
    return {
        "topic": number,
        "label": "_".join([str(number), *words[:4]]),
        "keywords": " - ".join(words),
        "documents": size,
        "fraction": round(size / max(1, count), 6),
    }


def held_by(ids: Ints, offsets: Ints, vocabulary: int) -> Ints:
    """Return in how many documents of a sample each word is, `[V]`."""
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    known = ids >= 0
    width = max(1, vocabulary)
    pairs = np.unique(owners[known] * width + ids[known])
    return np.bincount(pairs % width, minlength=vocabulary).astype(np.int64)


def _skipped(words: Vocabulary, closed: set[str]) -> NDArray[np.bool_]:
    """Return which words tell no topic: closed-class ones and numbers."""
    skipped = np.zeros(len(words), bool)
    held = words.texts()
    firsts = held.data[held.offsets[:-1]] if len(words) else np.zeros(0, np.uint8)
    skipped[(firsts >= ord("0")) & (firsts <= ord("9"))] = True
    numbers = [number for word in closed if (number := words.number(word)) >= 0]
    skipped[numbers] = True
    return skipped


def drift(
    reference: Path, words: Vocabulary, sample: tuple[Ints, Ints], settings: Measure
) -> dict[str, Any]:
    """Measure this corpus by another's topics: how far their shares are apart."""
    from safetensors.numpy import load_file

    try:
        told = json.loads((reference / "topics.json").read_text("utf-8"))
        model = load_file(str(reference / MODEL))
    except (OSError, ValueError) as fault:
        raise ArtifactError(
            f"the topics of the corpus to measure against cannot be read ({fault})",
            str(reference),
            "run its refine entry again, with measure.topics above 0, or set against to none",
        ) from fault
    found = words.look(of_strings(told["words"])).ids.astype(np.int64)
    place = np.full(len(words), -1, np.int64)
    known = found >= 0
    place[found[known]] = np.flatnonzero(known)
    # Words that this corpus lacks keep their columns in the centres.
    chosen = topics.Features(place, model["idf"])
    of = topics.nearest(topics.vectors(*sample, chosen), model["centres"].astype(np.int64))
    before = np.array(told["counts"], np.int64)
    after = np.bincount(of + 1, minlength=len(before))
    return {
        **topics.drift(before, after, settings.drift_bits, settings.sample_seed),
        "shares": [
            {
                "topic": number - 1,
                "before": round(int(old) / max(1, int(before.sum())), 6),
                "after": round(int(new) / max(1, int(after.sum())), 6),
            }
            for number, (old, new) in enumerate(zip(before, after, strict=True))
        ],
        "words_unknown": int((~known).sum()),
    }


def oddity(
    ids: Ints, offsets: Ints, names: Sequence[str], vocabulary: int, order: int
) -> dict[str, Any]:
    """Return each sampled document's perplexity under a model of the other half, and the oddest.

    Words that the sample has once are unknown words. Documents take turns: those of even places
    are judged by a model of the odd ones, and the reverse.
    """
    count = len(offsets) - 1
    if count < 2 * FOLDS or not len(ids):
        return {}
    to, size = compact(ids, vocabulary)
    numbers = to[ids]
    nats, tokens = np.zeros(count), np.ones(count, np.int64)
    for fold in range(FOLDS):
        mine = np.arange(count) % FOLDS == fold
        model = ngrams.learn(*_taken(numbers, offsets, ~mine), size, order)
        nats[mine], tokens[mine] = ngrams.surprise(model, *_taken(numbers, offsets, mine))
    perplexity = np.exp(np.minimum(nats / tokens, 600.0))
    worst = np.argsort(-np.round(perplexity, 4), kind="stable")[:ODDEST]
    return {
        "order": order,
        "sampled_documents": count,
        "perplexity": round(float(np.exp(nats.sum() / tokens.sum())), 4),
        "bits_per_token": round(float(nats.sum() / tokens.sum() / np.log(2)), 4),
        "document_quantiles": {
            f"{share:g}": round(float(np.quantile(perplexity, share, method="lower")), 4)
            for share in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
        },
        "oddest": [
            {"id": names[at], "perplexity": round(float(perplexity[at]), 4),
             "tokens": int(tokens[at])}
            for at in worst.tolist()
        ],
    }  # fmt: skip


def compact(ids: Ints, vocabulary: int) -> tuple[Ints, int]:
    """Return what a model calls every word, `[V + 1]`, and how many words it knows.

    Known are words seen twice or more, the most frequent ones; the last place is that of OTHER.
    """
    counts = np.bincount(ids[ids >= 0], minlength=vocabulary)
    kept = np.flatnonzero(counts > 1)
    kept = kept[np.argsort(-counts[kept], kind="stable")][: ngrams.MOST_WORDS]
    to = np.full(vocabulary + 1, ngrams.UNKNOWN, np.int64)
    to[kept] = ngrams.FIRST_WORD + np.arange(len(kept))
    return to, len(kept)


def _taken(ids: Ints, offsets: Ints, chosen: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    sizes = np.diff(offsets)
    kept = ids[np.repeat(chosen, sizes)]
    return kept, np.concatenate([[0], np.cumsum(sizes[chosen])])
