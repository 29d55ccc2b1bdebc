"""Predicates: what a subject does, in every tense, with the English verb group that matches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stages.acquire.generator.tokens import Builder, En, Eo, Phrase, fixed, words
from stages.acquire.generator.vocabulary import FINITE

HAVE = {"base": "have", "third": "has", "past": "had", "participle": "had", "gerund": "having"}
BECOME = {"base": "become", "third": "becomes", "past": "became", "participle": "become",
          "gerund": "becoming"}  # fmt: skip
FUTURE = {"os": "will", "us": "would", "u": "should"}
MODAL = {
    "can": {"as": ("can", ""), "is": ("could", ""), "os": ("will", "be able to"),
            "us": ("could", "")},
    "must": {"as": ("must", ""), "is": ("had to", ""), "os": ("will", "have to"),
             "us": ("should", "")},
}  # fmt: skip
INFINITIVE = {"can": "be able to", "must": "have to", "be": "be", "perfect": "have"}


@dataclass(frozen=True)
class Head:
    """The English verb: `slot` (a variable), `be`, `have`, `become`, `perfect`, `can` or `must`."""

    kind: str
    slot: int = -1

    def token(self, form: str) -> list[En]:
        """Return a form of a full verb."""
        if self.kind == "slot":
            return [En("", self.slot, form)]
        return words((HAVE if self.kind == "have" else BECOME)[form])

    def infinitive(self) -> list[En]:
        """Return the infinitive without `to`."""
        return words(INFINITIVE[self.kind]) if self.kind in INFINITIVE else self.token("base")

    def gerund(self) -> list[En]:
        """Return the form in -ing."""
        if self.kind in ("slot", "have", "become"):
            return self.token("gerund")
        return words(
            {"be": "being", "perfect": "having", "can": "being able to", "must": "having to"}[
                self.kind
            ]
        )

    def group(
        self, tense: str, subject: Phrase, negative: bool, question: bool
    ) -> tuple[list[En], list[En]]:
        """Return the auxiliary, which a question puts first, and the rest of the verb."""
        third = not subject.plural and subject.person == 3
        denial = words("not") if negative else []
        if self.kind in MODAL:
            first, second = MODAL[self.kind].get(tense, ("should", INFINITIVE[self.kind]))
            return words(first), denial + words(second)
        if tense in FUTURE:
            return words(FUTURE[tense]), denial + self.infinitive()
        if self.kind == "be":
            return words(_be(tense, subject, third)), denial
        if self.kind == "perfect":
            return words("had" if tense == "is" else "has" if third else "have"), denial
        if negative or question:
            helper = "did" if tense == "is" else "does" if third else "do"
            return words(helper), denial + self.token("base")
        return [], self.token("past" if tense == "is" else "third" if third else "base")


def _be(tense: str, subject: Phrase, third: bool) -> str:
    first = subject.person == 1 and not subject.plural
    if tense == "is":
        return "was" if third or first else "were"
    return "is" if third else "am" if first else "are"


@dataclass
class Predicate:
    """A verb with what it governs; `verb` gives its Esperanto tokens in a tense (or `i`)."""

    verb: Callable[[str], list[Eo]]
    head: Head
    eo: list[Eo] = field(default_factory=list)
    en: list[En] = field(default_factory=list)
    before: list[Eo] = field(default_factory=list)
    middle: list[En] = field(default_factory=list)
    past: bool = False


@dataclass
class Clause:
    """A clause in both languages; `question` is the English with the auxiliary first."""

    eo: list[Eo]
    en: list[En]
    question: list[En]


def simple(b: Builder, category: str) -> Predicate:
    """Return a predicate of one full verb, with nothing governed yet."""
    slot = b.slot(f"verb.{category}")

    def verb(tense: str) -> list[Eo]:
        return [b.word(slot, tense, "VERB")]

    return Predicate(verb, Head("slot", slot))


def auxiliary(stem: str, upos: str = "AUX") -> Callable[[str], list[Eo]]:
    """Return the forms of `esti`, `povi`, `devi` or `havi`."""

    def verb(tense: str) -> list[Eo]:
        return [Eo(stem + tense, upos, stem + "i", FINITE[tense])]

    return verb


def copula() -> Predicate:
    """Return `esti` with an empty complement."""
    return Predicate(auxiliary("est"), Head("be"))


def clause(
    b: Builder, subject: Phrase, predicate: Predicate, tense: str, negative: bool = False,
    spoken: str = "",
) -> Clause:  # fmt: skip
    """Return a clause from subject and predicate, in the past if its circumstances ask for it.

    `spoken` is the tense of the English where it differs: `if I took` for `se mi prenus`.
    """
    if predicate.past and tense in ("as", "os"):
        tense = "is"
    if tense == "us":
        b.note("conditional")
    if negative:
        b.note("negation")
    denial = [fixed("ne", "ADV")] if negative else []
    verb = predicate.verb(tense)
    after = list(predicate.eo)
    eo = [*subject.eo, *denial, *predicate.before, *verb, *after]
    if subject.eo and not negative and not predicate.before:
        order = b.rng.random()
        pronoun = len(after) == 1 and after[0].upos == "PRON" and after[0].text.endswith("n")
        if pronoun and order < 0.15:
            eo = [*subject.eo, *after, *verb]
        elif order < 0.02 and not after and not subject.pronoun:
            eo = [*verb, *subject.eo]
    spoken = spoken or tense
    auxiliary_en, rest = predicate.head.group(spoken, subject, negative, False)
    asked, asked_rest = predicate.head.group(spoken, subject, negative, True)
    # "not" opens the rest of the verb; the adverb comes after it.
    cut = 1 if negative else 0
    tail = [*rest[:cut], *predicate.middle, *rest[cut:], *predicate.en]
    asked_tail = [*asked_rest[:cut], *predicate.middle, *asked_rest[cut:], *predicate.en]
    english = [*subject.en, *auxiliary_en, *tail]
    return Clause(eo, english, [*asked, *subject.en, *asked_tail])


def infinitive(b: Builder, predicate: Predicate) -> tuple[list[Eo], list[En]]:
    """Return a predicate in the infinitive: `legi libron`, `read a book` (without `to`)."""
    b.note("infinitive")
    eo = [*predicate.before, *predicate.verb("i"), *predicate.eo]
    return eo, [*predicate.middle, *predicate.head.infinitive(), *predicate.en]
