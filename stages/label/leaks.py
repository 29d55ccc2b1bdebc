"""Sentences that stand in the test set, or nearly: none of them may be learned from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from stages.label.sentences import Sentence

Bigrams = frozenset[tuple[str, str]]


class TestSet:
    """The test set's ids and texts, and whose word bigrams are where."""

    __test__ = False
    """A name that pytest would collect."""

    def __init__(self, sentences: Iterable[Sentence], jaccard: float) -> None:
        self._jaccard = jaccard
        self._ids: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._bigrams: list[tuple[str, Bigrams]] = []
        self._where: dict[tuple[str, str], list[int]] = defaultdict(list)
        for one in sentences:
            self._ids[one.id] = one.id
            self._texts.setdefault(_plain(one.tokens), one.id)
            bigrams = _bigrams(one.tokens)
            for bigram in bigrams:
                self._where[bigram].append(len(self._bigrams))
            self._bigrams.append((one.id, bigrams))

    def holds(self, name: str) -> bool:
        """Tell whether an id is one of the test set's."""
        return name in self._ids

    def like(self, tokens: Sequence[str]) -> str:
        """Return the id of the test sentence that some words are, or nearly are; else nothing."""
        equal = self._texts.get(_plain(tokens))
        if equal is not None:
            return equal
        bigrams = _bigrams(tokens)
        shared: dict[int, int] = defaultdict(int)
        for bigram in bigrams:
            for number in self._where.get(bigram, ()):
                shared[number] += 1
        for number, count in sorted(shared.items()):
            name, other = self._bigrams[number]
            if count / (len(bigrams) + len(other) - count) >= self._jaccard:
                return name
        return ""


def _plain(tokens: Sequence[str]) -> str:
    """Return the words without case or marks."""
    kept = [word.casefold() for word in tokens if any(map(str.isalnum, word))]
    return " ".join(kept or tokens)


def _bigrams(tokens: Sequence[str]) -> Bigrams:
    """Return the pairs of neighbouring words, those with the ends of the sentence among them."""
    kept = ["", *_plain(tokens).split(" "), ""]
    return frozenset(zip(kept, kept[1:], strict=False))
