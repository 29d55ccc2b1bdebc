"""Sentences: statements, questions, orders, conditions, quotations, lists, headings."""

from __future__ import annotations

from collections.abc import Callable

from stages.acquire.generator import phrases
from stages.acquire.generator.clauses import (
    DEEPEST,
    circumstance,
    expression,
    full,
    is_past,
    place,
    predicate,
    statement,
    subject,
)
from stages.acquire.generator.lexicon import closed
from stages.acquire.generator.phrases import SUBJECTS, THEMES
from stages.acquire.generator.predicates import Clause, auxiliary, clause, infinitive, simple
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

OPENINGS = (
    ("kaj", "and", "CCONJ"), ("sed", "but", "CCONJ"), ("do", "so", "ADV"), ("nu", "well", "INTJ"),
    ("jes", "yes", "INTJ"), ("ja", "indeed", "ADV"), ("ne", "no", "ADV"),
)  # fmt: skip
QUOTES = (("«", "»"), ("«", "»"), ("„", "“"), ("“", "”"), ('"', '"'))


def _plain(b: Builder) -> Clause:
    shape = b.rng.random()
    if shape < 0.16:
        text = b.among(tuple(closed.OPENING_ADVERBS))
        made = statement(b, 0, {"hieraŭ": "is", "morgaŭ": "os"}.get(text, ""))
        comma = b.chance(0.4)
        eo = [*expression(text), *([mark(",")] if comma else []), *made.eo]
        english = [*words(closed.OPENING_ADVERBS[text]), *words(","), *made.en]
        return Clause(eo, english, made.question)
    if shape < 0.26:
        eo, en = circumstance(b)
        made = statement(b, 0, "is" if is_past(b, eo, en) else "")
        return Clause([*eo, *made.eo], [*en, *words(","), *made.en], made.question)
    made = statement(b)
    if shape < 0.31:
        return _opened(b, made)
    return made


def _opened(b: Builder, made: Clause) -> Clause:
    """Return the clause after a conjunction or an interjection."""
    link, english, upos = b.among(OPENINGS)
    tight = link in ("nu", "jes", "ne")
    eo = [fixed(link, upos), *([mark(",")] if tight else []), *made.eo]
    return Clause(eo, [En(english), *(words(",") if tight else []), *made.en], made.question)


def _joined(b: Builder) -> Clause:
    b.note("coordination")
    link, english, upos = b.among(
        (("kaj", "and", "CCONJ"), ("kaj", "and", "CCONJ"), ("sed", "but", "CCONJ"),
         ("aŭ", "or", "CCONJ"), ("do", "so", "ADV"), (";", ";", ""), ("tamen", "yet", "ADV"),
         ("—", "—", ""), (":", ":", ""), ("nek", "nor", "CCONJ"))
    )  # fmt: skip
    if link == "nek":
        return _neither(b)
    first, second = statement(b, 1), statement(b, 1)
    if link in (";", ":", "—"):
        b.note("dash" if link == "—" else "semicolon")
        glue = [mark(link)] if link != "—" else [Eo("—", "PUNCT", "—")]
        spoken = [En(english, left=link != "—")]
    else:
        glue = [*([mark(",")] if b.chance(0.7) else []), fixed(link, upos)]
        spoken = [*words(","), En(english)]
    return Clause([*first.eo, *glue, *second.eo], [*first.en, *spoken, *second.en], first.question)


def _neither(b: Builder) -> Clause:
    """Return two denied clauses: `li ne legas, nek ŝi skribas`."""
    made = []
    for negative in (True, False):
        doer, group = subject(b, 1)
        parts = predicate(b, group, doer, 1)
        made.append(clause(b, doer, parts, b.among(("as", "is", "os")), negative))
    first, second = made
    eo = [*first.eo, mark(","), fixed("nek", "CCONJ"), *second.eo]
    return Clause(eo, [*first.en, *words(", nor"), *second.question], first.question)


def _same_doer(b: Builder) -> Clause:
    doer, group = subject(b, 1)
    tense = b.among(("as", "is", "is", "as", "os"))
    first = clause(b, doer, predicate(b, group, doer, 1), tense)
    absent = Phrase([], [], doer.plural, doer.person)
    eo, en = list(first.eo), list(first.en)
    for last in [False, True] if b.chance(0.3) else [True]:
        more = clause(b, absent, predicate(b, group, doer, 1), tense)
        link = [fixed("kaj", "CCONJ")] if last else [mark(",")]
        eo, en = [*eo, *link, *more.eo], [*en, *words("and" if last else ","), *more.en]
    b.note("coordination")
    return Clause(eo, en, first.question)


