"""Clauses: subjects, complements, prepositional phrases, relative and subordinate clauses."""

from __future__ import annotations

from stages.acquire.generator import phrases
from stages.acquire.generator.lexicon import closed
from stages.acquire.generator.lexicon.names import NUMERALS, ORDINALS
from stages.acquire.generator.phrases import SUBJECTS, THEMES, joined
from stages.acquire.generator.predicates import (
    Clause,
    Predicate,
    clause,
    simple,
)
from stages.acquire.generator.tokens import (
    Builder,
    En,
    Eo,
    Phrase,
    enclosed,
    enclosed_english,
    fixed,
    mark,
    words,
)
from stages.acquire.generator.vocabulary import agreed

TENSES = {"as": 5.0, "is": 4.5, "os": 1.2, "us": 0.4}
DEEPEST = 2
LOOSE = ("for", "dank'", "rilate", "kune")
"""Adverbs that open a preposition of two words."""
PEOPLE = {
    "make": 2.2, "meet": 1.8, "treat": 1.8, "say": 1.8, "modal": 1.6, "act": 1.2, "go": 1.2,
    "quality": 1.3, "being": 1.0, "where": 0.6, "give": 0.9, "want": 0.9, "have": 0.9, "eat": 0.5,
    "perfect": 0.35, "progress": 0.25, "passive": 0.5, "self": 0.55, "see-as": 0.4,
    "become-noun": 0.25,
}  # fmt: skip
MATTERS = {
    "quality": 2.4, "being": 1.4, "become": 2.0, "passive": 1.8, "where": 0.8, "modal": 0.9,
    "treat": 0.9, "have": 0.3, "make-so": 0.4,
}  # fmt: skip
OBJECTS = {"make": "thing", "meet": "person", "treat": "idea", "eat": "mass"}


def expression(text: str) -> list[Eo]:
    """Return the tokens of a fixed expression, with the tags of its words."""
    tokens: list[Eo] = []
    for part in text.split():
        word = part.rstrip(",")
        upos = closed.TAGS.get(word, "ADV") if " " in text else "ADV"
        tokens.append(fixed(word, upos))
        if part.endswith(","):
            tokens.append(mark(","))
    return tokens


def subject(b: Builder, depth: int) -> tuple[Phrase, str]:
    """Return a subject and whether it is of `people` or of `matters`."""
    choice = b.weighted({"pronoun": 3.2, "people": 4.2, "matter": 3.6, "name": 0.35, "lone": 0.5})
    if choice == "pronoun":
        return phrases.subject_pronoun(b), "people"
    if choice == "name":
        return phrases.name(b, "n"), "matters"
    if choice == "lone":
        if depth < DEEPEST and b.chance(0.4):
            return _relative(b, phrases.those(b), "person", "n", depth), "people"
        return phrases.correlative(b, "n"), "matters"
    if choice == "people":
        return full(b, b.weighted(SUBJECTS), "n", depth), "people"
    if b.chance(0.08):
        return phrases.esperanto(b, "n"), "matters"
    return full(b, b.weighted(THEMES), "n", depth), "matters"


def full(b: Builder, kind: str, case: str, depth: int, plural: bool | None = None) -> Phrase:
    """Return a noun phrase that may go on with `de`, a relative clause, an apposition or a list."""
    if b.chance(0.015):
        return _owned(b, kind, case)
    found = phrases.noun(b, kind, case, plural)
    more = b.rng.random()
    if depth >= DEEPEST:
        more += 0.12
    if more < 0.09:
        return _relative(b, found, kind, case, depth)
    if more < 0.24:
        link = b.among((("de", "of"), ("de", "of"), ("de", "of"), ("pri", "about"), ("por", "for")))
        other = phrases.noun(b, b.weighted(THEMES | SUBJECTS), "n")
        if b.chance(0.12):
            other = phrases.name(b, "n")
        eo = [*found.eo, fixed(link[0], "ADP"), *other.eo]
        return Phrase(eo, [*found.en, En(link[1]), *other.en], found.plural)
    if more < 0.285:
        return _listed(b, found, kind, case)
    if more < 0.31:
        return _apposition(b, found, case)
    return found


