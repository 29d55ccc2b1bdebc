"""Loss of a masked language model on masked tokens, and its pseudo-perplexity.

Shapes: N tokens of a batch without padding, M predicted tokens, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.evaluate.encoding import Encoding, chunks, num_bytes, unigram_nats
from stages.evaluate.language import Losses
from stages.lm import models
from stages.lm.device import prepare
from stages.lm.resample import significant


@dataclass(frozen=True)
class Query:
    """One sequence as the model sees it, and what it has to predict of it."""

    document: int
    ids: list[int]
    """Corrupted tokens, special ones included."""
    places: list[int]
    targets: list[int]


class MaskedModel:
    """A masked language model and its tokenizer."""

    def __init__(self, folder: Path, threads: int, batch_size: int) -> None:
        prepare(threads)
        self.encoding = Encoding(folder)
        self.model = models.load(folder, "mlm").eval()
        self.batch_size = batch_size
        self.window = models.longest(self.model.config) - 2
        self.tokenizer_digest = self.encoding.digest

    def masked_losses(
        self, texts: Sequence[str], ids: Sequence[str], fraction: float, seed: int
    ) -> Losses:
        """Return the summed loss at masked places, by document.

        Places and their corruption (80 % `<mask>`, 10 % any token, 10 % left) follow from the seed
        and the document's id alone: no order, batch or neighbour changes them.
        """
        queries = self._masked_queries(texts, ids, fraction, seed)
        nats = self._document_nats(queries, len(texts))
        return Losses(nats, _targets_by_document(queries, len(texts)), num_bytes(texts))

    def unigram_losses(
        self,
        texts: Sequence[str],
        ids: Sequence[str],
        fraction: float,
        seed: int,
        counts: Counter[int],
    ) -> Losses:
        """Return the loss of token frequencies alone at the same places."""
        queries = self._masked_queries(texts, ids, fraction, seed)
        nats = np.zeros(len(texts))
        for query in queries:
            nats[query.document] += unigram_nats(counts, self.encoding.vocabulary, query.targets)
        return Losses(nats, _targets_by_document(queries, len(texts)), num_bytes(texts))

    def pseudo_losses(self, texts: Sequence[str], tokens: int) -> Losses:
        """Return minus the pseudo-log-likelihood of the first tokens of each text.

        Each token is masked alone and predicted from all others (Salazar et al. 2020, eq. 3).
        """
        queries, sizes = [], []
        for document, text in enumerate(texts):
            ids, size = self.encoding.prefix_bytes(text, min(tokens, self.window))
            sizes.append(size)
            for place in range(len(ids)):
                seen = [*ids[:place], self._mask, *ids[place + 1 :]]
                queries.append(Query(document, self._framed(seen), [place + 1], [ids[place]]))
        nats = self._document_nats(queries, len(texts))
        targets = _targets_by_document(queries, len(texts))
        return Losses(nats, targets, np.array(sizes, dtype=np.float64))

    def token_counts(self, texts: Iterable[str]) -> Counter[int]:
        """Return how often each token occurs in the texts."""
        return self.encoding.counts(texts)

    def example(self, text: str) -> dict[str, Any]:
        """Return a text with its middle token masked and the model's five best guesses."""
        ids = self.encoding.ids([text])[0][: min(self.window, 40)]
        middle = len(ids) // 2
        query = Query(
            0, self._framed([*ids[:middle], self._mask, *ids[middle + 1 :]]), [middle + 1], [0]
        )
        with torch.inference_mode():
            shares = self._logits([query])[0].double().softmax(-1)
        best = sorted(range(len(shares)), key=lambda token: (-float(shares[token]), token))[:5]
        say = self.encoding.tokenizer.decode
        return {
            "before": say(ids[:middle]),
            "masked": say([ids[middle]]),
            "after": say(ids[middle + 1 :]),
            "guesses": [
                {"text": say([token]), "share": significant(float(shares[token]), 4)}
                for token in best
            ],
        }

    @property
    def _mask(self) -> int:
        return int(self.encoding.tokenizer.mask_token_id)

    def _framed(self, ids: Sequence[int]) -> list[int]:
        return [self.encoding.start, *ids, self.encoding.end]

    def _masked_queries(
        self, texts: Sequence[str], ids: Sequence[str], fraction: float, seed: int
    ) -> list[Query]:
        queries = []
        for document, (tokens, name) in enumerate(zip(self.encoding.ids(texts), ids, strict=True)):
            generator = _generator(seed, name)
            for part in chunks(tokens, self.window):
                queries.append(self._corrupted(document, list(part), fraction, generator))
        return queries

    def _corrupted(
        self, document: int, tokens: list[int], fraction: float, generator: np.random.Generator
    ) -> Query:
        chosen = np.flatnonzero(generator.random(len(tokens)) < fraction)
        if not len(chosen):
            chosen = generator.integers(0, len(tokens), size=1)
        fates = generator.random(len(chosen))
        others = generator.integers(0, self.encoding.vocabulary, size=len(chosen))
        seen = list(tokens)
        for place, fate, other in zip(chosen.tolist(), fates, others.tolist(), strict=True):
            if fate < 0.8:
                seen[place] = self._mask
            elif fate < 0.9:
                seen[place] = other
        places = [place + 1 for place in chosen.tolist()]
        return Query(
            document, self._framed(seen), places, [tokens[place] for place in chosen.tolist()]
        )

    def _document_nats(self, queries: Sequence[Query], documents: int) -> np.ndarray:
        nats = np.zeros(documents)
        with torch.inference_mode():
            for batch in chunks(queries, self.batch_size):
                targets = torch.tensor([target for query in batch for target in query.targets])
                losses = torch.nn.functional.cross_entropy(
                    self._logits(batch).double(), targets, reduction="none"
                )
                owners = [query.document for query in batch for _ in query.targets]
                np.add.at(nats, owners, losses.numpy())
        return nats

    def _logits(self, batch: Sequence[Query]) -> Tensor:
        """Return logits [M, V] of the predicted places, query by query."""
        pieces = models.from_lists([query.ids for query in batch])
        states = models.hidden_states(self.model, pieces)
        where = torch.empty(len(pieces.sources), dtype=torch.long)
        where[pieces.sources] = torch.arange(len(pieces.sources))
        wanted, start = [], 0
        for query in batch:
            wanted += [start + place for place in query.places]
            start += len(query.ids)
        return models.head_logits(self.model, states[where[torch.tensor(wanted)]])


def _generator(seed: int, name: str) -> np.random.Generator:
    drawn = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(drawn[:16], "big")))


def _targets_by_document(queries: Sequence[Query], documents: int) -> np.ndarray:
    tokens = np.zeros(documents)
    for query in queries:
        tokens[query.document] += len(query.targets)
    return tokens
