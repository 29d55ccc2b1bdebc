"""Exact and near copies of earlier documents, from a reservoir of bounded size."""

from __future__ import annotations

import random

from stages.acquire.generator.plants import Truth
from stages.acquire.generator.shingles import WORD, jaccard

KEPT = 256
"""Documents that may still be copied; with a whole stream sampled evenly, copies come far apart."""
FRESH = 64
LONGEST_CHARACTERS = 20_000

Document = tuple[str, str, str]
"""Id, text and topic."""


class Reservoir:
    """Keeps recent documents and a fair sample of all earlier ones, unaltered ones only."""

    def __init__(self) -> None:
        self._kept: list[Document] = []
        self._fresh: list[Document] = []
        self._seen = 0

    def add(self, item: Document, rng: random.Random) -> None:
        """Offer a document."""
        if len(item[1]) > LONGEST_CHARACTERS:
            return
        self._seen += 1
        if len(self._fresh) < FRESH:
            self._fresh.append(item)
        else:
            self._fresh[self._seen % FRESH] = item
        if len(self._kept) < KEPT:
            self._kept.append(item)
        elif (place := int(rng.random() * self._seen)) < KEPT:
            self._kept[place] = item

    def pick(self, rng: random.Random) -> Document | None:
        """Return an earlier document, half of the time a recent one; None if there is none yet."""
        source = self._fresh if rng.random() < 0.5 else self._kept
        return source[int(rng.random() * len(source))] if source else None


def near_copy(original: str, text: str, rng: random.Random) -> tuple[str, Truth] | None:
    """Return an edited copy with its truth, or None if the edits changed no shingle.

    The wanted distance is drawn evenly, so that similarities spread over 0.3 to 1: words are
    swapped with others of the text, sentences are dropped, and sentences are moved to the end.
    """
    parts = text.split(". ")
    strength = rng.random() * 0.5
    edits: list[str] = []
    if len(parts) > 4 and rng.random() < 0.6:
        dropped = max(1, int(len(parts) * strength * rng.random()))
        first = int(rng.random() * (len(parts) - dropped))
        del parts[first : first + dropped]
        edits.append(f"dropped {dropped} sentences")
    if len(parts) > 4 and rng.random() < 0.3:
        parts.append(parts.pop(int(rng.random() * (len(parts) - 1))))
        edits.append("moved 1 sentence")
    copied = ". ".join(parts)
    if not edits or rng.random() < 0.7:
        copied, swapped = _swap(copied, strength * 0.2, rng)
        edits.append(f"replaced {swapped} words")
    shared, union = jaccard(text, copied)
    if copied == text or shared == union:
        return None
    truth = {"original": original, "shared": shared, "union": union, "jaccard": shared / union}
    return copied, {**truth, "edits": edits}


def _swap(text: str, share: float, rng: random.Random) -> tuple[str, int]:
    """Replace a share of the words, at least one, by other words of the text."""
    spans = [match.span() for match in WORD.finditer(text)]
    if len(spans) < 2:
        return text + " Fino.", 1
    count = max(1, int(len(spans) * share))
    chosen = sorted({int(rng.random() * len(spans)) for _ in range(count)})
    words = [text[a:b] for a, b in spans]
    pieces, done = [], 0
    for number in chosen:
        start, end = spans[number]
        other = words[(number + 1 + int(rng.random() * (len(words) - 1))) % len(words)]
        pieces += [text[done:start], other.lower() if text[start].islower() else other.capitalize()]
        done = end
    return "".join(pieces) + text[done:], len(chosen)
