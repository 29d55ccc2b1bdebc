"""What an output must hold, as small automata that watch its tokens go by.

A constraint sees the tokens of the output alone, never a prompt's. Its progress falls back only as
far as the tokens seen demand: after `a a` of the phrase `a a b`, another `a` still leaves `a a`
(Shift-And, Baeza-Yates and Gonnet 1992: one bit for each length of the phrase that ends here).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stages.core.errors import ParamsError
from stages.lm.decoding.settings import Constrained, Phrase

Cut = Callable[[str], list[int]]
"""Gives a phrase's token ids, as the model's own pipeline cuts it within a text."""


@dataclass(frozen=True)
class Words:
    """Which tokens an output can hold: ids below `size` but for those of `never`."""

    size: int
    never: frozenset[int] = frozenset()

    def checked(self, phrase: Phrase, ids: Sequence[int], where: str) -> list[int]:
        """Return a phrase's ids; ParamsError where no output could hold them."""
        if not ids:
            raise ParamsError(
                f"the phrase {phrase!r} has no tokens in this model", where, "give another phrase"
            )
        for one in ids:
            if not 0 <= one < self.size or one in self.never:
                told = "ends or never stands in an output" if one in self.never else "is no token"
                raise ParamsError(
                    f"the phrase {phrase!r} holds {one}, which {told} (of {self.size})",
                    where,
                    "give a phrase of words that the model can write",
                )
        return list(ids)


class Constraint(ABC):
    """One condition on an output; sub-class it for others and pass them to the search.

    `need` is how many tokens fulfil it from nothing. A fulfilled constraint stays so.
    """

    need: int

    @abstractmethod
    def advance(self) -> list[int] | None:
        """Return the tokens that bring it nearer; none when fulfilled, None when any token does."""

    @abstractmethod
    def update(self, token: int) -> tuple[bool, bool, bool]:
        """See a token; return whether it stepped on, is fulfilled, and fell back."""

    @abstractmethod
    def remaining(self) -> int:
        """Return how far it is from being fulfilled, at most `need`; 0 is fulfilled."""

    def fewest(self, *, afresh: bool) -> int:
        """Return the fewest tokens that fulfil it: from here, or when its stretch was broken off.

        Overwrite it where `need` is not the shortest way.
        """
        return self.need if afresh and self.remaining() else self.remaining()

    @abstractmethod
    def copy(self, *, stateful: bool = False) -> Constraint:
        """Return another one like it, with its progress or without; neither moves the other."""

    def does_advance(self, token: int) -> bool:
        """Whether this token brings it nearer."""
        return self.copy(stateful=True).update(token)[0]

    def reset(self) -> None:
        """Forget what was seen."""
        self.__dict__.update(self.copy().__dict__)

    @property
    def completed(self) -> bool:
        """Whether it is fulfilled."""
        return self.remaining() == 0


class PhrasalConstraint(Constraint):
    """A stretch of tokens that must occur; None in it stands for any one token."""

    def __init__(self, tokens: Sequence[int | None]) -> None:
        self.tokens = tuple(tokens)
        self.need = len(self.tokens)
        self._any = sum(1 << at for at, token in enumerate(self.tokens) if token is None)
        self._where: dict[int, int] = {}
        for at, token in enumerate(self.tokens):
            if token is not None:
                self._where[token] = self._where.get(token, 0) | 1 << at
        self._active = 0
        """Bit n is set when the last n + 1 tokens seen are the phrase's first n + 1."""
        self._done = False

    def advance(self) -> list[int] | None:
        """Return the token after the longest stretch that stands."""
        if self._done:
            return []
        token = self.tokens[self._active.bit_length()]
        return None if token is None else [token]

    def update(self, token: int) -> tuple[bool, bool, bool]:
        """See a token."""
        if self._done:
            return False, True, False
        before = self._active.bit_length()
        self._active = (self._active << 1 | 1) & (self._where.get(token, 0) | self._any)
        after = self._active.bit_length()
        self._done = after == self.need
        return after > before, self._done, after < before

    def remaining(self) -> int:
        """Return how many tokens are missing."""
        return 0 if self._done else self.need - self._active.bit_length()

    def copy(self, *, stateful: bool = False) -> PhrasalConstraint:
        """Return another one; what never changes is shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        if not stateful:
            other._active, other._done = 0, False
        return other


class TemplateConstraint(PhrasalConstraint):
    """A fixed skeleton with blanks: ids in turn with numbers of free tokens."""

    def __init__(self, parts: Sequence[Sequence[int] | int]) -> None:
        tokens: list[int | None] = []
        for part in parts:
            tokens += [None] * part if isinstance(part, int) else list(part)
        super().__init__(tokens)


class _Several(Constraint):
    """Holds other constraints and copies them when it is copied."""

    def __init__(self, parts: Sequence[Constraint]) -> None:
        self.parts = [part.copy() for part in parts]

    def copy(self, *, stateful: bool = False) -> Constraint:
        """Return another one with parts of its own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.parts = [part.copy(stateful=stateful) for part in self.parts]
        return other


