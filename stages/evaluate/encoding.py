"""Documents as tokens of a model's own tokenizer, never truncated, and their size in bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.canonical import file_digest
from stages.lm.models import open_tokenizer
from stages.lm.resample import Counts

CHUNK_DOCUMENTS = 256
"""Documents tokenised at a time."""


class Encoding:
    """A model folder's tokenizer, without special tokens."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = open_tokenizer(folder)
        self.digest = file_digest(folder / "tokenizer.json")[:12]

    @property
    def vocabulary(self) -> int:
        """How many tokens there are, special ones included."""
        return len(self.tokenizer)

    @property
    def start(self) -> int:
        """The token before a text: `<s>`, `[CLS]`, or what a causal model was given instead."""
        return self._special("cls_token_id", "bos_token_id", "eos_token_id")

    @property
    def end(self) -> int:
        """The token after a text."""
        return self._special("sep_token_id", "eos_token_id")

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of whole texts."""
        return list(
            self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        )

    def prefix_bytes(self, text: str, tokens: int) -> tuple[list[int], int]:
        """Return a text's first tokens and how many bytes of it they cover."""
        found = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        ids = found["input_ids"][:tokens]
        ends = [end for _, end in found["offset_mapping"][:tokens]]
        return ids, len(text[: max(ends, default=0)].encode("utf-8"))

    def counts(self, texts: Iterable[str]) -> Counter[int]:
        """Return how often each token occurs."""
        total: Counter[int] = Counter()
        for chunk in chunks(list(texts), CHUNK_DOCUMENTS):
            for row in self.ids(chunk):
                total.update(row)
        return total

    def _special(self, *names: str) -> int:
        found = [getattr(self.tokenizer, name) for name in names]
        return int(next(token for token in found if token is not None))


def num_bytes(texts: Sequence[str]) -> Counts:
    """Return the size of every text in UTF-8."""
    return np.array([len(text.encode("utf-8")) for text in texts], dtype=np.float64)


def unigram_nats(counts: Counter[int], vocabulary: int, targets: Sequence[int]) -> float:
    """Return the loss of a unigram model with add-one smoothing, summed over the targets."""
    if not targets:
        return 0.0
    total = sum(counts.values()) + vocabulary
    seen = np.array([counts[target] + 1 for target in targets], dtype=np.float64)
    return float(np.log(total) * len(targets) - np.log(seen).sum())


def chunks(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield consecutive parts of at most `size` rows."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