def _listed(b: Builder, found: Phrase, kind: str, case: str) -> Phrase:
    b.note("coordination")
    link, english = b.among((("kaj", "and"), ("kaj", "and"), ("aŭ", "or"), ("sed ne", "but not")))
    eo, en = list(found.eo), list(found.en)
    if b.chance(0.3) and link in ("kaj", "aŭ"):
        middle = phrases.noun(b, kind, case)
        eo, en = [*eo, mark(","), *middle.eo], [*en, *words(","), *middle.en]
    other = phrases.noun(b, kind, case)
    if link in ("kaj", "aŭ") and b.chance(0.15):
        pair = {"kaj": "both", "aŭ": "either"}[link]
        eo, en = [fixed(link, "CCONJ"), *eo], [En(pair), *en]
    eo = [*eo, *expression_of_link(link), *other.eo]
    return Phrase(eo, [*en, *words(english), *other.en], link == "kaj" or found.plural)


def expression_of_link(link: str) -> list[Eo]:
    """Return the tokens of a coordinating link (`kaj`, `sed ne`)."""
    return [fixed(part, "ADV" if part == "ne" else "CCONJ") for part in link.split()]


def _apposition(b: Builder, found: Phrase, case: str) -> Phrase:
    b.note("parentheses")
    shape = b.rng.random()
    other = phrases.noun(b, b.weighted(THEMES), "n")
    if shape < 0.3:
        b.note("digits")
        year = b.slot("digits.year")
        eo = [*found.eo, *enclosed([Eo("", "NUM", slot=year, form="x")], "(", ")")]
        return Phrase(eo, [*found.en, *enclosed_english([En("", year)], "(", ")")], found.plural)
    if shape < 0.6:
        b.note("abbreviation")
        opening, english = b.among((("t.e.", "i.e."), ("ekz.", "e.g."), ("t.n.", "so-called")))
        inside = [fixed(opening, "ADV"), *other.eo]
        spoken = enclosed_english([En(english), *other.en], "(", ")")
        return Phrase([*found.eo, *enclosed(inside, "(", ")")], [*found.en, *spoken], found.plural)
    spoken = enclosed_english(other.en, "(", ")")
    return Phrase([*found.eo, *enclosed(other.eo, "(", ")")], [*found.en, *spoken], found.plural)


def _owned(b: Builder, kind: str, case: str) -> Phrase:
    b.note("correlative")
    name, english = b.among((("ies", "somebody's"), ("ties", "that one's"), ("nenies", "nobody's"),
                             ("ĉies", "everybody's")))  # fmt: skip
    thing = phrases.noun(b, kind, case, plural=None, bare=True, articles=False)
    kind_of = {"ies": "Ind", "ties": "Dem", "nenies": "Neg", "ĉies": "Tot"}[name]
    token = fixed(name, "DET", feats=f"Poss=Yes|PronType={kind_of}")
    return Phrase([token, *thing.eo], [*words(english), *thing.en], thing.plural)


def _relative(b: Builder, found: Phrase, kind: str, case: str, depth: int) -> Phrase:
    b.note("relative-clause", "subordinate-clause", "correlative")
    number = "p" if found.plural else "s"
    who = "who" if kind == "person" else "which"
    comma = [mark(",")] if b.chance(0.85) else []
    english: list[En]

    def pronoun(relative_case: str) -> Eo:
        form = number + relative_case
        return Eo(joined("kiu", form), "PRON", "kiu", f"{agreed(form)}|PronType=Rel")

    shape = b.weighted({"subject": 4.0, "object": 3.0, "inside": 1.2, "whose": 0.8, "where": 0.7})
    inner = depth + 1
    if shape == "subject" or (shape == "where" and kind != "place"):
        head = Phrase([pronoun("n")], words(who), found.plural)
        group = "people" if kind in SUBJECTS else "matters"
        body = clause(b, head, predicate(b, group, head, inner), _tense(b), b.chance(0.12))
        eo, english = body.eo, body.en
    elif shape == "object":
        doer, _ = subject(b, DEEPEST)
        gap = simple(b, _governor(kind))
        body = clause(b, doer, gap, _tense(b))
        eo, english = [pronoun("a"), *body.eo], [*words("whom" if who == "who" else who), *body.en]
        b.note("accusative")
    elif shape == "whose":
        head = phrases.noun(b, b.weighted(THEMES), "n", bare=True, articles=False)
        body = clause(b, head, predicate(b, "matters", head, inner), _tense(b))
        eo = [fixed("kies", "PRON", feats="Poss=Yes|PronType=Rel"), *body.eo]
        english = [*words("whose"), *body.en]
    elif shape == "where":
        body = statement(b, inner)
        eo, english = [fixed("kie", "ADV"), *body.eo], [*words("where"), *body.en]
    else:
        preposition, spoken = b.among((("en", "in"), ("pri", "about"), ("per", "with"),
                                       ("al", "to"), ("kun", "with"),
                                       ("pro", "because of")))  # fmt: skip
        body = statement(b, inner)
        eo = [fixed(preposition, "ADP"), pronoun("n"), *body.eo]
        english = [*words(spoken), *words("whom" if who == "who" else who), *body.en]
    pause = words(",") if comma else []
    whole = [*found.en, *pause, *english, *pause]
    return Phrase([*found.eo, *comma, *eo, *comma], whole, found.plural)


