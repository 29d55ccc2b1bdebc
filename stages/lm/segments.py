"""Documents with added tokens, encoded by the kernels: what stands between the tokens, one by one.

`tokenizers` takes added tokens out of a text first, from the left, the longest first, and encodes
what stands between as texts of their own. A special token that a text spells stays text where
`encode_special_tokens` is set, together with what it holds of another added token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.lm.kernels.text import Texts

Counts = NDArray[np.int64]
Encode = Callable[[Texts], tuple[NDArray[Any], Counts, Counts]]
"""From texts to all ids, where each text's begin, and the characters of each."""


class Tokens(NamedTuple):
    """Added tokens by their bytes: those that text becomes, and those that stay text."""

    ids: Mapping[bytes, int]
    pattern: re.Pattern[bytes]


def tokens_of(added: Sequence[Mapping[str, Any]], specials_are_text: bool) -> Tokens | None:
    """Return the added tokens of a tokenizer.json; None where one has conditions of its own."""
    found: dict[bytes, int] = {}
    skipped = []
    for one in added:
        content = str(one["content"]).encode("utf-8")
        if one["special"] and specials_are_text:
            skipped.append(content)
            continue
        if one["normalized"] or one["lstrip"] or one["rstrip"] or one["single_word"]:
            return None
        found[content] = one["id"]
    longest = sorted(filter(None, [*found, *skipped]), key=lambda one: (-len(one), one))
    return Tokens(found, re.compile(b"|".join(map(re.escape, longest))))


def encode(
    texts: Texts, tokens: Tokens, kernel: Encode, begin: int, end: int
) -> tuple[NDArray[Any], Counts, Counts]:
    """Return ids, firsts [D + 1] and characters [D] of documents that hold added tokens."""
    bounds, given, regions = _cut(texts, tokens)
    ids, firsts, letters = kernel(Texts(texts.data, bounds))
    sizes = np.diff(firsts)
    text = given < 0
    lengths = np.where(text, sizes, 1)
    owner = np.repeat(np.arange(texts.documents), regions)
    opens, closes = int(begin >= 0), int(end >= 0)
    starts = np.cumsum(lengths) - lengths + owner * (opens + closes) + opens
    total = int(lengths.sum()) + texts.documents * (opens + closes)
    out = np.empty(total, ids.dtype)
    kept = np.repeat(text, sizes)
    places = np.repeat(starts - firsts[:-1], sizes) + np.arange(len(ids))
    out[places[kept]] = ids[kept]
    out[starts[~text]] = given[~text]
    heads = np.cumsum(regions) - regions
    begun = np.append(starts[heads] - opens, total)
    if opens:
        out[begun[:-1]] = begin
    if closes:
        out[begun[1:] - 1] = end
    return out, begun, np.add.reduceat(letters, heads)


def _cut(texts: Texts, tokens: Tokens) -> tuple[Counts, Counts, Counts]:
    """Return bounds of regions [R + 1], their added token or -1 [R], and regions per document."""
    bounds = [int(texts.offsets[0])]
    given: list[int] = []
    regions: list[int] = []
    for number in range(texts.documents):
        first, before = int(texts.offsets[number]), len(given)
        for match in tokens.pattern.finditer(texts.bytes_at(number)):
            found = tokens.ids.get(match[0])
            if found is not None:
                bounds += [first + match.start(), first + match.end()]
                given += [-1, found]
        bounds.append(int(texts.offsets[number + 1]))
        given.append(-1)
        regions.append(len(given) - before)
    return np.array(bounds, np.int64), np.array(given, np.int64), np.array(regions, np.int64)