class DisjunctiveConstraint(_Several):
    """At least one of several stretches must occur; one may be the beginning of another.

    Progress is that of the furthest alternative; a shorter one that ends fulfils the whole.
    """

    def __init__(self, alternatives: Sequence[Sequence[int]]) -> None:
        super().__init__([PhrasalConstraint(one) for one in alternatives])
        self.need = max(part.need for part in self.parts)

    def advance(self) -> list[int] | None:
        """Return the next tokens of the alternatives that lead on."""
        wanted = sorted({token for part in self.parts for token in part.advance() or ()})
        return [] if self.completed else [token for token in wanted if self.does_advance(token)]

    def update(self, token: int) -> tuple[bool, bool, bool]:
        """See a token in every alternative."""
        if self.completed:
            return False, True, False
        before = self.remaining()
        for part in self.parts:
            part.update(token)
        after = self.remaining()
        return after < before, after == 0, after > before

    def remaining(self) -> int:
        """Return the longest alternative's length without the furthest alternative's progress."""
        if any(part.completed for part in self.parts):
            return 0
        return self.need - max(part.need - part.remaining() for part in self.parts)

    def fewest(self, *, afresh: bool) -> int:
        """Return what the shortest way takes, whichever alternative it is."""
        return 0 if self.completed else min(part.fewest(afresh=afresh) for part in self.parts)


class OrderedConstraint(_Several):
    """Several constraints in a given order, with any gap between them."""

    def __init__(self, parts: Sequence[Constraint]) -> None:
        super().__init__(parts)
        self.need = sum(part.need for part in self.parts)
        self._at = 0

    def copy(self, *, stateful: bool = False) -> Constraint:
        """Return another one with parts of its own."""
        other = super().copy(stateful=stateful)
        if not stateful and isinstance(other, OrderedConstraint):
            other._at = 0
        return other

    def advance(self) -> list[int] | None:
        """Return what the first unfulfilled one wants."""
        return self.parts[self._at].advance() if self._at < len(self.parts) else []

    def update(self, token: int) -> tuple[bool, bool, bool]:
        """See a token in the first unfulfilled one alone."""
        if self._at == len(self.parts):
            return False, True, False
        stepped, done, fell = self.parts[self._at].update(token)
        self._at += done
        return stepped, self._at == len(self.parts), fell

    def remaining(self) -> int:
        """Return what is left of the whole order."""
        return sum(part.remaining() for part in self.parts)

    def fewest(self, *, afresh: bool) -> int:
        """Return what the unfulfilled ones take; the fulfilled stay so."""
        return sum(part.fewest(afresh=afresh) for part in self.parts)


def cost(constraints: Sequence[Constraint]) -> int:
    """Return how many tokens surely fulfil all: one goes on from here, the others from nothing."""
    ways = [(one.fewest(afresh=True), one.fewest(afresh=False)) for one in constraints]
    gained = max((afresh - going_on for afresh, going_on in ways), default=0)
    return sum(afresh for afresh, _ in ways) - gained


def progress(constraints: Sequence[Constraint]) -> int:
    """Return the steps made over all constraints: the bank of a hypothesis."""
    return sum(one.need - one.remaining() for one in constraints)


def build(settings: Constrained, cut: Cut, words: Words) -> list[Constraint]:
    """Return the constraints of a settings block; texts are cut by the model's pipeline."""
    found: list[Constraint] = []

    def ids_of(phrase: Phrase, where: str) -> list[int]:
        return words.checked(phrase, cut(phrase) if isinstance(phrase, str) else phrase, where)

    for place, one in enumerate(settings.phrases):
        where = f"decoding.phrases.{place}"
        choices = (
            [] if isinstance(one, str) else [part for part in one if not isinstance(part, int)]
        )
        if choices:
            found.append(DisjunctiveConstraint([ids_of(part, where) for part in choices]))
        else:
            ids = one if isinstance(one, str) else [part for part in one if isinstance(part, int)]
            found.append(PhrasalConstraint(ids_of(ids, where)))
    if settings.ordered and len(found) > 1:
        found = [OrderedConstraint(found)]
    if settings.template:
        skeleton: list[list[int] | int] = []
        for part in settings.template:
            skeleton.append(part if isinstance(part, int) else ids_of(part, "decoding.template"))
        found.append(TemplateConstraint(skeleton))
    return found