def _governor(kind: str) -> str:
    if kind in SUBJECTS:
        return "meet"
    return {"idea": "treat", "abstract": "treat", "mass": "eat"}.get(kind, "make")


def place(b: Builder, kind: str = "place") -> tuple[list[Eo], list[En]]:
    """Return a prepositional phrase of place or goal."""
    preposition, english = b.among(closed.PREPOSITIONS[kind])
    thing = phrases.noun(b, b.weighted({"place": 3.0, "thing": 1.0}), "n")
    if b.chance(0.18):
        thing = phrases.name(b, "n")
    if kind == "goal" and b.chance(0.2):
        b.note("direction-accusative")
        preposition, english = b.among((("en", "into"), ("sur", "onto"), ("sub", "under")))
        thing = phrases.noun(b, "place", "a")
    return [*expression_of(preposition), *thing.eo], [*words(english), *thing.en]


def expression_of(preposition: str) -> list[Eo]:
    """Return the tokens of a preposition of one or more words."""
    parts = preposition.split()
    return [fixed(part, "ADV" if part in LOOSE else "ADP") for part in parts]


def circumstance(b: Builder) -> tuple[list[Eo], list[En]]:
    """Return an adverbial: a prepositional phrase, a time, a closing adverb or a manner."""
    choice = b.weighted(
        {"place": 2.0, "person": 1.0, "thing": 1.2, "idea": 1.8, "time": 1.4, "closing": 1.3,
         "manner": 1.3, "like": 0.5, "quantity": 0.2}
    )  # fmt: skip
    if choice in ("person", "thing", "idea"):
        preposition, english = b.among(closed.PREPOSITIONS[choice])
        if choice == "person" and b.chance(0.4):
            other = phrases.pronoun(b, "n", ("mi", "vi", "li", "ŝi", "ni", "ili"))
        else:
            kind = "abstract" if choice == "idea" and b.chance(0.3) else choice
            other = phrases.noun(b, kind, "n", True if preposition == "inter" else None)
        return [*expression_of(preposition), *other.eo], [*words(english), *other.en]
    if choice == "place":
        return place(b)
    if choice == "closing":
        text = b.among(tuple(closed.CLOSING_ADVERBS))
        return expression(text), words(closed.CLOSING_ADVERBS[text])
    if choice == "manner":
        slot = b.slot(b.among(("adjective.any", "adjective.person", "adjective.idea")))
        degree = b.among((("", ""), ("", ""), ("", ""), ("tre", "very"), ("pli", "more")))
        eo = [b.word(slot, "e", "ADV")]
        if degree[0]:
            return [fixed(degree[0], "ADV"), *eo], [En("", slot, f"{degree[1]}:ly")]
        return eo, [En("", slot, "ly")]
    if choice == "like":
        other = phrases.noun(b, b.weighted(SUBJECTS | THEMES), "n")
        return [fixed("kiel", "ADP"), *other.eo], [En("like"), *other.en]
    if choice == "quantity":
        other = phrases.quantity(b, "n")
        return [fixed("kun", "ADP"), *other.eo], [En("with"), *other.en]
    return time(b)


def is_past(b: Builder, eo: list[Eo], en: list[En]) -> bool:
    """Tell circumstances that only a verb in the past goes with: `ago`, a year."""
    dated = any(token.slot >= 0 and b.slots[token.slot] == "digits.year" for token in eo)
    return dated or en[-1].text == "ago"