def _adverbial(b: Builder) -> Clause:
    b.note("subordinate-clause")
    link = b.among(tuple(closed.SUBORDINATORS))
    upos, english = closed.SUBORDINATORS[link]
    tense = b.among(("as", "is", "is", "as", "os"))
    main, side = statement(b, 1, tense), statement(b, 1, tense)
    head = [fixed(link, upos)] if " " not in link else expression(link)
    if b.chance(0.45) and link not in ("tial, ke", "tiel, ke", "kvazaŭ"):
        eo = [*head, *side.eo, mark(","), *main.eo]
        return Clause(eo, [*words(english), *side.en, *words(","), *main.en], main.question)
    comma = [mark(",")] if b.chance(0.8) else []
    return Clause(
        [*main.eo, *comma, *head, *side.eo], [*main.en, *words(english), *side.en], main.question
    )


def _condition(b: Builder) -> Clause:
    b.note("conditional", "subordinate-clause")
    main, side = statement(b, 1, "us"), statement(b, 1, "us", spoken="is")
    eo = [fixed("se", "SCONJ"), *side.eo, mark(","), *main.eo]
    if b.chance(0.3):
        eo = [fixed("se", "SCONJ"), *side.eo, mark(","), fixed("tiam", "ADV"), *main.eo]
    return Clause(eo, [En("if"), *side.en, *words(","), *main.en], main.question)


def _aim(b: Builder) -> Clause:
    main = statement(b, 1)
    if b.chance(0.5):
        b.note("subordinate-clause", "volitive")
        inner = statement(b, 1, "u")
        eo = [*main.eo, mark(","), fixed("por", "ADP"), fixed("ke", "SCONJ"), *inner.eo]
        return Clause(eo, [*main.en, *words("so that"), *inner.en], main.question)
    preposition, english, bare = b.among(
        (("por", "in order to", True), ("sen", "without", False), ("anstataŭ", "instead of", False))
    )
    doer = Phrase([], [])
    made = predicate(b, "people", doer, DEEPEST)
    eo, en = infinitive(b, made)
    spoken = en if bare else [*made.middle, *made.head.gerund(), *made.en]
    return Clause(
        [*main.eo, fixed(preposition, "ADP"), *eo],
        [*main.en, *words(english), *spoken],
        main.question,
    )


def _participial(b: Builder) -> Clause:
    b.note("adverbial-participle", "participle")
    ending, english = b.among(
        (("ante", "gerund"), ("inte", "having"), ("ite", "participle"), ("ante", "gerund"))
    )
    kind = b.among(("make", "treat", "meet"))
    slot = b.slot(f"verb.{kind}")
    eo: list[Eo] = [b.word(slot, ending, "VERB")]
    en = (
        [*words("having"), En("", slot, "participle")]
        if english == "having"
        else [En("", slot, english)]
    )
    if ending == "ite":
        other = phrases.noun(b, b.weighted(SUBJECTS), "n")
        eo, en = [*eo, fixed("de", "ADP"), *other.eo], [*en, En("by"), *other.en]
    else:
        other = phrases.noun(b, {"make": "thing", "treat": "idea", "meet": "person"}[kind], "a")
        eo, en = [*eo, *other.eo], [*en, *other.en]
    main = statement(b, 1)
    if b.chance(0.3):
        return Clause([*main.eo, mark(","), *eo], [*main.en, *words(","), *en], main.question)
    return Clause([*eo, mark(","), *main.eo], [*en, *words(","), *main.en], main.question)


