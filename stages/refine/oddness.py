"""The rule `perplexity`: documents unlike the rest, by n-gram models of the corpus itself.

Two Kneser-Ney models are learned, each of a sample of every second document; a document is judged
by the model that has not seen it. Every score is kept in perplexity.parquet, so that another bound
can be tried without learning again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.lm import ngrams, tables
from stages.lm.kernels.text import Texts, of_strings
from stages.lm.kernels.vocabulary import Numbered, Vocabulary
from stages.refine.intake import texts_of
from stages.refine.ledger import Ledger
from stages.refine.measured import Perplexity
from stages.refine.measures import sampled
from stages.refine.sampled import compact
from stages.refine.spool import Spool

RULE = "perplexity"
FOLDS = 2
LEAST_DOCUMENTS = 8
"""With fewer, the models would know nothing."""
BATCH_DOCUMENTS = 2048
SCHEMA = pa.schema([("id", pa.string()), ("perplexity", pa.float64()), ("tokens", pa.int64())])


def without(
    settings: Perplexity, ledger: Ledger, spool: Spool, kept: list[int], corpus: Path
) -> list[int]:
    """Enter the rule in the ledger and return the documents at or below the bound."""
    scores, tokens = judged(settings, spool, kept)
    rule = ledger.rule(RULE)
    left = []
    ids = []
    for number, score in zip(kept, scores.tolist(), strict=True):
        size, identity = spool.size(number), str(spool[number]["id"])
        ids.append(identity)
        if score > settings.max:
            ledger.drop(rule, identity, size, f"perplexity {score:.2f}")
        else:
            rule.pass_on(size, size)
            left.append(number)
    columns = [pa.array(ids, pa.string()), pa.array(scores), pa.array(tokens)]
    tables.write_table(corpus / "perplexity.parquet", pa.table(columns, schema=SCHEMA))
    return left


def judged(
    settings: Perplexity, spool: Spool, kept: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return every document's perplexity and tokens (its end counts); 0 for those of no word."""
    scores, tokens = np.zeros(len(kept)), np.zeros(len(kept), np.int64)
    if len(kept) < LEAST_DOCUMENTS:
        return scores, tokens
    words = Vocabulary()
    chosen = sampled(len(kept), settings.sample_documents, settings.sample_seed)
    sample = [words.add(part) for _, part in _batches(spool, [kept[at] for at in chosen.tolist()])]
    ids = np.concatenate([one.ids for one in sample]).astype(np.int64)
    sizes = np.concatenate([np.diff(one.offsets) for one in sample])
    if not len(ids):
        return scores, tokens
    to, known = compact(ids, len(words))
    models = []
    for fold in range(FOLDS):
        other = chosen % FOLDS != fold
        bounds = np.concatenate([[0], np.cumsum(sizes[other])])
        mine = to[ids[np.repeat(other, sizes)]]
        models.append(ngrams.learn(mine, bounds, known, settings.order))
    for first, part in _batches(spool, kept):
        nats, count = _scored(models, words.look(part), to, first)
        place = slice(first, first + len(nats))
        scores[place] = np.where(count > 1, np.exp(np.minimum(nats / count, 600.0)), 0.0)
        tokens[place] = count
    return np.round(scores, 4), tokens


def _scored(
    models: Sequence[ngrams.Model], given: Numbered, to: NDArray[np.int64], first: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    sizes = np.diff(given.offsets)
    ids = to[given.ids.astype(np.int64)]
    nats, count = np.zeros(len(sizes)), np.zeros(len(sizes), np.int64)
    for fold, model in enumerate(models):
        mine = (first + np.arange(len(sizes))) % FOLDS == fold
        bounds = np.concatenate([[0], np.cumsum(sizes[mine])])
        nats[mine], count[mine] = ngrams.surprise(model, ids[np.repeat(mine, sizes)], bounds)
    return nats, count


def _batches(spool: Spool, numbers: Sequence[int]) -> Iterator[tuple[int, Texts]]:
    for first in range(0, len(numbers), BATCH_DOCUMENTS):
        part = numbers[first : first + BATCH_DOCUMENTS]
        yield first, of_strings(["\n".join(texts_of(spool[number])) for number in part])
