"""Whole sentence plans: statements, questions, orders, exclamations, quotations and headings."""

from __future__ import annotations

import random
from collections.abc import Callable

from stages.acquire.generator import phrases
from stages.acquire.generator.clauses import (
    DEEPEST,
    predicate,
    statement,
    subject,
)
from stages.acquire.generator.lexicon.names import ROMAN
from stages.acquire.generator.outlines import Plan, finished
from stages.acquire.generator.phrases import SUBJECTS, THEMES
from stages.acquire.generator.predicates import clause, copula, infinitive, simple
from stages.acquire.generator.sentences import closing, declarative, quoted
from stages.acquire.generator.tokens import Builder, En, Eo, Phrase, fixed, mark, words
from stages.acquire.generator.vocabulary import agreed

Sides = tuple[list[Eo], list[En]]
LONGEST = 60
CAPITALS_SHARE = 0.12
"""Share of headings written in capitals."""
KINDS = {
    "statement": 15.0, "question": 1.2, "asking": 1.0, "order": 0.8, "exclamation": 0.4,
    "quotation": 0.8, "dialogue": 0.4,
}  # fmt: skip


def _question(b: Builder) -> Sides:
    b.note("question")
    made = statement(b, 1)
    eo = [fixed("ĉu", "PART"), *made.eo, mark("?")]
    return eo, [*made.question, En("?", left=True)]


def _asking(b: Builder) -> Sides:
    b.note("question", "correlative")
    shape = b.among(
        ("who", "what", "where", "when", "why", "how", "which", "how-many", "kind", "whose")
    )
    tense = b.among(("as", "is", "is", "os"))
    end = [En("?", left=True)]
    if shape == "who":
        doer = Phrase(
            [fixed("kiu", "PRON", feats="Case=Nom|Number=Sing|PronType=Int")], [En("who")]
        )
        made = clause(b, doer, predicate(b, "people", doer, 1), tense)
        return [*made.eo, mark("?")], [*made.en, *end]
    if shape in ("what", "which", "how-many", "kind", "whose"):
        return _asked_object(b, shape, tense)
    text, english, upos = {
        "where": ("kie", "where", "ADV"), "when": ("kiam", "when", "ADV"),
        "why": ("kial", "why", "ADV"), "how": ("kiel", "how", "ADV"),
    }[shape]  # fmt: skip
    made = statement(b, 1, tense)
    return [fixed(text, upos), *made.eo, mark("?")], [En(english), *made.question, *end]


def _asked_object(b: Builder, shape: str, tense: str) -> Sides:
    doer, _ = subject(b, DEEPEST)
    kind = b.among(("make", "treat"))
    made = clause(b, doer, simple(b, kind), tense)
    slot = b.slot({"make": "noun.thing", "treat": "noun.idea"}[kind])
    noun = b.word(slot, "sa", "NOUN")
    feats = f"{agreed('sa')}|PronType=Int"
    if shape == "what":
        eo, en = [Eo("kion", "PRON", "kio", feats)], [En("what")]
        b.slots[slot] = "noun.thing"
        b.note("accusative")
    elif shape == "which":
        eo, en = [Eo("kiun", "DET", "kiu", feats), noun], [En("which"), En("", slot, "s")]
    elif shape == "kind":
        eo, en = (
            [Eo("kian", "DET", "kia", feats), noun],
            [*words("what kind of"), En("", slot, "s")],
        )
    elif shape == "whose":
        token = fixed("kies", "DET", feats="Poss=Yes|PronType=Int")
        eo, en = [token, noun], [En("whose"), En("", slot, "s")]
    else:
        many = [fixed("kiom", "PRON"), fixed("da", "ADP")]
        eo, en = [*many, b.word(slot, "pn", "NOUN")], [*words("how many"), En("", slot, "p")]
    return [*eo, *made.eo, mark("?")], [*en, *made.question, En("?", left=True)]


def _order(b: Builder) -> Sides:
    b.note("imperative")
    doer = Phrase([], [], True, 2, True)
    made = predicate(b, "people", doer, 1)
    sign = b.among((".", "!", "!"))
    verb = made.verb("u")
    if b.chance(0.25):
        eo = [fixed("ni", "PRON", feats="Case=Nom|Number=Plur|Person=1|PronType=Prs"), *verb]
        english = [*words("let us"), *made.head.infinitive()]
    elif b.chance(0.2):
        eo = [fixed("ne", "ADV"), *verb]
        english = [*words("do not"), *made.head.infinitive()]
    elif b.chance(0.2):
        please, spoken = b.among((("bonvolu", "please"), ("ne forgesu", "do not forget to")))
        head = [fixed("ne", "ADV")] if " " in please else []
        lemma = {"bonvolu": "bonvoli"}.get(please, "forgesi")
        token = Eo(please.split()[-1], "VERB", lemma, "Mood=Imp|VerbForm=Fin")
        tail, said = infinitive(b, made)
        return [*head, token, *tail, mark(sign)], [*words(spoken), *said, En(sign, left=True)]
    else:
        eo, english = verb, made.head.infinitive()
    return [*eo, *made.eo, mark(sign)], [*english, *made.en, En(sign, left=True)]


