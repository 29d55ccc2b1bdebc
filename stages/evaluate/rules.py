"""Taggers without a network: what any model has to beat."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class MajorityTagger:
    """Gives every word the tag that is most frequent in training."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        counts: Counter[str] = Counter()
        for row in rows:
            counts.update(row["tags"])
        self.tag_of_all = _first(counts) if counts else ""

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return one tag per word."""
        return [[self.tag_of_all] * len(words) for words in sentences]


class SuffixTagger:
    """Gives a word the most frequent tag of its longest ending seen in training.

    The whole word counts as an ending marked `^`, so a known word beats any rule; case is folded.
    Endings have at most `characters` characters; the empty one, seen in every word, is the last
    resort. In a language of regular endings (Esperanto: -o noun, -a adjective, -as verb) this is
    a strong rule, and a tagger that cannot beat it has learned no context.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], characters: int) -> None:
        self.characters = characters
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            for word, tag in zip(row["tokens"], row["tags"], strict=True):
                for ending in self._endings(word):
                    seen[ending][tag] += 1
        self.rules = {ending: _first(counts) for ending, counts in seen.items()}

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Return one tag per word."""
        return [[self._tag_word(word) for word in words] for words in sentences]

    def _tag_word(self, word: str) -> str:
        for ending in self._endings(word):
            if ending in self.rules:
                return self.rules[ending]
        return ""

    def _endings(self, word: str) -> list[str]:
        """Return the word's endings, longest first."""
        folded = word.casefold()
        longest = min(self.characters, len(folded))
        return ["^" + folded, *(folded[-size:] for size in range(longest, 0, -1)), ""]


def _first(counts: Counter[str]) -> str:
    """Return the most frequent tag; of equals the alphabetically first, on any machine."""
    return min(counts, key=lambda tag: (-counts[tag], tag))
