"""Vocabulary shortlists: the words that a sentence's translation may need.

Per source token its likeliest target tokens (IBM model 1 by expectation-maximisation, Brown et al.
1993) and, for every sentence, the most frequent ones (Jean et al. 2015). What is learned from is
the model's own translations, so that the list knows what the model says, not what it should.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
ROUNDS = 5
"""Rounds of expectation-maximisation."""


@dataclass(frozen=True)
class Shortlist:
    """Target tokens by source token."""

    words: Ids
    """Target tokens, best first, source token after source token."""
    starts: NDArray[np.int64]
    """Where each source token's begin; one more for the end."""
    common: Ids
    """Target tokens of every sentence."""
    rare: NDArray[np.int8]
    """1 for source tokens that were met too seldom: what they need is not known."""
    size: int
    """Words of the target vocabulary."""

    def of(self, source: Sequence[int]) -> Ids:
        """Return the target tokens of one sentence, in order; all of them beside a rare token."""
        if self.rare[list(source)].any():
            return np.arange(self.size, dtype=np.int32)
        parts = [self.words[self.starts[one] : self.starts[one + 1]] for one in set(source)]
        return np.unique(np.concatenate([self.common, *parts]))

    def save(self) -> bytes:
        """Return the bytes of a safetensors file."""
        from safetensors.numpy import save

        arrays = {
            "common": self.common,
            "rare": self.rare,
            "size": np.array([self.size]),
            "starts": self.starts,
            "words": self.words,
        }
        return save(arrays, metadata={"format": "pt"})

    @classmethod
    def load(cls, path: Path) -> Shortlist:
        """Read a shortlist."""
        from safetensors.numpy import load_file

        from stages.lm import weights

        weights.check(path)
        arrays = load_file(path)
        size = int(arrays["size"][0])
        return cls(arrays["words"], arrays["starts"], arrays["common"], arrays["rare"], size)


def learn(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], sizes: tuple[int, int],
    each: int, common: int, always: Sequence[int], rare: int = 0,
) -> Shortlist:  # fmt: skip
    """Return a shortlist of `each` words per source token and the `common` most frequent ones.

    `sizes` are those of the vocabularies; `always` are in every list (`</s>`, `<unk>`); source
    tokens of fewer than `rare` pairs count as rare.
    """
    left, right, pair_of, group = _pairs(sources, targets, sizes[1])
    shares = np.ones(len(left))
    for _ in range(ROUNDS):
        mass = shares[pair_of]
        mass /= np.bincount(group, mass)[group]
        counts = np.bincount(pair_of, mass, minlength=len(left))
        shares = counts / np.bincount(left, counts, minlength=sizes[0])[left]
    # Best share first within each source token; equal shares by target token.
    order = np.lexsort((right, -shares, left))
    left, right = left[order], right[order]
    rank = np.arange(len(left)) - np.searchsorted(left, left)
    keep = rank < each
    starts = np.searchsorted(left[keep], np.arange(sizes[0] + 1))
    own = np.concatenate([np.unique(np.asarray(one)) for one in sources])
    met = np.bincount(own, minlength=sizes[0])
    said = np.bincount(np.concatenate([np.asarray(one) for one in targets]), minlength=sizes[1])
    frequent = np.lexsort((np.arange(sizes[1]), -said))[:common]
    frequent = frequent[said[frequent] > 0]
    return Shortlist(
        right[keep].astype(np.int32),
        starts.astype(np.int64),
        np.unique([*frequent.tolist(), *always]).astype(np.int32),
        (met < rare).astype(np.int8),
        sizes[1],
    )


def _pairs(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return distinct pairs (source, target), and of every place its pair and its target's place.

    A place is one source token beside one target token of a sentence pair.
    """
    codes, groups, count = [], [], 0
    for source, target in zip(sources, targets, strict=True):
        own, said = np.asarray(source, np.int64), np.asarray(target, np.int64)
        codes.append((own[None, :] * size + said[:, None]).ravel())
        groups.append(np.repeat(np.arange(count, count + len(said)), len(own)))
        count += len(said)
    distinct, places = np.unique(np.concatenate(codes), return_inverse=True)
    return distinct // size, distinct % size, places.ravel(), np.concatenate(groups)
