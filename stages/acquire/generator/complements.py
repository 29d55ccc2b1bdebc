"""What each kind of predicate governs: objects, ke-clauses, infinitives, complements of `esti`."""

from __future__ import annotations

from stages.acquire.generator import phrases
from stages.acquire.generator.clauses import (
    DEEPEST,
    OBJECTS,
    circumstance,
    full,
    place,
    predicate,
    statement,
    target,
)
from stages.acquire.generator.phrases import FITTING, SUBJECTS, THEMES
from stages.acquire.generator.predicates import (
    Head,
    Predicate,
    auxiliary,
    copula,
    infinitive,
    simple,
)
from stages.acquire.generator.tokens import Builder, En, Eo, Phrase, fixed, mark, words

REFLEXIVES = {"he": ("his", "himself"), "she": ("her", "herself"), "it": ("its", "itself"),
              "one": ("one's", "oneself"), "I": ("my", "myself"), "we": ("our", "ourselves"),
              "you": ("your", "yourself")}  # fmt: skip


def governed(b: Builder, kind: str, doer: Phrase, depth: int) -> Predicate:
    """Return a predicate of one kind with what it governs."""
    if kind in OBJECTS:
        return _with_object(b, kind, depth)
    if kind in ("act", "go", "become"):
        return _free(b, kind)
    if kind in SPECIAL:
        return SPECIAL[kind](b, doer, depth)
    return _participial(b, kind, doer, depth)


def _with_object(b: Builder, kind: str, depth: int) -> Predicate:
    made = simple(b, kind)
    thing = target(b, OBJECTS[kind], depth)
    made.eo, made.en = thing.eo, thing.en
    return made


def _free(b: Builder, kind: str) -> Predicate:
    made = simple(b, kind)
    if kind == "go" and b.chance(0.75):
        made.eo, made.en = place(b, "goal")
    return made


def _say(b: Builder, doer: Phrase, depth: int) -> Predicate:
    b.note("subordinate-clause")
    link, english, upos = b.among(
        (("ke", "that", "SCONJ"),) * 6
        + (("ĉu", "whether", "PART"), ("kial", "why", "ADV"), ("kie", "where", "ADV"))
        + (("kiam", "when", "ADV"), ("kiel", "how", "ADV"))
    )
    made = simple(b, "say" if link == "ke" else "ask")
    inner = statement(b, depth + 1)
    comma = [mark(",")] if b.chance(0.85) else []
    made.eo = [*comma, fixed(link, upos), *inner.eo]
    made.en = [*words(english), *inner.en]
    if depth == 0 and b.chance(0.12):
        second = statement(b, depth + 1)
        made.eo += [fixed("kaj", "CCONJ"), fixed(link, upos), *second.eo]
        made.en += [*words("and"), *words(english), *second.en]
    return made


def _want(b: Builder, doer: Phrase, depth: int) -> Predicate:
    made = simple(b, "want")
    if b.chance(0.2):
        b.note("subordinate-clause", "volitive")
        inner = statement(b, depth + 1, "u")
        made.eo = [mark(","), fixed("ke", "SCONJ"), *inner.eo]
        made.en = [*words("that"), *inner.en]
        return made
    eo, en = infinitive(b, predicate(b, "people", doer, DEEPEST))
    made.eo, made.en = eo, [*words("to"), *en]
    return made


def _modal(b: Builder, doer: Phrase, depth: int) -> Predicate:
    stem, kind = b.among((("pov", "can"), ("dev", "must")))
    group = "people" if doer.pronoun or b.chance(0.5) else "matters"
    eo, en = infinitive(b, predicate(b, group, doer, max(depth, 1), ("modal",)))
    b.note("modal")
    return Predicate(auxiliary(stem), Head(kind), eo, en)


def _give(b: Builder, doer: Phrase, depth: int) -> Predicate:
    made = simple(b, "give")
    thing = target(b, "thing", depth)
    if b.chance(0.5):
        taker = phrases.pronoun(b, "n", ("mi", "vi", "li", "ŝi", "ni", "ili"))
    else:
        taker = phrases.noun(b, b.weighted(SUBJECTS), "n")
    to = [fixed("al", "ADP"), *taker.eo]
    made.eo = [*to, *thing.eo] if b.chance(0.35) else [*thing.eo, *to]
    made.en = [*thing.en, *words("to"), *taker.en]
    return made


