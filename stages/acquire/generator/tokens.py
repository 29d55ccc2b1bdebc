"""Tokens of a sentence plan in both languages, and the builder that hands out its variables.

A plan is a sentence whose content words are variables: `Eo("", slot=3, form="pa")` is "the plural
accusative of whatever word variable 3 turns out to be". Both languages share the variables, so that
filling them gives a sentence, its gold and its translation at once.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from stages.acquire.generator import english

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Eo:
    """An Esperanto token: fixed text, or a form of a variable; `left`/`right`: no space
    there, `title`: a capital wherever it stands.
    """

    text: str
    upos: str
    lemma: str = ""
    feats: str = "_"
    slot: int = -1
    form: str = ""
    left: bool = False
    right: bool = False
    title: bool = False


@dataclass(frozen=True, slots=True)
class En:
    """An English token: fixed text, or a form of a variable; `left`/`right`: no space
    there, `title`: a capital wherever it stands.
    """

    text: str
    slot: int = -1
    form: str = ""
    left: bool = False
    right: bool = False
    title: bool = False


@dataclass
class Phrase:
    """A noun phrase in both languages; `person` 1 to 3 steers the English verb and `si`."""

    eo: list[Eo]
    en: list[En]
    plural: bool = False
    person: int = 3
    pronoun: bool = False


@dataclass
class Builder:
    """Draws choices, hands out variables and notes the phenomena that a plan shows."""

    rng: random.Random
    slots: list[str] = field(default_factory=list)
    phenomena: set[str] = field(default_factory=set)

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.rng.random() < probability

    def among(self, options: Sequence[T]) -> T:
        """Return one of the options, all equally likely."""
        return options[int(self.rng.random() * len(options))]

    def weighted(self, options: Mapping[str, float]) -> str:
        """Return one key, with probability in proportion to its weight."""
        mark = self.rng.random() * sum(options.values())
        for key, weight in options.items():
            mark -= weight
            if mark < 0:
                return key
        return next(iter(options))

    def slot(self, category: str) -> int:
        """Return a new variable over the words of a category."""
        self.slots.append(category)
        return len(self.slots) - 1

    def note(self, *names: str) -> None:
        """Record that the plan shows these phenomena."""
        self.phenomena.update(names)

    def word(self, slot: int, form: str, upos: str) -> Eo:
        """Return an Esperanto form of a variable."""
        return Eo("", upos, slot=slot, form=form)


def fixed(text: str, upos: str, lemma: str = "", feats: str = "_") -> Eo:
    """Return a token of fixed text; the lemma is the text unless given."""
    return Eo(text, upos, lemma or text, feats)


def mark(text: str) -> Eo:
    """Return a punctuation token that stands tight after the word before it."""
    return Eo(text, "PUNCT", text, left=True)


def words(text: str) -> list[En]:
    """Return English tokens of fixed text, split at spaces; `,` and `'s` stand tight."""
    return [
        En(word, left=word in (",", ";", ":", ")", "'s", "?", "!", ".")) for word in text.split()
    ]


def articled(tokens: list[En]) -> list[En]:
    """Return the tokens with `a` or `an` before the first, as that word needs."""
    first = tokens[0]
    if first.slot >= 0:
        return [replace(first, form="a:" + first.form), *tokens[1:]]
    return [replace(first, text=english.indefinite(first.text)), *tokens[1:]]


def enclosed(tokens: list[Eo], start: str, end: str) -> list[Eo]:
    """Return tokens between two marks that stand tight around them."""
    return [Eo(start, "PUNCT", start, right=True), *tokens, mark(end)]


def enclosed_english(tokens: list[En], start: str, end: str) -> list[En]:
    """Return English tokens between two marks that stand tight around them."""
    return [En(start, right=True), *tokens, En(end, left=True)]