def _exists(b: Builder) -> Clause:
    b.note("existential")
    tense = b.among(("as", "is", "os"))
    thing = full(b, b.weighted({"person": 1.0, "thing": 1.0, "idea": 1.0}), "n", 1)
    where, spoken = place(b)
    verb, english = b.among((("est", "be"), ("ekzist", "exist")))
    feats = auxiliary("est")(tense)[0].feats
    token = Eo(verb + tense, "VERB", verb + "i", feats)
    group = {
        "as": "are" if thing.plural else "is",
        "is": "were" if thing.plural else "was",
        "os": "will be",
    }
    if english == "exist":
        group = {"as": "exist" if thing.plural else "exists", "is": "existed", "os": "will exist"}
    eo = [*where, token, *thing.eo] if b.chance(0.4) else [token, *thing.eo, *where]
    if b.chance(0.25):
        eo = [fixed("ne", "ADV"), *eo] if eo[0] is token else eo
        if eo[0].text == "ne":
            denied = {"as": "are not" if thing.plural else "is not", "os": "will not be"}
            denied["is"] = "were not" if thing.plural else "was not"
            return Clause(eo, [En("there"), *words(denied[tense]), *thing.en, *spoken], [])
    return Clause(eo, [En("there"), *words(group[tense]), *thing.en, *spoken], [])


def _impersonal(b: Builder) -> Clause:
    b.note("impersonal")
    tense = b.among(("as", "is", "os", "us"))
    group = {"as": "is", "is": "was", "os": "will be", "us": "would be"}
    slot = b.slot(b.among(("adjective.idea", "adjective.any")))
    verb = auxiliary("est")(tense)
    eo = [*verb, b.word(slot, "e", "ADV")]
    en = [En("it"), *words(group[tense]), En("", slot, "j")]
    if b.chance(0.5):
        b.note("subordinate-clause")
        inner = statement(b, 1)
        return Clause(
            [*eo, mark(","), fixed("ke", "SCONJ"), *inner.eo], [*en, En("that"), *inner.en], []
        )
    made, spoken = infinitive(b, predicate(b, "people", Phrase([], []), DEEPEST))
    return Clause([*eo, *made], [*en, En("to"), *spoken], [])


def _definition(b: Builder) -> Clause:
    b.note("correlative", "subordinate-clause")
    verb = b.among(("estas", "signifas"))
    inner = statement(b, 1)
    that = fixed("tio", "PRON", feats="Case=Nom|Number=Sing|PronType=Dem")
    feats = auxiliary("est")("as")[0].feats
    token = Eo(
        verb, "AUX" if verb == "estas" else "VERB", "esti" if verb == "estas" else "signifi", feats
    )
    if verb == "signifas":
        eo = [that, token, mark(","), fixed("ke", "SCONJ"), *inner.eo]
        return Clause(eo, [*words("that means that"), *inner.en], [])
    thing = phrases.noun(b, "idea", "n")
    reason = [mark(","), fixed("ĉar", "SCONJ"), *inner.eo] if b.chance(0.6) else []
    spoken = [En("because"), *inner.en] if reason else []
    return Clause([that, token, *thing.eo, *reason], [*words("that is"), *thing.en, *spoken], [])


def _listed(b: Builder) -> Clause:
    b.note("list")
    main = statement(b, 1, "as")
    eo, en = [*main.eo, mark(":")], [*main.en, *words(":")]
    count = b.among((2, 3, 3, 4))
    style = b.among(("plain", "number", "letter"))
    for index in range(count):
        item = phrases.noun(b, b.weighted(THEMES), "n")
        if style == "number":
            eo += [fixed(str(index + 1), "NUM"), mark(")")]
            en += [En(str(index + 1)), En(")", left=True)]
        elif style == "letter":
            eo += [fixed("abcd"[index], "ADV"), mark(")")]
            en += [En("abcd"[index]), En(")", left=True)]
        eo, en = [*eo, *item.eo], [*en, *item.en]
        if index == count - 2 and style == "plain":
            eo, en = [*eo, fixed("kaj", "CCONJ")], [*en, En("and")]
        elif index < count - 1:
            sign = "," if style == "plain" else ";"
            eo, en = [*eo, mark(sign)], [*en, *words(sign)]
    if b.chance(0.2):
        b.note("abbreviation")
        eo, en = [*eo, fixed("ktp.", "ADV")], [*en, En("etc.")]
    return Clause(eo, en, [])