def time(b: Builder) -> tuple[list[Eo], list[En]]:
    """Return an expression of time: a date, a year, a duration, a time in the accusative."""
    choice = b.among(("year", "date", "ago", "for", "every", "whole", "weekday", "month", "hour"))
    slot = b.slot({"date": "digits.day", "month": "calendar.month", "weekday": "calendar.weekday",
                   "year": "digits.year"}.get(choice, "noun.time"))  # fmt: skip
    if choice == "year":
        b.note("digits")
        number = Eo("", "NUM", feats="NumType=Card", slot=slot, form="x")
        if b.chance(0.5):
            return [fixed("en", "ADP"), number], [En("in"), En("", slot)]
        year = Eo("jaro", "NOUN", "jaro", agreed("sn"))
        return [fixed("en", "ADP"), phrases.ARTICLE, year, number], [
            *words("in the year"),
            En("", slot),
        ]
    if choice == "date":
        return _date(b, slot)
    if choice == "month":
        return [fixed("en", "ADP"), b.word(slot, "sn", "NOUN")], [En("in"), En("", slot)]
    if choice == "weekday":
        b.note("time-accusative")
        return [b.word(slot, "sa", "NOUN")], [En("on"), En("", slot)]
    if choice == "every":
        b.note("time-accusative", "correlative")
        token = Eo("ĉiun", "DET", "ĉiu", f"{agreed('sa')}|PronType=Tot")
        return [token, b.word(slot, "sa", "NOUN")], [En("every"), En("", slot, "s")]
    if choice == "whole":
        b.note("time-accusative")
        whole = Eo("tutan", "ADJ", "tuta", agreed("sa", "Degree=Pos|"))
        return [phrases.ARTICLE, whole, b.word(slot, "sa", "NOUN")], [
            *words("the whole"),
            En("", slot, "s"),
        ]
    if choice == "hour":
        b.note("ordinal")
        name = b.among(tuple(ORDINALS)[1:10])
        hour = Eo(name, "ADJ", name, agreed("sn", "Degree=Pos|"))
        count = list(NUMERALS.values())[list(ORDINALS).index(name) - 1]
        spoken = words(f"at {count} o'clock")
        return [fixed("je", "ADP"), phrases.ARTICLE, hour], spoken
    counted, english = phrases.number(b)
    plural = b.word(slot, "pn", "NOUN")
    if choice == "ago":
        return [fixed("antaŭ", "ADP"), *counted, plural], [*english, En("", slot, "p"), En("ago")]
    return [fixed("dum", "ADP"), *counted, plural], [En("for"), *english, En("", slot, "p")]


def _date(b: Builder, slot: int) -> tuple[list[Eo], list[En]]:
    b.note("digits")
    month, year = b.slot("calendar.month"), b.slot("digits.year")
    day = Eo("", "ADJ", feats=agreed("sa", "Degree=Pos|"), slot=slot, form="day")
    b.note("time-accusative")
    eo = [phrases.ARTICLE, day, fixed("de", "ADP"), b.word(month, "sn", "NOUN")]
    eo.append(Eo("", "NUM", feats="NumType=Card", slot=year, form="x"))
    return eo, [En("on"), En("", month), En("", slot), En(",", left=True), En("", year)]


def _tense(b: Builder) -> str:
    return b.weighted(TENSES)


def target(b: Builder, kind: str, depth: int) -> Phrase:
    """Return a direct object."""
    if kind == "person" and b.chance(0.35):
        return phrases.pronoun(b, "a")
    if b.chance(0.06):
        return phrases.correlative(b, "a")
    if b.chance(0.05) and kind == "idea":
        return phrases.esperanto(b, "a")
    if kind == "mass" and b.chance(0.3):
        return phrases.quantity(b, "a")
    if kind == "thing" and b.chance(0.2):
        kind = "mass"
    if kind == "idea" and b.chance(0.3):
        kind = "abstract"
    return full(b, kind, "a", depth)


def predicate(
    b: Builder, group: str, doer: Phrase, depth: int, without: tuple[str, ...] = ()
) -> Predicate:
    """Return a predicate that suits people or matters, with adverbs and circumstances."""
    from stages.acquire.generator import complements

    weights = dict(PEOPLE if group == "people" else MATTERS)
    if depth >= DEEPEST:
        without = (*without, "say", "want")
    weights = {name: weight for name, weight in weights.items() if name not in without}
    made = complements.governed(b, b.weighted(weights), doer, depth)
    if b.chance(0.16):
        text = b.among(tuple(closed.MIDDLE_ADVERBS))
        made.before = [*expression(text), *made.before]
        made.middle = words(closed.MIDDLE_ADVERBS[text])
    while b.chance(0.3 if depth < DEEPEST else 0.12):
        eo, en = circumstance(b)
        made.eo, made.en = [*made.eo, *eo], [*made.en, *en]
        made.past = made.past or is_past(b, eo, en)
    return made


def statement(b: Builder, depth: int = 0, tense: str = "", spoken: str = "") -> Clause:
    """Return a whole clause; `spoken` is the English tense where it differs."""
    doer, group = subject(b, depth)
    made = predicate(b, group, doer, depth)
    return clause(b, doer, made, tense or _tense(b), b.chance(0.1), spoken)