def _have(b: Builder, doer: Phrase, depth: int) -> Predicate:
    thing = target(b, b.among(("thing", "idea")), depth)
    return Predicate(auxiliary("hav", "VERB"), Head("have"), thing.eo, thing.en)


def _quality(b: Builder, doer: Phrase, depth: int) -> Predicate:
    made = copula()
    form = "pn" if doer.plural else "sn"
    kind = "person" if doer.pronoun else b.among(("any", "thing", "idea", "person"))
    slot = b.slot(f"adjective.{FITTING.get(kind, 'any')}")
    eo, en = [b.word(slot, form, "ADJ")], [En("", slot, "j")]
    shape = b.rng.random()
    if shape < 0.12:
        b.note("comparison")
        other = phrases.noun(b, b.weighted(SUBJECTS | THEMES), "n")
        eo = [fixed("pli", "ADV"), *eo, fixed("ol", "ADP"), *other.eo]
        en = [En("", slot, "er"), En("than"), *other.en]
    elif shape < 0.19:
        b.note("comparison")
        other = phrases.noun(b, b.weighted(SUBJECTS | THEMES), "n")
        eo = [fixed("tiel", "ADV"), *eo, fixed("kiel", "ADP"), *other.eo]
        en = [En("as"), *en, En("as"), *other.en]
    elif shape < 0.25:
        b.note("superlative")
        eo, en = (
            [fixed("la", "DET", feats=phrases.ARTICLE.feats), fixed("plej", "ADV"), *eo],
            [
                En("the"),
                En("", slot, "est"),
            ],
        )
    elif shape < 0.4:
        degree, english = b.among((("tre", "very"), ("tro", "too"), ("sufiĉe", "rather"),
                                   ("tute", "completely"), ("malpli", "less")))  # fmt: skip
        eo, en = [fixed(degree, "ADV"), *eo], [En(english), *en]
    elif shape < 0.52:
        second = b.slot("adjective.any")
        b.note("coordination")
        link, english = b.among((("kaj", "and"), ("sed", "but"), ("aŭ", "or")))
        eo = [*eo, fixed(link, "CCONJ"), b.word(second, form, "ADJ")]
        en = [*en, En(english), En("", second, "j")]
    elif shape < 0.6:
        preposition, english = b.among((("por", "for"), ("al", "to"), ("pri", "about")))
        other = phrases.noun(b, b.weighted(SUBJECTS), "n")
        eo, en = [*eo, fixed(preposition, "ADP"), *other.eo], [*en, En(english), *other.en]
    made.eo, made.en = eo, en
    return made


def _being(b: Builder, doer: Phrase, depth: int) -> Predicate:
    made = copula()
    kind = "person" if doer.pronoun else b.weighted(THEMES)
    if kind in ("mass", "abstract"):
        kind = "idea"
    if b.chance(0.15):
        b.note("superlative")
        thing = phrases.noun(b, kind, "n", True, bare=True)
        one = fixed("unu", "NUM", feats="NumForm=Word|NumType=Card")
        made.eo = [one, fixed("el", "ADP"), phrases.ARTICLE, *thing.eo]
        made.en = [*words("one of the"), *thing.en]
        return made
    thing = full(b, kind, "n", max(depth, 1), doer.plural)
    made.eo, made.en = thing.eo, thing.en
    return made


def _where(b: Builder, doer: Phrase, depth: int) -> Predicate:
    made = copula()
    made.eo, made.en = place(b) if b.chance(0.7) else circumstance(b)
    return made


def _self(b: Builder, doer: Phrase, depth: int) -> Predicate:
    """Return a reflexive predicate: `lavas sin`, `helpas sian amikon`."""
    b.note("reflexive")
    third = doer.person == 3
    made = simple(b, "meet")
    form = "pa" if b.chance(0.3) else "sa"
    if b.chance(0.5) or reflexive(b, doer)[1] == "":
        mine = {1: ("nia", "our") if doer.plural else ("mia", "my"), 2: ("via", "your")}
        name, english = mine.get(doer.person, ("sia", f"{reflexive(b, doer)[0]} own"))
        slot = b.slot("noun.person")
        made.eo = [phrases.owner(b, name, form), b.word(slot, form, "NOUN")]
        made.en = [*words(english), En("", slot, form[0])]
        return made
    first = {1: ("nin", "ourselves") if doer.plural else ("min", "myself")}
    text, english = first.get(doer.person, ("vin", "yourself"))
    if third:
        text, english = "sin", reflexive(b, doer)[1]
    feats = "Case=Acc|Number=Sing|PronType=Prs|Reflex=Yes"
    made.eo = [fixed(text, "PRON", text[:-1], feats)]
    if b.chance(0.3):
        made.eo.append(fixed("mem", "ADV"))
    made.en = words(english)
    return made