def _exclamation(b: Builder) -> Sides:
    b.note("exclamation")
    shape = b.rng.random()
    if shape < 0.4:
        thing = phrases.noun(b, b.weighted(THEMES | SUBJECTS), "n", False, bare=True)
        token = Eo("kia", "DET", "kia", f"{agreed('sn')}|PronType=Exc")
        return [token, *thing.eo, mark("!")], [En("what"), *thing.en, En("!", left=True)]
    if shape < 0.7:
        cry, english = b.among(
            (("ho", "oh"), ("ve", "alas"), ("ha", "ha"), ("nu", "well"), ("bone", "good"))
        )
        made = statement(b, 1)
        upos = "ADV" if cry == "bone" else "INTJ"
        return [fixed(cry, upos), mark(","), *made.eo, mark("!")], [
            En(english), *words(","), *made.en, En("!", left=True),
        ]  # fmt: skip
    if shape < 0.85:
        thing = phrases.noun(b, "person", "n", True)
        live = Eo("vivu", "VERB", "vivi", "Mood=Imp|VerbForm=Fin")
        return [live, *thing.eo, mark("!")], [*words("long live"), *thing.en, En("!", left=True)]
    slot = b.slot("adjective.any")
    doer = phrases.noun(b, b.weighted(THEMES), "n")
    form = "pn" if doer.plural else "sn"
    verb = copula().verb("as")
    eo = [fixed("kiel", "ADV"), b.word(slot, form, "ADJ"), *verb, *doer.eo, mark("!")]
    verb_en = "are" if doer.plural else "is"
    return eo, [En("how"), En("", slot, "j"), *doer.en, En(verb_en), En("!", left=True)]


def _statement(b: Builder) -> Sides:
    made = declarative(b)
    return closing(made, "." if b.chance(0.97) else b.among(("!", "…")))


def _dialogue(b: Builder) -> Sides:
    b.note("quotation", "dash")
    eo, en = b.among((_question, _asking, _statement, _order))(b)
    return [fixed("–", "PUNCT"), *eo], [En("–"), *en]


MAKERS: dict[str, Callable[[Builder], Sides]] = {
    "statement": _statement, "question": _question, "asking": _asking, "order": _order,
    "exclamation": _exclamation, "quotation": quoted, "dialogue": _dialogue,
}  # fmt: skip


def sentence(rng: random.Random) -> Plan:
    """Return a random sentence plan of at most `LONGEST` tokens."""
    while True:
        b = Builder(rng)
        eo, en = MAKERS[b.weighted(KINDS)](b)
        if len(eo) <= LONGEST:
            return finished(b, eo, en)


def _abbreviated(b: Builder) -> Sides:
    b.note("abbreviation")
    short, lemma, english = b.among(
        (("D-ro", "doktoro", "Doctor"), ("S-ro", "sinjoro", "Mr."),
         ("Prof.", "profesoro", "Professor"),
         ("S-ino", "sinjorino", "Mrs."), ("P-ro", "pastro", "Father"))
    )  # fmt: skip
    initial = b.among("ABCDEFGHIKLMNPRSTZ") + "."
    made = phrases.noun(b, "idea", "n")
    where = phrases.name(b, "n", "name.city")
    eo = [
        *made.eo,
        fixed("de", "ADP"),
        Eo(short, "NOUN", lemma, agreed("sn")),
        Eo(initial, "PROPN", initial, agreed("sn")),
        fixed("el", "ADP"),
        *where.eo,
    ]
    en = [*made.en, En("of"), En(english), En(initial), En("from"), *where.en]
    return eo, en


def heading(rng: random.Random) -> Plan:
    """Return a plan without a verb: a title, a numbered heading or a label."""
    b = Builder(rng)
    b.note("heading")
    shape = b.weighted(
        {
            "about": 1.5,
            "noun": 2.0,
            "number": 1.2,
            "roman": 0.5,
            "label": 0.8,
            "abbreviated": 0.5,
            "bare": 0.3,
        }
    )
    eo: list[Eo]
    if shape == "roman":
        made = phrases.roman(b)
        eo, en = made.eo, made.en
    elif shape == "bare":
        figure = b.among(ROMAN)
        eo, en = [fixed(figure, "NUM", feats="NumType=Card"), mark(".")], [*words(figure + " .")]
    elif shape == "abbreviated":
        eo, en = _abbreviated(b)
    else:
        made = phrases.noun(b, b.weighted(THEMES), "n")
        eo, en = made.eo, made.en
        if shape == "about":
            link, english = b.among(
                (("pri", "about"), ("de", "of"), ("por", "for"), ("kaj", "and"), ("en", "in"))
            )
            other = phrases.noun(b, b.weighted(THEMES), "n")
            upos = "CCONJ" if link == "kaj" else "ADP"
            eo, en = [*eo, fixed(link, upos), *other.eo], [*en, En(english), *other.en]
        elif shape == "label":
            eo, en = [*eo, mark(":")], [*en, *words(":")]
        elif shape == "number":
            b.note("digits")
            figure = str(1 + int(b.rng.random() * 12))
            sign = b.among((".", ")"))
            eo = [fixed(figure, "NUM"), mark(sign), *eo]
            en = [En(figure), En(sign, left=True), *en]
    if b.chance(0.3) and shape not in ("label", "number", "bare"):
        eo, en = [*eo, mark(".")], [*en, En(".", left=True)]
    plan = finished(b, eo, en)
    plan.upper = b.chance(CAPITALS_SHARE)
    return plan