def _pair(b: Builder) -> Clause:
    """Return `ne nur ..., sed ankaŭ ...`, `nek ... nek ...` or `ju pli ..., des pli ...`."""
    b.note("coordination")
    if b.chance(0.3):
        b.note("comparison")
        first, second = statement(b, 1, "as"), statement(b, 1, "as")
        eo = [
            fixed("ju", "ADV"),
            fixed("pli", "ADV"),
            *first.eo,
            mark(","),
            fixed("des", "ADV"),
            fixed("pli", "ADV"),
        ]
        return Clause(
            [*eo, *second.eo], [*words("the more"), *first.en, *words(", the more"), *second.en], []
        )
    kind = b.weighted(THEMES)
    one, two = phrases.noun(b, kind, "n"), phrases.noun(b, kind, "n")
    if b.chance(0.5):
        b.note("negation")
        eo = [fixed("nek", "CCONJ"), *one.eo, fixed("nek", "CCONJ"), *two.eo]
        doer = Phrase(eo, [En("neither"), *one.en, En("nor"), *two.en], two.plural)
    else:
        eo = [
            fixed("ne", "ADV"),
            fixed("nur", "ADV"),
            *one.eo,
            mark(","),
            fixed("sed", "CCONJ"),
            fixed("ankaŭ", "ADV"),
        ]
        doer = Phrase(
            [*eo, *two.eo], [*words("not only"), *one.en, *words(", but also"), *two.en], two.plural
        )
    return clause(b, doer, predicate(b, "matters", doer, 1), b.among(("as", "is")))


def _condemn(b: Builder) -> Clause:
    """Return a sentence with its object first: `Tiun libron li legis`."""
    b.note("object-first")
    kind = b.among(("make", "treat", "meet"))
    thing = phrases.noun(b, {"make": "thing", "treat": "idea", "meet": "person"}[kind], "a")
    doer = phrases.subject_pronoun(b)
    made = clause(b, doer, simple(b, kind), b.among(("as", "is", "os")))
    return Clause([*thing.eo, *made.eo], [*made.en, *thing.en], [])


STATEMENTS: dict[str, tuple[float, Callable[[Builder], Clause]]] = {
    "plain": (7.0, _plain), "joined": (1.8, _joined), "same-doer": (1.1, _same_doer),
    "adverbial": (1.9, _adverbial), "condition": (0.5, _condition), "aim": (0.8, _aim),
    "participial": (0.7, _participial), "exists": (0.5, _exists), "impersonal": (0.5, _impersonal),
    "definition": (0.35, _definition), "listed": (0.35, _listed), "pair": (0.45, _pair),
    "object-first": (0.35, _condemn),
}  # fmt: skip


def declarative(b: Builder) -> Clause:
    """Return any statement."""
    name = b.weighted({key: weight for key, (weight, _) in STATEMENTS.items()})
    return STATEMENTS[name][1](b)


def closing(made: Clause, sign: str) -> tuple[list[Eo], list[En]]:
    """Return both sides with their final mark."""
    return [*made.eo, mark(sign)], [*made.en, En(sign[-1:], left=True)]


def quoted(b: Builder) -> tuple[list[Eo], list[En]]:
    """Return direct speech with who says it."""
    b.note("quotation")
    said = statement(b, 1)
    start, end = b.among(QUOTES)
    doer = phrases.noun(b, "person", "n")
    slot = b.slot("verb.speak")
    asks = b.chance(0.2)
    if asks:
        b.note("question")
    sign = "?" if asks else b.among((",", "!", "."))
    spoken_text = said.question if asks else said.en
    inner = [*([fixed("ĉu", "PART")] if asks else []), *said.eo]
    if b.chance(0.5):
        opening = [*doer.eo, b.word(slot, "is", "VERB"), mark(":")]
        body = [*inner, mark("?" if asks else ".")]
        english = [*spoken_text, En("?" if asks else ".", left=True)]
        return [*opening, *enclosed(body, start, end)], [
            *doer.en, En("", slot, "past"), *words(":"), *enclosed_english(english, "“", "”"),
        ]  # fmt: skip
    body = inner if sign in (",", ".") else [*inner, mark(sign)]
    english = [*spoken_text, En("," if sign == "." else sign, left=True)]
    tail = [] if sign in ("?", "!") else [mark(",")]
    eo = [*enclosed(body, start, end), *tail, b.word(slot, "is", "VERB"), *doer.eo, mark(".")]
    return eo, [
        *enclosed_english(english, "“", "”"),
        *doer.en,
        En("", slot, "past"),
        En(".", left=True),
    ]