def reflexive(b: Builder, doer: Phrase) -> tuple[str, str]:
    """Return the English for `sia` and `sin`; a person of either sex has none for the latter."""
    if doer.plural:
        return "their", "themselves"
    spoken = doer.en[0].text if len(doer.en) == 1 else ""
    if spoken in REFLEXIVES:
        return REFLEXIVES[spoken]
    nouns = [b.slots[token.slot] for token in doer.eo if token.upos == "NOUN" and token.slot >= 0]
    return ("its", "itself") if nouns and nouns[0] != "noun.person" else ("their", "")


def _see_as(b: Builder, doer: Phrase, depth: int) -> Predicate:
    """Return `rigardas X kiel Y`."""
    made = simple(b, b.among(("treat", "meet", "make")))
    thing = target(b, "idea", DEEPEST)
    other = phrases.noun(b, "idea", "a", bare=True)
    made.eo = [*thing.eo, fixed("kiel", "ADP"), *other.eo]
    made.en = [*thing.en, En("as"), *other.en]
    return made


def _become_noun(b: Builder, doer: Phrase, depth: int) -> Predicate:
    def verb(tense: str) -> list[Eo]:
        return [Eo("iĝ" + tense, "VERB", "iĝi", auxiliary("est")(tense)[0].feats)]

    slot = b.slot("noun.person" if not doer.plural else "noun.group")
    form = "pn" if doer.plural else "sn"
    thing = En("", slot, "p" if doer.plural else "a:s")
    return Predicate(verb, Head("become"), [b.word(slot, form, "NOUN")], [thing])


def _make_so(b: Builder, doer: Phrase, depth: int) -> Predicate:
    """Return an object with an aim: `ŝanĝas X por fari Y`."""
    b.note("infinitive")
    made = simple(b, "treat")
    thing = target(b, "idea", depth)
    aim, spoken = infinitive(b, predicate(b, "people", doer, DEEPEST))
    made.eo = [*thing.eo, fixed("por", "ADP"), *aim]
    made.en = [*thing.en, *words("in order to"), *spoken]
    return made


def _participial(b: Builder, kind: str, doer: Phrase, depth: int) -> Predicate:
    """Return `esti` with a participle: passive, perfect or progress."""
    form = "pn" if doer.plural else "sn"
    b.note("participle", "compound-tense")
    made = copula()
    if kind == "passive":
        b.note("passive")
        source = "meet" if doer.pronoun else b.among(("treat", "make", "treat"))
        slot = b.slot(f"verb.{source}")
        ending = b.weighted({"ita": 3.0, "ata": 2.0, "ota": 0.3})
        english = [*words("to be" if ending == "ota" else ""), En("", slot, "participle")]
        eo = [b.word(slot, f"{ending}.{form}", "VERB")]
        if b.chance(0.5):
            agent = phrases.noun(b, b.weighted(SUBJECTS), "n")
            eo, english = [*eo, fixed("de", "ADP"), *agent.eo], [*english, En("by"), *agent.en]
    else:
        source = b.weighted({"go": 1.0, "act": 1.0, "make": 2.0})
        slot = b.slot(f"verb.{source}")
        ending, shape = ("inta", "participle") if kind == "perfect" else ("anta", "gerund")
        made.head = Head("perfect") if kind == "perfect" else made.head
        eo, english = [b.word(slot, f"{ending}.{form}", "VERB")], [En("", slot, shape)]
        if source == "make":
            thing = target(b, "thing", DEEPEST)
            eo, english = [*eo, *thing.eo], [*english, *thing.en]
    made.eo, made.en = eo, english
    return made


SPECIAL = {
    "say": _say, "want": _want, "modal": _modal, "give": _give, "have": _have, "quality": _quality,
    "being": _being, "where": _where, "self": _self, "see-as": _see_as, "make-so": _make_so,
    "become-noun": _become_noun,
}  # fmt: skip
